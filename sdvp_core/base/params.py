"""params.yaml, checked: every knob of the pipeline, with its meaning and its default."""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sdvp_core.base.errors import UserError

ModuleName = Literal["vqa", "locate", "match"]
Dialect = Literal["visprog", "viper"]
Split = Literal["train", "distill", "val", "test"]
Strategy = Literal["none", "name", "lineage", "box"]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0)]


class Section(BaseModel):
    """A part of params.yaml: unknown keys are errors, for a typo must not pass in silence."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Run(Section):
    """Machine settings, tracked by no stage: they change nothing but the last digits of scores.

    ``device`` sums in another order, and ``held`` makes other batches, of other shapes: a score or
    a box can come out another in the last digit kept, and an answer on the edge with it. Tables are
    byte for byte the same only where both are.
    """

    device: str = "auto"  # auto, cpu, cuda, cuda:1
    held: Count = 64  # programs suspended at once, each in a process
    parked: Annotated[int, Field(ge=0)] = 0  # further ones, as dumps in memory


class Task(Section):
    """A task: official files at `source`, or the embedded world rendered with `world` scenes."""

    reader: Literal["gqa", "nlvr2", "nlvr", "tallyqa", "refcoco"]
    source: str | None = None  # folder with the official files
    world: dict[Split, Count] | None = None  # scenes a split
    bank: str | None = None  # JSON lines of recorded programs (default: the world's own)
    programs: Literal["semantic", "recorded", "llm"] = "semantic"
    scene: Literal["image", "pair", "boxes"] = "image"  # IMAGE; LEFT, RIGHT; LEFT, MIDDLE, RIGHT
    shares: dict[Split, Fraction] = {}  # parts of the official train split, by image
    limits: dict[Split, Count] = {}  # at most so many questions of a split

    @model_validator(mode="after")
    def _one_origin(self) -> "Task":
        if (self.source is None) == (self.world is None):
            raise ValueError("give either `source` (a folder) or `world` (scenes a split)")
        return self


class Schedule(Section):
    """How one model is trained; steps, never seconds, so that a busy machine changes no result."""

    steps: Count
    batch_size: Count = 64
    lr: float = 2e-3
    samples: Count = 40_000  # training examples drawn from the annotations
    easy_steps: Annotated[int, Field(ge=0)] = 0  # steps on the easy examples alone, before all


class Pretrain(Section):
    """The base students: tiny ones from scratch, or downloaded checkpoints."""

    task: str = "shapes_generic"
    checkpoint: dict[ModuleName, str] | None = None  # hub id or folder for every module
    words: list[str] = []  # further words of the tokenizer
    answers: list[str] = []  # further answers of the VQA student
    vqa: Schedule
    locate: Schedule
    match: Schedule
    # Inputs kept for self-distillation; of `locate`, regions with all that is asked of them.
    replay: dict[ModuleName, Count] = {}


class Teacher(Section):
    """The small task-specific teacher of a task."""

    folder: str | None = None  # a fitted teacher to take instead
    measured: Count = 1000  # held-out sub-questions of each kind it is measured on
    answers: Schedule
    boxes: Schedule


class Generate(Section):
    dialects: list[Dialect] = ["visprog", "viper"]
    llm: dict[str, Any] | None = None  # of sdvp_core/llm/settings.py, for tasks with programs: llm


class Execute(Section):
    """Limits of one program (what exceeds them is a row with status `limit`), and how it is run."""

    seconds: float = 2.0  # of computing inside the sandbox, module calls not counted
    memory_mb: Count = 64
    depth: Count = 200
    calls: Count = 500
    teacher_forcing: bool = True  # run every program once more, the teacher's answers handed on


class Supervise(Section):
    """What turns steps into targets, and which targets are kept."""

    adapter: dict[ModuleName, Strategy] = {"vqa": "name", "locate": "none", "match": "name"}
    min_confidence: dict[ModuleName, Fraction] = {}
    # Names that other steps search for, of which the teacher says what they find in each region
    # that `locate` searched. Worth it where programs ask the same few names of the same places.
    contrast: Annotated[int, Field(ge=0)] = 0
    measured_steps: Count = 2000  # steps on which every strategy is measured


class Distill(Section):
    """Stepwise loss: alpha CE(hard) + (1 - alpha) T^2 KL(soft), plus lambda times the
    self-distillation term; `locate` has its box losses instead."""

    alpha: Fraction = 0.5
    temperature: Annotated[float, Field(gt=0)] = 2.0
    # Lambda, of all modules or of each (1 where it is not named); 0 turns it off.
    self_distillation: Weight | dict[ModuleName, Weight] = 1.0
    lora: Count | None = None  # rank; null trains all weights
    optimizer: Literal["adamw", "adamw8bit"] = "adamw"
    control: Literal["none", "shuffled", "oracle"] = "none"  # targets permuted, or true ones
    # How views of `locate` are seen at random: left to right, or upside down and turned too, which
    # suits pictures that have no up. Never where a text asked of them names such a side.
    mirror: Literal["none", "sides", "all"] = "sides"
    # Which patch learns a box: the nearest, or (DETR's Hungarian matching) the one that fits best
    # already, which disturbs a trained checkpoint least.
    assignment: Literal["nearest", "hungarian"] = "nearest"
    vqa: Schedule
    locate: Schedule
    match: Schedule
    replay: dict[ModuleName, Count] = {}  # inputs this link leaves for later links

    def self_distillation_of(self, module: str) -> float:
        """Lambda of one module."""
        weight = self.self_distillation
        return weight.get(module, 1.0) if isinstance(weight, dict) else weight


class Evaluate(Section):
    """Tasks that every student set is evaluated on, beside those of its own chain of links."""

    skills: dict[str, Literal["previous", "unseen"]] = {}  # known before any link; never trained on
    resamples: Count = 2000  # of the bootstrap


class Link(Section):
    """One distillation: students of `after` learn `task`; sections given here replace defaults."""

    after: str
    task: str
    supervise: dict[str, Any] = {}
    distill: dict[str, Any] = {}


class Params(Section):
    """The whole of params.yaml."""

    seed: int = 0
    run: Run = Run()
    tasks: dict[str, Task]
    pretrain: Pretrain
    teachers: dict[str, Teacher]
    generate: Generate = Generate()
    execute: Execute = Execute()
    supervise: Supervise = Supervise()
    distill: Distill
    evaluate: Evaluate = Evaluate()
    sequence: dict[str, Link]

    def task(self, name: str) -> Task:
        """A task by name; ``UserError`` for one that params.yaml does not define."""
        return _named(self.tasks, name, "task", "tasks")

    def teacher(self, name: str) -> Teacher:
        """The teacher of a task; ``UserError`` where there is none."""
        return _named(self.teachers, name, "teacher", "teachers")

    def link(self, name: str) -> Link:
        """A link by name; ``UserError`` for an unknown one."""
        return _named(self.sequence, name, "link", "sequence")

    def chain(self, name: str) -> list[str]:
        """The links from the first one after `base` to ``name``, in order of learning."""
        names: list[str] = []
        while name != "base":
            names.append(name)
            name = self.link(name).after
        return names[::-1]

    def supervise_of(self, link: str) -> Supervise:
        """The `supervise` section with the link's own values put over it."""
        return _merged(self.supervise, self.link(link).supervise, f"sequence.{link}.supervise")

    def distill_of(self, link: str) -> Distill:
        """The `distill` section with the link's own values put over it."""
        return _merged(self.distill, self.link(link).distill, f"sequence.{link}.distill")

    @model_validator(mode="after")
    def _names_exist(self) -> "Params":
        for name, link in self.sequence.items():
            if link.task not in self.tasks:
                raise ValueError(f"sequence.{name}.task: {link.task!r} is not under `tasks`")
            if link.task not in self.teachers:
                raise ValueError(f"sequence.{name}.task: {link.task!r} is not under `teachers`")
            if link.after != "base" and link.after not in self.sequence:
                raise ValueError(f"sequence.{name}.after: {link.after!r} is no link and not `base`")
        for name in [self.pretrain.task, *self.evaluate.skills]:
            if name not in self.tasks:
                raise ValueError(f"{name!r} is not under `tasks`")
        for name in self.sequence:
            seen = {name}
            while (name := self.sequence[name].after) != "base":
                if name in seen:
                    raise ValueError(f"sequence: the links go round in a circle at {name!r}")
                seen.add(name)
        return self


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Read and check params.yaml; every mistake in it is one sentence with the place."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run this from the project's root.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}.") from error
    return _checked(Params, values, str(path))


def _checked(section: type[Section], values: Any, where: str) -> Any:
    try:
        return section.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            message = "this name is unknown; check the spelling"
        raise UserError(f"{where}: {place + ': ' if place else ''}{message}.") from None


def _merged(section: Section, over: dict[str, Any], where: str) -> Any:
    values = section.model_dump()
    for key, value in over.items():
        known = isinstance(values.get(key), dict) and isinstance(value, dict)
        values[key] = values[key] | value if known else value
    return _checked(type(section), values, f"params.yaml: {where}")


def _named(section: dict[str, Any], name: str, what: str, where: str) -> Any:
    if name not in section:
        known = ", ".join(sorted(section))
        raise UserError(f"{name!r} is no {what}: params.yaml defines under `{where}`: {known}.")
    return section[name]
