"""What is left to chance, drawn so that one policy's doings do not shift another's luck.

Each launch and each change of the market draws from a stream of its own, by the seed and its number: the tenth launch
of a seed takes as long under every policy.
"""

import random
from dataclasses import dataclass

from gptoss_operator.sim.contract import Market, Stages


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What one launch has drawn. Times in seconds."""

    machine: float
    load: float
    warm: float
    life: float
    """How long its machine lives, if it is a spot machine and nothing else happens."""
    unnoticed: bool
    """Whether its machine goes without notice."""


def launch(seed: int, number: int, stages: Stages, market: Market) -> Launch:
    """Return what launch `number` draws. Stages are lognormal about their medians; lives are exponential."""
    stage, fate = random.Random(f"{seed}/stages/{number}"), random.Random(f"{seed}/fate/{number}")  # noqa: S311
    unnoticed = fate.random() < market.notice_missing_share
    hazard = market.machine_hazard_per_hour
    return Launch(
        machine=stages.machine * stage.lognormvariate(0.0, stages.sigma),
        load=stages.load * stage.lognormvariate(0.0, stages.sigma),
        warm=stages.warm * stage.lognormvariate(0.0, stages.sigma),
        life=fate.expovariate(hazard) * 3600.0 if hazard > 0 else float("inf"),
        unnoticed=unnoticed or market.notice_seconds <= 0,
    )


def of_change(seed: int, number: int) -> random.Random:
    """Return the stream for change `number` of the market: which machines it takes, and when."""
    return random.Random(f"{seed}/change/{number}")  # noqa: S311 - nothing is kept secret by it
