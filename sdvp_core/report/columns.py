"""The released tables: their columns, and what each of them means."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from sdvp_core.base.records import EXECUTIONS, IMAGES, PROGRAMS, QUESTIONS, SUPERVISION

MEANINGS = {
    "step_id": "Identity of this module call: equal inputs give equal ids in every build.",
    "execution_id": "The run of one program, as in executions.parquet; its steps share this id.",
    "index": "Place of the step in its execution, from 0.",
    "parents": "Indices of the earlier steps that this step's region came from.",
    "module": "The visual sub-module called: locate, vqa, match, depth or knowledge.",
    "arguments": "JSON object: the arguments as the program gave them and, where the teacher "
    "stood in, under `handed` its output, in the form of `output`: what the program went on with "
    "(nearly always the target; an answer on the edge can differ).",
    "text": "What was asked: a question (vqa), an object's name (locate), or options joined by "
    "' | ' (match).",
    "image_id": "The image, as in images.parquet.",
    "region": "Part of the image the module saw: x0, y0, x1, y1 in pixels of the original image, "
    "origin top-left.",
    "output": "JSON: the student's answer (vqa), boxes (locate) or one score an option (match); "
    "null where it gave none. The student's own, also where `forced`.",
    "confidence": "The student's probability or best score for its output.",
    "question_id": "The question the program was written for, as in questions.parquet where that "
    "is included, and in the source dataset.",
    "program_id": "The program, as in programs.parquet where that is included.",
    "task": "The task, that is the source dataset, of the question.",
    "dialect": "The program's language: visprog or viper.",
    "group_id": "Image or record: rows of one group never stand in two splits; resample by it.",
    "forced": "Whether the program was run with the teacher's outputs handed on in place of the "
    "student's. With teacher forcing every program is run both ways.",
    "adapter": "How the step was put to the teacher: none, name, lineage or box.",
    "pointer": "The words that tell the teacher which thing is meant, or null.",
    "teacher_text": "What the teacher was asked.",
    "teacher_region": "What the teacher saw, in the coordinates of `region`: where a search for "
    "`pointer` had found nothing, what the teacher itself found by that name, if it did.",
    "target_answer": "The hard label, as plain text, not JSON. vqa: the teacher's answer; match: "
    "the best option, or yes or no to a single one (where every probability is below 0.5 the "
    "teacher takes none for true, and this is the least unlikely one); locate: null.",
    "target_topk": "The soft label. vqa: the teacher's likeliest answers that the student can give "
    "too, at most five; match: each option in the order of `text` with the probability that it is "
    "true, by itself; locate: null.",
    "target_boxes": "locate: the teacher's boxes, in the coordinates of `region`, with their "
    "scores, none for nothing there; else null.",
    "target_confidence": "How sure the teacher is of its target. vqa: the probability of its "
    "answer; match: of the least certain option, the greater of p and 1 - p; locate: of the least "
    "certain decision that a box is there or is not, where a score at the teacher's threshold "
    "counts 0.5, one of 0 or 1 counts 1, and boxes that it refused, not in `target_boxes`, count "
    "too (1 where it saw none). Null where there is no target.",
    "agree": "Whether `output` says what the target says. vqa: the same word; match: the same best "
    "option, or of a single one the same side of 0.5; locate: as many boxes, paired one to one at "
    "IoU 0.5.",
    "kept": "Whether the step has a usable target. Not all of these were trained on: 5% of the "
    "groups (`group_id`) are held out to measure agreement, and rows that ask a module the same of "
    "the same region become one sample, with the target of the highest `target_confidence`.",
    "drop_reason": "Why there is no usable target, or null.",
    "oracle_answer": "The answer by the source's annotations, in the form of `output` (vqa: a JSON "
    "string; locate: boxes; match: 1 or 0 for each option), or null where they say nothing. It is "
    "about the step as the module got it, without `pointer`: a "
    "target about the thing named there can rightly differ.",
    "module_revision": "Content hash of the student set that gave `output`.",
    "teacher_revision": "Content hash of the teacher.",
}
IMAGE_MEANINGS = {
    "task": "As in the steps; with `image_id` the key of an image.",
    "image_id": "As in the steps.",
    "width": "Width in pixels of the original image: regions and boxes refer to it.",
    "height": "Height in pixels.",
    "sha256": "SHA-256 of the original file's bytes: verify your own copy with it.",
    "bytes": "The encoded image file, or null where its source does not let it be passed on.",
}
EXECUTION_MEANINGS = {
    "link": "The distillation that the execution was made for.",
    "execution_id": "As in the steps. Executions that took no step are here too.",
    "program_id": "The program that was run.",
    "question_id": "The question it was written for.",
    "task": "As in the steps.",
    "dialect": "As in the steps.",
    "forced": "As in the steps.",
    "status": "How it ended: ok, program_error (it does not parse, or raised), limit (of time, "
    "memory, depth or calls), forbidden, or module_error (an image or a module failed).",
    "answer": "JSON: the program's answer, or null unless `status` is ok.",
    "correct": "Whether that is the question's answer.",
    "steps": "How many steps it took.",
}
QUESTION_MEANINGS = {
    "task": "As in the steps.",
    "question_id": "As in the steps.",
    "group_id": "As in the steps.",
    "split": "The project's own split: `distill`, on whose images no teacher was fitted.",
    "image_ids": "The images it is asked of, as in images.parquet: one, or a statement's two.",
    "question": "The question, or the statement to be judged.",
    "answer": "The annotated answer.",
    "answer_type": "word, yesno, truth (of a statement), number or box.",
}
PROGRAM_MEANINGS = {
    "task": "As in the steps.",
    "program_id": "As in the steps.",
    "question_id": "The question it was written for.",
    "dialect": "Its language: visprog or viper.",
    "program": "The program's text. It is no trusted code: never run it outside a sandbox.",
    "source": "Where it is from: semantic (compiled from the question's own operations), recorded "
    "or llm.",
    "model": "The language model that wrote it, or null.",
}


@dataclass(frozen=True)
class Released:
    """A table of the release, and what each of its columns means."""

    schema: pa.Schema
    meanings: Mapping[str, str]

    @property
    def own(self) -> list[str]:
        """Its columns but `task`, which the tables of the tasks do not have: the id first."""
        return [name for name in self.schema.names if name != "task"]


def _released(source: pa.Schema, names: str, meanings: Mapping[str, str]) -> Released:
    task = SUPERVISION.field("task")
    return Released(pa.schema([task, *map(source.field, names.split())]), meanings)


STEPS = Released(SUPERVISION, MEANINGS)
IMAGE_INDEX = _released(IMAGES, "image_id width height sha256", IMAGE_MEANINGS)
PICTURES = _released(IMAGES, "image_id width height sha256 bytes", IMAGE_MEANINGS)
ASKED = _released(
    QUESTIONS, "question_id group_id split image_ids question answer answer_type", QUESTION_MEANINGS
)
WRITTEN = _released(
    PROGRAMS, "program_id question_id dialect program source model", PROGRAM_MEANINGS
)
EXECUTED = Released(
    pa.schema(
        [
            ("link", pa.string()),
            *map(EXECUTIONS.field, ("execution_id", "program_id", "question_id")),
            *map(SUPERVISION.field, ("task", "dialect", "forced")),
            *map(EXECUTIONS.field, ("status", "answer", "correct", "steps")),
        ]
    ),
    EXECUTION_MEANINGS,
)
