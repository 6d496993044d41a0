"""What a task asks a language model: of which questions, with which prompts.

Whoever asks, a server or a batch, asks this: then equal requests have equal keys in the store.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sdvp_core.base.params import Task
from sdvp_core.llm.prompt import Prompt, family

Row = dict[str, Any]
SPLITS = ("distill", "val", "test")  # the teacher's split needs no programs


def asked(questions: Iterable[Row]) -> Iterator[Row]:
    """The question rows that get a program, in their order."""
    return (row for row in questions if row["split"] in SPLITS)


def prompts_of(
    task: Task, dialects: Sequence[str], folder: Path | str | None = None
) -> dict[str, Prompt]:
    """The prompt of each dialect, from ``folder`` or the project's own files.

    Raises ``UserError`` where a prompt file is missing or broken.
    """
    kind = family(task.reader, task.world is not None, task.scene)
    return {dialect: Prompt.load(kind, dialect, folder) for dialect in dialects}
