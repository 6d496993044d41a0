"""One generated program in one sandboxed worker process, with limits (Monty, pydantic-monty).

A worker has no file, network, environment or import; it can only ask the host, which trusts
nothing it is sent (``requests.py``). What this does NOT cover:

- faults of the interpreter's own code (nobody has fuzzed it here), and system call filters on its
  processes;
- the parser: CPython's ``ast`` reads hostile text in the host process, before any limit holds;
- the memory of all workers together: ``Limits.memory`` times the programs held, if all are hostile;
- the time of the modules: a program has a budget of texts and characters, none of their seconds;
- side channels such as timing, and what a module makes of a text that a program writes.
"""

import resource
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic_monty import Monty, MontySession

from sdvp_core.base.errors import UserError
from sdvp_core.interpreter.session import Program, json_value

__all__ = ["Limits", "Sandbox", "json_value", "prelude_source"]

PRELUDE = ("callbacks", "patch", "steps")
GRACE_SECONDS = 1.0  # the worker's own clock stops it first; then it is killed
CHECKOUT_SECONDS = 60.0  # how long a program waits for a worker where all are taken
WORKER_DESCRIPTORS = 3  # pipes of a worker
OTHER_DESCRIPTORS = 100  # tables, images, logs and libraries
NAME_LOOKUPS = 200  # suspensions allowed beside the module calls


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one program: seconds of its own running, bytes of heap, call depth, module calls."""

    seconds: float = 2.0
    memory: int = 64 * 1024 * 1024
    depth: int = 200
    calls: int = 500


class Sandbox:
    """A pool of workers; a context manager. ``held`` programs can be alive at once.

    ``parked`` more can wait without a worker (see ``Program.park``). ``alive`` is how many workers
    are taken. Entering it raises ``UserError`` where the process may not open files enough.
    """

    def __init__(self, limits: Limits, held: int, parked: int = 0) -> None:
        self.limits, self.held, self.parked = limits, held, parked
        self.alive = 0
        self.suspensions = limits.calls + NAME_LOOKUPS
        self._monty_limits = {
            "max_feed_duration_secs": limits.seconds,
            "max_memory": limits.memory,
            "max_recursion_depth": limits.depth,
            "max_suspensions": self.suspensions,
            "max_total_sleep_secs": 0.0,
        }
        # Fewer processes than programs held would wait for a worker that nobody gives back; those
        # of the parked ones start only where programs are too large to be parked.
        self._pool = Monty(
            min_processes=1,
            max_processes=held + parked + 1,
            checkout_timeout=CHECKOUT_SECONDS,
            request_timeout=limits.seconds + 2 * GRACE_SECONDS,
            feed_duration_limit_grace=GRACE_SECONDS,
        )
        self.warm = b""  # a session that has run the prelude

    def __enter__(self) -> "Sandbox":
        _check_descriptors(self.held + self.parked)
        self._pool.__enter__()
        # Loading a dumped session costs half of what running the prelude's source costs.
        with self.checkout() as session:
            session.feed_run(prelude_source())
            self.warm = session.dump()
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.__exit__(*error)

    def start(self, source: str, inputs: dict[str, Any]) -> "Program":
        """Begin a program in a worker of its own; its ``state`` says what it waits for."""
        return Program(self, source, inputs)

    def checkout(self) -> MontySession:
        """A session of the pool; entering it takes a worker."""
        return self._pool.checkout(limits=self._monty_limits)


def _check_descriptors(held: int) -> None:
    needed = WORKER_DESCRIPTORS * (held + 1) + OTHER_DESCRIPTORS
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if allowed != resource.RLIM_INFINITY and allowed < needed:
        raise UserError(
            f"{held} programs at once need {needed} open files, but this process may open "
            f"{allowed}: lower `run.held`, or raise the limit with `ulimit -n {needed}`."
        )


@cache
def prelude_source() -> str:
    """The text that every worker runs before its program."""
    folder = Path(__file__).with_name("prelude")
    return "\n".join((folder / f"{n}.py").read_text(encoding="utf-8") for n in PRELUDE)
