"""From what users say of scaling and machines to what the decisions go by."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from gptoss_operator.api.placement import PriceSpec
from gptoss_operator.api.rollout import WindowSpec
from gptoss_operator.api.scaling import ScalingSpec, ScheduleSpec
from gptoss_operator.api.spec import GptOssSpec
from gptoss_operator.core.placement.places import CapacityType, Place
from gptoss_operator.core.placement.policy import PlacementPolicy, Prices
from gptoss_operator.core.scaling.policy import ScalingPolicy, Schedule


DAYS: Final = {"Mon": 0, "Tue": 1, "Wed": 2, "Thu": 3, "Fri": 4, "Sat": 5, "Sun": 6}
MILLISECONDS: Final = 1000


def scaling_policy(spec: GptOssSpec, gpus_per_replica: int) -> ScalingPolicy:
    """Return how the number of replicas follows the load. What the spec does not say is as the policy has it."""
    scaling = spec.scaling or ScalingSpec()
    target, up, down, budget = scaling.target, scaling.up, scaling.down, scaling.budget
    return ScalingPolicy(
        min_replicas=scaling.min_replicas,
        max_replicas=scaling.usual_most,
        queue_depth=target.queue_depth,
        ttft_seconds=target.time_to_first_token_milliseconds / MILLISECONDS,
        itl_seconds=target.time_per_output_token_milliseconds / MILLISECONDS,
        utilization=target.utilization_percent / 100,
        backlog_seconds=target.backlog_seconds,
        fallback_replicas=scaling.fallback_replicas,
        up_replicas=up.replicas,
        up_percent=up.percent,
        up_period_seconds=up.period_seconds,
        down_replicas=down.replicas,
        down_percent=down.percent,
        down_period_seconds=down.period_seconds,
        down_window_seconds=down.stabilization_seconds,
        idle_seconds=scaling.idle_seconds,
        follow_trend=scaling.prediction.trend,
        same_time_last_week=scaling.prediction.same_time_last_week,
        schedules=tuple(_schedule(schedule) for schedule in scaling.schedules),
        gpus_per_replica=gpus_per_replica,
        max_gpus=budget.max_gpus,
        max_hourly_cost=None if budget.max_hourly_cost is None else float(budget.max_hourly_cost),
    )


def placement_policy(spec: GptOssSpec, *, prices: Prices, zones: Iterable[str]) -> PlacementPolicy:
    """Return how replicas are spread over machines. `zones` are those that are known, for a spec that names none."""
    spot = spec.spot
    return PlacementPolicy(
        spot=spot.enabled,
        base_on_demand=spot.base_on_demand,
        fallback=spot.fallback == "OnDemand",
        pending_seconds=spot.fallback_seconds,
        on_demand_min_seconds=spot.on_demand_min_seconds,
        settle_seconds=spot.return_seconds,
        max_extra=spot.max_extra,
        zones=spot.zones or tuple(sorted(zones)),
        suspect_seconds=spot.zone_suspect_seconds,
        pools=tuple(pool.name for pool in spec.gpu.pools) or ("",),
        prices=prices,
    )


def prices_of(common: Iterable[PriceSpec], own: Iterable[PriceSpec], gpus_per_replica: int) -> Prices:
    """Return what a replica costs: by the deployment's own prices, else by those for all deployments."""
    return Prices(
        table={
            Place(
                capacity=CapacityType(price.capacity_type), zone=price.zone or "", pool=price.pool or ""
            ): gpus_per_replica * float(price.gpu_hour)
            for price in (*common, *own)
        }
    )


def windows_of(spec: GptOssSpec) -> tuple[Schedule, ...]:
    """Return when replicas may be replaced. Empty: always."""
    return tuple(_window(window) for window in spec.rollout.windows)


def _schedule(schedule: ScheduleSpec) -> Schedule:
    return replace(_window(schedule), min_replicas=schedule.min_replicas, max_replicas=schedule.max_replicas)


def _window(window: ScheduleSpec | WindowSpec) -> Schedule:
    return Schedule(
        name=window.name,
        time_zone=window.time_zone,
        days=frozenset(DAYS[day] for day in window.days),
        start_minute=_minutes(window.start),
        end_minute=_minutes(window.end),
    )


def _minutes(time_of_day: str) -> int:
    hours, minutes = time_of_day.split(":")
    return 60 * int(hours) + int(minutes)
