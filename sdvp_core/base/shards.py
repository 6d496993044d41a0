"""Resumable work: finished shards of rows in the user cache, assembled in order at the end."""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from sdvp_core.base.tables import disk_errors

Row = dict[str, Any]


def in_shards(
    items: Iterable[Any],
    folder: Path,
    compute: Callable[[list[Any]], Iterable[Row]],
    size: int,
) -> Iterator[Row]:
    """Yield ``compute(shard)`` for every shard of ``size`` items; finished shards are read back.

    ``folder`` must be named by everything the rows depend on. A shard file appears whole or not at
    all, so a run killed at any moment loses at most the open shard, and rows come out equal.
    A full disk raises ``UserError``; finished shards stay.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number, shard in enumerate(_split(items, size)):
        path = folder / f"{number:06d}.jsonl"
        if not path.is_file():
            _write(path, compute(shard))
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)


def forget(folder: Path) -> None:
    """Delete the shards, once their rows stand in a table."""
    shutil.rmtree(folder, ignore_errors=True)


def _write(path: Path, rows: Iterable[Row]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with disk_errors(path):
            with temporary.open("w", encoding="utf-8", newline="\n") as file:
                for row in rows:
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _split(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    shard: list[Any] = []
    for item in items:
        shard.append(item)
        if len(shard) == size:
            yield shard
            shard = []
    if shard:
        yield shard
