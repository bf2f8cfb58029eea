"""
Figures of a report, as SVG text: the same figures give the same bytes.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

COLOURS = ("#1b6ca8", "#c8553d", "#588b8b", "#e0a458", "#6a4c93", "#444444")


@dataclass(frozen=True, slots=True)
class Series:
    """One line: values over x, with an interval where there is one."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = field(default=())
    high: Sequence[float] = field(default=())


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes."""

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    log_x: bool = False
    log_y: bool = False
    marks: Mapping[str, float] = field(default_factory=dict)
    """Horizontal lines, by label."""


def draw(panels: Sequence[Panel], *, columns: int = 2) -> str:
    """The panels side by side, as SVG."""
    columns = min(columns, len(panels))
    rows = math.ceil(len(panels) / columns)
    settings: Any = {"svg.hashsalt": "opml-dispute", "svg.fonttype": "none", "font.size": 9}
    with plt.rc_context(settings):
        figure, axes = plt.subplots(rows, columns, figsize=(5.2 * columns, 3.4 * rows), squeeze=False)
        for place, panel in enumerate(panels):
            _draw_panel(axes[place // columns][place % columns], panel)
        for place in range(len(panels), rows * columns):
            axes[place // columns][place % columns].set_axis_off()
        figure.tight_layout()
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
        plt.close(figure)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


def _draw_panel(axes: Axes, panel: Panel) -> None:
    for place, series in enumerate(panel.series):
        colour = COLOURS[place % len(COLOURS)]
        axes.plot(series.x, series.y, marker="o", markersize=3, linewidth=1.4, color=colour, label=series.label)
        if series.low and all(math.isfinite(value) for value in (*series.low, *series.high)):
            axes.fill_between(series.x, series.low, series.high, color=colour, alpha=0.15, linewidth=0)
    for label, height in panel.marks.items():
        axes.axhline(height, color="#999999", linewidth=0.8, linestyle="--")
        axes.annotate(label, (0.02, height), xycoords=("axes fraction", "data"), fontsize=8, color="#666666")
    if panel.log_x:
        axes.set_xscale("log")
    if panel.log_y:
        axes.set_yscale("log")
    axes.set_title(panel.title, fontsize=10)
    axes.set_xlabel(panel.x_label)
    axes.set_ylabel(panel.y_label)
    axes.grid(alpha=0.25)
    if any(series.label for series in panel.series):
        axes.legend(fontsize=8, frameon=False)


def distribution(values: Sequence[float], label: str = "") -> Series:
    """The share of values at most x."""
    ordered = sorted(values)
    if len(ordered) > 400:
        ordered = [ordered[round(place * (len(ordered) - 1) / 399)] for place in range(400)]
    return Series(label, ordered, [(place + 1) / len(ordered) for place in range(len(ordered))])
