"""Each of the 35 known mistakes of autoscalers has its test, by number."""

import re
from pathlib import Path


KNOWN = range(1, 36)
"""What went wrong in other autoscalers; docs/reference/scaling-mistakes.md lists it."""


def test_every_known_mistake_has_a_test() -> None:
    text = "".join(path.read_text() for path in Path(__file__).parent.rglob("test_*.py"))
    tested = {int(number) for number in re.findall(r"^(?:async )?def test_pitfall_(\d\d)\w+\(", text, re.MULTILINE)}
    assert tested == set(KNOWN)
