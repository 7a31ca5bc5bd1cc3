"""What came of the requests, counted as they end."""

import math
from collections import defaultdict
from typing import Final

from gptoss_operator.sim.batch import Job


TTFT_STEP: Final = 0.001
"""Seconds that times to the first token are rounded down to."""
ITL_STEP: Final = 0.0001
"""Seconds that times per output token are rounded down to."""


class Tally:
    """Counts of requests by how they ended, and how long their tokens took."""

    def __init__(self, ttft_seconds: float) -> None:
        self._target = ttft_seconds
        self.served = 0
        self.within_target = 0
        self.failed = 0
        self.lost = 0
        self.retried = 0
        self.held = 0
        self.held_lost = 0
        self.output_tokens = 0
        self._ttft: dict[int, int] = defaultdict(int)
        self._itl: dict[int, int] = defaultdict(int)

    def serve(self, job: Job, now: float) -> None:
        """Count a request that has its whole answer."""
        job.ended = True
        self.served += 1
        ttft = job.first_at - job.at
        self._ttft[int(ttft / TTFT_STEP)] += 1
        if ttft <= self._target:
            self.within_target += 1
            self.output_tokens += job.generation
        if job.generation > 1 and now > job.first_at:
            self._itl[int((now - job.first_at) / ((job.generation - 1) * ITL_STEP))] += 1

    def fail(self, job: Job, now: float) -> None:
        """Count a request that nobody served. As time to its first token counts how long it has waited."""
        job.ended = True
        self.failed += 1
        self.held_lost += job.held
        self._ttft[int((now - job.at) / TTFT_STEP)] += 1

    def lose(self, job: Job) -> None:
        """Count a request that broke off after its first token."""
        job.ended = True
        self.lost += 1
        self.held_lost += job.held
        self._ttft[int((job.first_at - job.at) / TTFT_STEP)] += 1

    def end(self, job: Job, end: float) -> None:
        """Count a request that the end of the simulation came upon: served, if its first token has come or will."""
        if job.first_at <= job.deadline:
            self.serve(job, end)
        else:
            self.fail(job, end)

    def ttft(self, share: float) -> float:
        """Return the time to the first token that `share` of all requests did not exceed."""
        return quantile(self._ttft, share) * TTFT_STEP

    def itl(self, share: float) -> float:
        """Return the mean time per output token that `share` of the answers did not exceed."""
        return quantile(self._itl, share) * ITL_STEP


def quantile(counts: dict[int, int], share: float) -> int:
    """Return the smallest value that at least `share` of those counted do not exceed, or 0 if none was counted."""
    rank = math.ceil(share * sum(counts.values()))
    for value in sorted(counts):
        rank -= counts[value]
        if rank <= 0:
            return value
    return 0
