"""The dataset card: front matter of the Hugging Face hub, then what the release holds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import pyarrow as pa

from sdvp_core.base.params import Task
from sdvp_core.report.columns import STEPS, Released
from sdvp_core.report.counts import Counts, summary
from sdvp_core.report.page import render_text
from sdvp_core.report.text import MISSING

Cells = list[tuple[str, ...]]
ByStrategy = Mapping[str, Mapping[str, float]]  # {MODULE: {STRATEGY: accuracy}}


@dataclass(frozen=True)
class Source:
    """Where the images and questions of a task come from.

    ``pixels`` and ``texts``: may the images, and the questions with their answers and programs, be
    passed on?
    """

    task: str
    licence: str
    origin: str
    pixels: bool = False
    texts: bool = False


@dataclass(frozen=True)
class Release:
    """What the card says beside what is counted.

    ``sources``: of each task. ``targets``: accuracy of the targets, from the summary; and
    ``targets_meant``, on ambiguous steps held against the thing meant.
    ``licence``: SPDX identifier of the annotations. ``url``: home of the dataset, or None.
    """

    name: str = "sdvp-steps"
    licence: str = "cc-by-4.0"
    version: str = "1.0.0"
    url: str | None = None
    sources: tuple[Source, ...] = ()
    targets: ByStrategy = field(default_factory=dict)
    targets_meant: ByStrategy = field(default_factory=dict)


def source_of(name: str, task: Task) -> Source:
    """Of a task: the embedded world may be passed on whole, official files as ids alone."""
    if task.world:
        return Source(name, "Apache-2.0", "rendered by this project", pixels=True, texts=True)
    return Source(name, "that of the source", f"official files, read by `{task.reader}`")


def card(counts: Counts, release: Release, tables: Mapping[str, Released]) -> str:
    """The text of the card. ``tables``: every table of the release by file, the steps first."""
    named = {path: table for path, table in tables.items() if table is not STEPS}
    worded = [source.task for source in release.sources if source.texts]
    tasks = sorted({task for _, task, _, _ in counts.rows})
    return render_text(
        "card.md.j2",
        release=release,
        configs=[(PurePosixPath(path).stem, path) for path in tables],
        size=_size_category(counts.steps),
        counts=counts,
        summary=summary(counts),
        tables=_tables(counts, release),
        columns=_columns(STEPS),
        named={path: _columns(table) for path, table in named.items()},
        pixels="bytes" in named["images.parquet"].schema.names,
        worded=[task for task in tasks if task in worded],
        silent=[task for task in tasks if task not in worded],
    )


def _tables(counts: Counts, release: Release) -> dict[str, Cells]:
    return {
        "steps": counts.table(),
        "drops": [(*where, str(n)) for where, n in sorted(counts.drops.items())],
        "agreement": [
            (module, f"{counts.agreeing[module] / n:.1%}", str(n))
            for module, n in sorted(counts.judged.items())
        ],
        "targets": [
            (module, strategy, f"{accuracy:.1%}", _share(release.targets_meant, module, strategy))
            for module, strategies in release.targets.items()
            for strategy, accuracy in strategies.items()
        ],
        "sources": [
            (s.task, s.licence, s.origin, *("yes" if may else "no" for may in (s.pixels, s.texts)))
            for s in release.sources
        ],
    }


def _share(found: ByStrategy, module: str, strategy: str) -> str:
    accuracy = found.get(module, {}).get(strategy)
    return MISSING if accuracy is None else f"{accuracy:.1%}"


def _columns(table: Released) -> Cells:
    return [(f.name, _type_name(f.type), table.meanings[f.name]) for f in table.schema]


def _size_category(rows: int) -> str:
    """The hub's size class."""
    bounds = [(10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"),
              (10**6, "100K<n<1M"), (10**7, "1M<n<10M")]  # fmt: skip
    return next((name for bound, name in bounds if rows < bound), "n>10M")


def _type_name(kind: pa.DataType) -> str:
    if pa.types.is_fixed_size_list(kind):
        return f"{kind.value_type}[{kind.list_size}]"
    if pa.types.is_list(kind):
        return f"list of {_type_name(kind.value_type)}"
    if pa.types.is_struct(kind):
        return "{" + ", ".join(f"{f.name}: {_type_name(f.type)}" for f in kind) + "}"
    return str(kind)
