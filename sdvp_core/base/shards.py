"""Resumable work: finished shards of rows in the user cache, assembled in order at the end."""

import hashlib
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
    all, and ends with a checksum: a run killed at any moment loses at most the open shard, one that
    the disk has damaged is computed again, and rows come out equal. The rows of one shard are held
    in memory. A full disk raises ``UserError``; finished shards stay.
    """
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for number, shard in enumerate(_split(items, size)):
        path = folder / f"{number:06d}.jsonl"
        lines = _finished(path)
        if lines is None:
            lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in compute(shard)]
            _write(path, lines)
        for line in lines:
            yield json.loads(line)


def forget(folder: Path) -> None:
    """Delete the shards, once their rows stand in a table."""
    shutil.rmtree(folder, ignore_errors=True)


def _finished(path: Path) -> list[str] | None:
    """The lines of a shard's rows; None where there is none, or not the one that was written."""
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            lines = list(file)
    except (FileNotFoundError, UnicodeDecodeError):
        return None
    return lines[:-1] if lines and lines[-1] == _trailer(lines[:-1]) else None


def _trailer(lines: list[str]) -> str:
    """The last line of a shard: how many rows stand before it, and their checksum."""
    digest = hashlib.sha256("".join(lines).encode("utf-8")).hexdigest()
    return json.dumps({"rows": len(lines), "sha256": digest}) + "\n"


def _write(path: Path, lines: list[str]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with disk_errors(path):
            with temporary.open("w", encoding="utf-8", newline="\n") as file:
                file.writelines([*lines, _trailer(lines)])
                file.flush()
                os.fsync(file.fileno())  # or a power cut could leave the name without the bytes
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
