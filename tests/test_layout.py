"""Rules about where things are that no linter knows."""

import operator
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("source_root", ["operator", "runtime"])
def test_source_roots_are_no_packages(source_root: str) -> None:
    assert not (ROOT / source_root / "__init__.py").exists(), "it would shadow the standard library's operator module"


def test_the_standard_librarys_operator_is_the_one_that_is_imported() -> None:
    assert operator.add(1, 2) == 3


def test_files_stay_small_enough_to_be_read_at_once() -> None:
    files = [path for root in ("operator", "runtime", "e2e", "tests") for path in (ROOT / root).rglob("*.py")]
    assert len(files) > 100
    long = {str(path.relative_to(ROOT)): lines for path in files if (lines := len(path.read_text().splitlines())) > 330}
    assert long == {}
