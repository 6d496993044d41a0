"""One program on its way: its requests checked, its steps recorded, its end a trace."""

from collections.abc import Container
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from sdvp_core.base.images import ImageError, ImageStore
from sdvp_core.interpreter.requests import Refused, Spent, checked_call, program_value
from sdvp_core.interpreter.sandbox import Sandbox
from sdvp_core.interpreter.session import End, Program, Request
from sdvp_core.interpreter.trace import Step, Trace, one_line
from sdvp_core.modules.call import Call, Output
from sdvp_core.program import viper, visprog
from sdvp_core.program.errors import ProgramError

COMPILERS = {"visprog": visprog.compile, "viper": viper.compile}
# Statements put before the program: the names that a scene binds.
SCENES = {
    "image": "IMAGE = _view(0)\n",
    "pair": "LEFT = _view(0)\nRIGHT = _view(1)\n",
    "boxes": "IMAGE = _view(0)\nLEFT = _third(0)\nMIDDLE = _third(1)\nRIGHT = _third(2)\n",
}


@dataclass(frozen=True, slots=True)
class Job:
    """A program and its images. ``scene`` says which names are bound to what.

    image: IMAGE. pair: LEFT and RIGHT, two photos. boxes: IMAGE, and LEFT, MIDDLE, RIGHT, the
    three boxes of NLVR in it. ``question`` is bound to parameters of that name or ``query``.
    """

    key: str
    dialect: str
    program: str
    image_ids: tuple[str, ...]
    scene: str = "image"
    question: str = ""


@dataclass(slots=True)
class Live:
    """A program in the sandbox with its trace so far. ``call`` is what it waits for."""

    index: int
    job: Job
    program: Program
    sizes: dict[str, tuple[int, int]]
    steps: list[Step]
    call: Call | None = None
    arguments: dict[str, Any] | None = None
    parents: tuple[int, ...] = ()
    again: bool = False  # its first worker was killed by somebody else
    spent: Spent = field(default_factory=Spent)

    def pending(self, modules: Container[str], calls: int) -> Call | None:
        """The call the program waits for, checked; None once it has ended.

        ``modules`` are the names that can be asked; ``calls`` is how many steps are allowed.
        """
        while isinstance(self.program.state, Request):
            try:
                return self._checked(self.program.state, modules, calls)
            except Refused as refused:
                self.program.end(End(refused.status, one_line(refused)))
            except ValueError as error:
                self.program.fail(one_line(error))
        return None

    def deliver(self, output: Output) -> None:
        """Record the step and run on, or end where the module could not answer."""
        given, arguments = output.handed or output, dict(self.arguments or {})
        if output.handed is not None:
            arguments["handed"] = given.value(self.call.module)
        try:
            value = program_value(self.call, given, self.sizes[self.call.image_id])
        except Refused as refused:
            self.program.end(End(refused.status, one_line(refused)))
            return
        step = Step(len(self.steps), self.parents, arguments, self.call, output)
        self.steps.append(step)
        self.program.resume([step.index, value])

    def trace(self) -> Trace:
        """The trace of a program that has ended."""
        end = self.program.state
        return Trace(self.job.key, end.status, end.error, end.value, self.steps)

    def _checked(self, request: Request, modules: Container[str], calls: int) -> Call:
        if len(self.steps) >= calls:
            raise Refused("limit", f"more than {calls} module calls")
        self.call, self.parents, self.arguments = checked_call(
            request.arguments, self.sizes, len(self.steps)
        )
        if self.call.module not in modules:
            raise Refused("module_error", f"there is no module {self.call.module!r} in this set")
        self.spent.add(self.call, self.arguments)
        return self.call


def begin(index: int, job: Job, sandbox: Sandbox, images: ImageStore) -> Live | Trace:
    """Start a job's program; what cannot start is a trace already."""
    try:
        source = _source(job)
        sizes = {image_id: images.size(image_id) for image_id in job.image_ids}
    except ProgramError as error:
        return Trace(job.key, error.status, one_line(error.message))
    except ImageError as error:
        return Trace(job.key, "module_error", one_line(error))
    scene = {
        "images": [[image_id, *sizes[image_id]] for image_id in job.image_ids],
        "scene": job.scene,
        "question": job.question,
    }
    return Live(index, job, sandbox.start(source, {"_scene": scene}), sizes, [])


def _source(job: Job) -> str:
    if job.dialect not in COMPILERS:
        raise ProgramError("program_error", f"there is no dialect {job.dialect!r}")
    if job.scene not in SCENES:
        raise ProgramError("program_error", f"there is no scene {job.scene!r}")
    if len(job.image_ids) < (2 if job.scene == "pair" else 1):
        raise ProgramError("program_error", f"scene {job.scene!r} needs more images")
    return SCENES[job.scene] + _compiled(job.dialect, job.program)


@lru_cache(maxsize=4096)  # a statement's program runs on many images
def _compiled(dialect: str, program: str) -> str:
    return COMPILERS[dialect](program)
