"""The requests that one replica works on, by a virtual clock of tokens.

Every running request gets one token per iteration, so one clock that counts iterations serves all of them: a request
that is admitted at `clock` with `left` tokens to go ends when the clock shows `clock + left`. An iteration takes
`base + per_request * n + per_token * KV tokens` seconds; as KV tokens grow by n with each iteration, the clock's
advance within a time is the root of a quadratic equation, not a loop.

The prompt of an admitted request stops the clock for `prompt / prefill_tokens_per_second`. This is what chunked prefill
comes to as long as a prompt fits into one iteration: that iteration is longer for everybody by the prompt's time.
Longer prompts delay the others more at once than they would in chunks; the work is the same.

Where the key-value cache overflows, the youngest request leaves it and is computed again, its tokens so far as part of
its prompt, as soon as another one has ended and there is room. Prefixes are not shared.
"""

import heapq
import math
from collections import deque
from typing import Final

from gptoss_operator.sim.contract import ReplicaModel


DONE_TOKENS: Final = 1e-6
"""A request that lacks less than this has ended: times are rounded."""
FULL_TOKENS: Final = 1e-3
"""A cache that has less room than this is full."""
NEVER: Final = math.inf


class Job:
    """One request on its way. Times in seconds."""

    __slots__ = (
        "at",
        "batch",
        "context",
        "deadline",
        "ended",
        "first_at",
        "generation",
        "held",
        "left",
        "mark",
        "number",
        "prompt",
    )

    def __init__(self, number: int, at: float, prompt: int, generation: int, deadline: float) -> None:
        self.number = number
        self.at = at
        self.prompt = prompt
        self.generation = generation
        self.deadline = deadline
        """When the client gives up, if there is no first token before."""
        self.context: float = prompt
        """Tokens that are computed at admission: the prompt, and what was generated before a recomputation."""
        self.left: float = generation
        """Tokens to generate at admission."""
        self.first_at = NEVER
        """When the first token comes. Known from admission on, so it may lie ahead."""
        self.mark = 0.0
        """What its batch's clock shows at its end."""
        self.batch: Batch | None = None
        """Where it runs. None: it waits, or has ended."""
        self.held = False
        """Whether it has waited while no replica was ready."""
        self.ended = False


