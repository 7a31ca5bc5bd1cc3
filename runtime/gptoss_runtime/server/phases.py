"""How far a start has come: from what vLLM prints to phases, and how long each took. Pure.

The words are those of vLLM 0.32. One that is not printed is no harm: its phase is passed over.
"""

from gptoss_runtime.contract import START_PHASES, Phase


_MARKS = (
    ("Starting to load model", Phase.LOADING),
    # On GPUs. With a draft model it comes after both.
    ("Model loading took", Phase.COMPILING),
    # On CPUs, the first only where something is compiled.
    ("Warming up model for the compilation", Phase.COMPILING),
    ("KV cache size:", Phase.COMPILING),
    ("Graph capturing finished", Phase.COMPILING),
)


def phase_of_line(line: str) -> Phase | None:
    """Return the phase that begins with this line of vLLM's output; None when none does."""
    return next((phase for words, phase in _MARKS if words in line), None)


class StartClock:
    """How long each phase of the start takes. Times are seconds on one clock."""

    def __init__(self, now: float) -> None:
        self._phase = Phase.STARTING
        self._entered: dict[Phase, float] = {Phase.STARTING: now}
        self._finished: float | None = None

    @property
    def phase(self) -> Phase:
        """The present phase; the last one when the start is over."""
        return self._phase

    def enter(self, phase: Phase, now: float) -> bool:
        """Begin `phase`, unless the start has already come further; return whether it began.

        The workers of vLLM print the same lines one after the other, so what looks like a step back is none.
        """
        if self._finished is not None or START_PHASES.index(phase) <= START_PHASES.index(self._phase):
            return False
        self._phase = phase
        self._entered[phase] = now
        return True

    def finish(self, now: float) -> None:
        """End the last phase: the replica is ready for the first time."""
        if self._finished is None:
            self._finished = now

    def seconds(self, now: float) -> dict[str, float]:
        """Return the length of each phase that was entered; the present one's so far."""
        ends = [*list(self._entered.values())[1:], now if self._finished is None else self._finished]
        return {
            str(phase): round(end - begun, 3) for (phase, begun), end in zip(self._entered.items(), ends, strict=True)
        }
