"""Following one GptOssDeployment until it is as wanted, showing what it says of itself on the way."""

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from e2e.kubectl import Kubectl
from e2e.progress import say


Condition = dict[str, Any]


class NotReachedError(Exception):
    """What was waited for did not come in time; the message is what the object says instead."""


def condition(obj: dict[str, Any], wanted: str) -> Condition:
    """Return one condition of an object; an empty one when it is not there."""
    conditions = obj.get("status", {}).get("conditions", [])
    return next(
        (c for c in conditions if c["type"] == wanted), {"type": wanted, "status": "", "reason": "", "message": ""}
    )


def settled(obj: dict[str, Any]) -> bool:
    """Whether the operator has seen the newest spec, everything answers and nothing is on its way."""
    seen = obj.get("status", {}).get("observedGeneration") == obj["metadata"]["generation"]
    statuses = (condition(obj, "Available")["status"], condition(obj, "Progressing")["status"])
    return bool(seen) and statuses == ("True", "False")


def until(
    kubectl: Kubectl,
    name: str,
    reached: Callable[[dict[str, Any]], bool],
    *,
    timeout_seconds: float,
    show: bool = True,
) -> dict[str, Any]:
    """Return the GptOssDeployment `name` as soon as `reached` holds for it; says each change of its conditions.

    Raises NotReachedError after `timeout_seconds`.
    """
    last: dict[str, Any] = {}
    said = ""
    with _watched(kubectl, name, timeout_seconds) as objects:
        for obj in objects:
            last = obj
            text = _summary(obj)
            if show and text != said:
                said = text
                say(f"{name}: {text}")
            if reached(obj):
                return obj
    raise NotReachedError(f"{name} after {timeout_seconds:.0f} s: {json.dumps(last.get('status', {}), indent=1)}")


@contextmanager
def _watched(kubectl: Kubectl, name: str, timeout_seconds: float) -> Iterator[Iterator[dict[str, Any]]]:
    """Yield every version of the object that kubectl's watch delivers, until the time is over."""
    # As a list of one: of a single object, kubectl shows no change that falls between its GET and its watch.
    command = kubectl.command("get", "gptoss", f"--field-selector=metadata.name={name}", "--watch", "-o", "json")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    # Reading blocks until the next event; ending the process ends the reading.
    timer = threading.Timer(timeout_seconds, process.kill)
    timer.start()
    try:
        yield _objects(process)
    finally:
        timer.cancel()
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def _objects(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    """Yield the JSON documents that a process prints one after the other, each pretty-printed from column 0 to `}`."""
    lines: list[str] = []
    for line in process.stdout or ():
        lines.append(line)
        if line.rstrip() == "}":
            yield json.loads("".join(lines))
            lines.clear()


def _summary(obj: dict[str, Any]) -> str:
    """Return what a person wants to know while waiting."""
    status = obj.get("status")
    if not status:
        return "the operator has not seen it yet"
    worst = next((c for c in ("Accepted", "Degraded") if _bad(condition(obj, c))), "Progressing")
    shown = condition(obj, worst)
    return f"{status.get('ready', '-')} ready; {shown['reason']}: {shown['message']}"


def _bad(found: Condition) -> bool:
    return bool(found["status"] == ("False" if found["type"] == "Accepted" else "True"))
