"""Programs tried out in batches, off the event loop, while further answers are under way."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

MOST_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Candidate:
    """A program that parses, and the row of the question it should answer."""

    question: Mapping[str, Any]
    dialect: str
    program: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What running a candidate showed. ``complaint`` is what the sandbox said, None if it ran.

    ``correct``: whether its answer is that of the question's row, None where nobody compared.
    """

    complaint: str | None = None
    correct: bool | None = None


TryOut = Callable[[Sequence[Candidate]], Sequence[Verdict]]


class Trials:
    """Hands waiting candidates to ``try_out`` in one thread, all that wait at once."""

    def __init__(self, try_out: TryOut | None) -> None:
        self._try_out = try_out
        self._waiting: list[tuple[Candidate, asyncio.Future[Verdict]]] = []
        self._worker: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, "trials")

    def close(self) -> None:
        self._thread.shutdown(cancel_futures=True)

    async def verdict(self, candidate: Candidate) -> Verdict:
        """The verdict on one candidate; without a ``try_out``, one that knows nothing."""
        if self._try_out is None:
            return Verdict()
        future: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self._waiting.append((candidate, future))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work(self._try_out))
        return await future

    async def _work(self, try_out: TryOut) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting[:MOST_AT_ONCE], self._waiting[MOST_AT_ONCE:]
            candidates = [candidate for candidate, _ in batch]
            try:
                verdicts = await loop.run_in_executor(self._thread, try_out, candidates)
                for (_, future), verdict in zip(batch, verdicts, strict=True):
                    if not future.done():
                        future.set_result(verdict)
            except Exception as error:  # a fault of try_out: whoever waits for it raises it
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
