"""
The report of a simulation: question, scenario, figures, tables, what follows.

`blocks` makes the document from the rows of every point; `document.write` writes it. With a sweep, the scenario's
`shown` metrics are drawn over the first varied setting, one line for each combination of the others; without,
distributions are drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from opml_dispute.simulation.campaign import PointResult
from opml_dispute.simulation.document import Block, Code, Figure, Heading, Paragraph, Table
from opml_dispute.simulation.figures import Panel, Series, distribution, draw
from opml_dispute.simulation.metrics import METRICS, Estimate, summarise
from opml_dispute.simulation.scenario import Scenario, Sweep

BY_KEY = {metric.key: metric for metric in METRICS}


def blocks(sweep: Sweep, results: Sequence[PointResult]) -> list[Block]:
    """The whole report."""
    base = sweep.base
    summaries = [summarise(result.columns) for result in results]
    found: list[Block] = [Heading(base.name.replace("-", " ").capitalize(), 1)]
    if base.question:
        found.append(Paragraph(f"**Question.** {base.question.strip()}"))
    trials = sum(len(result.rows) for result in results)
    games = int(sum(result.rows["games"].sum() for result in results))
    found.append(
        Paragraph(
            f"Played at the {base.level} level: {len(results)} point{'s' * (len(results) > 1)}, {trials:,} trials, "
            f"{games:,} games. Intervals cover 95 %."
        )
    )
    if base.conclusion:
        found += [Heading("What follows"), Paragraph(base.conclusion)]
    found += [Heading("Figures"), Figure(base.name, _caption(sweep), draw(_panels(sweep, results, summaries)))]
    found += [Heading("Results"), _table(sweep, results, summaries, base.shown)]
    rest = [metric.key for metric in METRICS if metric.key not in base.shown and _tells(metric.key, summaries)]
    for start in range(0, len(rest), 5):
        found.append(_table(sweep, results, summaries, rest[start : start + 5]))
    found += [Heading("Scenario"), Code(to_toml(sweep), "toml")]
    return found


def shown(estimate: Estimate) -> str:
    """
    A figure with its interval; trials may bound it on one side only, or not at all.

    >>> shown(Estimate(0.25, 0.2, 0.31)), shown(Estimate(3, 3, 3)), shown(Estimate(math.nan, 0, 0))
    ('0.25 (0.2 to 0.31)', '3', '–')
    >>> shown(Estimate(4, 3, math.inf)), shown(Estimate(4, -math.inf, 5)), shown(Estimate(4, -math.inf, math.inf))
    ('4 (at least 3)', '4 (at most 5)', '4')
    """
    if math.isnan(estimate.value):
        return "–"
    value, low, high = (_number(each) for each in (estimate.value, estimate.low, estimate.high))
    if (low == high == value) or math.isnan(estimate.low) or (math.isinf(estimate.low) and math.isinf(estimate.high)):
        return value
    if math.isinf(estimate.high):
        return f"{value} (at least {low})"
    return f"{value} (at most {high})" if math.isinf(estimate.low) else f"{value} ({low} to {high})"


def _number(value: float) -> str:
    if value == 0 or math.isnan(value):
        return "0" if value == 0 else "–"
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"


def _caption(sweep: Sweep) -> str:
    return f"Over {', '.join(sweep.axes)}" if sweep.axes else "Share of trials at or below a value"


def _label(settings: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in settings.items())


def _tells(key: str, summaries: Sequence[dict[str, Estimate]]) -> bool:
    return any(not math.isnan(summary[key].value) and summary[key].value != 0 for summary in summaries)


def _table(
    sweep: Sweep, results: Sequence[PointResult], summaries: Sequence[dict[str, Estimate]], keys: Sequence[str]
) -> Table:
    axes = list(sweep.axes) or ["point"]
    head = [*axes, *(BY_KEY[key].heading for key in keys)]
    rows = []
    for result, summary in zip(results, summaries, strict=True):
        place = [str(result.settings[axis]) for axis in sweep.axes] or ["the only one"]
        rows.append([*place, *(shown(summary[key]) for key in keys)])
    return Table(head, rows)


def _panels(sweep: Sweep, results: Sequence[PointResult], summaries: Sequence[dict[str, Estimate]]) -> list[Panel]:
    numeric = [axis for axis, values in sweep.axes.items() if all(isinstance(v, int | float) for v in values)]
    if not numeric:
        return [
            Panel("Delay", "hours", "share of trials", [_spread(result, "delay_h") for result in results]),
            Panel("Honest gain", "ETH", "share of trials", [_spread(result, "honest_net_eth") for result in results]),
        ]
    axis = numeric[0]
    values = [float(value) for value in sweep.axes[axis]]
    log_x = min(values) > 0 and max(values) / min(values) >= 20
    panels = []
    for key in sweep.base.shown:
        lines: dict[str, list[tuple[float, Estimate]]] = {}
        for result, summary in zip(results, summaries, strict=True):
            others = {name: value for name, value in result.settings.items() if name != axis}
            lines.setdefault(_label(others), []).append((float(result.settings[axis]), summary[key]))
        metric = BY_KEY[key]
        panels.append(Panel(metric.title, axis, metric.unit, [_line(*line) for line in lines.items()], log_x))
    return panels


def _line(label: str, points: Sequence[tuple[float, Estimate]]) -> Series:
    ordered = sorted(points, key=lambda point: point[0])
    return Series(
        label,
        [x for x, _ in ordered],
        [estimate.value for _, estimate in ordered],
        [estimate.low for _, estimate in ordered],
        [estimate.high for _, estimate in ordered],
    )


def _spread(result: PointResult, column: str) -> Series:
    return distribution([float(value) for value in result.columns[column]], _label(result.settings))


def to_toml(sweep: Sweep) -> str:
    """The scenario as a file, without what is at its default."""
    base, default = asdict(sweep.base), asdict(Scenario(name=""))
    lines = [f"{key} = {_toml(base[key])}" for key in ("name", "level", "trials", "seed", "horizon_days")]
    for key, value in base.items():
        if isinstance(value, dict):
            changed = {name: inner for name, inner in value.items() if inner != default[key][name]}
            if changed:
                lines += ["", f"[{key}]", *(f"{name} = {_toml(inner)}" for name, inner in changed.items())]
    for attacker in base["attacker"]:
        lines += ["", "[[attacker]]", *(f"{name} = {_toml(value)}" for name, value in attacker.items())]
    if sweep.axes:
        lines += ["", "[sweep]", *(f'"{axis}" = {_toml(list(values))}' for axis, values in sweep.axes.items())]
    return "\n".join(lines)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return repr(value)
