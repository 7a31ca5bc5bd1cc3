"""Asks the golden prompts when they are due, and writes on the board what came of it."""

import asyncio
import logging
import time
from collections.abc import Sequence
from http import HTTPStatus

from gptoss_runtime.contract import Phase
from gptoss_runtime.server.board import Board
from gptoss_runtime.server.engine import Engine, Reply
from gptoss_runtime.server.golden import WrongAnswerError
from gptoss_runtime.server.golden_prompts import Question
from gptoss_runtime.server.golden_rounds import Answered, after_round, round_due
from gptoss_runtime.server.probe import BUSY, CHAT, refused
from gptoss_runtime.server.watchdog import Answer, Outcome


TIMEOUT_SECONDS = 60.0
"""For one answer, which takes some seconds; a busy engine may take many."""
LOOK_EVERY_SECONDS = 0.25

log = logging.getLogger(__name__)


async def keep_asking(board: Board, engine: Engine, questions: Sequence[Question]) -> None:
    """Ask until cancelled."""
    while True:
        if _may_ask(board) and _is_due(board):
            answers = await ask_round(engine, questions)
            if not _may_ask(board):
                # What an engine says at its end is no judgement of its answers.
                await asyncio.sleep(LOOK_EVERY_SECONDS)
                continue
            before, board.golden = board.golden, after_round(board.golden, answers, at=time.monotonic())
            _tell(answers)
            if board.golden.check != before.check:
                log.info("Golden prompts: %s", board.golden.check.detail)
        await asyncio.sleep(LOOK_EVERY_SECONDS)


async def ask_round(engine: Engine, questions: Sequence[Question]) -> tuple[Answered, ...]:
    """Return what came of each, in order. An engine that does not answer one is not asked the others."""
    answers: list[Answered] = []
    for question in questions:
        began_at = time.monotonic()
        reply = await engine.ask_model(CHAT, question.request, timeout_seconds=TIMEOUT_SECONDS)
        answers.append(_answered(question, reply, seconds=time.monotonic() - began_at))
        if answers[-1].outcome is Outcome.UNANSWERED:
            break
    return tuple(answers)


def _may_ask(board: Board) -> bool:
    return board.was_ready and board.judgement.phase is not Phase.DRAINING and board.watch.answer is Answer.UP


def _is_due(board: Board) -> bool:
    return round_due(board.golden, share=board.share, again_seconds=board.again_seconds, at=time.monotonic())


def _answered(question: Question, reply: Reply, *, seconds: float) -> Answered:
    if reply.status is None:
        reason = f"did not come in {TIMEOUT_SECONDS:.0f} s" if seconds >= TIMEOUT_SECONDS else "broke off"
        return Answered(name=question.name, outcome=Outcome.UNANSWERED, reason=reason)
    if reply.status in BUSY:
        return Answered(name=question.name, outcome=Outcome.BUSY)
    if reply.status != HTTPStatus.OK:
        return Answered(name=question.name, outcome=Outcome.WRONG, reason=f"is an error: {refused(reply)}")
    try:
        question.check(reply.document)
    except WrongAnswerError as error:
        return Answered(name=question.name, outcome=Outcome.WRONG, reason=str(error))
    return Answered(name=question.name, outcome=Outcome.RIGHT)


def _tell(answers: Sequence[Answered]) -> None:
    for answer in answers:
        if answer.outcome is not Outcome.RIGHT:
            log.warning(
                "Golden prompt %s: %s%s", answer.name, answer.outcome, answer.reason and f", it {answer.reason}"
            )
