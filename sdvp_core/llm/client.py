"""Asks a server, once: answers come from the store where it has them, and go there at once.

The `openai` client sends; retries, pauses and limits are here, for each must be finite and counted.
"""

import asyncio
import os
import random
import time
from dataclasses import dataclass, replace
from typing import Any

from sdvp_core.base.errors import UserError
from sdvp_core.base.runtime import log
from sdvp_core.llm.purse import BudgetSpent, Purse
from sdvp_core.llm.settings import LlmSettings
from sdvp_core.llm.store import Answer, Store, request_key
from sdvp_core.llm.wire import Failure, Message, estimate, read_answer, read_failure, request_body

FAILURES_IN_A_ROW = 50  # questions given up without one answer between: the server is gone
RETRIES_IF_ABSENT = 3  # of a server that nobody has reached in this run: more likely a typo


class NoAnswer(Exception):
    """One question stays without an answer; the text says why."""


@dataclass
class Traffic:
    """Counts of one run, for the log: they differ between a run and its repetition."""

    requests: int = 0
    answers: int = 0
    cached: int = 0
    retries: int = 0


class Client:
    """Use as ``async with``. ``job`` names what the budget belongs to, over all its runs.

    The key is read from the environment when the first request is sent: the store needs none.
    """

    def __init__(self, settings: LlmSettings, store: Store, job: str) -> None:
        self.settings = settings
        self.traffic = Traffic()
        self.purse = Purse(settings.budget, store, job)
        self._store = store
        self._secret: str | None = None
        self._server: Any = None
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._under_way: dict[bytes, asyncio.Task[Answer]] = {}
        self._rng = random.Random(settings.seed)
        self._not_before = 0.0
        self._failures = 0
        self._stopped = asyncio.Event()
        self._reason = ""

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            await self._server.close()

    async def ask(self, messages: list[Message], sample: int = 0) -> Answer:
        """The answer to a chat. Equal requests under way are sent once.

        Raises :class:`NoAnswer` where the server or the budget gives none, and ``UserError`` where
        there is no key, and where the server cannot be reached or refuses everything it is asked.
        """
        body = request_body(self.settings, messages, sample)
        key = request_key(self.settings.base_url, body, sample)
        known = self._store.get(key)
        if known is not None:
            self.traffic.cached += 1
            return known
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.create_task(self._fetch(key, body))
            self._under_way[key] = task
            task.add_done_callback(lambda done: self._forget(key, done))
        return await asyncio.shield(task)

    async def settle(self) -> None:
        """Begin nothing more, and wait for the answers under way, so that they are kept."""
        self._stopped.set()
        if self._under_way:
            log.info("waiting for at most %d answers under way", self.settings.concurrency)
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    def _forget(self, key: bytes, done: "asyncio.Task[Answer]") -> None:
        self._under_way.pop(key, None)
        if not done.cancelled():
            done.exception()  # seen, should nobody wait for it any more

    async def _fetch(self, key: bytes, body: dict[str, Any]) -> Answer:
        prompt = sum(estimate(message["content"]) for message in body["messages"])
        held = (prompt, self.settings.max_tokens or 0)
        if self._server is None and not self.purse.empty:
            self._secret = _secret(self.settings)
            self._server = _server(self.settings, self._secret)
        async with self._slots:
            for attempt in range(self.settings.retries + 1):
                await self._permission(held)
                answer: Answer | None = None
                try:
                    answer = await self._send(body, prompt)
                except Exception as error:
                    wait = self._wait(read_failure(error, self.settings, self._secret), attempt)
                finally:
                    self.purse.settle(*held, key, answer)
                if answer is not None:
                    self.traffic.answers += 1
                    self._failures = 0
                    return answer
                self.traffic.retries += 1
                await self._pause(wait)
        raise AssertionError("the last attempt neither answers nor raises")

    async def _permission(self, held: tuple[int, int]) -> None:
        while (left := self._not_before - time.monotonic()) > 0 and not self._stopped.is_set():
            await self._pause(left)
        if self._stopped.is_set():
            raise UserError(self._reason)
        try:
            await self.purse.take(*held)
        except BudgetSpent as error:
            raise NoAnswer(str(error)) from None
        self.traffic.requests += 1

    async def _send(self, body: dict[str, Any], prompt: int) -> Answer:
        import httpx2

        async with asyncio.timeout(self.settings.timeout_s):
            # Not chat.completions.create: its checks of the arguments cost as much as the rest.
            response = await self._server.post(
                "/chat/completions", body=body, cast_to=httpx2.Response
            )
        answer = read_answer(response.content, self._secret)
        if not answer.tokens_in and not answer.tokens_out:  # a server that does not count
            return replace(answer, tokens_in=prompt, tokens_out=estimate(answer.content))
        return answer

    def _wait(self, failure: Failure, attempt: int) -> float:
        """Seconds to wait before the next attempt; raises where there is none."""
        longest = self.settings.longest_wait_s
        wait = self.settings.backoff_s * 2.0**attempt * self._rng.uniform(0.75, 1.0)
        if failure.pause is not None:
            if failure.pause > longest:
                failure.retried = False
                failure.message += f" and asks for a pause of {failure.pause:.0f} s"
            else:  # a limit of requests holds for the account: nobody asks before it is over
                self._not_before = max(self._not_before, time.monotonic() + failure.pause)
        absent = failure.unreachable and not self.traffic.answers
        tries = min(self.settings.retries, RETRIES_IF_ABSENT) if absent else self.settings.retries
        if failure.retried and attempt < tries:
            return max(min(wait, longest), failure.pause or 0.0)
        self._failures += 1
        refused = failure.refused and not self.purse.tokens_in
        in_a_row = max(FAILURES_IN_A_ROW, 2 * self.settings.concurrency)
        if failure.fatal or absent or refused or self._failures >= in_a_row:
            raise self._end(failure.message) from None
        raise NoAnswer(failure.message) from None

    def _end(self, message: str) -> UserError:
        self._reason = self._reason or (
            f"{message}: check `base_url`, `model` and the variable "
            f"{self.settings.api_key_env or 'named by `api_key_env`'}, then run the same command "
            "again; every answer so far is kept."
        )
        self._stopped.set()
        return UserError(self._reason)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopped.wait()
        except TimeoutError:
            pass


def _server(settings: LlmSettings, secret: str | None) -> Any:
    import httpx2
    import openai

    limits = httpx2.Limits(
        max_connections=settings.concurrency, max_keepalive_connections=settings.concurrency
    )
    timeout = httpx2.Timeout(settings.timeout_s, connect=min(settings.timeout_s, 10.0))
    # A proxy of the environment would be asked for this machine's own servers as well.
    http = openai.DefaultAsyncHttpxClient(limits=limits, trust_env=not settings.loopback)
    return openai.AsyncOpenAI(
        base_url=settings.base_url,
        api_key=secret or "none",
        max_retries=0,
        timeout=timeout,
        http_client=http,
    )


def _secret(settings: LlmSettings) -> str | None:
    """The key, from the environment at this moment. ``UserError`` where one is needed."""
    name = settings.api_key_env
    secret = os.environ.get(name, "").strip() if name else ""
    if not secret.isascii() or any(c.isspace() for c in secret):
        raise UserError(f"The environment variable {name} holds no key: it has odd characters.")
    if not secret and name and not settings.loopback:
        raise UserError(
            f"There is no key for {settings.base_url}: set the environment variable {name}, or "
            "`api_key_env: null` for a server that needs none."
        )
    return secret or None
