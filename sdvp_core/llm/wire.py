"""What goes to a server and what comes back, read with distrust."""

import email.utils
import json
import math
import time
from dataclasses import dataclass
from typing import Any

from sdvp_core.llm.settings import LlmSettings
from sdvp_core.llm.store import Answer

Message = dict[str, str]
CHARACTERS_OF_A_TOKEN = 3  # fewer than in English text, so that an estimate is rather too high
LONGEST_MESSAGE = 300
SHORTEST_SECRET = 8  # a shorter "key" (none, test) is no secret, and stands in honest text
MOST_TOKENS = 10**9
_RETRIED = frozenset((408, 409, 425, 429))
_REFUSALS = {
    401: "refuses the key",
    402: "wants payment",
    403: "refuses access",
    404: "does not know the address or the model",
}


class BadAnswer(ValueError):
    """A response that is no chat completion."""


@dataclass(slots=True)
class Failure:
    """What an exception of the client means. ``pause``: seconds that the server asks for."""

    message: str
    retried: bool = True
    fatal: bool = False  # nothing else would be answered either
    unreachable: bool = False  # the same, unless the server has answered in this run
    refused: bool = False  # the same, unless it has ever answered this job
    pause: float | None = None


def request_body(settings: LlmSettings, messages: list[Message], sample: int) -> dict[str, Any]:
    """The JSON body of a request: everything that the answer may depend on."""
    optional = {
        "temperature": settings.temperature,
        "seed": None if settings.seed is None else settings.seed + sample,
        "max_tokens": settings.max_tokens,
        "logprobs": True if settings.logprobs else None,
    }
    given = {name: value for name, value in optional.items() if value is not None}
    return {"model": settings.model, "messages": messages, **given, **settings.extra}


def estimate(text: str) -> int:
    """Tokens of a text, rather too many than too few."""
    return len(text) // CHARACTERS_OF_A_TOKEN + 1


def read_answer(data: bytes | dict[str, Any], secret: str | None = None) -> Answer:
    """A chat completion's first choice. Raises :class:`BadAnswer` for anything else.

    A message without text (a refusal, reasoning that used up all tokens) is an empty answer: it
    was paid for, and asking again would give the same.
    """
    try:
        body = data if isinstance(data, dict) else json.loads(data)
        choice = body["choices"][0]
        content = choice["message"].get("content")
        if isinstance(content, list):  # parts, as some servers write them
            content = "".join(str(part.get("text") or "") for part in content)
        finish = choice.get("finish_reason")
        return Answer(
            clean(content or "", secret),
            finish if isinstance(finish, str) else None,
            *_usage(body),
            _logprob(choice),
        )
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        raise BadAnswer(_complaint(data)) from None


def read_failure(error: Exception, settings: LlmSettings, secret: str | None) -> Failure:
    """What an exception means for the question and for the run; other exceptions raise again."""
    import httpx2
    import openai

    where, cause = f"The server at {settings.base_url}", error.__cause__
    if isinstance(error, openai.APIStatusError):
        return _refusal(error, settings, secret)
    if isinstance(cause, (httpx2.ConnectError, httpx2.ConnectTimeout)):
        reason = one_line(cause, secret) or "no connection"
        return Failure(f"{where} cannot be reached ({reason})", unreachable=True)
    if isinstance(error, (TimeoutError, openai.APITimeoutError)):
        return Failure(f"{where} did not answer within {settings.timeout_s:g} s")
    if isinstance(error, openai.APIConnectionError):
        return Failure(f"{where} broke off the connection ({one_line(cause, secret)})")
    if isinstance(error, BadAnswer):
        return Failure(f"{where} sends {one_line(error, secret)}")
    raise error


def clean(text: str, secret: str | None) -> str:
    """Text that can be stored: without the key, should a server echo it, and without surrogates."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    hidden = secret is not None and len(secret) >= SHORTEST_SECRET
    return text.replace(secret or "", "***") if hidden else text


def one_line(text: object, secret: str | None) -> str:
    """A server's words for a message: one line, not too long, without the key."""
    return " ".join(clean(str(text), secret).split())[:LONGEST_MESSAGE]


def _complaint(data: bytes | dict[str, Any]) -> str:
    try:
        body = data if isinstance(data, dict) else json.loads(data)
    except (ValueError, RecursionError):
        return "a response that is no JSON"
    if isinstance(body, dict) and body.get("error"):
        return f"an error in place of an answer: {body['error']}"
    if isinstance(body, dict) and body.get("choices") == []:
        return "an empty list of choices"
    return "a response that is no chat completion"


def _refusal(error: Any, settings: LlmSettings, secret: str | None) -> Failure:
    code, where = error.status_code, f"The server at {settings.base_url}"
    said = one_line(error.message, secret)
    if code in _REFUSALS:
        message = f"{where} {_REFUSALS[code]} ({said})"
        fatal = code in (401, 402)
        return Failure(message, retried=False, fatal=fatal, refused=not fatal)
    if error.code == "insufficient_quota":  # a 429 that no patience will mend
        return Failure(f"{where} says that the quota is used up ({said})", False, fatal=True)
    retried = code in _RETRIED or code >= 500
    pause = _retry_after(error.response.headers) if retried else None
    return Failure(f"{where} answers {code} ({said})", retried=retried, pause=pause)


def _retry_after(headers: Any) -> float | None:
    """Seconds asked for by Retry-After: a number of seconds or an HTTP date (RFC 9110, 10.2.3)."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * unit
        except ValueError:
            continue
        return max(0.0, seconds) if math.isfinite(seconds) else None
    date = email.utils.parsedate_tz(headers.get("retry-after", ""))
    return max(0.0, email.utils.mktime_tz(date) - time.time()) if date else None


def _usage(body: dict[str, Any]) -> tuple[int, int]:
    usage = body.get("usage") or {}
    tokens = (usage.get("prompt_tokens"), usage.get("completion_tokens"))
    return tuple(min(max(0, int(t or 0)), MOST_TOKENS) for t in tokens)  # type: ignore[return-value]


def _logprob(choice: dict[str, Any]) -> float | None:
    """Sum of the tokens' log probabilities, where the server gives them."""
    try:
        tokens = choice["logprobs"]["content"]
        return float(sum(token["logprob"] for token in tokens)) if tokens else None
    except (KeyError, TypeError, ValueError):
        return None
