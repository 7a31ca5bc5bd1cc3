"""What the schema cannot check of scaling, machines and prices."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gptoss_operator.api.placement import PriceSpec
from gptoss_operator.api.rollout import GoldenPrompt, WindowSpec
from gptoss_operator.api.scaling import ScalingSpec, ScheduleSpec
from gptoss_operator.api.spec import GptOssSpec
from gptoss_operator.errors import InvalidSpec


def check(spec: GptOssSpec, common_prices: Iterable[PriceSpec]) -> None:
    """Raise InvalidSpec, with field and remedy, for a spec that the schema lets pass and that makes no sense.

    `common_prices` are those for all deployments.
    """
    pools = [pool.name for pool in spec.gpu.pools]
    _unique("spec.gpu.pools", pools)
    _unique("spec.spot.zones", spec.spot.zones)
    _unique("spec.spot.labels", [label.key for label in spec.spot.labels])
    if spec.scaling:
        _check_scaling(spec.scaling, pools, (*spec.prices, *common_prices))
    for index, price in enumerate(spec.prices):
        if price.pool is not None and price.pool not in pools:
            raise InvalidSpec(
                f"spec.prices[{index}].pool: spec.gpu.pools has no {price.pool!r}: name one of them, or leave it out"
            )
    _unique("spec.rollout.windows", [window.name for window in spec.rollout.windows])
    for window in spec.rollout.windows:
        _check_schedule("spec.rollout.windows", window)
    _unique("spec.rollout.gates.prompts", [prompt.name for prompt in spec.rollout.gates.prompts])
    for prompt in spec.rollout.gates.prompts:
        _check_json_schema(prompt)
    _unique("spec.prices", [f"{p.capacity_type} {p.pool or ''} {p.zone or ''}".strip() for p in spec.prices])


def _check_scaling(scaling: ScalingSpec, pools: Sequence[str], prices: Iterable[PriceSpec]) -> None:
    if scaling.budget.max_hourly_cost is not None:
        # On-demand machines are the dearest, and any replica may get one.
        priced = {price.pool for price in prices if price.capacity_type == "OnDemand"}
        unpriced = [] if None in priced else [pool for pool in pools if pool not in priced]
        if not priced or unpriced:
            raise InvalidSpec(
                "spec.scaling.budget.maxHourlyCost: nothing says what an on-demand GPU"
                f"{f' of pool {unpriced[0]}' if unpriced else ''} costs: set spec.prices, or the chart's prices"
            )
    _unique("spec.scaling.schedules", [schedule.name for schedule in scaling.schedules])
    for schedule in scaling.schedules:
        _check_schedule("spec.scaling.schedules", schedule)


def _check_json_schema(prompt: GoldenPrompt) -> None:
    if prompt.json_schema is None:
        return
    try:
        schema = json.loads(prompt.json_schema)
    except ValueError as error:
        schema = error
    if not isinstance(schema, dict):
        raise InvalidSpec(
            f"spec.rollout.gates.prompts[{prompt.name}].jsonSchema: it is no JSON object"
            f"{f' ({schema})' if isinstance(schema, ValueError) else ''}: write a JSON Schema as JSON text"
        )


def _check_schedule(fields: str, schedule: ScheduleSpec | WindowSpec) -> None:
    field = f"{fields}[{schedule.name}]"
    try:
        ZoneInfo(schedule.time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidSpec(
            f"{field}.timeZone: {schedule.time_zone!r} is no time zone: use an IANA name such as Europe/Berlin"
        ) from None
    if not schedule.days:
        raise InvalidSpec(f"{field}.days: it never begins: name a day, or leave days out for every day")


def _unique(field: str, names: Iterable[str]) -> None:
    """Raise InvalidSpec for a name that is there twice."""
    twice = [name for name, number in Counter(names).items() if number > 1]
    if twice:
        raise InvalidSpec(f"{field}: {twice[0]!r} is there twice: take one of them out")
