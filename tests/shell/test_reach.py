"""Whether somebody still reaches a replica."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from gptoss_operator.shell.reach import Reach, Word, nobody_reaches


@pytest.mark.parametrize(
    ("times", "words", "verdict"),
    [
        (2, [False, False], True),
        (1, [False, False], None),
        (2, [], None),
        (2, [False, None], None),
        (2, [False, True], False),
        (0, [True], False),
        (2, [None, True], False),
    ],
    ids=["all say no", "asked once", "no gateway answers", "one knows nothing", "one says yes", "yes", "yes at least"],
)
def test_it_takes_two_questions_and_all_gateways_to_say_that_nobody_reaches_it(
    times: int, words: Sequence[Word], verdict: Word
) -> None:
    assert nobody_reaches(times, words) is verdict


class Clock:
    def __init__(self) -> None:
        self.now = 50.0
        self.reach = Reach(clock=lambda: self.now, date=lambda: datetime.fromtimestamp(self.now, UTC))


def test_silence_begins_with_the_first_question_without_an_answer_and_ends_with_an_answer() -> None:
    clock = Clock()
    reach = clock.reach
    assert reach.answered("r", ready=True) is False
    assert reach.failed("r") == 1
    clock.now += 2
    assert reach.failed("r") == 2
    assert (reach.silent_since("r"), reach.out_of_reach_since("r")) == (50, None)
    assert reach.weigh("r", [False]) is True
    assert reach.weigh("r", [False]) is False, "that is no news any more"
    assert reach.out_of_reach_since("r") == datetime.fromtimestamp(50, UTC)
    assert reach.weigh("r", []) is False
    assert reach.out_of_reach_since("r"), "that gateways fall silent proves nothing"

    assert reach.answered("r") is True
    assert (reach.silent_since("r"), reach.out_of_reach_since("r")) == (None, None)
    assert reach.failed("r") == 1, "it took requests when it last said so"


def test_a_gateway_that_reaches_it_again_is_believed() -> None:
    reach = Clock().reach
    reach.answered("r", ready=True)
    reach.failed("r")
    reach.failed("r")
    assert reach.weigh("r", [False, False])
    assert reach.weigh("r", [False, True])
    assert reach.out_of_reach_since("r") is None


@pytest.mark.parametrize("states", [[], [False], [True, False]], ids=["never heard", "starting", "leaving"])
def test_one_that_took_no_requests_cannot_fall_out_of_reach(states: list[bool]) -> None:
    reach = Clock().reach
    for ready in states:
        reach.answered("r", ready=ready)
    assert reach.failed("r") == reach.failed("r") == 0
    assert reach.weigh("r", [False]) is False
    assert reach.out_of_reach_since("r") is None


def test_what_is_gone_is_forgotten() -> None:
    reach = Clock().reach
    reach.answered("r", ready=True)
    reach.failed("r")
    reach.keep_only({"other"})
    assert reach.silent_since("r") is None
    assert reach.failed("r") == 0
