"""What happens when. The one heap of the simulation."""

import heapq
import math
from collections.abc import Callable


Event = Callable[[float], None]


class Agenda:
    """Events in the order of time; those of one moment in the order in which they were added."""

    __slots__ = ("_added", "heap")

    def __init__(self) -> None:
        self.heap: list[tuple[float, int, Event]] = [(math.inf, 0, _never)]
        """Never empty, so that its first entry can be looked at."""
        self._added = 0

    def add(self, at: float, event: Event) -> None:
        """Let `event` happen at `at`; it is called with that time."""
        self._added += 1
        heapq.heappush(self.heap, (at, self._added, event))

    def run_until(self, end: float) -> None:
        """Let everything happen that is due before or at `end`."""
        heap, pop = self.heap, heapq.heappop
        while heap[0][0] <= end:
            at, _, event = pop(heap)
            event(at)


def _never(at: float) -> None:
    raise AssertionError(f"the end of time has come at {at}")
