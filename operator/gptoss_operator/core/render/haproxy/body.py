"""What the front door asks of a body. The same rules serve short bodies in one HAProxy, and long ones in the other."""

from collections.abc import Iterator, Sequence

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
STREAM = r'"stream"\s*:\s*true'
DETERMINISTIC = r'"temperature"\s*:\s*-?0(?:\.0*)?\s*[,}]|"seed"\s*:\s*-?[0-9]'
"""Coarse: the cache looks again."""
LENGTH_FIELDS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
COUNT_FIELDS = ("n", "best_of")


def body_rules(spec: RoutingSpec, models: Sequence[str], which: str) -> Iterator[str]:
    """Yield the rules for bodies that are wholly in the buffer. `which` is the condition that says which are."""
    malformed = "the body must be a JSON object in UTF-8"
    yield "acl like_json req.body -m beg {"
    # A newline at the end is what `curl --data-binary @FILE` sends.
    yield r'acl complete_json req.body -m end } "}\n" "}\r\n"'
    yield refuse(400, "invalid_json", malformed, when=f"if {which} !like_json")
    yield refuse(400, "invalid_json", malformed, when=f"if {which} !complete_json")
    # To HAProxy, text ends at the first NUL: what is behind it would be seen by replicas alone.
    yield f"http-request set-var(txn.text_bytes) req.body,length if {which}"
    yield refuse(400, "invalid_json", malformed, when=f"if {which} !{{ req.body_len,sub(txn.text_bytes) eq 0 }}")
    yield refuse(400, "invalid_json", malformed, when=f"if {which} {{ req.body -m reg '{NOT_TEXT}' }}")
    yield f"http-request set-var(txn.model) req.body,json_query('$.model') if {which}"
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
    yield from _caps(spec.limits, which)
    yield f"http-request set-var(txn.stream) int(1) if {which} {{ req.body -m reg '{STREAM}' }}"


def affinity_rules(spec: RoutingSpec, which: str) -> Iterator[str]:
    """Yield the rules that hash the part of a prompt that stays the same while a conversation goes on.

    That is the system prompt and the first message after it: all turns have them, in front.
    """
    if spec.strategy is not RoutingStrategy.PREFIX_AFFINITY:
        return
    system = "{ req.body,json_query('$.messages[0].role') -m str system developer }"
    for variable, query, condition in (
        ("first", "$.messages[0].content", ""),
        ("second", "$.messages[1].content", system),
        ("first", "$.prompt", "{ path /v1/completions }"),
        ("first", "$.instructions", "{ path /v1/responses }"),
        ("second", "$.input", "{ path /v1/responses }"),
    ):
        yield f"http-request set-var(txn.{variable}) req.body,json_query('{query}') if {which} {condition}".rstrip()
    length = spec.prefix_affinity.prefix_bytes
    yield f"http-request set-var(txn.first) str() if {which} !{{ var(txn.first) -m found }}"
    yield f"http-request set-var(txn.affinity) var(txn.first),concat(,txn.second),bytes(0,{length}),xxh32 if {which}"


def _caps(limits: RequestLimits, which: str) -> Iterator[str]:
    for fields, cap in ((LENGTH_FIELDS, limits.max_tokens), (COUNT_FIELDS, limits.max_choices)):
        if cap is None:
            continue
        # A look at the text comes first: parsing the body once for each field would cost a third of all requests.
        suspicious = f'"(?:{"|".join(fields)})"\\s*:\\s*+(?!(?:{_surely_below(cap)}\\s*[,}}]|null))'
        yield f"http-request unset-var(txn.suspicious) if {which}"
        yield f"http-request set-var(txn.suspicious) bool(1) if {which} {{ req.body -m reg '{suspicious}' }}"
        for field in fields:
            value = f"req.body,json_query('$.{field}')"
            yield refuse(
                400,
                "value_too_large",
                f"{field}: an integer of at most {cap} is allowed",
                when=f"if {{ var(txn.suspicious) -m bool }} {{ {value} -m found }} !{{ {value} -m int le {cap} }}",
                param=field,
            )


def _surely_below(cap: int) -> str:
    """Return a regular expression of numbers that are not above `cap`, most of them."""
    digits = len(str(cap))
    return f"[0-9]{{1,{digits - 1}}}" if digits > 1 else f"[0-{cap}]"
