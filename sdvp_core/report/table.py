"""A table of numbers, as both report files print it."""

from collections.abc import Sequence
from dataclasses import dataclass

_WORDS = frozenset("link dialect task role tasks kind module measure after of".split())


@dataclass(frozen=True)
class Table:
    """A table of the report; cells are plain text, escaped where they are printed."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    drawn: bool = False  # as a plot, where there is one: the page leaves the table out

    @property
    def left(self) -> tuple[bool, ...]:
        """For each column whether it holds words, which align left, rather than numbers."""
        return tuple(name in _WORDS for name in self.head)


def table(title: str, head: str, rows: Sequence[tuple[str, ...]], note: str = "") -> Table:
    """A table whose head is written as one text, columns parted by commas."""
    return Table(title, tuple(head.split(", ")), tuple(rows), note)
