"""One generated program in one sandboxed worker process, with limits (Monty, pydantic-monty).

A worker has no file, network, environment or import; it can only ask the host, which trusts
nothing it is sent (``requests.py``). What this does NOT cover: faults of the interpreter's own code
(nobody has fuzzed it here), system call filters on its processes, side channels such as timing, and
what a module makes of a text that a program writes.
"""

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic_monty import (
    CollectString,
    FunctionSnapshot,
    FutureSnapshot,
    Monty,
    MontyComplete,
    MontyCrashedError,
    MontyError,
    MontySession,
)

from sdvp_core.interpreter.trace import one_line

PRELUDE = ("callbacks", "patch", "steps")
HOST_FUNCTION = "_ask"
GRACE_SECONDS = 1.0  # the worker's own clock stops it first; then it is killed
NAME_LOOKUPS = 200  # suspensions allowed beside the module calls
PRINTED_BYTES = 100_000
ANSWER_SIZE = 10_000  # parts and characters
DEEPEST_ANSWER = 8


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one program: seconds of its own running, bytes of heap, call depth, module calls."""

    seconds: float = 2.0
    memory: int = 64 * 1024 * 1024
    depth: int = 200
    calls: int = 500


@dataclass(frozen=True, slots=True)
class Request:
    """The arguments of one ``_ask``, as the program sent them: nothing in here is checked."""

    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class End:
    """The program is over. ``value`` is a JSON value where ``status`` is "ok".

    ``killed`` tells that somebody else ended its worker, so that it deserves another try.
    """

    status: str
    error: str | None = None
    value: Any = None
    killed: bool = False


class Sandbox:
    """A pool of workers; a context manager. ``held`` programs can be alive at once."""

    def __init__(self, limits: Limits, held: int) -> None:
        self.limits = limits
        self._monty_limits = {
            "max_feed_duration_secs": limits.seconds,
            "max_memory": limits.memory,
            "max_recursion_depth": limits.depth,
            "max_suspensions": limits.calls + NAME_LOOKUPS,
            "max_total_sleep_secs": 0.0,
        }
        # Fewer processes than programs held would wait for a worker that nobody gives back.
        self._pool = Monty(
            min_processes=1,
            max_processes=held + 1,
            checkout_timeout=60.0,
            request_timeout=limits.seconds + 2 * GRACE_SECONDS,
            feed_duration_limit_grace=GRACE_SECONDS,
        )
        self._warm = b""

    def __enter__(self) -> "Sandbox":
        self._pool.__enter__()
        # Loading a dumped session costs half of what running the prelude's source costs.
        with self._pool.checkout(limits=self._monty_limits) as session:
            session.feed_run(prelude_source())
            self._warm = session.dump()
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.__exit__(*error)

    def start(self, source: str, inputs: dict[str, Any]) -> "Program":
        """Begin a program in a worker of its own; its ``state`` says what it waits for."""
        return Program(self._pool.checkout(limits=self._monty_limits), self._warm, source, inputs)


class Program:
    """A program in its worker. ``state`` is its pending Request, or its End."""

    def __init__(
        self, session: MontySession, warm: bytes, source: str, inputs: dict[str, Any]
    ) -> None:
        self._session = session.__enter__()
        self._open = True
        self._snapshot: FunctionSnapshot | None = None
        self._advance(lambda: self._begin(warm, source, inputs))

    def resume(self, value: Any) -> None:
        """Give the pending request its answer and run on to the next state."""
        snapshot = self._snapshot
        self._advance(lambda: snapshot.resume({"return_value": value}))

    def fail(self, message: str) -> None:
        """Give the pending request an exception that the program may catch."""
        snapshot = self._snapshot
        self._advance(lambda: snapshot.resume({"exc_type": "ValueError", "message": message}))

    def end(self, end: End) -> None:
        """Stop the program where it stands and free its worker."""
        self.state: Request | End = end
        self.close()

    def close(self) -> None:
        if self._open:
            self._open = False
            self._session.__exit__(None, None, None)

    def _begin(self, warm: bytes, source: str, inputs: dict[str, Any]) -> Any:
        self._session.load_session(warm)
        printed = CollectString(max_bytes=PRINTED_BYTES)
        return self._session.feed_start(source, inputs=inputs, print_callback=printed)

    def _advance(self, move: Any) -> None:
        try:
            self.state = self._settle(move())
        except MontyError as error:
            self.state = _ended_by(error)
        if isinstance(self.state, End):
            self.close()

    def _settle(self, snapshot: Any) -> Request | End:
        """Run on past what needs no module: unknown names become NameErrors of the program."""
        while not isinstance(snapshot, MontyComplete):
            if isinstance(snapshot, FutureSnapshot):
                return End("program_error", "programs cannot await")
            if isinstance(snapshot, FunctionSnapshot):
                if snapshot.is_os_function and snapshot.function_name != "import":
                    return End("forbidden", f"uses {snapshot.function_name}")
                if snapshot.function_name == HOST_FUNCTION:
                    self._snapshot = snapshot
                    return Request(tuple(snapshot.args))
            snapshot = snapshot.resume_auto()
        try:
            value = json_value(snapshot.output)
        except ValueError as error:
            return End("program_error", f"the answer {error}")
        if value is None:
            return End("program_error", "the program returned nothing")
        return End("ok", None, value)


@cache
def prelude_source() -> str:
    """The text that every worker runs before its program."""
    folder = Path(__file__).with_name("prelude")
    return "\n".join((folder / f"{n}.py").read_text(encoding="utf-8") for n in PRELUDE)


def json_value(value: Any) -> Any:
    """A copy made of JSON's types alone. Raises ``ValueError`` where that cannot be.

    A value may hold itself a thousand times without taking memory; its copy would not.
    """
    return _copy(value, 0, [ANSWER_SIZE])


def _copy(value: Any, depth: int, left: list[int]) -> Any:
    left[0] -= 1 + (len(value) if isinstance(value, str) else 0)
    if left[0] < 0:
        raise ValueError(f"has more than {ANSWER_SIZE} parts and characters")
    if depth > DEEPEST_ANSWER:
        raise ValueError("is nested too deep")
    if value is None or isinstance(value, (bool, int)):
        if isinstance(value, int) and abs(value) >= 2**63:
            raise ValueError("is a number too large for a table")
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("is not a finite number")
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        pairs = [(k if isinstance(k, str) else repr(k), v) for k, v in value.items()]
        return {_copy(k, depth, left): _copy(v, depth + 1, left) for k, v in pairs}
    if isinstance(value, (list, tuple)):
        return [_copy(item, depth + 1, left) for item in value]
    raise ValueError(f"is a {type(value).__name__}, which no table can hold")


def _ended_by(error: MontyError) -> End:
    if isinstance(error, MontyCrashedError):
        # The program's own bombs time out or abort; these signals come from outside.
        killed = not error.timed_out and any(s in str(error) for s in ("SIGKILL", "SIGTERM"))
        return End("limit", one_line(f"the worker died: {error}"), killed=killed)
    message = one_line(error)
    inner = error.exception()
    over = isinstance(inner, (TimeoutError, MemoryError, RecursionError))
    if over or "suspension limit" in message:
        return End("limit", message)
    if isinstance(inner, PermissionError):
        return End("forbidden", message)
    return End("program_error", message)
