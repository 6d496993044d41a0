"""Teacher forcing: the program goes on with the teacher's answer, the step records the student's.

A student that finds nothing in a new domain takes no step there that a target could be learnt from:
every crop is the whole image. With the teacher's boxes handed on, the later steps of a program are
those it would take if the earlier ones were right (Williams and Zipser 1989, for sequences).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sdvp_core.base.images import ImageStore
from sdvp_core.base.records import FORCED
from sdvp_core.interpreter.calls import CallCache
from sdvp_core.interpreter.rows import Execution
from sdvp_core.modules.call import Call, Module, Output


@dataclass(frozen=True)
class Forced:
    """A student whose answers are recorded, beside a teacher whose answers are handed on."""

    student: Module
    teacher: Module

    def answer(self, calls: Sequence[Call], images: ImageStore) -> list[Output]:
        """The student's outputs, with the teacher's as ``handed`` wherever it has one."""
        own, taught = self.student.answer(calls, images), self.teacher.answer(calls, images)
        return [
            replace(mine, handed=given) if given.error is None else mine
            for mine, given in zip(own, taught, strict=True)
        ]


@dataclass(frozen=True)
class Remembered:
    """A student that is not asked again what it has answered already."""

    student: Module
    known: CallCache

    def answer(self, calls: Sequence[Call], images: ImageStore) -> list[Output]:
        """One output per call, in order."""
        outputs = {call: output for call in calls if (output := self.known.get(call)) is not None}
        new = [call for call in calls if call not in outputs]
        if new:
            for call, output in zip(new, self.student.answer(new, images), strict=True):
                outputs[call] = output
                self.known.put(call, output)
        return [outputs[call] for call in calls]


def passes(plain: Execution, teachers: Mapping[str, Module]) -> list[Execution]:
    """The plain pass over some programs and, where there are teachers, the forced one after it.

    Both share what the students have answered: the first call of a program is the same in both,
    and so is every call after it up to one that the teacher answers otherwise.
    """
    if not teachers:
        return [plain]
    known = CallCache()
    asked_once = {name: Remembered(module, known) for name, module in plain.modules.items()}
    name, taught = plain.student_set + FORCED, forced(asked_once, teachers)
    return [
        replace(plain, modules=asked_once),
        replace(plain, modules=taught, student_set=name),
    ]


def forced(students: Mapping[str, Module], teachers: Mapping[str, Module]) -> dict[str, Module]:
    """Every student that has a teacher beside it; the others as they are."""
    return {
        name: Forced(student, teachers[name]) if name in teachers else student
        for name, student in students.items()
    }
