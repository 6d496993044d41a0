"""Paid answers on disk, one SQLite file in the user cache: nothing is paid for twice.

An answer is committed before anybody sees it, so SIGKILL loses only requests still under way.
(SQLite's WAL with synchronous=NORMAL: a power cut may lose the last second, never the file.)
"""

import hashlib
import sqlite3
import time
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from sdvp_core.base.errors import UserError
from sdvp_core.base.records import to_json
from sdvp_core.base.runtime import cache_folder

VERSION = 1
SECONDS_BETWEEN_CHECKPOINTS = 1.0
_TABLES = """
CREATE TABLE IF NOT EXISTS answers (
    key BLOB PRIMARY KEY, content TEXT NOT NULL, finish TEXT, tokens_in INTEGER,
    tokens_out INTEGER, logprob REAL);
CREATE TABLE IF NOT EXISTS spent (
    job TEXT PRIMARY KEY, requests INTEGER NOT NULL, tokens_in INTEGER NOT NULL,
    tokens_out INTEGER NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model wrote. ``finish`` is "stop", "length", ...; tokens as the server counted."""

    content: str
    finish: str | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    logprob: float | None = None


@dataclass(frozen=True, slots=True)
class Spent:
    """Requests sent and tokens used by a job in all its runs."""

    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0


def request_key(base_url: str, body: dict[str, Any], sample: int) -> bytes:
    """32 bytes that name a request by its content; the key of the account is no part of it."""
    return hashlib.sha256(to_json([base_url, body, sample]).encode()).digest()


class Store:
    """Answers by request key, and what every job has spent. Several processes may share a file.

    Raises ``UserError`` where the file is not one of these or cannot be written.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = cache_folder("llm") / "answers.sqlite" if path is None else path
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Used by one thread at a time; check_same_thread would forbid closing from another.
            self._base = sqlite3.connect(
                self.path, timeout=60, isolation_level=None, check_same_thread=False
            )
            self._open()
        except (OSError, sqlite3.Error) as error:
            raise UserError(f"{self.path} cannot be opened ({error}): move it away.") from None
        self._synced = time.monotonic()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self._run("SELECT count(*) FROM answers").fetchone()[0]

    def close(self) -> None:
        self._base.close()

    def get(self, key: bytes) -> Answer | None:
        """The stored answer to a request."""
        row = self._run(
            "SELECT content, finish, tokens_in, tokens_out, logprob FROM answers WHERE key = ?",
            (key,),
        ).fetchone()
        return Answer(*row) if row else None

    def put(self, key: bytes, answer: Answer, job: str) -> None:
        """Keep an answer and book its tokens, in one transaction."""
        self._run("BEGIN IMMEDIATE")
        self._run(
            "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?)", (key, *astuple(answer))
        )
        self._book(job, 0, answer.tokens_in, answer.tokens_out)
        self._run("COMMIT")
        if time.monotonic() - self._synced > SECONDS_BETWEEN_CHECKPOINTS:
            self._run("PRAGMA wal_checkpoint(PASSIVE)")  # reaches the disk, not only the system
            self._synced = time.monotonic()

    def book_request(self, job: str) -> None:
        """Count a request before it is sent."""
        self._book(job, 1, 0, 0)

    def spent(self, job: str) -> Spent:
        """What a job has spent so far, in all its runs."""
        row = self._run(
            "SELECT requests, tokens_in, tokens_out FROM spent WHERE job = ?", (job,)
        ).fetchone()
        return Spent(*row) if row else Spent()

    def _open(self) -> None:
        self._base.execute("PRAGMA journal_mode = WAL")
        self._base.execute("PRAGMA synchronous = NORMAL")
        version = self._base.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, VERSION):
            raise sqlite3.Error(f"version {version}, not {VERSION}")
        self._base.executescript(_TABLES)
        self._base.execute(f"PRAGMA user_version = {VERSION}")

    def _book(self, job: str, requests: int, tokens_in: int, tokens_out: int) -> None:
        self._run(
            "INSERT INTO spent VALUES (?, ?, ?, ?) ON CONFLICT (job) DO UPDATE SET "
            "requests = requests + excluded.requests, tokens_in = tokens_in + excluded.tokens_in, "
            "tokens_out = tokens_out + excluded.tokens_out",
            (job, requests, tokens_in, tokens_out),
        )

    def _run(self, statement: str, values: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        try:
            return self._base.execute(statement, values)
        except sqlite3.Error as error:
            raise UserError(
                f"{self.path} cannot be used ({error}): free some disk or move the file away."
            ) from None
