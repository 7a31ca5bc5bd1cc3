"""Arguments that users may not give, however they are spelled."""

import argparse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_runtime.orders import OWNED_FLAGS
from gptoss_runtime.server.owned import refusals_of


@pytest.mark.parametrize(
    "argument",
    [
        "--port",
        "--port=1",
        "--por=1",
        "--max_num_seqs",
        "--max_num-s",
        "--served_model_name=x",
        "--no-enable-server-load-tracking",
        "--data-parallel-rank",
        "-tp",
        "-t",
        "-tp=2",
        "-dpl",
        "-n2",
        "-ep",
        "-q",
        "-O3",
        "-O=3",
        "-O",
        "-sc.method",
        "--speculative-config.num_speculative_tokens=3",
        "--speculative_conf.method",
        "--no-async-scheduling",
        "--enable-expert-parallel",
        "--",
    ],
)
def test_refuses_every_spelling_of_what_is_owned(argument: str) -> None:
    assert len(refusals_of([argument])) == 1


@pytest.mark.parametrize(
    "argument",
    [
        "--block-size=64",
        "--enable-lora",
        "--lora-modules",
        "--kernel-config.x=1",
        "-1",
        "-0.5",
        "-",
        "value",
        "-cc",
        "-ac",
    ],
)
def test_lets_everything_else_pass(argument: str) -> None:
    assert refusals_of([argument]) == ()


@given(st.sampled_from(sorted(OWNED_FLAGS)), st.integers(min_value=4), st.booleans(), st.booleans())
def test_whatever_argparse_takes_for_an_owned_flag_is_refused(flag: str, keep: int, dashes: bool, joined: bool) -> None:  # noqa: FBT001
    word = flag[:keep] if dashes else "--" + flag[2:keep].replace("-", "_")
    argument = f"{word}=1" if joined else word
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument(flag, dest="value")
    namespace, _ = parser.parse_known_args([argument.replace("_", "-") if joined else word.replace("_", "-"), "1"])
    if namespace.value is not None:
        assert refusals_of([argument])
