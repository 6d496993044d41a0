"""The released dataset: tables of steps and of what their ids name, a card, checksums."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from sdvp_core.base.errors import UserError
from sdvp_core.base.records import EXECUTIONS, FORCED, IMAGES, PROGRAMS, QUESTIONS, SUPERVISION
from sdvp_core.base.runtime import file_sha256
from sdvp_core.base.tables import iterate_rows, write_json, write_table, write_text
from sdvp_core.report import columns
from sdvp_core.report.card import Release, card
from sdvp_core.report.columns import Released
from sdvp_core.report.counts import Counts, summary
from sdvp_core.report.croissant import croissant

Row = dict[str, Any]
Ids = set[tuple[str, str]]  # a task, and an id in one of its tables


@dataclass(frozen=True)
class Traced:
    """The tables of one link: its steps with their targets, and its executions."""

    task: str
    supervision: Path
    executions: Path


def write_release(
    folder: Path,
    links: Mapping[str, Traced],
    tasks: Mapping[str, Path],
    release: Release | None = None,
) -> Row:
    """Write the release and return its counts.

    ``tasks``: the folder of each task, with its tables `images`, `questions` and `programs`.
    Writes `data/<link>.parquet`, `executions.parquet`, `images.parquet` (ids, sizes, sha256;
    pixels only of sources that allow it), `questions.parquet` and `programs.parquet` (of sources
    that allow it), `README.md`, `croissant.json` and `SHA256SUMS`. Equal tables give equal bytes.
    Raises ``UserError`` where no link is given or what an id names is in no table.
    """
    release = release or Release()
    if not links:
        raise UserError("there is nothing to release: params.yaml has no link under `sequence`.")
    counts, tables = Counts(), {}
    for link, traced in links.items():
        rows = counts.seen(link, iterate_rows(traced.supervision, SUPERVISION))
        write_table(folder / _data_file(link), rows, SUPERVISION)
        tables[_data_file(link)] = columns.STEPS
    tables |= _write_named(folder, links, tasks, release, counts)
    write_text(folder / "README.md", card(counts, release, tables))
    hashes = {name: file_sha256(folder / name) for name in tables}
    metadata = croissant(release.name, release.licence, release.version, release.url,
                         summary(counts), hashes, tables)  # fmt: skip
    write_json(folder / "croissant.json", metadata)
    listed = [*tables, "README.md", "croissant.json"]
    sums = [f"{file_sha256(folder / name)}  {name}\n" for name in sorted(listed)]
    write_text(folder / "SHA256SUMS", "".join(sums))
    return {"steps": counts.steps, "kept": counts.kept, "images": len(counts.images)}


def _write_named(
    folder: Path,
    links: Mapping[str, Traced],
    tasks: Mapping[str, Path],
    release: Release,
    counts: Counts,
) -> dict[str, Released]:
    """The tables that the ids of the steps lead to, by file name."""
    worded = {s.task for s in release.sources if s.texts} & set(tasks)
    pictured = {s.task for s in release.sources if s.pixels} & set(tasks)
    programs: Ids = set()
    questions: Ids = set()
    images = set(counts.images)
    # The order matters: a table that is written tells which ids the next ones must hold.
    written = {"executions.parquet": columns.EXECUTED}
    rows = _execution_rows(links, programs, questions)
    write_table(folder / "executions.parquet", rows, columns.EXECUTED.schema)
    if worded:
        written |= {"questions.parquet": columns.ASKED, "programs.parquet": columns.WRITTEN}
        wanted = {(task, name) for task, name in questions if task in worded}
        rows = _rows(tasks, "questions", QUESTIONS, wanted, lambda task: columns.ASKED.own)
        asked = _noting_images(rows, images)
        write_table(folder / "questions.parquet", asked, columns.ASKED.schema)
        wanted = {(task, name) for task, name in programs if task in worded}
        rows = _rows(tasks, "programs", PROGRAMS, wanted, lambda task: columns.WRITTEN.own)
        write_table(folder / "programs.parquet", rows, columns.WRITTEN.schema)
    table = columns.PICTURES if pictured else columns.IMAGE_INDEX
    rows = _rows(tasks, "images", IMAGES, images, lambda task: _image_columns(task in pictured))
    write_table(folder / "images.parquet", rows, table.schema)
    return written | {"images.parquet": table}


def _execution_rows(links: Mapping[str, Traced], programs: Ids, questions: Ids) -> Iterator[Row]:
    """Executions of all links; adds to the ids of the programs and questions they are of."""
    for link, traced in links.items():
        for row in iterate_rows(traced.executions, EXECUTIONS):
            programs.add((traced.task, row["program_id"]))
            questions.add((traced.task, row["question_id"]))
            own = {name: row[name] for name in columns.EXECUTED.schema.names if name in row}
            forced = (row["student_set"] or "").endswith(FORCED)
            yield {"link": link, "task": traced.task, "forced": forced, **own}


def _noting_images(rows: Iterable[Row], images: Ids) -> Iterator[Row]:
    for row in rows:
        images.update((row["task"], image_id) for image_id in row["image_ids"])
        yield row


def _rows(
    tasks: Mapping[str, Path],
    table: str,
    schema: pa.Schema,
    wanted: Collection[tuple[str, str]],
    columns_of: Callable[[str], list[str]],
) -> Iterator[Row]:
    """The wanted rows of a table of every task, by the id that is the first of its columns."""
    missing = set(wanted)
    for task, folder in tasks.items():
        names = columns_of(task)
        if not any(of == task for of, _ in missing):
            continue  # its file may not even be there
        for row in iterate_rows(folder / f"{table}.parquet", schema, names):
            if (task, row[names[0]]) in missing:
                missing.remove((task, row[names[0]]))
                yield {"task": task, **row}
    if missing:
        raise UserError(
            f"{len(missing)} {table} of the steps are in no {table} table (one is {min(missing)}): "
            "run `dvc repro` to make the tables fit each other."
        )


def _image_columns(with_pixels: bool) -> list[str]:
    return (columns.PICTURES if with_pixels else columns.IMAGE_INDEX).own


def _data_file(link: str) -> str:
    """Where a link's steps go: its name as the hub and every file system take it."""
    return f"data/{re.sub(r'[^A-Za-z0-9_-]+', '-', link)}.parquet"
