"""`dataset`: check, describe and publish a release folder."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from sdvp_core.base.errors import UserError
from sdvp_core.base.records import SUPERVISION
from sdvp_core.base.runtime import file_sha256
from sdvp_core.base.tables import check_schema, iterate_rows
from sdvp_core.report import columns

CHECKSUMS = "SHA256SUMS"
# What an id of a step leads to; questions and programs only of tasks that may be passed on.
NAMED = {
    "execution_id": ("executions.parquet", columns.EXECUTED),
    "image_id": ("images.parquet", columns.IMAGE_INDEX),
    "question_id": ("questions.parquet", columns.ASKED),
    "program_id": ("programs.parquet", columns.WRITTEN),
}


def validate_release(folder: Path) -> str:
    """Check every file against its checksum, every table against its schema, every id.

    Raises ``UserError`` that names the first thing that does not fit.
    """
    listed = _checked_files(folder)
    for name in ("README.md", "croissant.json", "executions.parquet", "images.parquet"):
        if name not in listed:
            raise UserError(f"{folder} is no whole release: {CHECKSUMS} does not list {name}.")
    known = {key: _ids(folder / name, key, table) for key, (name, table) in NAMED.items()
             if name in listed}  # fmt: skip
    ids: set[str] = set()
    for path in _tables(folder):
        if path.relative_to(folder).as_posix() not in listed:
            raise UserError(f"{path} is not listed in {CHECKSUMS}: it is no part of this release.")
        for row in iterate_rows(path, SUPERVISION, ["step_id", "task", *NAMED]):
            if row["step_id"] in ids or not row["question_id"]:
                raise UserError(f"{path}: step {row['step_id']!r} stands twice or has no question.")
            ids.add(row["step_id"])
            for key in _lost(row, known):
                raise UserError(f"{path}: {key} {row[key]!r} is not in {NAMED[key][0]}.")
    return f"{folder}: {len(ids)} steps, schemas, ids and checksums are right"


def _checked_files(folder: Path) -> set[str]:
    """The files that the release lists, each compared with its checksum."""
    sums = folder / CHECKSUMS
    if not sums.is_file():
        raise UserError(f"{sums} is missing: give a release folder (`dvc repro` makes release/).")
    listed = dict(line.split(maxsplit=1)[::-1] for line in sums.read_text().splitlines())
    for name, expected in listed.items():
        path = folder / name
        if not path.is_file():
            raise UserError(f"{path} is listed in {CHECKSUMS} and is missing: download it again.")
        if file_sha256(path) != expected:
            raise UserError(f"{path} differs from its checksum: download it again.")
    return set(listed)


def _ids(path: Path, key: str, table: columns.Released) -> dict[str, set[str]]:
    """The ids of a table by task; each must stand in it once."""
    check_schema(path, table.schema)
    found: dict[str, set[str]] = {}
    for row in iterate_rows(path, table.schema, ["task", key]):
        of_task = found.setdefault(row["task"], set())
        if row[key] in of_task:
            raise UserError(f"{path}: {key} {row[key]!r} stands twice.")
        of_task.add(row[key])
    return found


def _lost(row: dict[str, str], known: dict[str, dict[str, set[str]]]) -> Iterator[str]:
    """The columns of a step whose ids lead nowhere, though the step's task is told of."""
    for key, by_task in known.items():
        told = row["task"] in by_task or key in ("execution_id", "image_id")
        if told and row[key] not in by_task.get(row["task"], ()):
            yield key


def describe_release(folder: Path) -> str:
    """Counts by task, dialect and module, and the reasons of rejected rows."""
    kept: Counter[tuple[str, str, str]] = Counter()
    forced: Counter[tuple[str, str, str]] = Counter()
    total: Counter[tuple[str, str, str]] = Counter()
    reasons: Counter[str] = Counter()
    for path in _tables(folder):
        columns = ["task", "dialect", "module", "forced", "kept", "drop_reason"]
        for row in iterate_rows(path, SUPERVISION, columns):
            key = (row["task"], row["dialect"], row["module"])
            total[key] += 1
            forced[key] += bool(row["forced"])
            kept[key] += bool(row["kept"])
            if not row["kept"]:
                reasons[row["drop_reason"] or ""] += 1
    lines = [f"{'task':<16}{'dialect':<10}{'module':<10}{'steps':>9}{'kept':>9}{'forced':>9}"]
    for key in sorted(total):
        task, dialect, module = key
        counts = f"{total[key]:>9}{kept[key]:>9}{forced[key]:>9}"
        lines.append(f"{task:<16}{dialect:<10}{module:<10}{counts}")
    lines += [f"rejected: {count} {reason}" for reason, count in sorted(reasons.items())]
    return "\n".join(lines)


def push_release(folder: Path, repo: str) -> str:
    """Upload a checked release; the token is read from the environment by the hub's library.

    Raises ``UserError`` where the hub refuses or cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    validate_release(folder)
    api = HfApi()
    try:
        api.create_repo(repo, repo_type="dataset", exist_ok=True)
        done = api.upload_folder(folder_path=folder, repo_id=repo, repo_type="dataset")
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{repo} was not uploaded ({reason}): is HF_TOKEN set?") from None
    return f"uploaded {folder} to {done}"


def _tables(folder: Path) -> list[Path]:
    found = sorted(folder.glob("data/*.parquet"))
    if not found:
        raise UserError(f"{folder} holds no supervision table: `dvc repro` makes release/.")
    return found
