"""`kubectl gptoss rollout`: how a change of the model, the image or the engine reaches the replicas."""

import argparse
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import closing

from gptoss_operator.cli.kubectl import Kubectl
from gptoss_operator.cli.rollout_end import end_of
from gptoss_operator.cli.rollout_report import (
    history_lines,
    pause_lines,
    resume_lines,
    status_lines,
    time_left,
    watch_lines,
)
from gptoss_operator.cli.rollout_seen import OF_HISTORY, seen_of
from gptoss_operator.errors import GptOssError


INTERRUPTED = 130
"""What a shell makes of a program that ended by Ctrl-C."""


class RolloutError(GptOssError):
    """A rollout did not come to serve. The message says what became of it, or which option is wrong."""


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command, its actions and their options."""
    about = __doc__.split(": ", 1)[1]
    parser = commands.add_parser("rollout", help="follow, pause and look back at rollouts", description=about)
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    status = _action(actions, "status", "how far a rollout is, or what serves")
    status.add_argument("-w", "--watch", action="store_true", help="follow it until it ends; status 1 if it failed")
    status.add_argument("--timeout", type=float, metavar="SECONDS", help="with --watch: how long; default: no end")
    _action(actions, "history", "the last five revisions and what became of them")
    _action(actions, "pause", "replace no further replicas")
    _action(actions, "resume", "go on after a pause")


def run(options: argparse.Namespace) -> int:
    """Do what `options` say; return the exit status. Raises GptOssError, which says what failed."""
    kubectl, name = Kubectl(flags=_flags(options)), options.name
    match options.action:
        case "history":
            _say(history_lines(seen_of(kubectl.get(name), OF_HISTORY), time.time()))
        case "pause" | "resume":
            _set_paused(kubectl, name, paused=options.action == "pause")
        case _:
            _check(options)
            if options.watch:
                return _watch(kubectl, name, options.timeout)
            _say(status_lines(seen_of(kubectl.get(name)), time.time()))
    return 0


def _action(
    actions: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, about: str
) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.")
    parser.add_argument("name", metavar="NAME", help="of the GptOssDeployment")
    flags = parser.add_argument_group("kubectl's own options")
    flags.add_argument("-n", "--namespace", metavar="NAMESPACE")
    flags.add_argument("--context", metavar="CONTEXT")
    flags.add_argument("--kubeconfig", metavar="FILE")
    return parser


def _flags(options: argparse.Namespace) -> tuple[str, ...]:
    given = {name: getattr(options, name) for name in ("namespace", "context", "kubeconfig")}
    return tuple(f"--{name}={value}" for name, value in given.items() if value is not None)


def _check(options: argparse.Namespace) -> None:
    if options.timeout is not None and not options.watch:
        raise RolloutError("--timeout is given without --watch: add --watch, or leave it out")
    if options.timeout is not None and not 0 < options.timeout <= threading.TIMEOUT_MAX:
        raise RolloutError(f"--timeout is {options.timeout:g}: give seconds above 0")


def _set_paused(kubectl: Kubectl, name: str, *, paused: bool) -> None:
    """Pause or go on, in the user's own name. What is so already is not written again."""
    seen = seen_of(kubectl.get(name))
    was_paused = seen.paused
    if was_paused != paused:
        seen = seen_of(kubectl.patch(name, {"spec": {"rollout": {"paused": paused}}}))
    _say((pause_lines if paused else resume_lines)(seen, was_paused=was_paused))


def _watch(kubectl: Kubectl, name: str, timeout_seconds: float | None) -> int:
    """Say each change once until the rollout ends. Raises RolloutError when it failed, or did not end in time."""
    said: Sequence[str] = ()
    try:
        with closing(kubectl.follow(name, timeout_seconds)) as bodies:
            for body in bodies:
                seen = seen_of(body)
                if end := end_of(seen):
                    if not end.is_complete:
                        raise RolloutError(end.message)
                    _say([end.message])
                    return 0
                lines = watch_lines(seen)
                left = time_left(seen, time.time())
                shown = [lines[0] + (f" ({left})" if left else ""), *lines[1:]]
                _say(text for line, text in zip(lines, shown, strict=True) if line not in said)
                said = lines
    except KeyboardInterrupt:
        return INTERRUPTED
    last = said[0] if said else f"{name}: nothing was heard of it"
    raise RolloutError(f"not ended after {timeout_seconds:g} s: {last}")


def _say(lines: Iterable[str]) -> None:
    """Print at once: who waits for a rollout reads it through a pipe, too."""
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
