"""What a replica can do with a traffic: where the grids of the baselines begin, as their users would measure it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from gptoss_operator.sim.contract import ReplicaModel, Request


BUSIEST_SECONDS = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizing:
    """One replica and one traffic."""

    requests_per_second: float
    """What a full replica serves."""
    concurrency: int
    """Requests that it runs at once."""
    busiest: float
    """Requests per second in the busiest five minutes."""

    @property
    def replicas(self) -> int:
        """Return how many full replicas the busiest five minutes take."""
        return max(1, math.ceil(self.busiest / self.requests_per_second))


def sizing_of(model: ReplicaModel, requests: Sequence[Request]) -> Sizing:
    """Return what a replica of `model` can do with `requests`, of which there must be one at least."""
    prompt = fmean(request.prompt_tokens for request in requests)
    generation = max(1.0, fmean(request.generation_tokens for request in requests))
    fits = model.kv_tokens / (prompt + generation / 2)
    concurrency = max(1, min(model.max_num_seqs, int(fits)))
    kept = concurrency * (prompt + generation / 2)
    iteration = model.base_seconds + model.per_request_seconds * concurrency + model.per_token_seconds * kept
    seconds = generation * iteration / concurrency + prompt / model.prefill_tokens_per_second
    return Sizing(requests_per_second=1 / seconds, concurrency=concurrency, busiest=_busiest(requests))


def _busiest(requests: Sequence[Request]) -> float:
    counts: dict[int, int] = {}
    for request in requests:
        window = int(request.at // BUSIEST_SECONDS)
        counts[window] = counts.get(window, 0) + 1
    return max(counts.values()) / BUSIEST_SECONDS