class Batch:
    """The requests of one replica."""

    __slots__ = (
        "_base",
        "_kv_limit",
        "_marks",
        "_now",
        "_per_request",
        "_per_token",
        "_prompt_token",
        "_stalled_until",
        "clock",
        "dead_at",
        "evicted",
        "kv",
        "most",
        "running",
        "tokens",
        "wake_at",
    )

    def __init__(self, model: ReplicaModel) -> None:
        self._base = model.base_seconds
        self._per_request = model.per_request_seconds
        self._per_token = model.per_token_seconds
        self._prompt_token = 1.0 / model.prefill_tokens_per_second
        self.most = model.max_num_seqs
        """Requests that may run at once."""
        self._kv_limit = float(model.kv_tokens)
        self._marks: list[tuple[float, int, Job]] = []
        """Running requests by the clock's reading at their end."""
        self._now = 0.0
        self._stalled_until = 0.0
        self.clock = 0.0
        """Iterations so far."""
        self.running = 0
        self.kv = 0.0
        """Tokens in the key-value cache."""
        self.tokens = 0.0
        """Tokens generated so far."""
        self.evicted: deque[Job] = deque()
        """Requests that are to be computed again, oldest first."""
        self.wake_at = NEVER
        """When it is looked at next, as the gateway has arranged."""
        self.dead_at = NEVER
        """Since when its machine is gone, before the gateway knows."""

    @property
    def in_flight(self) -> int:
        """Return how many requests it has."""
        return self.running + len(self.evicted)

    def jobs(self) -> list[Job]:
        """Return all its requests."""
        return [job for _, _, job in self._marks] + list(self.evicted)

    def advance(self, now: float) -> None:
        """Let the clock run on to `now`. A dead machine's stands still."""
        begin = self._now if self._now > self._stalled_until else self._stalled_until  # noqa: FURB136 - fast
        self._now = now
        running = self.running
        if now <= begin or not running or self.dead_at <= now:
            return
        iteration = self._base + self._per_request * running
        passed = now - begin
        if self._per_token:
            iteration += self._per_token * self.kv
            root = math.sqrt(iteration * iteration + 2.0 * self._per_token * running * passed)
            iterations = 2.0 * passed / (iteration + root)
        else:
            iterations = passed / iteration
        self.clock += iterations
        made = running * iterations
        self.kv += made
        self.tokens += made

    def has_room(self, job: Job) -> bool:
        """Return whether `job` can be admitted, as of the last `advance`. An empty one takes any request."""
        if not self.running:
            return not self.evicted
        return self.running < self.most and not self.evicted and self.kv + job.context <= self._kv_limit

    def admit(self, job: Job, now: float) -> bool:
        """Run `job` from `now` on; the clock must show `now`. Sets when its first token comes, if none has come yet.

        Returns whether `next_change` may be earlier than before. In general it is later: everybody becomes slower.
        """
        self.running = running = self.running + 1
        self.kv += job.context
        begin = self._stalled_until if self._stalled_until > now else now  # noqa: FURB136 - fast
        self._stalled_until = prefilled = begin + job.context * self._prompt_token
        job.batch = self
        job.mark = self.clock + job.left
        marks = self._marks
        heapq.heappush(marks, (job.mark, job.number, job))
        if job.first_at == NEVER and self.dead_at == NEVER:
            job.first_at = prefilled + self._base + self._per_request * running + self._per_token * self.kv
        mark, _, first = marks[0]
        return first is job or self.kv + running * (mark - self.clock) > self._kv_limit

    def next_change(self) -> float:
        """Return when the next request ends or the cache is full, if nothing is admitted before; else it is later."""
        running = self.running
        if not running or self.dead_at != NEVER:
            return NEVER
        iterations = self._marks[0][0] - self.clock
        room = self._kv_limit - self.kv
        if room < iterations * running and running > 1:
            iterations = max(0.0, room / running)
        iteration = self._base + self._per_request * running + self._per_token * self.kv
        begin = self._now if self._now > self._stalled_until else self._stalled_until  # noqa: FURB136 - fast
        return begin + max(0.0, iterations) * (iteration + self._per_token * running * iterations / 2.0)

    def take_ended(self) -> list[Job]:
        """Return the requests that have all their tokens, which run no more."""
        marks, ended = self._marks, []
        reached = self.clock + DONE_TOKENS
        while marks and marks[0][0] <= reached:
            job = heapq.heappop(marks)[2]
            self._leave(job, job.context + job.left)
            ended.append(job)
        return ended

    def evict(self) -> Job | None:
        """Return the youngest request if the cache is full; it is to be computed again."""
        if self.running < 2 or self.kv < self._kv_limit - FULL_TOKENS:  # noqa: PLR2004 - the last one stays
            return None
        youngest = max((job for _, _, job in self._marks), key=lambda job: job.number)
        self.take_out(youngest)
        youngest.batch = self
        self.evicted.appendleft(youngest)
        return youngest

    def readmit(self, now: float) -> list[Job]:
        """Return the evicted requests that have room again and run now."""
        admitted = []
        while self.evicted and self.running < self.most:
            job = self.evicted[0]
            if self.running and self.kv + job.context > self._kv_limit:
                break
            self.admit(self.evicted.popleft(), now)
            admitted.append(job)
        return admitted

    def take_out(self, job: Job) -> None:
        """Let a request stop here, with what it has so far."""
        if job in self.evicted:
            self.evicted.remove(job)
            job.batch = None
            return
        self._marks.remove((job.mark, job.number, job))
        heapq.heapify(self._marks)
        made = job.left - (job.mark - self.clock)
        job.context += made
        job.left -= made
        self._leave(job, job.context)

    def _leave(self, job: Job, kv: float) -> None:
        job.batch = None
        self.running -= 1
        self.kv = self.kv - kv if self.running else 0.0
