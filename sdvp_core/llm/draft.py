"""One program: asked for, read out of the answer, sent back with a complaint, tried out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from sdvp_core.llm.client import NoAnswer
from sdvp_core.llm.extract import complaint, program
from sdvp_core.llm.prompt import Prompt, repair
from sdvp_core.llm.settings import LlmSettings
from sdvp_core.llm.store import Answer
from sdvp_core.llm.trials import Candidate, Trials, Verdict
from sdvp_core.llm.wire import Message

NO_PROGRAM = "there is no program in the answer"


class Asked(Protocol):
    """Who answers: the client, or what writes its requests to a file."""

    settings: LlmSettings

    async def ask(self, messages: list[Message], sample: int = 0) -> Answer: ...


@dataclass(slots=True)
class Draft:
    """``status`` is ok, missing or invalid. A program that parses and fails in the sandbox is ok:
    ``message`` holds the sandbox's complaint, for on another image it may run.
    """

    program: str | None = None
    status: str = "missing"
    message: str | None = None
    logprob: float | None = None
    repairs: int = 0
    correct: bool | None = None

    @property
    def sound(self) -> bool:
        """It parses and nobody complained."""
        return self.status == "ok" and self.message is None


async def write(
    client: Asked,
    prompt: Prompt,
    question: Mapping[str, Any],
    dialect: str,
    trials: Trials,
    sample: int,
) -> Draft:
    """A program for a question, after at most ``client.settings.repairs`` complaints."""
    messages = prompt.messages(str(question["question"] or ""))
    draft = Draft()
    for turn in range(client.settings.repairs + 1):
        try:
            answer = await client.ask(messages, sample)
        except NoAnswer as reason:
            draft.message = f"{draft.message}; not repaired: {reason}" if turn else str(reason)
            break
        draft = await _read(answer, question, dialect, trials)
        draft.repairs = turn
        if draft.message is None:
            break
        messages = [*messages, *repair(answer.content, draft.message)]
    return draft


async def _read(answer: Answer, question: Mapping[str, Any], dialect: str, trials: Trials) -> Draft:
    text = program(answer.content, dialect)
    fault = NO_PROGRAM if text is None else complaint(text, dialect)
    if fault is None and text is not None:
        verdict: Verdict = await trials.verdict(Candidate(question, dialect, text))
        return Draft(text, "ok", verdict.complaint, answer.logprob, 0, verdict.correct)
    if answer.finish == "length":
        fault = f"{fault}; the answer was cut off at max_tokens"
    return Draft(text, "invalid", fault, answer.logprob)
