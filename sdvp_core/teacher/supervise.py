"""The supervision of a link: its traces labelled shard by shard, the strategies measured."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sdvp_core.base.folder import TaskFolder
from sdvp_core.base.params import Supervise
from sdvp_core.base.records import SUPERVISION, stable_id
from sdvp_core.base.runtime import code_revision
from sdvp_core.base.shards import in_shards
from sdvp_core.base.tables import iterate_rows
from sdvp_core.modules import oracle
from sdvp_core.modules.call import Module
from sdvp_core.teacher.accuracy import measure_strategies
from sdvp_core.teacher.contrast import ASKED, Contrasts, names_in, searches
from sdvp_core.teacher.label import LABELLED_TOGETHER, label
from sdvp_core.teacher.model import Teacher
from sdvp_core.teacher.sight import Sight

Row = dict[str, Any]
SHARD_TRACES = 4 * LABELLED_TOGETHER
SHARD_SEARCHES = 4096


@dataclass(frozen=True)
class Supervision:
    """How the traces of a task are labelled: by which teacher, with which settings.

    ``split`` is that of the task's questions, ``answers`` those the student can give (None: any).
    Images and annotations are read for the traces at hand alone, so that memory does not grow with
    the task.
    """

    task: TaskFolder
    split: str
    teacher: Teacher
    settings: Supervise
    answers: Collection[str] | None
    module_revision: str | None

    def rows(self, traces: Iterable[Sequence[Row]], shards: Path) -> Iterator[Row]:
        """Rows of the supervision table, in the order of the steps.

        A shard is labelled by itself, so that a run that was stopped ends with the very batches,
        and bytes, of one that was not. ``shards`` is the folder where finished shards wait for a
        run that is killed; its name must tell the traces apart.
        """
        return in_shards(traces, shards / self._key(), self._label, SHARD_TRACES)

    def contrasts(self, table: Path, shards: Path, seed: int) -> Iterator[Row]:
        """Rows of the contrasts table from the supervision table at ``table``.

        A region that searches of two shards look at is in both, with the same rows.
        """
        settings = self.settings
        if not settings.contrast:
            return
        names = names_in(iterate_rows(table, SUPERVISION, list(ASKED)))
        least = settings.min_confidence.get("locate", 0.0)
        contrasts = Contrasts(Sight(self.teacher), names, settings.contrast, seed, least)

        def compute(steps: Sequence[Row]) -> Iterator[Row]:
            ids = {step["image_id"] for step in steps}
            return contrasts.rows(steps, self.task.images(ids), self._oracle(ids).get("locate"))

        steps = searches(iterate_rows(table, SUPERVISION, list(ASKED)))
        yield from in_shards(steps, shards / f"{self._key()}-{seed}", compute, SHARD_SEARCHES)

    def strategies(self, traces: Sequence[Sequence[Row]]) -> dict[str, Any]:
        """:func:`measure_strategies` on some traces, which are held in memory."""
        ids = _images_of(traces)
        return measure_strategies(
            traces,
            self.teacher,
            self.task.images(ids),
            self.settings,
            self._oracle(ids),
            self.task.annotations(ids),
        )

    def _label(self, traces: Sequence[Sequence[Row]]) -> Iterator[Row]:
        ids = _images_of(traces)
        return label(
            traces,
            self.teacher,
            self.task.images(ids),
            self.settings,
            self.answers,
            self._oracle(ids),
            self.module_revision,
        )

    def _oracle(self, image_ids: Collection[str]) -> Mapping[str, Module]:
        return oracle.load(self.task.annotations(image_ids)) if self._annotated else {}

    @cached_property
    def _annotated(self) -> bool:
        """Whether any image of the split is: where none is, an oracle would say "nothing there"."""
        wanted = self.task.image_ids(self.split)
        return any(row["objects"] for row in self.task.annotations(wanted))

    def _key(self) -> str:
        """What the rows depend on beside the traces."""
        return stable_id(
            code_revision("base", "modules", "teacher"),
            self.task.revision("questions", "images", "annotations"),
            self.teacher.revision,
            self.teacher.device,
            self.settings.model_dump(),
            None if self.answers is None else sorted(self.answers),
            self.module_revision,
            SHARD_TRACES,
        )


def _images_of(traces: Iterable[Sequence[Row]]) -> set[str]:
    return {step["image_id"] for trace in traces for step in trace}
