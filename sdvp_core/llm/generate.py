"""Programs for questions from a language model: rows of PROGRAMS, in the questions' order.

A bounded number of questions is open at once, whatever their number, and every answer is in the
store before its row is out: a run that is killed goes on where it was and pays nothing twice.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sdvp_core.base.records import stable_id
from sdvp_core.base.runtime import log
from sdvp_core.llm.client import Client
from sdvp_core.llm.draft import Draft, write
from sdvp_core.llm.prompt import Prompt
from sdvp_core.llm.settings import LlmSettings
from sdvp_core.llm.store import Store
from sdvp_core.llm.trials import Trials, TryOut

Row = dict[str, Any]
TRAINING_SPLITS = ("train", "distill")  # the only ones whose answers may choose a program
LEAST_OPEN = 256
OPEN_A_SLOT = 8  # open questions for each request under way: one slow answer stops no other
NOT_THE_ANSWER = "not kept: its answer is not the training answer"
# What a request, and so a budget, depends on; the rest may change without starting a new one.
_ASKED = ("base_url", "model", "temperature", "seed", "max_tokens", "extra", "logprobs")


@dataclass
class Statistics:
    """Counted up while rows come; tokens and cost are set at the end.

    They are what the job has spent in all its runs, so a run that is resumed has equal counts.
    """

    rows: Counter[str] = field(default_factory=Counter)  # by status
    repaired: int = 0  # programs that parse after a complaint was sent back
    judged: int = 0  # questions (each dialect apart) whose samples met the filter by answer
    kept: int = 0  # of these, the ones of which a sample passed
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0

    def metrics(self) -> dict[str, Any]:
        """For a metrics file; ``yield`` is that of the filter by answer, null without one."""
        return {
            "rows": {status: self.rows[status] for status in ("ok", "invalid", "missing")},
            "repaired": self.repaired,
            "filter": {
                "questions": self.judged,
                "kept": self.kept,
                "yield": self.kept / self.judged if self.judged else None,
            },
            "tokens": {"input": self.tokens_in, "output": self.tokens_out},
            "cost": round(self.cost, 6),
        }


def programs(
    questions: Iterable[Mapping[str, Any]],
    prompts: Mapping[str, Prompt],
    settings: LlmSettings,
    task: str = "",
    try_out: TryOut | None = None,
    store: Store | None = None,
    statistics: Statistics | None = None,
) -> Iterator[Row]:
    """Yield rows of PROGRAMS (source `llm`) for every question and every dialect of ``prompts``.

    ``settings.keep`` says which of the samples become rows. all: every one. first: samples are
    asked one by one until one is sound, and that one is the row. answer: on training splits, one by
    one until the answer of one (as ``try_out`` finds) is the question's, all asked are rows, those
    not kept with status `invalid`; on other splits as `first`, for answers of evaluation splits
    choose nothing. ``task`` names the job whose budget is counted. ``store`` defaults to the one in
    the user cache.

    Raises ``UserError`` where the server cannot be reached or refuses everything it is asked.
    """
    if settings.keep == "answer" and try_out is None:
        raise ValueError("keeping samples by their answer needs try_out")
    counts = statistics if statistics is not None else Statistics()
    opened = Store() if store is None else store
    job = job_name(task, prompts, settings)
    try:
        with asyncio.Runner() as runner:
            rows = _stream(questions, prompts, Client(settings, opened, job), try_out, counts)
            try:
                while (batch := runner.run(_next(rows))) is not None:
                    yield from batch
            finally:
                runner.run(_close(rows))
    finally:
        if store is None:
            opened.close()


def job_name(task: str, prompts: Mapping[str, Prompt], settings: LlmSettings) -> str:
    """What a budget belongs to: a task, its prompts, the model and the sampling."""
    asked = {name: getattr(settings, name) for name in _ASKED}
    return stable_id(task, asked, {dialect: prompts[dialect].sha256 for dialect in prompts})


async def _next(rows: AsyncIterator[list[Row]]) -> list[Row] | None:
    return await anext(rows, None)


async def _close(rows: Any) -> None:
    await rows.aclose()


async def _stream(
    questions: Iterable[Mapping[str, Any]],
    prompts: Mapping[str, Prompt],
    client: Client,
    try_out: TryOut | None,
    counts: Statistics,
) -> AsyncIterator[list[Row]]:
    trials = Trials(try_out)
    window = max(LEAST_OPEN, OPEN_A_SLOT * client.settings.concurrency)
    open_ones: deque[asyncio.Task[list[Row]]] = deque()
    async with client:
        try:
            for question in questions:
                open_ones.append(
                    asyncio.create_task(_of_question(question, prompts, client, trials, counts))
                )
                if len(open_ones) >= window:
                    yield await _ready(open_ones)
            while open_ones:
                yield await _ready(open_ones)
        finally:  # also after Ctrl-C: what is under way is paid for, so it is waited for
            await client.settle()
            await asyncio.gather(*open_ones, return_exceptions=True)
            trials.close()
            _book(client, counts)


async def _ready(open_ones: deque[asyncio.Task[list[Row]]]) -> list[Row]:
    """Rows of the oldest question, and of those after it that have them too."""
    rows = list(await open_ones[0])
    open_ones.popleft()
    while open_ones and open_ones[0].done():
        rows += open_ones.popleft().result()
    return rows


async def _of_question(
    question: Mapping[str, Any],
    prompts: Mapping[str, Prompt],
    client: Client,
    trials: Trials,
    counts: Statistics,
) -> list[Row]:
    async def of_dialect(dialect: str, prompt: Prompt) -> list[Row]:
        ask = partial(write, client, prompt, question, dialect, trials)
        drafts = await _chosen(ask, client.settings, question, counts)
        return [_row(question, dialect, prompt, client, s, drafts[s], counts) for s in drafts]

    parts = await asyncio.gather(*(of_dialect(*item) for item in prompts.items()))
    return [row for part in parts for row in part]


async def _chosen(
    ask: Callable[[int], Awaitable[Draft]],
    settings: LlmSettings,
    question: Mapping[str, Any],
    counts: Statistics,
) -> dict[int, Draft]:
    """Drafts that become rows, by sample; samples that are not needed are not asked."""
    if settings.keep == "all":
        return dict(enumerate(await asyncio.gather(*map(ask, range(settings.samples)))))
    judged = settings.keep == "answer" and question["split"] in TRAINING_SPLITS
    drafts: dict[int, Draft] = {}
    kept = None
    for sample in range(settings.samples):
        drafts[sample] = draft = await ask(sample)
        if draft.sound and (draft.correct or not judged):
            kept = sample
            break
    if judged:
        counts.judged += 1
        counts.kept += kept is not None
        for sample, draft in drafts.items():
            if sample != kept and draft.status == "ok":
                draft.status, draft.message = "invalid", draft.message or NOT_THE_ANSWER
        return drafts
    if kept is None:
        order = ("ok", "invalid", "missing")
        kept = min(drafts, key=lambda s: (order.index(drafts[s].status), s))
    return {kept: drafts[kept]}


def _row(
    question: Mapping[str, Any],
    dialect: str,
    prompt: Prompt,
    client: Client,
    sample: int,
    draft: Draft,
    counts: Statistics,
) -> Row:
    counts.rows[draft.status] += 1
    counts.repaired += draft.status == "ok" and draft.repairs > 0
    return {
        "program_id": stable_id(question["question_id"], dialect, "llm", sample),
        "question_id": question["question_id"],
        "dialect": dialect,
        "program": draft.program,
        "source": "llm",
        "model": client.settings.model,
        "prompt_sha256": prompt.sha256,
        "sample": sample,
        "logprob": draft.logprob,
        "status": draft.status,
        "message": draft.message,
    }


def _book(client: Client, counts: Statistics) -> None:
    purse, traffic = client.purse, client.traffic
    counts.tokens_in, counts.tokens_out, counts.cost = purse.tokens_in, purse.tokens_out, purse.cost
    log.info("%s: %d requests (%d tried again), %d answers, %d from the cache; all in all %d + %d "
             "tokens, cost %.4g", client.settings.model, traffic.requests, traffic.retries,
             traffic.answers, traffic.cached, purse.tokens_in, purse.tokens_out,
             purse.cost)  # fmt: skip
