"""Views and results as policies and reports get them."""

from collections.abc import Sequence

from gptoss_operator.core.placement.places import CapacityType, Interruption, Place, PlacedReplica, Stage
from gptoss_operator.core.placement.policy import Prices
from gptoss_operator.core.scaling.load import Load
from gptoss_operator.core.scaling.supply import ColdStart
from gptoss_operator.sim.contract import Result, View


ZONES = ("a", "b", "c")
PRICES = Prices(
    table={
        Place(capacity=CapacityType.ON_DEMAND): 10.0,
        Place(capacity=CapacityType.SPOT): 4.0,
    }
)


def spot(zone: str) -> Place:
    return Place(capacity=CapacityType.SPOT, zone=zone)


def on_demand() -> Place:
    return Place(capacity=CapacityType.ON_DEMAND)


def a_replica(slot: int, stage: Stage = Stage.READY, place: Place | None = None) -> PlacedReplica:
    chosen = place or on_demand()
    return PlacedReplica(
        slot=slot, place=chosen, zone=chosen.zone, stage=stage, created_at=float(slot), since=float(slot)
    )


def replicas(count: int, stage: Stage = Stage.READY) -> tuple[PlacedReplica, ...]:
    return tuple(a_replica(slot, stage) for slot in range(count))


def a_view(
    now: float = 0.0,
    load: Load | None = None,
    existing: Sequence[PlacedReplica] = (),
    *,
    interruptions: Sequence[Interruption] = (),
    refused: Sequence[Place] = (),
) -> View:
    return View(
        now=now,
        load=load or Load(),
        replicas=tuple(existing),
        interruptions=tuple(interruptions),
        refused=tuple(refused),
        prices=PRICES,
        zones=ZONES,
        cold_start=ColdStart(),
    )


def a_result(
    seed: int = 1, *, cost: float = 100.0, attainment: float = 0.99, policy: str = "ours", synthetic: bool = True
) -> Result:
    return Result(
        policy=policy,
        scenario="test",
        seed=seed,
        synthetic=synthetic,
        requests=100_000,
        served=100_000,
        within_target=round(100_000 * attainment),
        failed=0,
        lost=0,
        retried=0,
        ttft_p50=0.1,
        ttft_p95=0.5,
        ttft_p99=1.0,
        itl_p99=0.05,
        cost=cost,
        output_tokens=1e6,
        on_demand_hours=24.0,
        spot_hours=24.0,
        unready_hours=1.0,
        actions=10,
        reversals=0,
        scale_downs=5,
        interruptions=0,
        held=0,
        held_lost=0,
    )
