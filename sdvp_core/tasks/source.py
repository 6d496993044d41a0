"""What all readers share: the three tables, splits by group, JSON in a stream."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdvp_core.base.errors import UserError
from sdvp_core.tasks.images import ImageFile

Row = dict[str, Any]
SHARES = {"distill": 0.4, "val": 0.1}
_CHUNK = 1 << 20  # characters read at a time


@dataclass(frozen=True)
class TaskTables:
    """Rows of the three tables of a task (schemas in base/records.py), each read as it is needed.

    Each may be iterated once, in any order: none waits for another. ``files`` gives the file of
    every image without opening it, as often as it is called.
    """

    questions: Iterable[Row]
    images: Iterable[Row]
    annotations: Iterable[Row]
    files: Callable[[], Iterable[ImageFile]]


def split_of(group_id: str, shares: dict[str, float] | None, seed: int) -> str:
    """Where a group of the official train split goes: "train", or a split named in ``shares``.

    It depends on the id and the seed alone, so groups stay where they are as others come and go.
    """
    point = int(hashlib.sha256(f"{seed}:{group_id}".encode()).hexdigest()[:13], 16) / 16**13
    for split, share in (SHARES if shares is None else shares).items():
        if point < share:
            return split
        point -= share
    return "train"


def limited(
    rows: Iterable[dict[str, Any]], limits: dict[str, int] | None
) -> Iterator[dict[str, Any]]:
    """Question rows without those beyond their split's limit (the first ones stay)."""
    left = dict(limits or {})
    for row in rows:
        if row["split"] in left:
            if left[row["split"]] <= 0:
                continue
            left[row["split"]] -= 1
        yield row


def image_ids(questions: Callable[[], Iterable[dict[str, Any]]]) -> list[str]:
    """The images of some questions, each once, in the order of their first question."""
    return list(dict.fromkeys(i for row in questions() for i in row["image_ids"]))


def read_json(path: Path) -> Any:
    """A whole JSON file; ``UserError`` where it is missing or broken."""
    need(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid JSON ({error}): download it again.") from error


def need(path: Path, what: str = "") -> Path:
    """The path, if it exists; ``UserError`` that says what belongs there."""
    if not path.exists():
        raise UserError(f"{path} does not exist: put {what or 'the official file'} there.")
    return path


@contextmanager
def official(path: Path) -> Iterator[None]:
    """Turn a field that a record of a file lacks into a ``UserError`` that names the file."""
    try:
        yield
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is not in its official form ({error!r}): check the file."
        ) from error


def json_entries(path: Path) -> Iterator[tuple[str, Any]]:
    """Keys and values of a JSON object one by one, or of an array with "0", "1", ... as keys.

    Files of gigabytes pass through in little memory. ``UserError`` where the file is no such JSON
    or ends too early.
    """
    need(path)
    with path.open(encoding="utf-8") as file:
        try:
            yield from _Stream(file).entries()
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise UserError(f"{path} is cut short or not valid JSON: download it again.") from error


class _Stream:
    """A JSON text of which only the part under the cursor is in memory."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._text = ""
        self._at = 0
        self._decoder = json.JSONDecoder()

    def entries(self) -> Iterator[tuple[str, Any]]:
        """Keys and values of the object or array the text is."""
        opening = self._next()
        if opening not in "{[":
            raise json.JSONDecodeError("neither an object nor an array", self._text, 0)
        closing = "}" if opening == "{" else "]"
        self._at += 1
        number = 0
        while self._next() != closing:
            key = str(number)
            if opening == "{":
                key = self._value()
                self._expect(":")
            yield key, self._value()
            number += 1
            if self._next() != closing:
                self._expect(",")

    def _value(self) -> Any:
        self._next()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError:
                if not self._more():
                    raise
                continue
            # A number at the end of what was read may go on.
            if end == len(self._text) and self._more():
                continue
            self._at = end
            return value

    def _expect(self, character: str) -> None:
        if self._next() != character:
            raise json.JSONDecodeError(f"no {character!r}", self._text, self._at)
        self._at += 1

    def _next(self) -> str:
        """The next character that is no space, without passing it."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in " \t\r\n":
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                raise json.JSONDecodeError("end of file", self._text, self._at)

    def _more(self) -> bool:
        chunk = self._file.read(_CHUNK)
        self._text, self._at = self._text[self._at :] + chunk, 0
        return bool(chunk)
