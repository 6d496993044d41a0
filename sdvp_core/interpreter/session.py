"""One program in its worker: run on from call to call, parked, and over with a status."""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic_monty import (
    CollectString,
    FunctionSnapshot,
    FutureSnapshot,
    MontyComplete,
    MontyCrashedError,
    MontyError,
)

from sdvp_core.interpreter.trace import one_line

if TYPE_CHECKING:
    from sdvp_core.interpreter.sandbox import Sandbox

HOST_FUNCTION = "_ask"
PRINTED_BYTES = 100_000
PARKED_BYTES = 2**20  # a program of the recorded ones takes 80 kB; what takes more keeps its worker
ANSWER_SIZE = 10_000  # parts and characters
DEEPEST_ANSWER = 8


@dataclass(frozen=True, slots=True)
class Request:
    """The arguments of one ``_ask``, as the program sent them: nothing in here is checked."""

    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class End:
    """The program is over. ``value`` is a JSON value where ``status`` is "ok".

    ``killed`` tells that its worker ended by no fault of its own (somebody else killed it, or it
    could not be parked), so that it deserves another try.
    """

    status: str
    error: str | None = None
    value: Any = None
    killed: bool = False


class _NoWorker(Exception):
    """The pool has no free worker and cannot start one."""


class Program:
    """A program in its worker. ``state`` is its pending Request, or its End."""

    def __init__(self, sandbox: "Sandbox", source: str, inputs: dict[str, Any]) -> None:
        self._sandbox = sandbox
        self._open = False
        self._snapshot: FunctionSnapshot | None = None
        self._parked = b""
        self._died: MontyError | None = None  # why it could not be parked, and has no worker
        self._printed = CollectString(max_bytes=PRINTED_BYTES)
        self._suspensions = 0
        self._advance(lambda: self._begin(source, inputs))

    def resume(self, value: Any) -> None:
        """Give the pending request its answer and run on to the next state."""
        self._advance(lambda: self._pending().resume({"return_value": value}))

    def fail(self, message: str) -> None:
        """Give the pending request an exception that the program may catch."""
        failure = {"exc_type": "ValueError", "message": message}
        self._advance(lambda: self._pending().resume(failure))

    def park(self) -> None:
        """Give the worker back while the request is pending; the next answer takes another one.

        The state of the program is kept as bytes, with the time it has used. A program that would
        take too many keeps its worker; one that has taken half of its memory has no room left for
        writing them, which ends the worker.
        """
        try:
            state = self._snapshot.dump()
        except MontyError as error:
            self._died = error
            return
        if len(state) <= PARKED_BYTES:
            self.close()
            self._parked, self._snapshot = state, None

    def end(self, end: End) -> None:
        """Stop the program where it stands and free its worker."""
        self.state: Request | End = end
        self.close()

    def close(self) -> None:
        if self._open:
            self._open = False
            self._sandbox.alive -= 1
            self._session.__exit__(None, None, None)

    def _begin(self, source: str, inputs: dict[str, Any]) -> Any:
        self._enter()
        self._session.load_session(self._sandbox.warm)
        return self._session.feed_start(source, inputs=inputs, print_callback=self._printed)

    def _pending(self) -> FunctionSnapshot:
        if self._died is not None:
            raise self._died
        if self._parked:
            self._enter()
            state, self._parked = self._parked, b""
            self._snapshot = self._session.load_snapshot(state, print_callback=self._printed)
        return self._snapshot

    def _enter(self) -> None:
        """Take a worker. Raises ``_NoWorker`` where none can be had."""
        self._session = self._sandbox.checkout()
        try:
            self._session.__enter__()
        except (MontyError, OSError, RuntimeError) as error:
            raise _NoWorker(f"no sandbox worker could be had: {error}") from error
        self._open = True
        self._sandbox.alive += 1

    def _advance(self, move: Any) -> None:
        try:
            self.state = self._settle(move())
        except MontyError as error:
            end = _ended_by(error)
            self.state = replace(end, killed=True) if error is self._died else end
        except _NoWorker as error:
            self.state = End("limit", one_line(error))
        if isinstance(self.state, End):
            self.close()

    def _settle(self, snapshot: Any) -> Request | End:
        """Run on past what needs no module: unknown names become NameErrors of the program."""
        while not isinstance(snapshot, MontyComplete):
            self._suspensions += 1  # the pool counts too, but anew where a program was parked
            if self._suspensions > self._sandbox.suspensions:
                return End("limit", f"suspension limit {self._sandbox.suspensions} exceeded")
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
