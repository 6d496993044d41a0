"""OpenAI's Batch files: requests written for a batch, and its results read into the store.

Write the requests (`python -m sdvp_core batch-write`), upload each file with purpose `batch`,
download the results, read them (`batch-read`). Then `generate` finds the answers in the store.
Complaints need a second batch: writing again, after the results were read, writes the repairs.
"""

import asyncio
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from sdvp_core.base.errors import UserError
from sdvp_core.base.tables import disk_errors, read_jsonl
from sdvp_core.llm.client import NoAnswer
from sdvp_core.llm.draft import write
from sdvp_core.llm.prompt import Prompt
from sdvp_core.llm.settings import LlmSettings
from sdvp_core.llm.store import Answer, Store, request_key
from sdvp_core.llm.trials import Trials, TryOut
from sdvp_core.llm.wire import BadAnswer, Message, read_answer, request_body

MOST_REQUESTS = 50_000  # of a file, and its bytes: the limits of OpenAI's service
MOST_BYTES = 190_000_000
_KEY = re.compile(r"[0-9a-f]{64}")


@dataclass
class Results:
    """What a result file held: answers stored, requests that failed, lines of other requests."""

    stored: int = 0
    failed: int = 0
    foreign: int = 0


def write_requests(
    questions: Iterable[Mapping[str, Any]],
    prompts: Mapping[str, Prompt],
    settings: LlmSettings,
    path: Path,
    store: Store,
    try_out: TryOut | None = None,
) -> dict[Path, int]:
    """Write ``path`` with every request that the store has no answer to.

    What the service takes in no single file goes on in `<name>-0002.jsonl`, ... beside it. Returns
    the number of requests by file, nothing where all are answered. ``settings.budget.requests``
    limits their number; the other limits cannot be kept by a batch.
    Raises ``UserError`` where there are such files already: sent twice, they are paid twice.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    if there := [file for file in (path, _numbered(path, 2)) if file.exists()]:
        raise UserError(f"{there[0]} exists: read its results, then move it away or name another.")
    recorder = _Recorder(settings, store, path)

    async def record() -> None:
        trials = Trials(try_out)
        try:
            for question in questions:
                for dialect, prompt in prompts.items():
                    for sample in range(settings.samples):
                        await write(recorder, prompt, question, dialect, trials, sample)
        finally:
            trials.close()

    with disk_errors(path):
        try:
            asyncio.run(record())
        finally:
            recorder.close()
    return recorder.counts


def read_results(path: Path, store: Store, job: str = "") -> Results:
    """Put the answers of a result file into the store; ``job`` is what their tokens are booked to.

    Raises ``UserError`` for a file that is no JSON lines; what stands before the broken line is
    kept, and reading the mended file again does no harm.
    """
    results = Results()
    for row in read_jsonl(path):
        key, response = str(row.get("custom_id")), row.get("response")
        if not _KEY.fullmatch(key):
            results.foreign += 1
            continue
        try:
            if not isinstance(response, dict) or response.get("status_code") != 200:
                raise BadAnswer("the request failed")
            body = response.get("body")
            answer = read_answer(body if isinstance(body, dict) else {})
        except BadAnswer:
            results.failed += 1
            continue
        store.put(bytes.fromhex(key), answer, job)
        results.stored += 1
    return results


class _Recorder:
    """Stands where the client stands: what it has no answer to, it writes down, once."""

    def __init__(self, settings: LlmSettings, store: Store, path: Path) -> None:
        self.settings = settings
        self.counts: dict[Path, int] = {}
        self._store = store
        self._path = path
        self._seen: set[bytes] = set()
        self._file: BinaryIO | None = None
        self._lines = self._bytes = 0

    async def ask(self, messages: list[Message], sample: int = 0) -> Answer:
        body = request_body(self.settings, messages, sample)
        key = request_key(self.settings.base_url, body, sample)
        known = self._store.get(key)
        if known is not None:
            return known
        limit = self.settings.budget.requests
        if key not in self._seen and (limit is None or len(self._seen) < limit):
            self._seen.add(key)
            self._add(key, body)
        raise NoAnswer("it waits for a batch")

    def close(self) -> None:
        """Give the open file its name: no file is seen half written."""
        if self._file is not None:
            self._file.close()
            os.replace(self._file.name, list(self.counts)[-1])
            self._file = None

    def _add(self, key: bytes, body: dict[str, Any]) -> None:
        request = {"custom_id": key.hex(), "method": "POST", "url": "/v1/chat/completions"}
        line = json.dumps(request | {"body": body}, ensure_ascii=False).encode() + b"\n"
        full = self._lines >= MOST_REQUESTS or self._bytes + len(line) > MOST_BYTES
        if self._file is None or full:
            self.close()
            path = _numbered(self._path, len(self.counts) + 1)
            self._file = path.with_name(f".{path.name}.{os.getpid()}.tmp").open("wb")
            self.counts[path] = self._lines = self._bytes = 0
        self._file.write(line)
        self._lines += 1
        self._bytes += len(line)
        self.counts[list(self.counts)[-1]] = self._lines


def _numbered(path: Path, number: int) -> Path:
    """The file itself, then `<name>-0002.jsonl`, ..."""
    return path if number == 1 else path.with_name(f"{path.stem}-{number:04d}{path.suffix}")
