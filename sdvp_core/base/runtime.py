"""What every stage needs of the machine: seeds, device, the user cache, progress, clean endings."""

import hashlib
import json
import logging
import os
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from sdvp_core.base.errors import UserError
from sdvp_core.base.tables import write_json

Item = TypeVar("Item")
log = logging.getLogger("sdvp")


def run_stage(main: Callable[..., None]) -> None:
    """Run a stage's `main` as a command line and end it cleanly.

    A :class:`UserError` becomes one line on stderr and exit code 1, Ctrl-C exit code 130. The
    stage's minutes go to the user cache, where `report` finds them.
    """
    import typer

    start_log()
    name = ":".join([main.__module__, *sys.argv[1:]]).replace("__main__", Path(sys.argv[0]).stem)
    started = time.monotonic()
    try:
        typer.run(main)
    except SystemExit as end:
        if end.code in (0, None):
            _note_minutes(name, (time.monotonic() - started) / 60)
        raise
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("stopped: run the same command again to go on from here.", file=sys.stderr)
        raise SystemExit(130) from None


def start_log() -> None:
    """Plain lines on stderr; libraries that chat are told to be quiet."""
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", level=logging.WARNING)
    log.setLevel(logging.INFO)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def cache_folder(*parts: str) -> Path:
    """A folder of the user cache (`SDVP_CACHE`, else `~/.cache/sdvp`): it outlives DVC's outs."""
    root = os.environ.get("SDVP_CACHE")
    folder = Path(root) if root else Path.home() / ".cache" / "sdvp"
    folder = folder.joinpath(*parts)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made ({error}): set SDVP_CACHE.") from error
    return folder


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch."""
    import numpy
    import torch

    random.seed(seed)
    numpy.random.seed(seed)
    torch.manual_seed(seed)


def pick_device(wanted: str) -> str:
    """ "auto" -> "cuda" where there is one, else "cpu"; any other name is tried and returned.

    Raises ``UserError`` for a name that torch does not know and for a device that is not there.
    """
    if wanted == "cpu":
        return wanted
    import torch

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=wanted).tolist()
    # A torch built without CUDA says so by an assertion; of a name it does not know by others.
    except (RuntimeError, AssertionError, ImportError, ValueError) as error:
        reason = str(error).partition("\n")[0][:300]
        raise UserError(
            f"The device {wanted!r} cannot be used here ({reason}): give auto, cpu, or a GPU that "
            "this machine has (cuda, cuda:1)."
        ) from None
    return wanted


def progress(items: Iterable[Item], what: str, total: int | None = None) -> Iterator[Item]:
    """Pass items through; a bar on a terminal, a plain line every ten seconds in a log."""
    if total is None and hasattr(items, "__len__"):
        total = len(items)  # type: ignore[arg-type]
    if sys.stderr.isatty():
        from rich.progress import track

        yield from track(items, description=what, total=total)
        return
    started = last = time.monotonic()
    done = 0
    for done, item in enumerate(items, 1):
        yield item
        if time.monotonic() - last >= 10:
            last = time.monotonic()
            log.info("%s: %d%s, %.0f/s", what, done, f" of {total}" if total else "",
                     done / (last - started))  # fmt: skip
    log.info("%s: %d done in %.1f s", what, done, time.monotonic() - started)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file; of a folder, one over every file below it with its relative name."""
    if not path.is_dir():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        if file.is_dir() or "__pycache__" in file.parts:
            continue
        digest.update(file.relative_to(path).as_posix().encode() + b"\0")
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def code_revision(*folders: str) -> str:
    """Hash of folders of `sdvp_core`: results cached under it are not taken for another code's."""
    root = Path(__file__).parent.parent
    hashes = [file_sha256(root / folder) for folder in folders]
    return hashlib.sha256("".join(hashes).encode()).hexdigest()[:16]


def minutes(stages: Iterable[str]) -> float:
    """Minutes that the last finished runs of these stages took in this checkout, as far as known.

    A stage is named by its command: "pretrain", "prepare:shapes_gqa", "evaluate:base:shapes_count".
    """
    known = _known_minutes()
    return sum(known.get(stage, 0.0) for stage in stages)


def _known_minutes() -> dict[str, float]:
    path = _minutes_file()
    return json.loads(path.read_text()) if path.is_file() else {}


def _note_minutes(name: str, spent: float) -> None:
    known = _known_minutes()
    known[name] = round(spent, 3)
    write_json(_minutes_file(), known)


def _minutes_file() -> Path:
    checkout = hashlib.sha256(str(Path.cwd().resolve()).encode()).hexdigest()[:16]
    return cache_folder("minutes") / f"{checkout}.json"


def versions() -> dict[str, Any]:
    """Versions of Python and of the packages that can change a number."""
    from importlib.metadata import version

    names = ("torch", "transformers", "peft", "bitsandbytes", "pyarrow", "pydantic-monty", "pillow")
    return {"python": sys.version.split()[0]} | {name: version(name) for name in names}
