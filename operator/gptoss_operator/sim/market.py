"""Spot markets: recorded ones from files, and synthetic ones, which say so."""

import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from gptoss_operator.sim.contract import Market, ZoneChange
from gptoss_operator.sim.errors import ScenarioError


DAY: Final = 86_400.0
ZONES: Final = ("zone-a", "zone-b", "zone-c")
NO_SPOT: Final = Market(name="no spot", synthetic=False, zones=(), changes=())
"""Where all is on demand."""


class MarketKind(StrEnum):
    """The synthetic markets."""

    CALM = "calm"
    MEDIUM = "medium"
    HARSH = "harsh"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Weather:
    """What a synthetic market is like. All of it is assumed, not fitted to a cloud."""

    up_seconds: float
    """Mean time that a zone has machines, exponential."""
    down_seconds: float
    """Mean time that it has none, lognormal with sigma 1."""
    shocks_per_day: float
    """How often all zones lose their machines together."""
    machine_hazard_per_hour: float


_SIGMA: Final = 1.0
_WEATHER: Final = {
    MarketKind.CALM: _Weather(
        up_seconds=16 * 3600, down_seconds=1800, shocks_per_day=0.0, machine_hazard_per_hour=0.005
    ),
    MarketKind.MEDIUM: _Weather(
        up_seconds=4 * 3600, down_seconds=2700, shocks_per_day=0.2, machine_hazard_per_hour=0.01
    ),
    MarketKind.HARSH: _Weather(
        up_seconds=2 * 3600, down_seconds=3600, shocks_per_day=0.6, machine_hazard_per_hour=0.02
    ),
}


def synthetic_market(
    kind: MarketKind, *, duration: float, seed: int, machines: int = 32, zones: tuple[str, ...] = ZONES
) -> Market:
    """Return a synthetic market: each zone has `machines` or none, by turns; shocks take all zones at once."""
    weather = _WEATHER[kind]
    shocks = _shocks(weather, duration, random.Random(f"{seed}/shocks"))  # noqa: S311 - nothing is secret about it
    changes: list[ZoneChange] = []
    for zone in zones:
        stream = random.Random(f"{seed}/zone/{zone}")  # noqa: S311 - the same
        downs = _merged([*_downs(weather, duration, stream), *shocks])
        if not downs or downs[0][0] > 0:
            changes.append(ZoneChange(at=0.0, zone=zone, machines=machines))
        for begin, end in downs:
            changes.append(ZoneChange(at=begin, zone=zone, machines=0))
            changes.append(ZoneChange(at=end, zone=zone, machines=machines))
    return Market(
        name=f"{kind} (synthetic)",
        synthetic=True,
        zones=zones,
        changes=_in_order(changes, duration),
        machine_hazard_per_hour=weather.machine_hazard_per_hour,
    )


def recorded_market(
    paths: Sequence[Path], *, duration: float, machines: int, start: float = 0.0, notice_seconds: float = 120.0
) -> Market:
    """Return the market that files recorded, one zone each: `{"metadata": {"gap_seconds": s}, "data": [alive, ...]}`.

    The greatest number of a file is taken as `machines`, and the others in proportion, rounded down. `start` is where
    in the recordings the simulation begins, in seconds. What died between two ticks is told at the later one.

    Raises `ScenarioError`, which names file and field, if one cannot be used or is too short.
    """
    changes: list[ZoneChange] = []
    zones = tuple(path.stem for path in paths)
    if not zones or len(set(zones)) < len(zones):
        raise ScenarioError("give at least one recording of a spot market, each with another file name: it is the zone")
    for path, zone in zip(paths, zones, strict=True):
        gap, alive = _recording(path)
        if start < 0 or start + duration > gap * len(alive):
            raise ScenarioError(
                f"{path} holds {gap * len(alive):.0f} s, and {duration:.0f} s from {start:.0f} s on are asked for:"
                " begin earlier, or simulate less"
            )
        most = max(alive)
        before = -1
        for tick in range(int(start // gap), len(alive)):
            at = tick * gap - start
            if at >= duration:
                break
            now = alive[tick] * machines // most if most else 0
            if now != before:
                changes.append(ZoneChange(at=max(0.0, at), zone=zone, machines=now))
                before = now
    return Market(
        name=f"recorded in {', '.join(zones)}",
        synthetic=False,
        zones=zones,
        changes=_in_order(changes, duration),
        notice_seconds=notice_seconds,
    )


def _in_order(changes: Sequence[ZoneChange], duration: float) -> tuple[ZoneChange, ...]:
    return tuple(sorted((c for c in changes if c.at < duration), key=lambda change: (change.at, change.zone)))


def _downs(weather: _Weather, duration: float, stream: random.Random) -> list[tuple[float, float]]:
    """Return when one zone has no machines, from its own ups and downs."""
    downs = []
    now = 0.0
    is_up = stream.random() < weather.up_seconds / (weather.up_seconds + weather.down_seconds)
    while now < duration:
        if is_up:
            now += stream.expovariate(1 / weather.up_seconds)
        else:
            length = _down(weather, stream)
            downs.append((now, now + length))
            now += length
        is_up = not is_up
    return downs


def _shocks(weather: _Weather, duration: float, stream: random.Random) -> list[tuple[float, float]]:
    """Return when no zone has machines: a Poisson process."""
    shocks: list[tuple[float, float]] = []
    now = 0.0
    while weather.shocks_per_day > 0:
        now += stream.expovariate(weather.shocks_per_day / DAY)
        if now >= duration:
            break
        shocks.append((now, now + _down(weather, stream)))
    return shocks


def _down(weather: _Weather, stream: random.Random) -> float:
    """Return the length of one outage: lognormal with the given mean, whose median is below it by exp(sigma^2 / 2)."""
    return stream.lognormvariate(math.log(weather.down_seconds) - _SIGMA * _SIGMA / 2, _SIGMA)


def _merged(downs: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the union of intervals, in the order of time."""
    merged: list[tuple[float, float]] = []
    for begin, end in sorted(downs):
        if merged and begin <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((begin, end))
    return merged


def _recording(path: Path) -> tuple[float, list[int]]:
    """Return the seconds between two ticks of a file, and the machines alive at each."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ScenarioError(f"{path} cannot be read as JSON: {error}") from error
    metadata = document.get("metadata") if isinstance(document, dict) else None
    gap = metadata.get("gap_seconds") if isinstance(metadata, dict) else None
    if not isinstance(gap, (int, float)) or isinstance(gap, bool) or not gap > 0:
        raise ScenarioError(f"{path}: metadata.gap_seconds is no number above 0: {gap!r}")
    alive = document.get("data")
    if not isinstance(alive, list) or not alive or not all(type(n) is int and n >= 0 for n in alive):
        raise ScenarioError(f"{path}: data is no list of numbers of machines")
    return float(gap), alive
