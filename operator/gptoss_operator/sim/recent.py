"""What gateways remember of the last minutes: first tokens and work. Cheap to add to, cheap to ask."""

import math
from collections import defaultdict, deque
from typing import Final

from gptoss_operator.core.scaling.load import Work
from gptoss_operator.sim.batch import Job


SLOT_SECONDS: Final = 5.0
"""First tokens are kept by slots of this length."""
TTFT_SLOTS: Final = 24
"""Slots that count: 120 s."""
PER_OCTAVE: Final = 8
"""Classes of times to the first token from one to twice as long: each is 9 % wide."""
WORK_SLOT_SECONDS: Final = 10.0
WORK_SLOTS: Final = 60
"""Ten minutes."""
P95: Final = 0.95


class FirstTokens:
    """When first tokens came and how long they took, for the last two minutes.

    They are known from a request's admission on, so they may lie ahead. Only slots that have ended count.
    """

    def __init__(self) -> None:
        self._slots: dict[int, dict[int, int]] = {}
        self._total: dict[int, int] = defaultdict(int)
        """Sum of the slots that count."""
        self._counted = 0
        """The slot up to which they count, itself not included."""

    def add(self, job: Job) -> None:
        """Count the first token of `job`."""
        slot = int(job.first_at / SLOT_SECONDS)
        counts = self._slots.get(slot)
        if counts is None:
            counts = self._slots[slot] = defaultdict(int)
        counts[_class(job)] += 1

    def take_back(self, job: Job) -> None:
        """Count the first token of `job` no more: it lies ahead, and will not come."""
        self._slots[int(job.first_at / SLOT_SECONDS)][_class(job)] -= 1

    def p95(self, now: float) -> float | None:
        """Return the 95th percentile over the last 120 s, or None if there was none."""
        total, last = self._total, int(now / SLOT_SECONDS)
        for slot in range(self._counted, last):
            for key, count in self._slots.get(slot, {}).items():
                total[key] += count
            for key, count in self._slots.pop(slot - TTFT_SLOTS, {}).items():
                total[key] -= count
        self._counted = last
        left = math.ceil(P95 * sum(total.values()))
        for key in sorted(total):
            left -= total[key]
            if left <= 0 < total[key]:
                return float(2 ** ((key + 0.5) / PER_OCTAVE) - 1) / 1000
        return None


def _class(job: Job) -> int:
    """Return the class of a time to the first token, by its milliseconds on a scale of logarithms."""
    return int(PER_OCTAVE * math.log2(1 + (job.first_at - job.at) * 1000))


class RecentWork:
    """What the requests that ended in the last ten minutes asked for."""

    def __init__(self) -> None:
        self._slots: deque[tuple[int, list[int]]] = deque()

    def add(self, job: Job, now: float) -> None:
        """Count a request that has ended."""
        slot = int(now / WORK_SLOT_SECONDS)
        if not self._slots or self._slots[-1][0] != slot:
            self._slots.append((slot, [0, 0, 0]))
        sums = self._slots[-1][1]
        sums[0] += 1
        sums[1] += job.prompt
        sums[2] += job.generation

    def sums(self, now: float) -> Work:
        """Return the sums."""
        first = int(now / WORK_SLOT_SECONDS) - WORK_SLOTS
        while self._slots and self._slots[0][0] <= first:
            self._slots.popleft()
        requests = prompts = generated = 0
        for _, (number, prompt, generation) in self._slots:
            requests += number
            prompts += prompt
            generated += generation
        return Work(requests=requests, prompt_tokens=prompts, generation_tokens=generated)
