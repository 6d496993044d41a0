"""`dataset`: check, describe and publish a release folder."""

import hashlib
from collections import Counter
from pathlib import Path

from sdvp_core.base.errors import UserError
from sdvp_core.base.records import SUPERVISION
from sdvp_core.base.tables import check_schema, iterate_rows

CHECKSUMS = "SHA256SUMS"


def validate_release(folder: Path) -> str:
    """Check every file against its checksum and every table against the schema.

    Raises ``UserError`` that names the first thing that does not fit.
    """
    sums = folder / CHECKSUMS
    if not sums.is_file():
        raise UserError(f"{sums} is missing: give a release folder (`dvc repro` makes release/).")
    for line in sums.read_text().splitlines():
        expected, name = line.split(maxsplit=1)
        path = folder / name
        if not path.is_file():
            raise UserError(f"{path} is listed in {CHECKSUMS} and is missing: download it again.")
        if hashlib.sha256(path.read_bytes()).hexdigest() != expected:
            raise UserError(f"{path} differs from its checksum: download it again.")
    ids: set[str] = set()
    for path in _tables(folder):
        check_schema(path, SUPERVISION)
        for row in iterate_rows(path, SUPERVISION, ["step_id", "question_id"]):
            if row["step_id"] in ids or not row["question_id"]:
                raise UserError(f"{path}: step {row['step_id']!r} stands twice or has no question.")
            ids.add(row["step_id"])
    return f"{folder}: {len(ids)} steps, schema, ids and checksums are right"


def describe_release(folder: Path) -> str:
    """Counts by task, dialect and module, and the reasons of rejected rows."""
    kept: Counter[tuple[str, str, str]] = Counter()
    total: Counter[tuple[str, str, str]] = Counter()
    reasons: Counter[str] = Counter()
    for path in _tables(folder):
        columns = ["task", "dialect", "module", "kept", "drop_reason"]
        for row in iterate_rows(path, SUPERVISION, columns):
            key = (row["task"], row["dialect"], row["module"])
            total[key] += 1
            kept[key] += bool(row["kept"])
            if not row["kept"]:
                reasons[row["drop_reason"] or ""] += 1
    lines = [f"{'task':<16}{'dialect':<10}{'module':<10}{'steps':>9}{'kept':>9}"]
    for key in sorted(total):
        task, dialect, module = key
        lines.append(f"{task:<16}{dialect:<10}{module:<10}{total[key]:>9}{kept[key]:>9}")
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
