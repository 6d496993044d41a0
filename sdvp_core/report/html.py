"""The report: summary.json, report.md and the self-contained report.html."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup

from sdvp_core.base.tables import write_json, write_text
from sdvp_core.report import plots
from sdvp_core.report.page import render
from sdvp_core.report.summary import Results, matrices, summarise
from sdvp_core.report.table import Table
from sdvp_core.report.tables import GAIN, KEPT, TARGETS, all_tables
from sdvp_core.report.text import clean, interval, markdown_cell, percent
from sdvp_core.report.views import TraceView

TRAINING, TRACES = "Training", "Traces"


@dataclass
class Section:
    """What stands under one heading of the page."""

    plots: list[dict[str, Any]] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    traces: list[TraceView] = field(default_factory=list)


def build(
    folder: Path,
    results: Results,
    live: Mapping[str, Path] | None = None,
    traces: Sequence[TraceView] = (),
) -> dict[str, Any]:
    """Write `summary.json`, `report.md` and `report.html` into ``folder``; return the summary.

    ``live``: the DVCLive folder of each link. ``traces``: what `gallery.collect` chose. Equal
    input gives equal bytes.
    """
    summary = summarise(results)
    tables = all_tables(results)
    write_json(folder / "summary.json", summary)
    write_text(folder / "report.md", markdown(summary, tables))
    body = _body(results, summary, tables, live or {}, traces)
    page = render(
        "report.html.j2",
        sections=list(body),
        tiles=tiles(summary),
        body=body,
        minutes=results.minutes,
        versions=results.versions,
    )
    write_text(folder / "report.html", page)
    return summary


def tiles(summary: Mapping[str, Any]) -> list[dict[str, str]]:
    """The headline figures: gain by link and dialect, then forgetting of each link."""
    found = []
    for link, of_link in summary["links"].items():
        for dialect, v in of_link["dialects"].items():
            before, after = percent(v["before"]), percent(v["after"])
            found.append(_tile(f"{link}, {dialect}", f"{before} \u2192 {after}", _gain_words(v)))
    for link, v in summary["forgetting"].items():
        words = "points lost on earlier tasks"
        detail = _brackets(v["points"], v["low"], v["high"]).replace("+", "")
        value = interval(v["points"], None, None).removeprefix("+")
        found.append(_tile(f"{link}, forgetting", value, f"{words} {detail}".strip()))
    return found


def markdown(summary: Mapping[str, Any], tables: Mapping[str, Sequence[Table]]) -> str:
    """report.md: the headline figures and every table."""
    lines = ["# Stepwise distillation for visual programs: results", ""]
    for tile in tiles(summary):
        label, detail = markdown_cell(tile["label"]), markdown_cell(tile["detail"])
        lines.append(f"- {label}: **{tile['value']}** {detail}")
    for section, of_section in tables.items():
        if of_section:
            lines += ["", f"## {section}"]
        for table in of_section:
            lines += ["", f"### {markdown_cell(table.title)}", "", *_markdown_table(table)]
            lines += ["", markdown_cell(table.note)] if table.note else []
    versions = ", ".join(f"{markdown_cell(k)} {markdown_cell(v)}" for k, v in
                         summary["versions"].items())  # fmt: skip
    spent = "" if summary["minutes"] is None else f"{summary['minutes']:.1f} minutes. "
    lines += ["", "## How it was made", "", f"{spent}Versions: {versions}.", ""]
    lines += ["Plots, training curves and traces: `report.html`.", ""]
    return "\n".join(lines)


def _body(
    results: Results,
    summary: Mapping[str, Any],
    tables: Mapping[str, list[Table]],
    live: Mapping[str, Path],
    traces: Sequence[TraceView],
) -> dict[str, Section]:
    links = [e for e in results.evaluations if e["task"]]
    heat_maps = {
        f"Accuracy after each link ({name})": plots.heat_map(name, matrix)
        for name, matrix in matrices(links).items()
    }
    curves = {
        f"{link}{': ' + group if group else ''}": svg
        for link, path in live.items()
        for group, svg in plots.curves(path).items()
    }
    body = {
        GAIN: Section(
            _plots({"Gain": plots.gain(links), "Accuracy": plots.levels(links)}), tables[GAIN]
        ),
        KEPT: Section(_plots(heat_maps), [t for t in tables[KEPT] if not t.drawn]),
        TARGETS: Section(
            _plots({"Targets by adapter strategy": plots.strategies(summary["targets"])}),
            tables[TARGETS],
        ),
        TRAINING: Section(_plots(curves)),
        TRACES: Section(traces=list(traces)),
    }
    return {name: s for name, s in body.items() if s.plots or s.tables or s.traces}


def _plots(found: Mapping[str, str | None]) -> list[dict[str, Any]]:
    # Matplotlib's SVG is made from cleaned text and escaped by it: the one thing put in as it is.
    return [
        {"title": clean(title, 100), "svg": Markup(svg)}
        for title, svg in found.items()
        if svg is not None
    ]


def _tile(label: str, value: str, detail: str) -> dict[str, str]:
    return {"label": clean(label, 80), "value": value, "detail": detail}


def _gain_words(v: Mapping[str, Any]) -> str:
    ceiling = "" if v["ceiling"] is None else f", ceiling {percent(v['ceiling'])}"
    return f"{interval(v['gain'], v['low'], v['high'])} points, n = {v['n']}{ceiling}"


def _brackets(value: float, low: float | None, high: float | None) -> str:
    text = interval(value, low, high)
    return text[text.index("[") :] if "[" in text else ""


def _markdown_table(table: Table) -> list[str]:
    rule = ["---" if left else "---:" for left in table.left]
    return [
        "| " + " | ".join(cells) + " |"
        for cells in (
            [markdown_cell(name) for name in table.head],
            rule,
            *([markdown_cell(cell) for cell in row] for row in table.rows),
        )
    ]
