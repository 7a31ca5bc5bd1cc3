"""What `kubectl gptoss rollout` prints, as lines."""

from typing import Final, assert_never

from gptoss_operator.api.status import ConditionType
from gptoss_operator.api.status_rollout import GateResult, GateStatus, Outcome, RevisionStatus, RolloutPhase
from gptoss_operator.cli.rollout_seen import Seen, State, state_of
from gptoss_operator.cli.rollout_text import age, facts, plain, roughly, table
from gptoss_operator.core.dates import seconds_of, shown_date
from gptoss_operator.core.rollout.gates import GateName


GOING_ON: Final = frozenset({RolloutPhase.PROGRESSING, RolloutPhase.ROLLING_BACK})
"""While it waits for a window, or for a person, nobody knows how long it will take."""


def status_lines(seen: Seen, now: float) -> list[str]:
    """Return all that is to be said of a rollout, or of what serves. `now` in seconds since 1970."""
    state = state_of(seen)
    head = f"{seen.name}: {_headline(seen, state)}"
    if state is State.UNSEEN and seen.status.observed_generation is None:
        return [head]
    return [head, *facts(_before(seen, state)), *_body(seen, now), *_gates(seen), *_remedy(seen, now)]


def watch_lines(seen: Seen) -> list[str]:
    """Return where a rollout is, in lines that change only when something gets on."""
    state, rollout = state_of(seen), seen.status.rollout
    if state is not State.ROLLOUT or rollout is None:
        return [f"{seen.name}: {_headline(seen, state)}"]
    head = f"{seen.name}: {_headline(seen, state)}, {_direction(seen)}, {_steps(seen)}: {plain(rollout.reason)}"
    return [head, *(f"  {_shown(gate)}" for gate in rollout.gates or ())]


def time_left(seen: Seen, now: float) -> str | None:
    """Return how long a rollout will take still; None where nobody knows."""
    rollout = seen.status.rollout
    if rollout is None or rollout.eta_seconds is None or rollout.phase not in GOING_ON:
        return None
    progressed = seconds_of(rollout.progressed_at)
    if progressed is None:
        return None
    left = progressed + rollout.eta_seconds - now
    return roughly(left) if left > 0 else "overdue"


def history_lines(seen: Seen, now: float) -> list[str]:
    """Return the revisions, the newest first."""
    history = seen.status.history
    if not history:
        return [f"{seen.name}: no revision has come to an end or to serve yet"]
    header = ("REVISION", "OUTCOME", "AGE", "SINCE", "MODEL", "IMAGE", "CHANGES", "MESSAGE")
    return table([header, *(_row(revision, now) for revision in history)])


def pause_lines(seen: Seen, *, was_paused: bool) -> list[str]:
    """Return what follows from a pause."""
    rollout = seen.status.rollout
    if was_paused:
        head = f"{seen.name} is paused already."
    elif rollout is None:
        head = f"{seen.name} is paused. No rollout is under way: the next one will wait."
    elif rollout.phase is RolloutPhase.ROLLING_BACK:
        head = f"{seen.name} is paused. The rollback goes on all the same; the next rollout will wait."
    else:
        head = f"{seen.name} is paused: no further replica is replaced ({_steps(seen)})."
    return [
        head,
        "Scaling, repair and a rollback go on.",
        f"To go on: {seen.command('resume')}",
    ]


def resume_lines(seen: Seen, *, was_paused: bool) -> list[str]:
    """Return what follows from the end of a pause."""
    rollout = seen.status.rollout
    if not was_paused:
        return [f"{seen.name} is not paused."]
    if rollout is None:
        return [f"{seen.name} is not paused any more. No rollout is under way."]
    return [
        f"{seen.name} goes on ({_steps(seen)}).",
        f"To follow it: {seen.command('status --watch')}",
    ]


def _headline(seen: Seen, state: State) -> str:
    status = seen.status
    match state:
        case State.UNSEEN:
            had = status.observed_generation
            since = f", what it says is of generation {had}" if had is not None else ""
            text = f"the operator has not seen generation {seen.generation} of the spec yet{since}"
        case State.NOT_ACCEPTED:
            text = "the spec is not accepted, what runs goes on"
        case State.ROLLOUT:
            text = str(status.rollout.phase) if status.rollout else ""
        case State.REFUSED:
            refused = status.refused_revision
            text = f"no rollout, revision {refused.revision if refused else None} is refused"
        case State.DRY_RUN:
            text = f"no rollout, spec.mode is DryRun: revision {status.revision} is not started"
        case State.STARTING if status.current_revision is None:
            text = f"no rollout, revision {status.revision} has not come to serve as a whole yet"
        case State.STARTING:
            text = f"revision {status.revision} waits for its rollout to begin"
        case State.SERVING:
            text = "no rollout" + (", and the next one will wait: it is paused" if seen.paused else "")
        case unknown:
            assert_never(unknown)
    return text


def _before(seen: Seen, state: State) -> list[tuple[str, str | None]]:
    """Return what has to be known before the rest is read."""
    why = seen.condition(ConditionType.ACCEPTED)
    return [("Spec", f"{why.reason}: {why.message}")] if state is State.NOT_ACCEPTED and why else []


