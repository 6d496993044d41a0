"""The released dataset: supervision tables, an index of images, a card, Croissant, checksums."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from sdvp_core.base.errors import UserError
from sdvp_core.base.records import IMAGES, SUPERVISION
from sdvp_core.base.runtime import file_sha256
from sdvp_core.base.tables import iterate_rows, write_json, write_table, write_text
from sdvp_core.report.columns import IMAGE_MEANINGS, MEANINGS
from sdvp_core.report.croissant import croissant
from sdvp_core.report.page import render_text
from sdvp_core.report.text import clean

Row = dict[str, Any]
_IMAGE_COLUMNS = [IMAGES.field(name) for name in ("image_id", "width", "height", "sha256")]
IMAGE_INDEX = pa.schema([SUPERVISION.field("task"), *_IMAGE_COLUMNS])
IMAGES_WITH_PIXELS = pa.schema([*IMAGE_INDEX, IMAGES.field("bytes")])


@dataclass(frozen=True)
class Source:
    """Where the images and questions of a task come from. ``pixels``: may they be passed on?"""

    task: str
    licence: str
    origin: str
    pixels: bool = False


@dataclass(frozen=True)
class Release:
    """What the card says beside what is counted.

    ``sources``: of each task. ``targets``: {MODULE: {STRATEGY: accuracy}}, from the summary.
    ``licence``: SPDX identifier of the annotations. ``url``: home of the dataset, or None.
    """

    name: str = "sdvp-steps"
    licence: str = "cc-by-4.0"
    version: str = "1.0.0"
    url: str | None = None
    sources: tuple[Source, ...] = ()
    targets: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def write_release(
    folder: Path,
    supervision: Mapping[str, Path],
    images: Mapping[str, Path],
    release: Release | None = None,
) -> Row:
    """Write the release and return its counts.

    ``supervision``: the supervision table of each link; ``images``: the images table of each task.
    Writes `data/<link>.parquet`, `images.parquet` (ids, sizes, sha256; pixels only of
    sources that allow it), `README.md`, `croissant.json` and `SHA256SUMS`. Equal tables give equal
    bytes. Raises ``UserError`` where no link is given or an image of a step is in no table.
    """
    release = release or Release()
    if not supervision:
        raise UserError("there is nothing to release: params.yaml has no link under `sequence`.")
    counts = Counts()
    for link, path in supervision.items():
        rows = counts.seen(link, iterate_rows(path, SUPERVISION))
        write_table(folder / _data_file(link), rows, SUPERVISION)
    open_tasks = {source.task for source in release.sources if source.pixels}
    schema = IMAGES_WITH_PIXELS if open_tasks & set(images) else IMAGE_INDEX
    rows = _image_rows(images, counts.images, open_tasks)
    write_table(folder / "images.parquet", rows, schema)
    links = list(supervision)
    write_text(folder / "README.md", card(links, counts, release, schema))
    files = [*(_data_file(link) for link in links), "images.parquet"]
    hashes = {name: file_sha256(folder / name) for name in files}
    tables = {name: (SUPERVISION, MEANINGS) for name in files[:-1]}
    tables["images.parquet"] = (schema, IMAGE_MEANINGS)
    metadata = croissant(release.name, release.licence, release.version, release.url,
                         summary(counts), hashes, tables)  # fmt: skip
    write_json(folder / "croissant.json", metadata)
    listed = [*files, "README.md", "croissant.json"]
    sums = [f"{file_sha256(folder / name)}  {name}\n" for name in sorted(listed)]
    write_text(folder / "SHA256SUMS", "".join(sums))
    return {"steps": counts.steps, "kept": counts.kept, "images": len(counts.images)}


class Counts:
    """Tallies of the steps that pass through, and the images they name."""

    def __init__(self) -> None:
        self.rows: Counter[tuple[str, str, str, str]] = Counter()  # link, task, dialect, module
        self.kept_rows: Counter[tuple[str, str, str, str]] = Counter()
        self.agreeing: Counter[str] = Counter()  # by module
        self.judged: Counter[str] = Counter()
        self.drops: Counter[tuple[str, str]] = Counter()  # module, reason
        self.images: set[tuple[str, str]] = set()  # task, image_id

    @property
    def steps(self) -> int:
        """All steps."""
        return self.rows.total()

    @property
    def kept(self) -> int:
        """Steps that were trained on."""
        return self.kept_rows.total()

    def seen(self, link: str, rows: Iterable[Row]) -> Iterator[Row]:
        """Pass rows through, counting them."""
        for row in rows:
            where = (link, row["task"], row["dialect"], row["module"])
            self.rows[where] += 1
            self.kept_rows[where] += bool(row["kept"])
            if row["agree"] is not None:
                self.judged[row["module"]] += 1
                self.agreeing[row["module"]] += row["agree"]
            if not row["kept"]:
                self.drops[row["module"], row["drop_reason"] or "no reason given"] += 1
            self.images.add((row["task"], row["image_id"]))
            yield row


def card(links: list[str], counts: Counts, release: Release, schema: pa.Schema) -> str:
    """The dataset card: YAML front matter of the Hugging Face hub, then Markdown."""
    tables = {
        "steps": [
            (*where, str(n), str(counts.kept_rows[where]))
            for where, n in sorted(counts.rows.items())
        ],
        "drops": [(*where, str(n)) for where, n in sorted(counts.drops.items())],
        "agreement": [
            (module, f"{counts.agreeing[module] / n:.1%}", str(n))
            for module, n in sorted(counts.judged.items())
        ],
        "targets": [
            (module, strategy, f"{accuracy:.1%}")
            for module, strategies in release.targets.items()
            for strategy, accuracy in strategies.items()
        ],
        "sources": [
            (s.task, s.licence, s.origin, "yes" if s.pixels else "no") for s in release.sources
        ],
    }
    return render_text(
        "card.md.j2",
        release=release,
        configs=[(_plain(link), _data_file(link)) for link in links],
        size=_size_category(counts.steps),
        counts=counts,
        summary=summary(counts),
        tables=tables,
        columns=[(f.name, _type_name(f.type), MEANINGS[f.name]) for f in SUPERVISION],
        image_columns=[(f.name, _type_name(f.type), IMAGE_MEANINGS[f.name]) for f in schema],
        pixels="bytes" in schema.names,
    )


def summary(counts: Counts) -> str:
    """One sentence on what the dataset holds."""
    tasks = sorted({clean(task, 60) for _, task, _, _ in counts.rows})
    return (
        f"{counts.steps} steps of visual programs on {len(counts.images)} images "
        f"({', '.join(tasks)}): for each call of a visual sub-module the image region, the "
        "student's output, the teacher's target and, where annotations allow, the true answer."
    )


def _image_rows(
    tables: Mapping[str, Path], wanted: set[tuple[str, str]], open_tasks: set[str]
) -> Iterator[Row]:
    missing = set(wanted)
    for task, path in tables.items():
        columns = [f.name for f in _IMAGE_COLUMNS] + (["bytes"] if task in open_tasks else [])
        for row in iterate_rows(path, IMAGES, columns):
            if (task, row["image_id"]) in missing:
                missing.remove((task, row["image_id"]))
                yield {"task": task, **row}
    if missing:
        raise UserError(
            f"{len(missing)} images of the steps are in no images table (one is {min(missing)}): "
            "run `dvc repro` to make the tables fit each other."
        )


def _data_file(link: str) -> str:
    return f"data/{_plain(link)}.parquet"


def _plain(link: str) -> str:
    """A link's name as the hub and every file system take it."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", link)


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
