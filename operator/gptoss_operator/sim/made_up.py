"""Traffic that nobody sent: made from a recorded hour, or all synthetic. Whoever shows it must say so."""

import math
import random
from array import array
from collections.abc import Sequence
from typing import Final

from gptoss_operator.sim.contract import Request
from gptoss_operator.sim.errors import ScenarioError
from gptoss_operator.sim.traffic import Traffic, in_columns


DAY: Final = 86_400.0
SWING: Final = 2 / 3
"""Of the daily profile: at its peak it is five times what it is at its trough, (1 + 2/3) / (1 - 2/3)."""
TROUGH: Final = 4 * 3600.0
"""When the trough is, in seconds of the day."""


def daily(at: float) -> float:
    """Return how much traffic there is at a time of the day, 1 in the mean and 1:5 from trough to peak."""
    return 1 - SWING * math.cos(2 * math.pi * (at - TROUGH) / DAY)


def tiled(
    requests: Sequence[Request], duration: float, seed: int, scale: float = 1.0, *, is_daily: bool = False
) -> Traffic:
    """Return a recording that goes on for `duration`, with `scale` times its rate, with a daily profile if wanted.

    The recording is repeated, each time begun at another place of it, so that no two hours are alike while bursts stay.
    A scale of 2.3 lays two repetitions over each other and 30 % of a third one.

    Raises `ScenarioError` for a recording or a scale that nothing can be made of.
    """
    source = in_columns(requests)
    if len(source) < 2 or source.at[-1] <= source.at[0]:  # noqa: PLR2004 - one request has no rate
        raise ScenarioError("there must be at least two requests at different times to repeat them")
    if not scale > 0:
        raise ScenarioError(f"the scale of traffic is {scale}: give a number above 0")
    stream = random.Random(f"{seed}/tiled")  # noqa: S311 - nothing is secret about it
    first = source.at[0]
    span = (source.at[-1] - first) * len(source) / (len(source) - 1)
    layers = math.ceil(scale * (1 + SWING)) if is_daily else math.ceil(scale)
    result = Traffic()
    for tile in range(math.ceil(duration / span)):
        rows: list[tuple[float, int, int]] = []
        for layer in range(layers):
            shift = stream.uniform(0.0, span)
            for at, prompt, answer in source.rows:
                when = tile * span + (at - first + shift) % span
                wanted = scale * daily(when) if is_daily else scale
                if when < duration and stream.random() < wanted - layer:
                    rows.append((when, prompt, answer))
        rows.sort()
        result.extend(rows)
    return result


AR_MINUTES: Final = 10.0
"""Time constant of the noise from minute to minute."""
NOISE: Final = 0.2
"""Its standard deviation, of the logarithm of the rate."""
GAMMA_SHAPE: Final = 2.0
"""Of the rate of single seconds: burstier than Poisson, as in BurstGPT (https://arxiv.org/abs/2401.17644)."""
BURSTS_PER_DAY: Final = (4, 8)
BURST_FACTOR: Final = (1.4, 2.0)
BURST_SECONDS: Final = (180.0, 720.0)
PROMPT_MEDIAN: Final = 1020.0
"""Of the conversations in the traces of Splitwise (https://arxiv.org/abs/2311.18677)."""
PROMPT_SIGMA: Final = 0.8
ANSWER_MEAN: Final = 600.0
"""Assumed for gpt-oss, which reasons before it answers."""
ANSWER_SIGMA: Final = 0.9
LONGEST: Final = 32_000


def synthetic_requests(
    duration: float,
    *,
    peak_per_second: float,
    seed: int,
    prompt_median: float = PROMPT_MEDIAN,
    answer_mean: float = ANSWER_MEAN,
) -> Traffic:
    """Return synthetic traffic: a daily profile with noise and bursts; lengths are lognormal.

    `peak_per_second` is the mean rate at the profile's peak; bursts go above it.
    """
    stream = random.Random(f"{seed}/requests")  # noqa: S311 - nothing is secret about it
    prompt_log = math.log(prompt_median)
    answer_log = math.log(answer_mean) - ANSWER_SIGMA * ANSWER_SIGMA / 2
    bursts = _bursts(duration, stream)
    keep = math.exp(-1 / AR_MINUTES)
    fresh = NOISE * math.sqrt(1 - keep * keep)
    noise = stream.gauss(0.0, NOISE)
    result = Traffic()
    rate = 0.0
    for second in range(math.ceil(duration)):
        if second % 60 == 0:
            noise = keep * noise + stream.gauss(0.0, fresh)
            factor = math.prod(factor for begin, end, factor in bursts if begin <= second < end)
            rate = peak_per_second * daily(second) / (1 + SWING) * math.exp(noise) * factor
        result.extend(
            (
                at,
                _length(stream, prompt_log, PROMPT_SIGMA),
                _length(stream, answer_log, ANSWER_SIGMA),
            )
            for at in _arrivals(second, min(second + 1.0, duration), rate, stream)
        )
    return result


def _bursts(duration: float, stream: random.Random) -> list[tuple[float, float, float]]:
    """Return begin, end and factor of each burst."""
    number = round(stream.randint(*BURSTS_PER_DAY) * duration / DAY)
    begins = [stream.uniform(0.0, duration) for _ in range(number)]
    return [(begin, begin + stream.uniform(*BURST_SECONDS), stream.uniform(*BURST_FACTOR)) for begin in begins]


def _arrivals(begin: float, end: float, rate: float, stream: random.Random) -> "array[float]":
    """Return arrivals of one second: Poisson, with a rate that is Gamma-distributed about `rate`."""
    actual = rate * stream.gammavariate(GAMMA_SHAPE, 1 / GAMMA_SHAPE)
    found = array("d")
    at = begin + stream.expovariate(actual) if actual > 0 else end
    while at < end:
        found.append(at)
        at += stream.expovariate(actual)
    return found


def _length(stream: random.Random, log: float, sigma: float) -> int:
    return max(1, min(LONGEST, round(stream.lognormvariate(log, sigma))))
