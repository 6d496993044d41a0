"""Plots as SVG text: equal numbers give equal bytes.

Text stays text and the ink is the page's own colour (`currentColor`), so that a plot is read by
screen readers and follows a light or dark page.
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from sdvp_core.evaluate.forgetting import Matrix
from sdvp_core.report.summary import Row, targets
from sdvp_core.report.text import clean

COLOURS = {"visprog": "#2a78d6", "viper": "#e0662f"}
STRATEGIES = {"none": "#8a8f98", "name": "#2a78d6", "lineage": "#e0662f", "box": "#2f9e6e"}
_LEVELS = {
    "before": "o",
    "after": "o",
    "ceiling": "|",
    "bare_student_after": "s",
    "bare_teacher": "^",
}
_LEVEL_NAMES = dict(
    zip(_LEVELS, ("before", "after", "ceiling", "bare student", "bare teacher"), strict=True)
)
# A colour no plot uses, replaced by currentColor in the finished SVG.
_INK = "#010203"
_CURVE_POINTS = 300
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # names of tasks may hold dollar signs
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.titlecolor": _INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.frameon": False,
    "legend.fontsize": 9,
}


def gain(links: Sequence[Row]) -> str | None:
    """Gain in points of each link and dialect with its 95% interval; None without any."""
    rows = [row for row in targets(links) if row[2]["gain"] is not None]

    def draw(figure: Figure) -> None:
        axes = _rows_axes(figure, rows)
        for place, (_, dialect, v) in enumerate(rows):
            colour = COLOURS.get(dialect, _INK)
            if v["low"] is not None:
                axes.plot([v["low"], v["high"]], [place] * 2, color=colour, linewidth=2.5)
            axes.plot([v["gain"]], [place], "o", color=colour, markersize=7)
            axes.annotate(f"{v['gain']:+.1f}", (v["gain"], place), (0, 8), ha="center", fontsize=9,
                          textcoords="offset points")  # fmt: skip
        axes.axvline(0, color=_INK, linewidth=0.8)
        axes.set_xlabel("gain on the link's own task, percentage points (95%)")

    return _svg("gain", (5.4, 1.0 + 0.62 * len(rows)), draw) if rows else None


def levels(links: Sequence[Row]) -> str | None:
    """Accuracy of each link and dialect before and after, beside what bounds and rivals it."""
    rows = [row for row in targets(links) if row[2]["before"] is not None]

    def draw(figure: Figure) -> None:
        axes = _rows_axes(figure, rows)
        for place, (_, dialect, v) in enumerate(rows):
            colour = COLOURS.get(dialect, _INK)
            ends = [100 * v["before"], 100 * v["after"]]
            axes.plot(ends, [place] * 2, color=colour, linewidth=2.5, alpha=0.5)
            for key, marker in _LEVELS.items():
                if v.get(key) is not None:
                    face = colour if key == "after" else "none"
                    size = 14 if marker == "|" else 7
                    style = {"markeredgecolor": colour, "markeredgewidth": 1.5, "markersize": size}
                    axes.plot([100 * v[key]], [place], marker, markerfacecolor=face, **style)
        for key, marker in _LEVELS.items():
            axes.plot([], [], marker, markerfacecolor=_INK if key == "after" else "none",
                      markeredgecolor=_INK, label=_LEVEL_NAMES[key])  # fmt: skip
        axes.legend(ncols=3, loc="lower left", bbox_to_anchor=(0, 1), handletextpad=0.1)
        axes.set_xlabel("accuracy on the link's own task, %")

    return _svg("levels", (5.4, 1.4 + 0.62 * len(rows)), draw) if rows else None


def _rows_axes(figure: Figure, rows: Sequence[tuple[str, str, Row]]) -> Axes:
    axes = figure.subplots()
    axes.set_yticks(range(len(rows)), [f"{clean(link, 24)}\n{d}" for link, d, _ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.7)
    axes.grid(axis="x", alpha=0.2)
    return axes


def heat_map(name: str, matrix: Matrix) -> str:
    """The matrix R with its numbers in percent; frames mark the task a link learnt."""
    rows, columns = len(matrix.sets), len(matrix.tasks)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        colours = matplotlib.colormaps["Blues"]
        for i, values in enumerate(matrix.values):
            for j, value in enumerate(values):
                shade = "none" if value is None else colours(0.12 + 0.75 * value)
                learnt = i > 0 and matrix.learnt[i - 1] == matrix.tasks[j]
                frame = {"edgecolor": "#e0662f" if learnt else "none", "linewidth": 2.5}
                axes.add_patch(_cell(i, j, shade, frame))
                ink = _INK if value is None else "#ffffff" if value > 0.68 else "#0b2545"
                text = "\u2013" if value is None else f"{100 * value:.1f}"
                axes.text(j, i, text, ha="center", va="center", color=ink)
        axes.set_xlim(-0.5, columns - 0.5)
        axes.set_ylim(rows - 0.5, -0.5)
        axes.set_xticks(range(columns), [clean(t, 22) for t in matrix.tasks], rotation=25)
        axes.set_xticks(axes.get_xticks(), axes.get_xticklabels(), ha="right")
        axes.set_yticks(range(rows), [clean(s, 22) for s in matrix.sets])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_ylabel("after")

    return _svg(f"matrix {name}", (1.6 + 0.78 * columns, 1.0 + 0.5 * rows), draw)


def strategies(measured: Mapping[str, Mapping[str, float]]) -> str | None:
    """Accuracy of the targets, {MODULE: {STRATEGY: accuracy}}, in %; None without any."""
    modules = [module for module, found in measured.items() if found]
    if not modules:
        return None
    used = [s for s in STRATEGIES if any(s in measured[module] for module in modules)]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        width = 0.8 / max(len(used), 1)
        for k, strategy in enumerate(used):
            for i, module in enumerate(modules):
                if strategy not in measured[module]:
                    continue
                height, x = 100 * measured[module][strategy], i - 0.4 + (k + 0.5) * width
                axes.bar(x, height, 0.92 * width, color=STRATEGIES[strategy])
                axes.text(x, height + 1, f"{height:.0f}", ha="center", fontsize=9)
        for strategy in used:  # proxies: a module may lack a strategy
            axes.bar(0, 0, color=STRATEGIES[strategy], label=strategy)
        axes.set_xticks(range(len(modules)), [clean(m, 20) for m in modules])
        axes.set_ylim(0, 112)
        axes.set_ylabel("targets that are right, %")
        axes.legend(ncols=len(used), loc="lower left", bbox_to_anchor=(0, 1))

    return _svg("strategies", (6.0, 3.0), draw)


def curves(folder: Path) -> dict[str, str]:
    """Training curves of one DVCLive folder: {module or "": one SVG of all its metrics}."""
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    root = folder / "plots" / "metrics"
    for path in sorted(root.rglob("*.tsv")):
        points = _points(path)
        parts = path.relative_to(root).with_suffix("").parts
        if points:
            found.setdefault(parts[0] if len(parts) > 1 else "", {})["/".join(parts)] = points
    return {group: _panels(folder.name, group, metrics) for group, metrics in found.items()}


def _panels(link: str, group: str, metrics: Mapping[str, list[tuple[float, float]]]) -> str:
    columns = min(3, len(metrics))
    rows = math.ceil(len(metrics) / columns)

    def draw(figure: Figure) -> None:
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes in grid[len(metrics) :]:
            axes.set_visible(False)
        for axes, (name, points) in zip(grid, metrics.items(), strict=False):
            _curve(axes, name.removeprefix(f"{group}/"), points)

    return _svg(f"curves {link} {group}", (2.1 * columns, 1.6 * rows + 0.1), draw)


def _curve(axes: Axes, name: str, points: list[tuple[float, float]]) -> None:
    steps, values = zip(*points, strict=True)
    axes.plot(steps, values, color=COLOURS["visprog"], linewidth=1.4)
    if len(points) == 1:
        axes.plot(steps, values, "o", color=COLOURS["visprog"])
    axes.set_title(clean(name, 30))
    axes.grid(alpha=0.2)
    axes.locator_params(nbins=4)


def _points(path: Path) -> list[tuple[float, float]]:
    """(step, value) of a DVCLive TSV, thinned; rows that hold no finite numbers are left out."""
    points = []
    with path.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines, delimiter="\t"):
            value = next((v for k, v in row.items() if k not in ("step", "timestamp")), None)
            try:
                point = (float(row["step"]), float(value or "nan"))
            except (KeyError, TypeError, ValueError):
                continue
            if all(map(math.isfinite, point)):
                points.append(point)
    thin = math.ceil(len(points) / _CURVE_POINTS) or 1
    return points[::thin] + (points[-1:] if len(points) % thin != 1 and thin > 1 else [])


def _cell(i: int, j: int, shade: Any, frame: dict[str, Any]) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((j - 0.46, i - 0.46), 0.92, 0.92, facecolor=shade, **frame)


def _svg(name: str, size: tuple[float, float], draw: Any) -> str:
    """The figure as an `<svg>` element to be put into a page; ``size`` in inches."""
    # The salt keeps ids of one page's plots apart, and the same from run to run.
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure)
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :].replace(_INK, "currentColor").strip()
