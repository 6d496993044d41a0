"""A student set: one student of each trained module, in one folder (vqa/, locate/, match/)."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdvp_core.base.errors import UserError
from sdvp_core.base.tables import write_json

NAMES = ("vqa", "locate", "match")
CHECKPOINTS = "students.json"  # module -> hub id or folder, for a set that copies no weights


def load_students(folder: Path | str | Mapping[str, str], device: str = "cpu") -> dict[str, Any]:
    """The students of a set: {"vqa", "locate", "match"}, on a device, ready to answer.

    ``folder`` holds a subfolder a module, or students.json with a checkpoint (hub id or folder) a
    module; a mapping gives the same directly. Raises ``UserError`` for anything else.
    """
    sources = dict(folder) if isinstance(folder, Mapping) else _sources(Path(folder))
    return {name: _kind(name).load(source, device) for name, source in sources.items()}


def create_students(words: list[str], answers: list[str], seed: int) -> dict[str, Any]:
    """Tiny untrained students of all three modules."""
    return {
        name: _kind(name).create(words, answers, seed + place) for place, name in enumerate(NAMES)
    }


def save_students(students: Mapping[str, Any], folder: Path | str) -> None:
    """Save each student in its subfolder; equal weights give equal bytes."""
    for name, student in students.items():
        student.save(Path(folder) / name)


def save_checkpoints(checkpoints: Mapping[str, str], folder: Path | str) -> None:
    """Make a student set of downloaded checkpoints: only their names are kept."""
    unknown = set(checkpoints) - set(NAMES)
    if unknown:
        raise UserError(
            f"{sorted(unknown)[0]!r} is no module with a student: use {', '.join(NAMES)}."
        )
    write_json(Path(folder) / CHECKPOINTS, dict(checkpoints))


def revision(folder: Path | str) -> str:
    """16 hex digits that change with any byte of a student set's folder."""
    from sdvp_core.modules.files import folder_revision

    if not Path(folder).is_dir():
        raise UserError(f"{folder} is no student set: run the stage `pretrain` or `distill` first.")
    return folder_revision(Path(folder))


def _sources(folder: Path) -> dict[str, str]:
    sources = {name: str(folder / name) for name in NAMES if (folder / name).is_dir()}
    listed = folder / CHECKPOINTS
    if listed.is_file():
        sources = json.loads(listed.read_text(encoding="utf-8")) | sources
    if not sources:
        raise UserError(
            f"{folder} is no student set: it needs the subfolders {', '.join(NAMES)}; "
            "run the stage `pretrain` to make one."
        )
    return sources


def _kind(name: str) -> Any:
    from sdvp_core.modules.locate import LocateStudent
    from sdvp_core.modules.match import MatchStudent
    from sdvp_core.modules.vqa import VqaStudent

    kinds = {"vqa": VqaStudent, "locate": LocateStudent, "match": MatchStudent}
    if name not in kinds:
        raise UserError(f"{name!r} is no module with a student: use one of {', '.join(NAMES)}.")
    return kinds[name]
