"""How a change of the model, the image or the engine reaches the replicas: `spec.rollout` and `spec.upgradePolicy`."""

from enum import StrEnum
from typing import Annotated, ClassVar, Final

from pydantic import Field, WithJsonSchema

from gptoss_operator.api.base import ApiModel
from gptoss_operator.api.rules import Rule
from gptoss_operator.api.scaling import Day, TimeOfDay


COUNT_PATTERN: Final = r"^(0|[1-9][0-9]{0,3}|([1-9]?[0-9]|100)%)$"
Count = Annotated[
    Annotated[int, Field(ge=0, le=1000)] | Annotated[str, Field(pattern=COUNT_PATTERN)],
    WithJsonSchema({"x-kubernetes-int-or-string": True}),
]
"""A number of replicas, or a share of those that are wanted, such as `25%`."""


class Strategy(StrEnum):
    """How replicas are replaced."""

    AUTO = "Auto"
    """Surge where another replica has room or may get a machine, Replace where not."""
    SURGE = "Surge"
    REPLACE = "Replace"
    BLUE_GREEN = "BlueGreen"


class UpgradePolicy(StrEnum):
    """When a default that was recorded for the object moves to that of a newer operator."""

    NEVER = "Never"
    WITH_CHANGE = "WithChange"
    ALWAYS = "Always"


class BuiltInPrompt(StrEnum):
    """Prompts that gpt-oss must answer well."""

    HARMONY = "Harmony"
    """An answer with reasoning before its content."""
    TOOL_CALL = "ToolCall"
    """A call of the tool that was offered, with arguments that are JSON."""


class GoldenPrompt(ApiModel):
    """A prompt whose answer is known, in part."""

    name: str = Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)
    """What it is called in conditions and events."""
    prompt: str = Field(min_length=1, max_length=4096)
    """What is asked, as a user's message, at temperature 0."""
    contains: tuple[Annotated[str, Field(min_length=1, max_length=256)], ...] = Field(default=(), max_length=8)
    """Texts that the answer must all contain. Letters' case does not count."""
    json_schema: str | None = Field(default=None, min_length=2, max_length=4096)
    """JSON Schema, as JSON text, that the answer must satisfy. The answer must be JSON then."""
    max_tokens: int = Field(default=512, ge=1, le=8192)
    """Length of the answer, reasoning included."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.jsonSchema) || (has(self.contains) && self.contains.size() > 0)",
            "set contains, jsonSchema or both: without either, any answer would do",
        ),
    )


class CanarySpec(ApiModel):
    """The first replica of a new revision, which serves a share of the requests and is compared with the others."""

    traffic_percent: int = Field(default=25, ge=1, le=99)
    """Requests that it gets, of those that each other replica gets."""
    hold_seconds: int = Field(default=300, ge=0, le=86400)
    """How long it is watched. Zero: it is not compared."""
    min_requests: int = Field(default=20, ge=1, le=100000)
    """With fewer requests than these, at it or at the others, shares and times are not compared: they would be luck."""
    max_error_percent: int = Field(default=1, ge=0, le=100)
    """Requests of it that may fail, in percent, beyond the share that fails at the others."""
    max_first_token_increase_percent: int = Field(default=50, ge=0, le=10000)
    """How much longer than at the others its time to the first token may be."""
    max_token_increase_percent: int = Field(default=30, ge=0, le=10000)
    """How much longer than at the others its time for each further token may be."""


class GatesSpec(ApiModel):
    """What a new replica must show before it gets requests, and a new revision before more replicas follow."""

    built_in: tuple[BuiltInPrompt, ...] = Field(default=(BuiltInPrompt.HARMONY, BuiltInPrompt.TOOL_CALL), max_length=2)
    """Prompts of the operator's own that are asked. Weights that are no gpt-oss may not answer them."""
    prompts: tuple[GoldenPrompt, ...] = Field(
        default=(),
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    """Further prompts. They go with the revision: a change of them counts from the next one on."""
    canary: CanarySpec = CanarySpec()
    """How the first replica of a revision is compared with the others."""


class WindowSpec(ApiModel):
    """A weekly window in which replicas may be replaced."""

    name: str = Field(min_length=1, max_length=63)
    """What it is called in conditions."""
    time_zone: str = Field(default="UTC", min_length=1, max_length=64)
    """IANA name, such as `Europe/Berlin`."""
    days: tuple[Day, ...] = Field(default=("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"), min_length=1, max_length=7)
    """Days on which it begins."""
    start: TimeOfDay = "00:00"
    """When it begins, such as `22:00`."""
    end: TimeOfDay = "00:00"
    """When it ends. Not after `start`: on the next day."""


class RolloutSpec(ApiModel):
    """How replicas of one revision are replaced by those of the next."""

    strategy: Strategy = Strategy.AUTO
    """Auto, Surge (new replicas beside the old ones), Replace (an old one leaves first), BlueGreen (all new ones beside
    all old ones, then the switch)."""
    max_surge: Count = 1
    """Replicas beyond those that are wanted, with Auto and Surge."""
    max_unavailable: Count = 0
    """Replicas that may be missing meanwhile. Replace, and Auto where there is no room, take at least one."""
    min_ready_seconds: int = Field(default=0, ge=0, le=3600)
    """How long a new replica must have served until an old one leaves for it."""
    progress_deadline_seconds: int = Field(default=2700, ge=10, le=86400)
    """How long nothing may get on until the revision counts as failed."""
    surge_wait_seconds: int = Field(default=600, ge=0, le=3600)
    """With Auto: how long a new replica may wait for a machine until an old one leaves for it."""
    auto_rollback: bool = True
    """Whether the revision of before comes back when the new one fails. If not, everything stays as it is then."""
    paused: bool = False
    """Whether replicas are replaced no further. Scaling, repair and a rollback go on."""
    windows: tuple[WindowSpec, ...] = Field(
        default=(),
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    """When replicas may be replaced. A rollback may at any time. Default: always."""
    gates: GatesSpec = GatesSpec()
    """What new replicas must show."""
    trigger: str = Field(default="", max_length=128)
    """Any other text makes another revision: all replicas start again, or a refused revision is tried again."""

    rules: ClassVar[tuple[Rule, ...]] = (
        *(
            Rule(
                f"!has(self.{field}) || (type(self.{field}) == int ? self.{field} >= 0 && self.{field} <= 1000 : "
                f"self.{field}.matches('{COUNT_PATTERN}'))",
                "set a number of replicas, or a share such as 25%",
                field=field,
            )
            for field in ("maxSurge", "maxUnavailable")
        ),
        Rule(
            "!has(self.strategy) || self.strategy != 'Surge' || !has(self.maxSurge) || !has(self.maxUnavailable) || "
            "!(string(self.maxSurge) in ['0', '0%'] && string(self.maxUnavailable) in ['0', '0%'])",
            "maxSurge and maxUnavailable are both 0: no replica could ever be replaced",
            field="maxSurge",
        ),
        Rule(
            "!has(self.minReadySeconds) || !has(self.progressDeadlineSeconds) || "
            "self.minReadySeconds < self.progressDeadlineSeconds",
            "must be less than progressDeadlineSeconds, or no replica could ever be in time",
            field="minReadySeconds",
        ),
    )
