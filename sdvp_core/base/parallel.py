"""Independent jobs side by side: trainings of small networks, which use a second core badly.

One training with two threads takes four fifths of the time it takes with one; two trainings beside
each other, with one thread each, are done in little more than the time of one.
"""

import multiprocessing
import os
import pickle
import signal
import traceback
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection, wait
from typing import Any

from sdvp_core.base.errors import UserError

Tell = Callable[[Any], None]
# What runs in a process of its own: a function of a module, its arguments; it is given `tell` last.
Job = tuple[Callable[..., Any], tuple[Any, ...]]


def side_by_side(
    jobs: Mapping[str, Job], heed: Callable[[str, Any], None], device: str = "cpu"
) -> dict[str, Any]:
    """The results of all jobs by name; what a job tells on its way goes to ``heed(name, told)``.

    On a CPU as many run at once as there are cores, each in a process with its share of the
    threads; on another device one after the other, in this process. A :class:`UserError` of a job
    is raised here, and ends the others; so does a job that is killed.
    """
    if not device.startswith("cpu"):
        return {
            name: job(*given, lambda told, name=name: heed(name, told))
            for name, (job, given) in jobs.items()
        }
    cores = _cores()
    threads = max(1, cores // len(jobs)) if jobs else 1
    waiting, running = dict(jobs), {}
    results: dict[str, Any] = {}
    try:
        while waiting or running:
            while waiting and len(running) < cores:
                name = next(iter(waiting))
                process, pipe = _started(waiting.pop(name), threads)
                running[pipe] = name, process
            for pipe in wait(list(running)):
                name, process = running[pipe]
                kind, told = _received(pipe, name)
                if kind == "told":
                    heed(name, told)
                    continue
                process.join()
                del running[pipe]
                results[name] = told
    finally:
        for _, process in running.values():
            process.kill()
    return {name: results[name] for name in jobs}


def leave_a_core() -> None:
    """Give torch one thread less than there are cores, for programs that run beside the forwards.

    Never more than it has (`OMP_NUM_THREADS`). On two cores the executor answers more
    programs a second with one thread than with two (docs/executor.md).
    """
    import torch

    torch.set_num_threads(max(1, min(torch.get_num_threads(), _cores() - 1)))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _started(job: Job, threads: int) -> tuple[Any, Connection]:
    # A fork of this process would inherit locks of threads that are not there any more.
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    context.set_forkserver_preload(["torch", job[0].__module__])
    here, there = context.Pipe(duplex=False)
    # Pickled by hand: the pickler of multiprocessing hands tensors over by shared files.
    process = context.Process(target=_run, args=(pickle.dumps(job), there, threads), daemon=True)
    process.start()
    there.close()
    return process, here


def _received(pipe: Connection, name: str) -> tuple[str, Any]:
    try:
        kind, told = pickle.loads(pipe.recv_bytes())
    except EOFError:
        raise UserError(
            f"The process that worked on `{name}` was ended from outside, perhaps for want of "
            "memory: run the same command again to go on."
        ) from None
    if kind == "refused":
        raise UserError(told)
    if kind == "failed":
        raise RuntimeError(f"{name}: {told}")
    return kind, told


def _run(pickled: bytes, pipe: Connection, threads: int) -> None:
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends us
    torch.set_num_threads(threads)
    main = multiprocessing.parent_process()

    def tell(told: Any) -> None:
        if main is not None and not main.is_alive():
            os._exit(1)  # nobody is left to work for
        pipe.send_bytes(pickle.dumps(("told", told)))

    try:
        job, given = pickle.loads(pickled)
        answer = "done", job(*given, tell)
    except UserError as error:
        answer = "refused", str(error)
    except BaseException:  # whatever it is, the parent must hear of it
        answer = "failed", traceback.format_exc()
    try:
        pipe.send_bytes(pickle.dumps(answer))
    except BrokenPipeError:
        os._exit(1)
