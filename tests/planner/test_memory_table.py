from pathlib import Path

from gptoss_operator.cli.memory_table import TARGET, text


ROOT = Path(__file__).parents[2]


def test_the_reference_is_in_step_with_the_planner() -> None:
    assert (ROOT / TARGET).read_text() == text(), "run `make docs`"
