"""Parts of a picture in SVG: panels with axes, lines, areas, marks. Nothing is loaded from elsewhere."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final
from xml.sax.saxutils import escape


INK: Final = "#222222"
FAINT: Final = "#dddddd"
COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#5d3a9b", "#000000")
"""Told apart by colour-blind people as well (Okabe and Ito), and two more."""
FONT: Final = 'font-family="sans-serif" font-size="12"'

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """From values to a place between 0 and 1."""

    label: str
    ticks: tuple[tuple[float, str], ...]
    place: Callable[[float], float]


def linear(label: str, low: float, high: float, *, most_ticks: int = 6) -> Axis:
    """Return an axis with ticks at round numbers."""
    high = high if high > low else low + 1.0
    rough = (high - low) / most_ticks
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first = math.ceil(low / step - 1e-9)
    ticks = tuple((number * step, f"{number * step:g}") for number in range(first, int(high / step + 1e-9) + 1))
    return Axis(label=label, ticks=ticks, place=lambda value: (value - low) / (high - low))


def hours(duration: float) -> Axis:
    """Return an axis of hours for seconds from 0 to `duration`."""
    axis = linear("hours", 0.0, duration / 3600, most_ticks=12)
    ticks = tuple((value * 3600, text) for value, text in axis.ticks)
    return Axis(label=axis.label, ticks=ticks, place=lambda value: axis.place(value / 3600))


@dataclass(slots=True, kw_only=True)
class Panel:
    """One pair of axes. Things are drawn in the order in which they are added."""

    left: float
    top: float
    width: float
    height: float
    x: Axis
    y: Axis
    parts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for value, text in self.x.ticks:
            x = self._x(value)
            self._line(x, self.top, x, self.top + self.height, FAINT)
            self._text(x, self.top + self.height + 16, text, anchor="middle")
        for value, text in self.y.ticks:
            y = self._y(value)
            self._line(self.left, y, self.left + self.width, y, FAINT)
            self._text(self.left - 6, y + 4, text, anchor="end")
        self._text(self.left + self.width, self.top + self.height + 32, self.x.label, anchor="end")
        self._text(self.left, self.top - 8, self.y.label, anchor="start")

    def line(self, points: Points, colour: str, *, width: float = 1.6, dashed: bool = False) -> None:
        """Draw a line through `points`."""
        path = " ".join(f"{self._x(x):.1f},{self._y(y):.1f}" for x, y in points)
        dashes = ' stroke-dasharray="5 4"' if dashed else ""
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"{dashes}/>')

    def area(self, points: Points, base: Sequence[float], colour: str) -> None:
        """Fill between `points` and `base`, which has one value for each of them."""
        upper = [(self._x(x), self._y(y)) for x, y in points]
        lower = [(self._x(x), self._y(y)) for (x, _), y in zip(points, base, strict=True)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (*upper, *reversed(lower)))
        self.parts.append(f'<polygon points="{path}" fill="{colour}" fill-opacity="0.55" stroke="none"/>')

    def mark(self, x: float, y: float, colour: str, text: str = "") -> None:
        """Draw a dot, with a title that shows under the pointer."""
        self.parts.append(
            f'<circle cx="{self._x(x):.1f}" cy="{self._y(y):.1f}" r="4" fill="{colour}">'
            f"<title>{escape(text)}</title></circle>"
        )

    def legend(self, entries: Sequence[tuple[str, str]]) -> None:
        """Write names and colours in one row above the panel, from the right."""
        x = self.left + self.width
        for text, colour in reversed(entries):
            x -= 7.6 * len(text) + 26
            self.parts.append(f'<rect x="{x:.1f}" y="{self.top - 18:.1f}" width="12" height="12" fill="{colour}"/>')
            self._text(x + 17, self.top - 8, text, anchor="start")

    def _x(self, value: float) -> float:
        return self.left + self.width * self.x.place(value)

    def _y(self, value: float) -> float:
        return self.top + self.height * (1 - self.y.place(value))

    def _line(self, x1: float, y1: float, x2: float, y2: float, colour: str) -> None:
        self.parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>')

    def _text(self, x: float, y: float, text: str, *, anchor: str) -> None:
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" {FONT} fill="{INK}" text-anchor="{anchor}">{escape(text)}</text>'
        )


def picture(width: float, height: float, title: str, label: str, panels: Sequence[Panel]) -> str:
    """Return the SVG. `label` says what the data is, and stands in every picture."""
    heads = (
        f'<text x="14" y="24" font-family="sans-serif" font-size="16" fill="{INK}">{escape(title)}</text>'
        f'<text x="14" y="43" font-family="sans-serif" font-size="12" font-weight="bold" fill="#b00020">'
        f"{escape(label)}</text>"
    )
    body = "\n".join(part for panel in panels for part in panel.parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}">\n<rect width="100%" height="100%" fill="white"/>\n'
        f"{heads}\n{body}\n</svg>\n"
    )
