"""What the front door asks of a body. The same rules serve short bodies in one HAProxy, and long ones in the other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gptoss_operator.api.routing import RequestLimits, RoutingSpec, RoutingStrategy
from gptoss_operator.core.render.haproxy.errors import refuse


NOT_TEXT = (
    r"[\x01-\x08\x0b\x0c\x0e-\x1f\xc0\xc1\xf5-\xff]"
    r"|[\xc2-\xdf](?![\x80-\xbf])|[\xe0-\xef](?![\x80-\xbf]{2})|[\xf0-\xf4](?![\x80-\xbf]{3})"
    # Longer than needed, surrogates, and beyond Unicode.
    r"|\xe0[\x80-\x9f]|\xed[\xa0-\xbf]|\xf0[\x80-\x8f]|\xf4[\x90-\xbf]"
    # A byte that goes on with nothing.
    r"|(?<![\xc2-\xf4])(?<![\xe0-\xf4][\x80-\xbf])(?<![\xf0-\xf4][\x80-\xbf]{2})[\x80-\xbf]"
)
"""Bytes that no JSON text has: control characters, and what is not UTF-8 (RFC 8259 sections 7 and 8.1)."""
BODY = "var(txn.body)"
UNUSUAL = "{ var(txn.unusual) -m bool }"
MALFORMED = "the body must be a JSON object in UTF-8"
STREAM = r'"stream"\s*:\s*true'
DETERMINISTIC = r'"temperature"\s*:\s*-?0(?:\.0*)?\s*[,}]|"seed"\s*:\s*-?[0-9]'
"""Coarse: the cache looks again."""
LENGTH_FIELDS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
COUNT_FIELDS = ("n", "best_of")


def body_rules(spec: RoutingSpec, models: Sequence[str], which: str) -> Iterator[str]:
    """Yield the rules for bodies that are wholly in the buffer. `which` is the condition that says which are.

    To HAProxy a body is binary, and each rule that takes it as text goes through it byte by byte for a NUL. So it is
    made text once. Then one regular expression finds what deserves a closer look, and most bodies get no other.
    """
    caps = tuple(_caps(spec.limits))
    unusual = "|".join((NOT_TEXT, STREAM, *(cap.suspicious for cap in caps)))
    yield f"http-request set-var(txn.body) req.body,concat() if {which}"
    yield from _is_object(which)
    yield f"http-request set-var(txn.unusual) bool(1) if {which} {{ {BODY} -m reg '{unusual}' }}"
    yield refuse(400, "invalid_json", MALFORMED, when=f"if {UNUSUAL} {{ {BODY} -m reg '{NOT_TEXT}' }}")
    yield f"http-request set-var(txn.model) {BODY},json_query('$.model') if {which}"
    yield refuse(
        400,
        "missing_model",
        "model: name the model as a string",
        when=f"if {which} !{{ var(txn.model) -m found }}",
        param="model",
    )
    yield refuse(
        404,
        "model_not_found",
        f"model: this deployment serves {', '.join(models)}",
        when=f"if {which} !{{ var(txn.model) -m str {' '.join(models)} }}",
        param="model",
    )
    for cap in caps:
        yield from cap.rules()
    yield f"http-request set-var(txn.stream) int(1) if {UNUSUAL} {{ {BODY} -m reg '{STREAM}' }}"


def forget_body(which: str) -> str:
    """Return the rule that frees the copy of the body, when all have seen it."""
    return f"http-request unset-var(txn.body) if {which}"


def _is_object(which: str) -> Iterator[str]:
    yield f"acl begins_well {BODY} -m beg {{"
    yield f"acl ends_well {BODY} -m end }}"
    # White space around the object.
    yield rf"acl begins_well {BODY} -m reg '^\s+\{{'"
    yield rf"acl ends_well {BODY} -m reg '\}}\s+$'"
    yield refuse(400, "invalid_json", MALFORMED, when=f"if {which} !begins_well")
    yield refuse(400, "invalid_json", MALFORMED, when=f"if {which} !ends_well")
    # To HAProxy, text ends at the first NUL: what is behind it would be seen by replicas alone.
    yield f"http-request set-var(txn.text_bytes) {BODY},length if {which}"
    yield refuse(400, "invalid_json", MALFORMED, when=f"if {which} !{{ req.body_len,sub(txn.text_bytes) eq 0 }}")


def affinity_rules(spec: RoutingSpec, which: str) -> Iterator[str]:
    """Yield the rules that hash the part of a prompt that stays the same while a conversation goes on.

    That is the system prompt and the first message after it: all turns have them, in front.
    """
    if spec.strategy is not RoutingStrategy.PREFIX_AFFINITY:
        return
    system = "{ var(txn.body),json_query('$.messages[0].role') -m str system developer }"
    for variable, query, condition in (
        ("first", "$.messages[0].content", ""),
        ("second", "$.messages[1].content", system),
        ("first", "$.prompt", "{ path /v1/completions }"),
        ("first", "$.instructions", "{ path /v1/responses }"),
        ("second", "$.input", "{ path /v1/responses }"),
    ):
        yield f"http-request set-var(txn.{variable}) {BODY},json_query('{query}') if {which} {condition}".rstrip()
    length = spec.prefix_affinity.prefix_bytes
    yield f"http-request set-var(txn.first) str() if {which} !{{ var(txn.first) -m found }}"
    yield f"http-request set-var(txn.affinity) var(txn.first),concat(,txn.second),bytes(0,{length}),xxh32 if {which}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cap:
    """The largest number that some fields may have."""

    fields: tuple[str, ...]
    most: int

    @property
    def suspicious(self) -> str:
        """A regular expression that finds all numbers above the cap, and some below."""
        digits = len(str(self.most))
        surely_below = f"[0-9]{{1,{digits - 1}}}" if digits > 1 else f"[0-{self.most}]"
        return f'"(?:{"|".join(self.fields)})"\\s*:\\s*+(?!(?:{surely_below}\\s*[,}}]|null))'

    def rules(self) -> Iterator[str]:
        """Yield the rules that look closer."""
        yield f"http-request unset-var(txn.suspicious) if {UNUSUAL}"
        found = f"{{ {BODY} -m reg '{self.suspicious}' }}"
        yield f"http-request set-var(txn.suspicious) bool(1) if {UNUSUAL} {found}"
        suspicious = "{ var(txn.suspicious) -m bool }"
        for field in self.fields:
            value = f"{BODY},json_query('$.{field}','int')"
            yield refuse(
                400,
                "value_too_large",
                f"{field}: an integer of at most {self.most} is allowed",
                when=f"if {suspicious} {{ {value} -m found }} !{{ {value} -m int le {self.most} }}",
                param=field,
            )


def _caps(limits: RequestLimits) -> Iterator[_Cap]:
    if limits.max_tokens is not None:
        yield _Cap(fields=LENGTH_FIELDS, most=limits.max_tokens)
    if limits.max_choices is not None:
        yield _Cap(fields=COUNT_FIELDS, most=limits.max_choices)
