"""Byte-stable Parquet and JSON lines: equal rows give equal files."""

import json
import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from errno import EACCES, EDQUOT, ENOSPC, EROFS
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sdvp_core.base.errors import UserError

ROWS_PER_GROUP = 10_000
# Of images in a row group: 1,300 of the embedded world, 40 photos. Who picks the images of a
# thousand programs reads the row groups they stand in.
IMAGE_BYTES_PER_GROUP = 4 * 2**20


class TableWriter:
    """A Parquet file written piece by piece; two of them make two tables in one pass.

    A context manager. The file appears under its name only when the block ends well. Memory holds
    at most one row group, which ends after so many rows or bytes of images. ``count`` is how many
    rows were given.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.count = 0
        self._path, self._schema = path, schema
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        self._held: list[dict[str, Any]] = []
        self._held_bytes = 0

    def __enter__(self) -> "TableWriter":
        with disk_errors(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = pq.ParquetWriter(self._temporary, self._schema, compression="zstd")
        return self

    def write(self, rows: Iterable[dict[str, Any]]) -> None:
        """Append rows. Missing keys become nulls; a key without a column raises ``ValueError``."""
        for row in rows:
            self._held.append(row)
            self.count += 1
            self._held_bytes += len(row.get("bytes") or b"")
            full = self._held_bytes >= IMAGE_BYTES_PER_GROUP
            if full or len(self._held) == ROWS_PER_GROUP:
                self._flush()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            with disk_errors(self._path):
                if kind is None and self._held:
                    self._flush()
                self._file.close()
                if kind is None:
                    os.replace(self._temporary, self._path)
        finally:
            self._temporary.unlink(missing_ok=True)

    def _flush(self) -> None:
        table = _to_arrow(self._held, self._schema)
        with disk_errors(self._path):
            self._file.write_table(table, row_group_size=ROWS_PER_GROUP)
        self._held, self._held_bytes = [], 0


def write_table(path: Path, rows: Iterable[dict[str, Any]], schema: pa.Schema) -> int:
    """Write rows to a Parquet file, row group by row group, and return how many there were.

    The file appears under its name only when it is whole. Missing keys become nulls; a key the
    schema does not know raises ``ValueError``, for it would be lost in silence.
    """
    with TableWriter(path, schema) as writer:
        writer.write(rows)
    return writer.count


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Where the disk is full or the place not writable, a ``UserError`` that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in (ENOSPC, EDQUOT, EROFS, EACCES):
            raise
        raise UserError(
            f"{path} cannot be written ({error.strerror}): make room or give it another place, "
            "and run the same command again; what is finished is kept."
        ) from error


def iterate_rows(
    path: Path,
    schema: pa.Schema | None = None,
    columns: list[str] | None = None,
    batch_rows: int = 1000,
) -> Iterator[dict[str, Any]]:
    """Rows of a Parquet file one by one; memory does not grow with the file."""
    if schema is not None:
        check_schema(path, schema, columns)
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=batch_rows, columns=columns):
                yield from batch.to_pylist()
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(_unreadable(path, error)) from error


def chosen_rows(
    path: Path, schema: pa.Schema, key: str, values: Collection[str] | None
) -> Iterator[dict[str, Any]]:
    """Rows whose column ``key`` holds one of ``values`` (None: all), in the order of the file.

    Of row groups without any of them only that column is read, and other rows are never turned into
    Python objects, so that a few rows of a long file are cheap.
    """
    if values is None:
        yield from iterate_rows(path, schema)
        return
    check_schema(path, schema)
    wanted = pa.array(sorted(values), schema.field(key).type)
    try:
        with pq.ParquetFile(path) as file:
            found = pc.is_in(file.read([key]).column(key), wanted)
            start = 0
            for group in range(file.num_row_groups):
                here = found.slice(start, file.metadata.row_group(group).num_rows)
                start += len(here)
                if pc.any(here).as_py():
                    yield from _picked(file, group, here)
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(_unreadable(path, error)) from error


def _picked(file: pq.ParquetFile, group: int, wanted: pa.ChunkedArray) -> Iterator[dict[str, Any]]:
    """The rows of a row group for which ``wanted`` is true."""
    start = 0
    for batch in file.iter_batches(row_groups=[group], batch_size=1000):
        mask = wanted.slice(start, len(batch)).combine_chunks()
        start += len(batch)
        yield from batch.filter(mask).to_pylist()


def check_schema(path: Path, schema: pa.Schema, columns: list[str] | None = None) -> None:
    """Raise ``UserError`` where the file is missing, no Parquet, or lacks a column or its type."""
    if not path.is_file():
        raise UserError(f"{path} does not exist: run `dvc repro` to make it.")
    try:
        found = pq.read_schema(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(_unreadable(path, error)) from error
    for name in columns or schema.names:
        if name not in found.names or found.field(name).type != schema.field(name).type:
            raise UserError(
                f"{path} is not a table of this project: it lacks the column {name!r} of type "
                f"{schema.field(name).type}; rerun the stage that writes it."
            )


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Objects of a JSON-lines file; a broken line raises ``UserError`` with its number."""
    if not path.is_file():
        raise UserError(f"{path} does not exist: give the path of a JSON-lines file.")
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise UserError(f"{path}:{number} is not valid JSON ({error.msg}).") from error
            if not isinstance(row, dict):
                raise UserError(f"{path}:{number} is not a JSON object.")
            yield row


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, with `\\n` line ends."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8", newline="\n")
        os.replace(temporary, path)


def write_json(path: Path, value: Any) -> None:
    """Indented JSON with sorted keys, written atomically."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def _to_arrow(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    unknown = {key for row in rows for key in row} - set(schema.names)
    if unknown:
        raise ValueError(f"keys without a column: {sorted(unknown)}")
    return pa.Table.from_pylist(rows, schema=schema)


def _unreadable(path: Path, error: Exception) -> str:
    return f"{path} cannot be read as Parquet ({error}): delete it and run `dvc repro`."
