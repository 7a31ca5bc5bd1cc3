"""Read a few named series out of a Prometheus text exposition, fast and exactly.

Standard library only. A full parser takes some 8 ms for vLLM's 60 KB; most of it goes into series that nobody asked
for. Here a line is looked at closely only when its metric name is wanted.
Format: https://prometheus.io/docs/instrumenting/exposition_formats/ (text format 0.0.4).
"""

import math
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass


_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*,?')
_NAME_END = re.compile(r"[{\s]")
_ESCAPE = re.compile(r"\\(.)")
_ESCAPED = {"n": "\n", "\\": "\\", '"': '"'}


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of an exposition."""

    name: str
    labels: dict[str, str]
    value: float
    """As written; may be NaN or infinite."""


def read_samples(text: str, names: Collection[str]) -> tuple[Sample, ...]:
    """Return the samples of exactly these metric names, in the order of `text`.

    A name is never taken for the beginning of a longer one. A line that cannot be read is left out, as if the series
    were absent: a half-written exposition must not stop whoever reads it.
    """
    wanted = frozenset(names)
    # Most lines are sorted out here; whether the name is exactly a wanted one is looked at afterwards.
    beginnings = tuple(wanted)
    samples = (_sample(line, wanted) for line in text.split("\n") if line.startswith(beginnings))
    return tuple(sample for sample in samples if sample is not None)


def total(samples: Iterable[Sample], name: str, **labels: str) -> float | None:
    """Return the sum of `name` over all series that carry these labels, such as all engines.

    None when there is no such series, or when one of them is NaN or infinite: a sum without it would be a lie.
    """
    values = [
        sample.value
        for sample in samples
        if sample.name == name and all(sample.labels.get(key) == value for key, value in labels.items())
    ]
    if not values or not all(math.isfinite(value) for value in values):
        return None
    return math.fsum(values)


def label_values(samples: Iterable[Sample], name: str, label: str) -> tuple[str, ...]:
    """Return the different values of `label` among the series of `name`, sorted."""
    return tuple(sorted({sample.labels[label] for sample in samples if sample.name == name and label in sample.labels}))


def _sample(line: str, wanted: frozenset[str]) -> Sample | None:
    end = _NAME_END.search(line)
    if end is None or line[: end.start()] not in wanted:
        return None
    name = line[: end.start()]
    rest = line[end.start() :].lstrip(" \t")
    labels: dict[str, str] = {}
    if rest.startswith("{"):
        position = 1
        while match := _LABEL.match(rest, position):
            labels[match[1]] = _unescape(match[2])
            position = match.end()
        rest = rest[position:].lstrip(" \t")
        if not rest.startswith("}"):
            return None
        rest = rest[1:]
    words = rest.split()
    # After the value there may be a time stamp, which says nothing here: a server's own exposition is of now.
    value = _number(words[0]) if words else None
    return None if value is None else Sample(name, labels, value)


def _number(word: str) -> float | None:
    try:
        # Python would also read "1_000", which the format does not know.
        return None if "_" in word else float(word)
    except ValueError:
        return None


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda match: _ESCAPED.get(match[1], match[0]), text) if "\\" in text else text
