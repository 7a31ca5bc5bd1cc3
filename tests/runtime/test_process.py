"""How the output of a program is passed on."""

import os
from pathlib import Path

import pytest

from gptoss_runtime.server.process import pass_on


@pytest.mark.parametrize("target", ["/dev/full", "/dev/null"])
def test_output_that_nobody_can_take_is_read_on(target: str) -> None:
    ours, its = os.pipe()
    lines: list[str] = []
    with Path(target).open("wb", buffering=0) as out:
        os.write(its, b"first\nsecond\nthird")
        os.close(its)
        pass_on(os.fdopen(ours, "rb", buffering=0), out.fileno(), lines.append)
    assert lines == ["first", "second", "third"]


def test_a_line_without_end_is_kept_short() -> None:
    ours, its = os.pipe()
    lines: list[str] = []
    with Path(os.devnull).open("wb", buffering=0) as out:
        # As a progress bar writes, which only returns to the beginning of its line.
        os.write(its, b"50 %\r" * 10_000 + b"\nnext\n")
        os.close(its)
        pass_on(os.fdopen(ours, "rb", buffering=0), out.fileno(), lines.append)
    assert [line.strip() for line in lines[1:]] == ["next"]
    assert len(lines[0]) <= 8192
