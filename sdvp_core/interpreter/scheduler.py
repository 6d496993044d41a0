"""Runs programs: many held suspended, what they wait for answered in batches.

A module call suspends its program. While one batch is computed, the programs that the batch before
answered run on, new ones begin, and finished traces are handed out. What goes into a batch depends
on the jobs and on ``held`` alone, never on the clock: equal runs have equal batches.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from itertools import chain

from sdvp_core.base.images import ImageStore
from sdvp_core.interpreter.calls import BatchSizes, CallCache, Forwards, encoded_once
from sdvp_core.interpreter.live import Job, Live, begin
from sdvp_core.interpreter.requests import checked_texts
from sdvp_core.interpreter.sandbox import Limits, Sandbox
from sdvp_core.interpreter.trace import Statistics, Trace
from sdvp_core.modules.call import Call, Module, Output
from sdvp_core.program.companions import companions

__all__ = ["Job", "Limits", "Statistics", "execute"]

SMALL = 8  # encodings that are taken as they are
WINDOW = 4  # times `held`: how far a run may go ahead of a slow program before it waits for it
NO_LIMITS_GIVEN = Limits()


def execute(
    jobs: Iterable[Job],
    modules: Mapping[str, Module],
    images: ImageStore,
    limits: Limits = NO_LIMITS_GIVEN,
    held: int = 64,
    statistics: Statistics | None = None,
    sandbox: Sandbox | None = None,
    cache: CallCache | None = None,
    batch_sizes: BatchSizes | None = None,
    parked: int = 0,
) -> Iterator[Trace]:
    """Traces in the order of the jobs; what goes wrong with one job is its trace's status.

    ``held`` programs are alive at once, each in a process of its own (1 MB), and ``parked`` more
    wait as bytes (80 kB each). A batch has at most half as many encodings as both together, so that
    they shape the batches: a student's scores may differ between two values of them in the last
    digit kept. ``statistics`` is counted up while the iterator
    advances. Memory does not grow with the number of jobs. An open ``sandbox`` lends its warm
    processes (10 ms each to start) and its limits, in place of ``limits``; it must have room for
    ``held`` and ``parked``. ``cache`` holds answers of earlier runs over the same modules and
    images.

    ``batch_sizes`` takes along, from run to run over the same modules, which batches memory is too
    short for. Such a shortage depends on the machine and not on the jobs alone: the batches after
    it are smaller, in this run and in those that share the object, so that scores may differ in the
    last digit from those of a run that had more memory, or was stopped and found the size anew.
    """
    sizes = batch_sizes if batch_sizes is not None else BatchSizes()
    counted = statistics if statistics is not None else Statistics()
    known = cache if cache is not None else CallCache()
    with Sandbox(limits, held, parked) if sandbox is None else nullcontext(sandbox) as opened:
        run = _Run(modules, images, counted, known, opened, held, parked, sizes)
        yield from run.traces(iter(jobs))


class _Run:
    def __init__(
        self,
        modules: Mapping[str, Module],
        images: ImageStore,
        statistics: Statistics,
        cache: CallCache,
        sandbox: Sandbox,
        held: int,
        parked: int,
        batch_sizes: BatchSizes,
    ) -> None:
        self._modules, self._images, self._statistics = modules, images, statistics
        self._cache, self._sandbox, self._held, self._parked = cache, sandbox, held, parked
        self._full = max(
            1, (held + parked) // 2
        )  # encodings of a full batch: the other programs run on
        self._few = max(1, self._full // 4)  # fewer wait for company
        self._batch_sizes = batch_sizes
        self._forwards = Forwards(modules, images, statistics, batch_sizes)
        self._waiting: list[Live] = []
        self._finished: dict[int, Trace] = {}
        self._admitted = self._wanted = 0

    def traces(self, jobs: Iterator[Job]) -> Iterator[Trace]:
        ready: list[tuple[Live, Output]] = []
        more = True
        try:
            while more or self._waiting or self._finished:
                ready = self._answered()
                self._start_batch(urgent=not ready and not (more and self._room()))
                for live, output in ready:
                    live.deliver(output)
                    self._run_on(live)
                more = more and self._admit(jobs)
                while self._wanted in self._finished:
                    self._wanted += 1
                    yield self._finished.pop(self._wanted - 1)
        finally:
            self._forwards.close()
            for live in [*self._waiting, *(live for live, _ in ready)]:
                live.program.close()

    def _answered(self) -> list[tuple[Live, Output]]:
        """Wait for the batch under way; those it answers, who leave the ones that wait."""
        answers = self._forwards.finish()
        for call, output in answers.items():
            self._cache.put(call, output)
        ready = [(live, answers[live.call]) for live in self._waiting if live.call in answers]
        self._waiting = [live for live in self._waiting if live.call not in answers]
        asked = {live.call for live, _ in ready}
        self._statistics.cache_hits += len(ready) - len(asked)
        self._statistics.ahead += len(answers) - len(asked)
        return ready

    def _start_batch(self, urgent: bool) -> None:
        """Begin a batch of the module with most to encode, those of the oldest programs first.

        Students pad to powers of two, so that is how many are taken. Less than a quarter of a full
        batch waits for company unless it is ``urgent``.
        """
        asked: dict[str, dict[Hashable, dict[Call, None]]] = {}
        for live in sorted(self._waiting, key=lambda live: live.index):
            rows = asked.setdefault(live.call.module, {})
            rows.setdefault(encoded_once(live.call), {}).update(dict.fromkeys(self._together(live)))
        if asked:
            name = max(sorted(asked), key=lambda name: len(asked[name]))
            rows = list(asked[name].values())[: self._batch_sizes.most(name, self._full)]
            if urgent or len(rows) >= min(self._few, self._batch_sizes.most(name, self._full)):
                if len(rows) > SMALL:
                    rows = rows[: 1 << (len(rows).bit_length() - 1)]
                self._forwards.start(name, list(dict.fromkeys(chain(*rows))))

    def _together(self, live: Live) -> list[Call]:
        """The call a program waits for, and those it will likely ask of the same encoding."""
        if live.call.module != "locate" or not self._cache.capacity:
            return [live.call]
        names = companions(live.job.dialect, live.job.program).get(live.call.texts[0], ())
        calls = [replace(live.call, texts=texts) for texts in map(_askable, names) if texts]
        return [live.call, *(call for call in calls if self._cache.get(call) is None)]

    def _room(self) -> bool:
        ahead, most = self._admitted - self._wanted, self._held + self._parked
        return len(self._waiting) < most and ahead < WINDOW * most

    def _admit(self, jobs: Iterator[Job]) -> bool:
        """Begin jobs as long as there is room for them; False where there are none left.

        The first batch starts as soon as enough of them wait, not when all that are held do.
        """
        while self._room():
            job = next(jobs, None)
            if job is None:
                return False
            self._statistics.programs += 1
            self._admitted += 1
            self._begin(self._admitted - 1, job)
            if not self._forwards.started and len(self._waiting) >= self._few:
                self._start_batch(urgent=False)
        return True

    def _begin(self, index: int, job: Job, again: bool = False) -> None:
        begun = begin(index, job, self._sandbox, self._images)
        if isinstance(begun, Trace):
            self._finished[index] = begun
        else:
            begun.again = again
            self._run_on(begun)

    def _run_on(self, live: Live) -> None:
        """Let a program run until it ends or waits for a call that the cache does not know."""
        while (call := live.pending(self._modules, self._sandbox.limits.calls)) is not None:
            self._statistics.calls += 1
            output = self._cache.get(call)
            if output is None:
                self._waiting.append(live)
                if self._parked and self._sandbox.alive > self._held and not live.again:
                    live.program.park()
                return
            self._statistics.cache_hits += 1
            live.deliver(output)
        if live.program.state.killed and not live.again:
            self._begin(live.index, live.job, again=True)
        else:
            self._finished[live.index] = live.trace()


def _askable(name: str) -> tuple[str, ...]:
    """A name from the text of a program, as if the program had asked it; () where it may not."""
    try:
        return checked_texts((name,))
    except ValueError:
        return ()
