"""How fast programs run, against each call by itself and against the bare models.

python -m benchmarks.execute models/base data/shapes_gqa --questions 1000

In one run, with the same students and the same programs, each timed several times in turn:
(a) each call by itself: one program at a time, one call a forward, nothing reused;
(b) the executor as the stages use it, in a sandbox whose workers are warm from earlier programs;
(c) the bare batched forwards of the unique calls of (b), collected before: no program runs at all.
Prints JSON: medians in traces a second, b/a, b/c, c/a (what no executor can exceed), processor
seconds of host and workers (they tell more than the clock where others use the machine), peak
memory in MB, and apart from the rates what starting the workers of (b) costs once in a run.
"""

import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.workload import Memory, images_of, jobs_of
from sdvp_core.base.runtime import pick_device, start_log, versions
from sdvp_core.interpreter.calls import CallCache
from sdvp_core.interpreter.sandbox import Sandbox
from sdvp_core.interpreter.scheduler import Job, Limits, Statistics, execute
from sdvp_core.modules.call import Call, Module

BARE_CALLS = 4096  # asked at once in (c)


def main(
    students: Path,
    task: Path,
    questions: Annotated[int, typer.Option(help="how many, in both dialects")] = 1000,
    repeats: int = 3,
    alone: Annotated[int, typer.Option(help="programs of (a), spread over all")] = 200,
    held: int = 64,
    device: str = "auto",
    scene: str | None = None,
) -> None:
    from sdvp_core.modules.students import load_students

    start_log()
    device = pick_device(device)
    modules = load_students(students, device)
    jobs = jobs_of(task, questions, scene)
    sampled = jobs[:: max(1, len(jobs) // alone)]
    counted, calls = _collected(jobs, modules, task, held)
    with Sandbox(Limits(), 1) as one, Sandbox(Limits(), held) as sandbox:
        spawn = _spawned(sandbox, held)
        ways = {
            "a_each_call_by_itself": (
                len(sampled),
                lambda: _by_itself(sampled, modules, task, one),
            ),
            "b_executor": (len(jobs), lambda: _executor(jobs, modules, task, held, sandbox)),
            "c_bare_forwards": (len(jobs), lambda: _bare(calls, modules, task)),
        }
        rates, used = _timed(ways, repeats)
    a, b, c = (statistics.median(rates[way]) for way in ways)
    found = {
        "traces_per_second": {way: round(statistics.median(rates[way]), 1) for way in ways},
        "all_repeats": {way: [round(rate, 1) for rate in rates[way]] for way in ways},
        "b_over_a": round(b / a, 2),
        "b_over_c": round(b / c, 3),
        "c_over_a": round(c / a, 2),
        "programs_of": {way: count for way, (count, _) in ways.items()},
        **used,
        "spawn_seconds": {"all_workers": round(spawn, 3), "a_worker": round(spawn / held, 4)},
        "held": held,
        "device": device,
        "counts_of_b": asdict(counted),
        "versions": versions(),
    }
    print(json.dumps(found, indent=2))


def _timed(
    ways: dict[str, tuple[int, Callable[[], None]]], repeats: int
) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Rates of every repeat; the ways take turns, so that a busy minute hits them all."""
    rates: dict[str, list[float]] = {way: [] for way in ways}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    memory: dict[str, Any] = {}
    for _ in range(repeats):
        for way, (count, run) in ways.items():
            with Memory() as peak:
                started, spent = time.perf_counter(), sum(os.times()[:4])
                run()
                rates[way].append(count / (time.perf_counter() - started))
                seconds[way].append(sum(os.times()[:4]) - spent)
            memory[way] = {"host": round(peak.host), "workers": round(peak.workers)}
    processor = {way: round(statistics.median(times), 2) for way, times in seconds.items()}
    return rates, {"processor_seconds": processor, "peak_memory_mb": memory}


def _collected(
    jobs: list[Job], modules: dict[str, Module], task: Path, held: int
) -> tuple[Statistics, dict[str, list[Call]]]:
    counted = Statistics()
    calls: dict[str, dict[Call, None]] = {}
    for trace in execute(jobs, modules, images_of(task), held=held, statistics=counted):
        for step in trace.steps:
            calls.setdefault(step.call.module, {})[step.call] = None
    return counted, {name: list(unique) for name, unique in calls.items()}


def _spawned(sandbox: Sandbox, held: int) -> float:
    """Seconds that ``held`` workers take to start, each with a program that waits."""
    started = time.perf_counter()
    programs = [sandbox.start("_ask()", {"_scene": {}}) for _ in range(held)]
    spent = time.perf_counter() - started
    for program in programs:
        program.close()
    return spent


def _by_itself(jobs: list[Job], modules: dict[str, Module], task: Path, sandbox: Sandbox) -> None:
    images, nothing_kept = images_of(task), CallCache(0)
    for job in jobs:
        list(execute([job], modules, images, held=1, sandbox=sandbox, cache=nothing_kept))


def _executor(
    jobs: list[Job], modules: dict[str, Module], task: Path, held: int, sandbox: Sandbox
) -> None:
    for _ in execute(jobs, modules, images_of(task), held=held, sandbox=sandbox):
        pass


def _bare(calls: dict[str, list[Call]], modules: dict[str, Module], task: Path) -> None:
    images = images_of(task)
    for name, asked in calls.items():
        for start in range(0, len(asked), BARE_CALLS):
            modules[name].answer(asked[start : start + BARE_CALLS], images)


if __name__ == "__main__":
    typer.run(main)
