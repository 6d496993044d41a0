"""Tallies of the released steps: what the card says of them."""

from collections import Counter
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Any

from sdvp_core.report.text import clean

Row = dict[str, Any]
Where = tuple[str, str, str, str]  # link, task, dialect, module


class Counts:
    """Tallies of the steps that pass through, and the images they name."""

    def __init__(self) -> None:
        self.rows: Counter[Where] = Counter()
        self.kept_rows: Counter[Where] = Counter()
        self.forced_rows: Counter[Where] = Counter()
        self.agreeing: Counter[str] = Counter()  # by module
        self.judged: Counter[str] = Counter()
        self.drops: Counter[tuple[str, str]] = Counter()  # module, reason
        self.images: set[tuple[str, str]] = set()  # task, image_id
        self._calls: set[bytes] = set()

    @property
    def steps(self) -> int:
        """All steps."""
        return self.rows.total()

    @property
    def kept(self) -> int:
        """Steps with a usable target."""
        return self.kept_rows.total()

    @property
    def forced(self) -> int:
        """Steps of executions in which the teacher's outputs were handed on."""
        return self.forced_rows.total()

    @property
    def calls(self) -> int:
        """Distinct calls: what a module was asked, of which region of which image."""
        return len(self._calls)

    def seen(self, link: str, rows: Iterable[Row]) -> Iterator[Row]:
        """Pass rows through, counting them."""
        for row in rows:
            where = (link, row["task"], row["dialect"], row["module"])
            self.rows[where] += 1
            self.kept_rows[where] += bool(row["kept"])
            self.forced_rows[where] += bool(row["forced"])
            if row["agree"] is not None:
                self.judged[row["module"]] += 1
                self.agreeing[row["module"]] += row["agree"]
            if not row["kept"]:
                self.drops[row["module"], row["drop_reason"] or "no reason given"] += 1
            self.images.add((row["task"], row["image_id"]))
            self._calls.add(_call(row))
            yield row

    def table(self) -> list[tuple[str, ...]]:
        """A row for each link, task, dialect and module: steps, of them kept, of them forced."""
        return [
            (*where, str(n), str(self.kept_rows[where]), str(self.forced_rows[where]))
            for where, n in sorted(self.rows.items())
        ]


def summary(counts: Counts) -> str:
    """One sentence on what the dataset holds."""
    tasks = sorted({clean(task, 60) for _, task, _, _ in counts.rows})
    return (
        f"{counts.steps} steps of visual programs on {len(counts.images)} images "
        f"({', '.join(tasks)}): for each call of a visual sub-module the image region, the "
        "student's output, the teacher's target and, where annotations allow, the true answer."
    )


def _call(row: Row) -> bytes:
    """Eight bytes that stand for a call, so that millions of them fit into memory."""
    parts = [row[name] for name in ("task", "module", "image_id", "region", "text")]
    return blake2b(repr(parts).encode(), digest_size=8).digest()
