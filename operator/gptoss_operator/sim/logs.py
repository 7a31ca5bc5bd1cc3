"""Reads logs of requests that people have: of our gateway, and two published ones.

- Azure: `TIMESTAMP,ContextTokens,GeneratedTokens`, https://github.com/Azure/AzurePublicDataset
- Mooncake: one JSON object per line with `timestamp` (ms), `input_length`, `output_length`,
  https://github.com/kvcache-ai/Mooncake
- gateway: the activator's log, one JSON object per request, as in docs/reference/gateway.md
"""

import csv
import json
import statistics
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

from gptoss_operator.sim.errors import ScenarioError
from gptoss_operator.sim.traffic import Traffic


class LogFormat(StrEnum):
    """The logs that can be read."""

    AZURE = "azure"
    MOONCAKE = "mooncake"
    GATEWAY = "gateway"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLog:
    """What a log says."""

    requests: Traffic
    """From the first request on."""
    began_at: float | None
    """When the first one came, in seconds since 1970. None: the log does not say."""
    assumed: int
    """Requests of unknown size, which got the median size of the others."""


_Row = tuple[float, int | None, int | None]
"""Seconds, tokens of the prompt and of the answer."""
_NOT_FOR_REPLICAS: Final = frozenset({"refused", "gateway_error"})
TOO_MANY_REQUESTS: Final = 429


def read_requests(path: Path, log_format: LogFormat | None = None) -> RequestLog:
    """Return the requests of a log. Without a format, the first line tells it.

    Raises `ScenarioError`, which names file, line and field, if it cannot be read or holds no request.
    """
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            head = lines.readline()
            known = log_format or _guessed(path, head)
            lines.seek(0)
            rows = list(_READERS[known](path, lines))
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path} cannot be read: {error}") from error
    if not rows:
        raise ScenarioError(f"{path} has no request that was meant for a replica: give another log, or its format")
    return _log_of(path, rows, dated=known is not LogFormat.MOONCAKE)


def _log_of(path: Path, rows: list[_Row], *, dated: bool) -> RequestLog:
    prompts = [prompt for _, prompt, _ in rows if prompt is not None]
    answers = [answer for _, _, answer in rows if answer is not None]
    if not prompts or not answers:
        raise ScenarioError(f"{path} has no request whose tokens are known: tokens_in and tokens_out are all null")
    usual_prompt, usual_answer = int(statistics.median(prompts)), int(statistics.median(answers))
    rows.sort(key=lambda row: row[0])
    first = rows[0][0]
    return RequestLog(
        requests=Traffic(
            (at - first, usual_prompt if prompt is None else prompt, usual_answer if answer is None else answer)
            for at, prompt, answer in rows
        ),
        began_at=first if dated else None,
        assumed=sum(prompt is None or answer is None for _, prompt, answer in rows),
    )


def _guessed(path: Path, head: str) -> LogFormat:
    if head.startswith("TIMESTAMP,"):
        return LogFormat.AZURE
    if head.startswith("{"):
        return LogFormat.MOONCAKE if '"input_length"' in head else LogFormat.GATEWAY
    raise ScenarioError(f"{path} line 1 is of no log that is known: give its format, one of {', '.join(LogFormat)}")


def _azure(path: Path, lines: Iterable[str]) -> Iterator[_Row]:
    for number, row in enumerate(csv.DictReader(lines), start=2):
        yield (
            _moment(row.get("TIMESTAMP"), path, number, "TIMESTAMP"),
            _count(row.get("ContextTokens"), path, number, "ContextTokens"),
            _count(row.get("GeneratedTokens"), path, number, "GeneratedTokens"),
        )


def _mooncake(path: Path, lines: Iterable[str]) -> Iterator[_Row]:
    for number, line in enumerate(lines, start=1):
        row = _object(line)
        if row is None:
            raise ScenarioError(f"{path} line {number} is no JSON object")
        yield (
            _count(row.get("timestamp"), path, number, "timestamp") / 1000.0,
            _count(row.get("input_length"), path, number, "input_length"),
            _count(row.get("output_length"), path, number, "output_length"),
        )


def _gateway(path: Path, lines: Iterable[str]) -> Iterator[_Row]:
    """Return the requests that were meant for replicas. Other lines of the container are passed over."""
    for number, line in enumerate(lines, start=1):
        row = _object(line)
        if row is None or "tokens_out" not in row or not _was_for_replicas(row):
            continue
        yield (
            _moment(row.get("time"), path, number, "time"),
            None if row.get("tokens_in") is None else _count(row["tokens_in"], path, number, "tokens_in"),
            None if row["tokens_out"] is None else _count(row["tokens_out"], path, number, "tokens_out"),
        )


_READERS: Final = {LogFormat.AZURE: _azure, LogFormat.MOONCAKE: _mooncake, LogFormat.GATEWAY: _gateway}


def _was_for_replicas(row: Mapping[str, object]) -> bool:
    """Return whether a replica had work with a request, or would have had if one had been free."""
    status = row.get("status")
    is_clients_fault = isinstance(status, int) and 400 <= status < 500 and status != TOO_MANY_REQUESTS  # noqa: PLR2004
    return (
        row.get("method", "POST") == "POST"
        and row.get("cache") != "hit"
        and row.get("ended") not in _NOT_FOR_REPLICAS
        and not is_clients_fault
    )


def _object(line: str) -> dict[str, object] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _moment(value: object, path: Path, line: int, field: str) -> float:
    """Return a date as seconds since 1970; without a time zone it is UTC."""
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError as error:
        raise ScenarioError(f"{path} line {line}: {field} is no date: {value!r}") from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _count(value: object, path: Path, line: int, field: str) -> int:
    try:
        number = int(str(value))
    except ValueError:
        number = -1
    if number < 0:
        raise ScenarioError(f"{path} line {line}: {field} is no number of at least 0: {value!r}")
    return number
