"""Pictures and documents are self-contained, and say what they are of."""

import json
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from gptoss_operator.sim.contract import Point, Result
from gptoss_operator.sim.report.chart import hours, linear
from gptoss_operator.sim.report.document import page, results_json
from gptoss_operator.sim.report.plots import pareto, timeline
from gptoss_operator.sim.report.table import results_table
from tests.sim_policies.builders import a_result


def drawn(*, synthetic: bool = True) -> Result:
    points = tuple(
        Point(at=60.0 * n, arrivals=1.0, waiting=n, running=3, target=2, on_demand=1, spot=n % 3, ready=1)
        for n in range(1, 60)
    )
    return replace(a_result(policy="a & b <c>", synthetic=synthetic), points=points)


@pytest.mark.parametrize(("synthetic", "label"), [(True, "SYNTHETIC"), (False, "recorded")])
def test_pictures_are_labelled_and_load_nothing(label: str, *, synthetic: bool) -> None:
    result = drawn(synthetic=synthetic)
    for picture in (timeline([result, result], 3600.0), pareto({"ours": {"u": [result]}}, "cost")):
        texts = [text.text or "" for text in ET.fromstring(picture).iter() if text.tag.endswith("text")]  # noqa: S314
        assert any("SIMULATED" in text and label in text for text in texts)
        assert "href" not in picture


def test_a_picture_of_nothing_is_still_one() -> None:
    ET.fromstring(timeline([a_result()], 60.0))  # noqa: S314 - our own
    ET.fromstring(pareto({}, "cost"))  # noqa: S314 - our own


def test_axes_have_round_ticks_within_their_range() -> None:
    axis = linear("n", 0, 17)
    assert [text for _, text in axis.ticks] == ["0", "5", "10", "15"]
    assert axis.place(17) == 1.0
    assert [text for _, text in hours(7200.0).ticks][-1] == "2"


def test_the_document_is_equal_for_equal_results_however_long_decisions_took() -> None:
    first, second = (replace(drawn(), decide_seconds=(seconds,)) for seconds in (0.1, 0.2))
    assert results_json({}, [first]) == results_json({}, [second])
    document = json.loads(results_json({"note": 1}, [first]))
    assert document["simulated"] is True
    assert document["results"][0]["attainment"] == 0.99


def test_a_page_shows_texts_as_they_are() -> None:
    assert "a &lt; b" in page("title", "SIMULATED", ["a < b"], [])


def test_a_table_has_the_means_of_each_policy() -> None:
    table = results_table([("ours", [a_result(1, cost=10.0), a_result(2, cost=20.0)]), ("none", [])])
    assert "15.00" in table
    assert len(table.splitlines()) == 2
