"""The gateways of a deployment, as one: a queue, and where requests go.

First come, first served. A request goes to the ready replica with the fewest requests that has a place and room in its
key-value cache; of several, to them in turn. While no replica is ready, requests are held.
"""

import functools
from collections import deque
from collections.abc import Callable

from gptoss_operator.sim.agenda import Agenda
from gptoss_operator.sim.batch import NEVER, Batch, Job
from gptoss_operator.sim.recent import FirstTokens, RecentWork
from gptoss_operator.sim.tally import Tally


class Gateway:
    """Takes requests, sends them to replicas, and knows what became of them."""

    def __init__(self, agenda: Agenda, tally: Tally, *, wake_patience: float, on_held: Callable[[float], None]) -> None:
        """`on_held` is called with the time when the first request is held."""
        self._agenda = agenda
        self._tally = tally
        self._wake_patience = wake_patience
        self._on_held = on_held
        self.open: deque[Batch] = deque()
        """The replicas that requests are sent to."""
        self._empty: dict[Batch, Callable[[float], None]] = {}
        """What is to be done when a closed replica has no request any more."""
        self._queue: deque[Job] = deque()
        """Requests that wait, and some that have given up meanwhile."""
        self.waiting = 0
        self.in_flight = 0
        self.idle_since = 0.0
        """When the last request ended. Only while there is none."""
        self.first_tokens = FirstTokens()
        self.work = RecentWork()

    def arrive(self, job: Job, now: float) -> None:
        """Take a new request."""
        if self.waiting or not self._send(job, now):
            self._wait(job, now)

    def oldest(self) -> Job | None:
        """Return the request that has waited longest."""
        queue = self._queue
        while queue and (queue[0].ended or queue[0].batch is not None):
            queue.popleft()
        return queue[0] if queue else None

    def start(self, batch: Batch, now: float) -> None:
        """Send requests to a replica from now on."""
        self.open.append(batch)
        self.refill(now)

    def close(self, batch: Batch, now: float, when_empty: Callable[[float], None]) -> None:
        """Send no more requests to a replica. `when_empty` is called once it has none, at once if that is so now."""
        if batch in self.open:
            self.open.remove(batch)
        if not batch.in_flight:
            when_empty(now)
        else:
            self._empty[batch] = when_empty
        self._hold_if_none_is_open(now)

    def kill(self, batch: Batch, now: float) -> None:
        """Let a replica's machine be gone, unnoticed: what it has stands still, and more may be sent to it."""
        batch.advance(now)
        batch.dead_at = now
        for job in batch.jobs():
            self._forget_first_token(job, now)

    def break_off(self, batch: Batch, now: float) -> None:
        """End all requests of a replica. Those without a first token begin again, the oldest first."""
        batch.advance(now)
        if batch in self.open:
            self.open.remove(batch)
        self._empty.pop(batch, None)
        again = []
        for job in batch.jobs():
            batch.take_out(job)
            self.in_flight -= 1
            if job.first_at <= now:
                self._tally.lose(job)
                continue
            self._forget_first_token(job, now)
            job.context, job.left = job.prompt, job.generation
            self._tally.retried += 1
            again.append(job)
            self._agenda.add(max(now, job.deadline), functools.partial(self._give_up, job))
        self.waiting += len(again)
        self._queue = deque(sorted([*self._queue, *again], key=lambda job: job.number))
        self._hold_if_none_is_open(now)
        self.refill(now)
        self._note_idle(now)

    def refill(self, now: float) -> None:
        """Send waiting requests to places that are free."""
        while self.waiting:
            job = self.oldest()
            if job is None or not self._send(job, now):
                return
            self._queue.popleft()
            self.waiting -= 1

    def leftovers(self) -> list[Job]:
        """Return all requests that have not ended, where the simulation does."""
        waiting = [job for job in self._queue if not job.ended and job.batch is None]
        return waiting + [job for batch in [*self.open, *self._empty] for job in batch.jobs()]

    def _send(self, job: Job, now: float) -> bool:
        """Send a request to a replica, or return False if none has room."""
        chosen, fewest = None, 1 << 60
        self.open.rotate(-1)
        for batch in self.open:
            if batch.running < fewest:
                chosen, fewest = batch, batch.running
        if chosen is None or fewest >= chosen.most:
            return False
        chosen.advance(now)
        if not chosen.has_room(job):
            chosen = self._another(job, now)
            if chosen is None:
                return False
        self._admit(job, chosen, now)
        return True

    def _another(self, job: Job, now: float) -> Batch | None:
        """Return the replica with the fewest requests among those with room."""
        for batch in sorted(self.open, key=lambda batch: batch.in_flight):
            batch.advance(now)
            if batch.has_room(job):
                return batch
        return None

    def _admit(self, job: Job, batch: Batch, now: float) -> None:
        may_be_sooner = batch.admit(job, now)
        self.in_flight += 1
        self._expect(job)
        if may_be_sooner:
            self._arrange(batch)

    def _expect(self, job: Job) -> None:
        """Note when the first token of a request comes, and whether the client still waits then."""
        if job.first_at == NEVER:
            return
        self.first_tokens.add(job)
        if job.first_at > job.deadline:
            self._agenda.add(job.deadline, functools.partial(self._give_up, job))

    def _look_at(self, batch: Batch, now: float) -> None:
        """Take what a replica has finished, and fill its places."""
        if batch.wake_at != now:
            return
        batch.wake_at = NEVER
        batch.advance(now)
        ended = batch.take_ended()
        for job in ended:
            self._tally.serve(job, now)
            self.work.add(job, now)
        self.in_flight -= len(ended)
        while (evicted := batch.evict()) is not None:
            self._forget_first_token(evicted, now)
        self._go_on(batch, now, freed=bool(ended))

    def _go_on(self, batch: Batch, now: float, *, freed: bool) -> None:
        """Use what has become free at a replica, and arrange when to look at it again."""
        if freed and batch.evicted:
            for job in batch.readmit(now):
                if job.first_at > now:
                    self._expect(job)
        if freed and self.waiting:
            self.refill(now)
        self._arrange(batch)
        if freed and not batch.in_flight:
            self._note_idle(now)
            if batch in self._empty:
                self._empty.pop(batch)(now)

    def _arrange(self, batch: Batch) -> None:
        """See to it that a replica is looked at when something has happened there, or before."""
        change = batch.next_change()
        if change < batch.wake_at:
            batch.wake_at = change
            self._agenda.add(change, functools.partial(self._look_at, batch))

    def _wait(self, job: Job, now: float) -> None:
        self._queue.append(job)
        self.waiting += 1
        if self.open:
            self._agenda.add(job.deadline, functools.partial(self._give_up, job))
            return
        self._hold(job)
        if self.waiting == 1:
            self._on_held(now)

    def _hold(self, job: Job) -> None:
        if not job.held:
            job.held = True
            job.deadline = job.at + self._wake_patience
            self._tally.held += 1
            self._agenda.add(job.deadline, functools.partial(self._give_up, job))

    def _hold_if_none_is_open(self, now: float) -> None:
        if self.open or not self.waiting:
            return
        for job in self._queue:
            if not job.ended and job.batch is None:
                self._hold(job)
        self._on_held(now)

    def _give_up(self, job: Job, now: float) -> None:
        """Let a client go that has waited too long for its first token."""
        if job.ended or job.first_at <= now or job.deadline > now:
            return
        batch = job.batch
        if batch is None:
            self.waiting -= 1
            self._tally.fail(job, now)
            self._note_idle(now)
            return
        batch.advance(now)
        self._forget_first_token(job, now)
        batch.take_out(job)
        self.in_flight -= 1
        self._tally.fail(job, now)
        self._go_on(batch, now, freed=True)

    def _forget_first_token(self, job: Job, now: float) -> None:
        """Take back a first token that will not come."""
        if job.first_at > now and job.first_at != NEVER:
            self.first_tokens.take_back(job)
            job.first_at = NEVER

    def _note_idle(self, now: float) -> None:
        if not self.in_flight and not self.waiting:
            self.idle_since = now
