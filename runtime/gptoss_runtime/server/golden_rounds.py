"""What follows from the answers to the golden prompts: when they are asked, and what is to be thought of the replica.

Pure. A round asks them all, one after the other. Times are seconds on one clock that never goes back.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gptoss_runtime.contract import OPEN_SHARE, CheckResult
from gptoss_runtime.server.watchdog import Outcome


AGAIN_SECONDS = 15
"""Between two rounds, and between two probes of a canary, while a rollout keeps requests from the replica."""
WRONG_ROUNDS_ALLOWED = 1
"""Of a replica that has answered well before. A busy engine may be late once."""
_MAX_CHARACTERS = 600


NOT_ASKED = CheckResult(ok=None, detail="the golden prompts have not been asked yet")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What came of one prompt."""

    name: str
    outcome: Outcome
    reason: str = ""
    """What is wrong, said after the prompt's name; empty where nothing is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """What was seen so far."""

    prompts: int
    """How many there are."""
    asked: int = 0
    """Prompts that were asked and not refused for a full queue, since the start."""
    wrong: int = 0
    """Of these, those that were answered wrongly or not."""
    wrong_rounds: int = 0
    """Rounds in a row with one of these."""
    check: CheckResult = NOT_ASKED
    ended_at: float | None = None
    """End of the last round."""


def round_due(golden: Golden, *, share: int, again_seconds: float = AGAIN_SECONDS, at: float) -> bool:
    """Return whether to ask now. `share` is what a rollout grants the replica, in percent.

    Once after each start, and again and again while a rollout watches.
    """
    if not golden.prompts:
        return False
    if golden.ended_at is None:
        return True
    watched = share < OPEN_SHARE or golden.check.ok is None
    return watched and at - golden.ended_at >= again_seconds


def after_round(golden: Golden, answers: Sequence[Answered], *, at: float) -> Golden:
    """Return what is known after a round, which may have ended early.

    The first round decides at once. Later, a second one in a row must fail before the answers count as wrong, and one
    that is right makes good for all before it. A prompt that was refused because the queue is full tells nothing.
    """
    wrong = [answer for answer in answers if answer.outcome in (Outcome.WRONG, Outcome.UNANSWERED)]
    told = sum(answer.outcome is not Outcome.BUSY for answer in answers)
    golden = replace(golden, asked=golden.asked + told, wrong=golden.wrong + len(wrong), ended_at=at)
    if wrong:
        wrong_rounds = golden.wrong_rounds + 1
        failed = wrong_rounds > WRONG_ROUNDS_ALLOWED or golden.check.ok is not True
        check = CheckResult(ok=False, detail=_complaint(golden.prompts, wrong)) if failed else golden.check
        return replace(golden, wrong_rounds=wrong_rounds, check=check)
    if told < golden.prompts:
        return golden
    detail = f"{told} of {golden.prompts} golden prompts are answered as they should be"
    return replace(golden, wrong_rounds=0, check=CheckResult(ok=True, detail=detail))


def _complaint(prompts: int, wrong: Sequence[Answered]) -> str:
    which = "; ".join(f"the answer to {answer.name} {answer.reason}" for answer in wrong)
    detail = f"{len(wrong)} of {prompts} golden prompts are not answered as they should be: {which}"
    return detail if len(detail) <= _MAX_CHARACTERS else f"{detail[:_MAX_CHARACTERS]}…"
