"""What the schema cannot check is refused with the field and the remedy, and changes nothing that runs."""

from typing import Any

import pytest

from gptoss_operator.api.placement import PriceSpec
from gptoss_operator.core.checks import check
from gptoss_operator.core.plan import make_plan
from gptoss_operator.errors import InvalidSpec
from tests.core.builders import NOW, OPTIONS, a_body, a_spec, seen
from tests.core.cluster import Cluster


SCHEDULE = {"name": "office", "minReplicas": 2}
PRICE = {"capacityType": "Spot", "gpuHour": "1"}
ON_DEMAND = {"capacityType": "OnDemand", "gpuHour": "3"}
POOL = {"name": "h100", "nodeSelector": {"gpu": "h100"}}
REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "time zone": (
        {"scaling": {"schedules": [{**SCHEDULE, "timeZone": "Mars/Olympus"}]}},
        "spec.scaling.schedules[office].timeZone: 'Mars/Olympus' is no time zone",
        "use an IANA name",
    ),
    "time zone that is a path": (
        {"scaling": {"schedules": [{**SCHEDULE, "timeZone": "../etc/passwd"}]}},
        "spec.scaling.schedules[office].timeZone: ",
        "use an IANA name",
    ),
    "time zone that is a directory": (
        {"scaling": {"schedules": [{**SCHEDULE, "timeZone": "Europe"}]}},
        "spec.scaling.schedules[office].timeZone: ",
        "use an IANA name",
    ),
    "no day": (
        {"scaling": {"schedules": [{**SCHEDULE, "days": []}]}},
        "spec.scaling.schedules[office].days: it never begins",
        "name a day",
    ),
    "two schedules of one name": (
        {"scaling": {"schedules": [SCHEDULE, SCHEDULE]}},
        "spec.scaling.schedules: 'office' is there twice",
        "take one of them out",
    ),
    "a budget without prices": (
        {"scaling": {"budget": {"maxHourlyCost": "40"}}},
        "spec.scaling.budget.maxHourlyCost: nothing says what an on-demand GPU costs",
        "set spec.prices",
    ),
    "a budget with prices of spot machines alone": (
        {"scaling": {"budget": {"maxHourlyCost": "40"}}, "spot": {"enabled": True}, "prices": [PRICE]},
        "spec.scaling.budget.maxHourlyCost: nothing says what an on-demand GPU costs",
        "set spec.prices",
    ),
    "a budget with a pool that has no price": (
        {
            "scaling": {"budget": {"maxHourlyCost": "40"}},
            "gpu": {"pools": [POOL, {**POOL, "name": "a100"}]},
            "prices": [{**ON_DEMAND, "pool": "h100"}],
        },
        "spec.scaling.budget.maxHourlyCost: nothing says what an on-demand GPU of pool a100 costs",
        "set spec.prices",
    ),
    "a price of no pool": (
        {"prices": [{**PRICE, "pool": "b200"}], "gpu": {"pools": [POOL]}},
        "spec.prices[0].pool: spec.gpu.pools has no 'b200'",
        "name one of them",
    ),
    "two prices of one place": (
        {"prices": [PRICE, PRICE]},
        "spec.prices: 'Spot' is there twice",
        "take one of them out",
    ),
    "two pools of one name": (
        {"gpu": {"pools": [POOL, POOL]}},
        "spec.gpu.pools: 'h100' is there twice",
        "take one of them out",
    ),
    "a zone twice": (
        {"spot": {"zones": ["a", "b", "a"]}},
        "spec.spot.zones: 'a' is there twice",
        "take one of them out",
    ),
    "a zone without a name": (
        {"spot": {"zones": [""]}},
        "spec.spot.zones.0: String should have at least 1 character",
        "correct it",
    ),
    "two labels of one key": (
        {"spot": {"labels": [{"key": "kind", "spot": ["a"]}, {"key": "kind", "spot": ["b"]}]}},
        "spec.spot.labels: 'kind' is there twice",
        "take one of them out",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_makes_no_sense_is_refused_with_field_and_remedy(name: str) -> None:
    spec, field, remedy = REFUSED[name]
    cluster = Cluster(a_body(**spec))
    plan = cluster.pass_once()
    assert (plan.applies, plan.deletes) == ((), ())
    accepted = cluster.body["status"]["conditions"][0]
    assert (accepted["type"], accepted["status"], accepted["reason"]) == ("Accepted", "False", "InvalidSpec")
    assert field in accepted["message"]
    assert remedy in accepted["message"]


def test_a_budget_may_go_by_the_prices_for_all_deployments() -> None:
    spec = a_spec(scaling={"budget": {"maxHourlyCost": "40"}})
    check(spec, (PriceSpec(capacity_type="OnDemand", gpu_hour="3"),))
    with pytest.raises(InvalidSpec):
        check(spec, ())


def test_what_runs_goes_on_while_a_schedule_is_refused() -> None:
    cluster = Cluster(a_body(scaling={"minReplicas": 2}))
    cluster.run()
    cluster.body["spec"]["scaling"]["schedules"] = [{**SCHEDULE, "timeZone": "Mars/Olympus"}]
    plan = cluster.pass_once()
    assert (plan.applies, plan.deletes) == ((), ())
    assert cluster.body["status"]["ready"] == "2/2"


def test_a_full_spec_is_accepted() -> None:
    body = a_body(
        scaling={
            "maxReplicas": 6,
            "schedules": [{**SCHEDULE, "timeZone": "Europe/Berlin", "days": ["Mon"], "start": "08:00", "end": "19:00"}],
            "budget": {"maxGpus": 16, "maxHourlyCost": "40"},
        },
        spot={"enabled": True},
        gpu={"pools": [POOL]},
        prices=[ON_DEMAND, PRICE, {**PRICE, "pool": "h100"}, {**PRICE, "zone": "a"}],
    )
    status = make_plan(body, seen(), OPTIONS, NOW).status
    assert status is not None
    assert status.conditions[0].status == "True"
