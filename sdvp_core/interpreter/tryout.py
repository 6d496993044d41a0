"""Programs of a language model, tried out in the sandbox: what it says against them, and whether
their answer is the training answer."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sdvp_core.base.images import ImageStore
from sdvp_core.interpreter.sandbox import Limits, Sandbox
from sdvp_core.interpreter.scheduler import Job, execute
from sdvp_core.llm.generate import TRAINING_SPLITS
from sdvp_core.llm.trials import Candidate, TryOut, Verdict
from sdvp_core.modules import stub
from sdvp_core.modules.call import Module

HELD = 16


@contextmanager
def trials(
    images: ImageStore,
    scene: str,
    limits: Limits,
    judge: Mapping[str, Module] | None,
    correct: Callable[[Any, Mapping[str, Any]], bool],
) -> Iterator[TryOut]:
    """Runs candidates over ``judge`` on training splits, over stub modules everywhere else.

    A module's failure is no complaint about the program; an answer is compared on training splits
    only, for answers of evaluation splits choose nothing.
    """
    stubs = stub.load()
    with Sandbox(limits, HELD) as sandbox:

        def run(candidates: Sequence[Candidate], modules: Mapping[str, Module]) -> list[Verdict]:
            jobs = [
                Job(str(n), c.dialect, c.program, tuple(c.question["image_ids"]), scene,
                    c.question["question"])
                for n, c in enumerate(candidates)
            ]  # fmt: skip
            traces = execute(jobs, modules, images, limits, HELD, sandbox=sandbox)
            return [
                Verdict(
                    trace.error if trace.status not in ("ok", "module_error") else None,
                    correct(trace.answer, c.question) if modules is not stubs else None,
                )
                for trace, c in zip(traces, candidates, strict=True)
            ]

        def try_out(candidates: Sequence[Candidate]) -> list[Verdict]:
            judged = [judge is not None and c.question["split"] in TRAINING_SPLITS
                      for c in candidates]  # fmt: skip
            verdicts: list[Verdict | None] = [None] * len(candidates)
            for group, modules in ((True, judge), (False, stubs)):
                places = [n for n, j in enumerate(judged) if j is group]
                if places:
                    found = run([candidates[n] for n in places], modules or stubs)
                    for place, verdict in zip(places, found, strict=True):
                        verdicts[place] = verdict
            return [v for v in verdicts if v is not None]

        yield try_out
