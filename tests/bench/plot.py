"""Curves as SVG: the same text for the same figures, legible on light paper and on dark.

Two axes, a legend, and a line about where the figures are from. No more than benchmarks need.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 800, 440
LEFT, RIGHT, TOP, BOTTOM = 80, 560, 50, 360  # of the plot; the legend is to its right
# One for each of four curves: they differ without colours too.
DASHES = ("", "7 4", "2 3", "9 3 2 3")
STYLE = """\
text { font-family: sans-serif; font-size: 12px; fill: #1f2328 }
.paper { fill: #ffffff } .frame { fill: none; stroke: #59636e } .grid { stroke: #d1d9e0 }
.title { font-size: 15px; font-weight: bold } .note { font-size: 11px; fill: #59636e }
.line { fill: none; stroke-width: 2 } .end { text-anchor: end } .middle { text-anchor: middle }
.c0 { stroke: #0969da } .c1 { stroke: #bc4c00 } .c2 { stroke: #1a7f37 } .c3 { stroke: #8250df }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc } .note { fill: #9198a1 } .paper { fill: #0d1117 }
.frame { stroke: #9198a1 } .grid { stroke: #3d444d }
.c0 { stroke: #4493f8 } .c1 { stroke: #f0883e } .c2 { stroke: #3fb950 } .c3 { stroke: #ab7df8 }
}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One curve: its name in the legend, and its points from left to right."""

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """What it shows, with its unit. A logarithmic one holds positive figures only."""

    label: str
    logarithmic: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Curves over the same axes."""

    title: str
    note: str  # the machine, the date, the commit
    x: Axis
    y: Axis
    series: tuple[Series, ...]


@dataclass(frozen=True, slots=True)
class _Scale:
    """Figures from `low` to `high` as places from `start` to `end`."""

    low: float
    high: float
    start: int
    end: int
    logarithmic: bool

    def place(self, value: float) -> float:
        low, high, at = self.low, self.high, value
        if self.logarithmic:
            low, high, at = (math.log10(figure) for figure in (low, high, at))
        return self.start + (at - low) / (high - low) * (self.end - self.start)


def svg(chart: Chart) -> str:
    """The chart as an SVG document."""
    points = [point for series in chart.series for point in series.points]
    x_ticks = ticks([x for x, _ in points], logarithmic=chart.x.logarithmic)
    y_ticks = ticks([y for _, y in points], logarithmic=chart.y.logarithmic)
    x = _Scale(x_ticks[0], x_ticks[-1], LEFT, RIGHT, chart.x.logarithmic)
    y = _Scale(y_ticks[0], y_ticks[-1], BOTTOM, TOP, chart.y.logarithmic)
    size = f'width="{WIDTH}" height="{HEIGHT}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {WIDTH} {HEIGHT}">',
        f"<title>{escape(chart.title)}</title>",
        f"<style>\n{STYLE}\n</style>",
        f'<rect class="paper" {size}/>',
        _text(LEFT, TOP - 20, chart.title, "title"),
        *(_line((x.place(tick), TOP), (x.place(tick), BOTTOM)) for tick in x_ticks),
        *(_line((LEFT, y.place(tick)), (RIGHT, y.place(tick))) for tick in y_ticks),
        *(_text(x.place(tick), BOTTOM + 18, _figure(tick), "middle") for tick in x_ticks),
        *(_text(LEFT - 8, y.place(tick) + 4, _figure(tick), "end") for tick in y_ticks),
        f'<rect class="frame" x="{LEFT}" y="{TOP}" width="{RIGHT - LEFT}"'
        f' height="{BOTTOM - TOP}"/>',
        _text((LEFT + RIGHT) / 2, BOTTOM + 40, chart.x.label, "middle"),
        '<g transform="rotate(-90)">',
        _text(-(TOP + BOTTOM) / 2, 18, chart.y.label, "middle"),
        "</g>",
        _text(LEFT, HEIGHT - 14, chart.note, "note"),
    ]
    for number, series in enumerate(chart.series):
        at = TOP + 12 + 22 * number
        places = [(x.place(a), y.place(b)) for a, b in series.points]
        lines += [
            _curve(number, places),
            *(
                f'<circle class="line c{number}" cx="{a:.1f}" cy="{b:.1f}" r="3"/>'
                for a, b in places
            ),
            _curve(number, [(RIGHT + 14, at), (RIGHT + 44, at)]),
            _text(RIGHT + 50, at + 4, series.name),
        ]
    return "\n".join([*lines, "</svg>", ""])


def ticks(values: Iterable[float], *, logarithmic: bool) -> Sequence[float]:
    """Round figures around all `values`, evenly spaced from below the least to above the largest.

    On a linear axis from zero, at most nine. On a logarithmic one 1, 2, 5, 10, 20 and so on.
    """
    seen = sorted(values)
    if logarithmic:
        powers = range(math.floor(math.log10(seen[0])), math.ceil(math.log10(seen[-1])) + 2)
        round_ones = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
        first = max(index for index, tick in enumerate(round_ones) if tick <= seen[0])
        last = min(index for index, tick in enumerate(round_ones) if tick >= seen[-1])
        return round_ones[first : max(last, first + 1) + 1]
    magnitude = 10.0 ** math.floor(math.log10(seen[-1] or 1))
    step = next(s for s in (0.2, 0.25, 0.5, 1, 2) if seen[-1] <= 8 * s * magnitude) * magnitude
    return [step * number for number in range(math.ceil(seen[-1] / step) + 1)]


def _figure(value: float) -> str:
    return f"{value:,.10g}"


def _text(x: float, y: float, words: str, kind: str = "plain") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(words)}</text>'


def _line(start: tuple[float, float], end: tuple[float, float]) -> str:
    (x1, y1), (x2, y2) = start, end
    return f'<line class="grid" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _curve(number: int, places: Sequence[tuple[float, float]]) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dashes = f' stroke-dasharray="{DASHES[number]}"' if DASHES[number] else ""
    return f'<polyline class="line c{number}"{dashes} points="{path}"/>'
