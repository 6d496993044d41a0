"""Teacher forcing: the program goes on with the teacher's answer, the step records the student's.

A student that finds nothing in a new domain takes no step there that a target could be learnt from:
every crop is the whole image. With the teacher's boxes handed on, the later steps of a program are
those it would take if the earlier ones were right (Williams and Zipser 1989, for sequences).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sdvp_core.base.images import ImageStore
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


def forced(students: Mapping[str, Module], teachers: Mapping[str, Module]) -> dict[str, Module]:
    """Every student that has a teacher beside it; the others as they are."""
    return {
        name: Forced(student, teachers[name]) if name in teachers else student
        for name, student in students.items()
    }
