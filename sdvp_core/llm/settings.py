"""Which language model is asked, how, and at what cost at most: section `generate.llm`."""

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator, model_validator

from sdvp_core.base.errors import UserError
from sdvp_core.base.params import Section

Whole = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]
Price = Annotated[float, Field(ge=0)]
_FIXED = ("model", "messages", "stream", "n")


class Budget(Section):
    """Limits of one job (a task with its prompts, model and sampling); null is no limit.

    A job that is killed and started again goes on counting where it was.
    """

    requests: Whole | None = None  # every attempt counts; 0 asks nothing: the cache alone
    tokens: Whole | None = None  # prompt and answer together
    cost: Price | None = None  # in the currency of the prices
    input_price: Price | None = None  # of a million prompt tokens
    output_price: Price | None = None  # of a million answer tokens

    @model_validator(mode="after")
    def _priced(self) -> "Budget":
        if self.cost is not None and (self.input_price is None or self.output_price is None):
            raise ValueError("`cost` needs `input_price` and `output_price`, of a million tokens")
        return self

    def price(self, tokens_in: int, tokens_out: int) -> float:
        """What so many tokens cost; 0 where no price is given."""
        return ((self.input_price or 0) * tokens_in + (self.output_price or 0) * tokens_out) / 1e6


class LlmSettings(Section):
    """Any server that speaks OpenAI's chat completions. The key itself stands in no file."""

    base_url: str = "https://api.openai.com/v1"
    model: str
    api_key_env: str | None = "OPENAI_API_KEY"  # NAME of the variable that holds the key
    temperature: Annotated[float, Field(ge=0)] | None = 0.0  # null: not sent
    seed: int | None = 0  # sample k is asked with seed + k; null: not sent
    max_tokens: Positive | None = 1024  # of one answer; null: not sent
    extra: dict[str, Any] = Field(default={})  # further fields: max_completion_tokens, ...
    logprobs: bool = False  # ask for log probabilities (not every server can)
    samples: Positive = 1  # programs asked for each question and dialect
    keep: Literal["all", "first", "answer"] = "all"  # see `generate.programs`
    judge: str = "oracle"  # what runs samples for `keep: answer`: oracle, or a folder of students
    repairs: Whole = 1  # how often a complaint is sent back
    prompts: str | None = None  # folder with prompt files of your own
    concurrency: Positive = 16
    timeout_s: Seconds = 120.0  # of one request, from the first byte to the last
    retries: Whole = 6
    backoff_s: Seconds = 1.0  # before the first retry; doubles, up to longest_wait_s
    longest_wait_s: Seconds = 120.0  # a server that asks for a longer pause gets no retry
    budget: Budget = Budget()

    @field_validator("base_url")
    @classmethod
    def _no_secret(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("give an address such as http://localhost:8000/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("keep keys, passwords and options out of the address")
        return url.rstrip("/")

    @field_validator("api_key_env")
    @classmethod
    def _is_a_name(cls, name: str | None) -> str | None:
        if name is not None and not (name.isidentifier() and name == name.upper()):
            raise ValueError("give the NAME of an environment variable, never the key itself")
        return name

    @field_validator("extra")
    @classmethod
    def _nothing_fixed(cls, extra: dict[str, Any]) -> dict[str, Any]:
        for name in _FIXED:
            if name in extra:
                raise ValueError(f"`{name}` cannot be set here")
        return extra

    @property
    def loopback(self) -> bool:
        """Whether the server runs on this machine: then it needs no key and no proxy."""
        host = urlsplit(self.base_url).hostname or ""
        try:
            return ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"


def checked(values: Mapping[str, Any] | None, where: str = "params.yaml: generate.llm") -> Any:
    """The settings of a section; every mistake in it is a ``UserError`` of one sentence."""
    if values is None:
        raise UserError(f"{where} is missing: give it at least `model` and `base_url`.")
    try:
        return LlmSettings.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            message = "this name is unknown; check the spelling"
        raise UserError(f"{where}: {place + ': ' if place else ''}{message}.") from None