def _body(seen: Seen, now: float) -> list[str]:
    rollout = seen.status.rollout
    if rollout is None:
        return facts(_serving(seen, now))
    started = seconds_of(rollout.started_at)
    return facts(
        [
            ("Revision", _direction(seen)),
            ("Strategy", rollout.strategy),
            ("Step", _steps(seen)),
            ("Reason", rollout.reason),
            ("Started", _since(started, now)),
            ("Time left", time_left(seen, now)),
            ("Deadline", _deadline(seen, now)),
            ("Paused", "by spec.rollout.paused" if seen.paused else None),
        ]
    )


def _serving(seen: Seen, now: float) -> list[tuple[str, str | None]]:
    status = seen.status
    serves = state_of(seen) is State.SERVING or status.current_revision is not None
    revision = f"revision {status.current_revision or status.revision}"
    active = next((r for r in status.history or () if r.outcome is Outcome.ACTIVE), None)
    at = seconds_of(active.at) if active else None
    progressing = seen.condition(ConditionType.PROGRESSING)
    waits = progressing if progressing and state_of(seen) is State.STARTING else None
    return [
        ("Serving", revision + (f" since {_since(at, now)}" if at is not None else "") if serves else None),
        ("Model", (active.model if active else None) or status.served_model),
        ("Image", (active.image if active else None) or status.image),
        ("Replicas", f"{status.ready} ready" if status.ready else None),
        ("Progress", waits.message if waits else None),
        *_refused(seen, now),
    ]


def _refused(seen: Seen, now: float) -> list[tuple[str, str | None]]:
    refused = seen.status.refused_revision
    if refused is None:
        return []
    return [
        ("Refused", f"revision {refused.revision} since {_since(seconds_of(refused.at), now)}"),
        ("Why", f"{refused.reason}: {refused.message}"),
    ]


def _remedy(seen: Seen, now: float) -> list[str]:
    """Return what a person can do about a revision that failed."""
    rollout, refused = seen.status.rollout, seen.status.refused_revision
    failed = rollout.phase is RolloutPhase.FAILED if rollout else refused is not None
    if not failed:
        return []
    # Any text does that is another one; a time is.
    retry = f'{{"spec":{{"rollout":{{"trigger":"{shown_date(now)}"}}}}}}'
    return [
        "",
        "It is not tried again until the spec asks for another revision. Change what is wrong in the spec, take the",
        "change back, or try the same once more:",
        f"  kubectl patch gptoss {seen.name} -n {seen.namespace} --type=merge -p '{retry}'",
    ]


def _direction(seen: Seen) -> str:
    rollout, refused = seen.status.rollout, seen.status.refused_revision
    if rollout is None:
        return ""
    if rollout.phase is not RolloutPhase.ROLLING_BACK:
        return f"from {rollout.from_revision} to {rollout.revision}" if rollout.from_revision else rollout.revision
    failed = refused.revision if refused else rollout.revision
    back = rollout.from_revision if rollout.revision == failed else rollout.revision
    return f"back from {failed} to {back}" if back else f"back from {failed}"


def _steps(seen: Seen) -> str:
    rollout, desired = seen.status.rollout, seen.status.desired_replicas
    if rollout is None:
        return ""
    of = f" of {desired}" if desired is not None else ""
    return f"step {rollout.step} of {rollout.steps}, {rollout.updated}{of} replicas updated"


def _deadline(seen: Seen, now: float) -> str | None:
    """Return when it counts as failed; None while no deadline runs."""
    rollout = seen.status.rollout
    progressed = seconds_of(rollout.progressed_at) if rollout else None
    if rollout is None or progressed is None or rollout.phase is not RolloutPhase.PROGRESSING:
        return None
    # A canary is watched for as long as the spec says.
    if any(gate.gate == GateName.CANARY and gate.result is GateResult.PENDING for gate in rollout.gates or ()):
        return None
    left = progressed + seen.deadline_seconds - now
    idle = f"nothing has got on for {age(now - progressed)}"
    return f"{roughly(left)} left, {idle}" if left > 0 else f"over, {idle}"


def _gates(seen: Seen) -> list[str]:
    gates = seen.status.rollout.gates if seen.status.rollout else None
    if not gates:
        return []
    rows = [(gate.replica, gate.gate, str(gate.result), gate.message) for gate in gates]
    return ["", *table([("REPLICA", "GATE", "RESULT", "MESSAGE"), *rows], indent="  ")]


def _shown(gate: GateStatus) -> str:
    """Return a gate. What is pending tells numbers that change all the time, and is said once."""
    message = plain(gate.message) if gate.result is not GateResult.PENDING else ""
    return f"{gate.replica} {gate.gate} {gate.result}" + (f": {message}" if message else "")


def _since(at: float | None, now: float) -> str | None:
    return None if at is None else f"{shown_date(at)}, {age(now - at)} ago"


def _row(revision: RevisionStatus, now: float) -> tuple[str, ...]:
    at = seconds_of(revision.at)
    return (
        revision.revision,
        str(revision.outcome),
        "-" if at is None else age(now - at),
        revision.at,
        revision.model or "-",
        revision.image or "-",
        ", ".join(revision.changes or ()) or "-",
        revision.message or "",
    )
