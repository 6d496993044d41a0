"""The tables of the pipeline: one Arrow schema each, long and flat, no column of mixed type.

A box is ``(x0, y0, x1, y1)`` in pixels of the ORIGINAL image, origin top-left, y downward.
Values that differ in type from row to row (a program's answer, a step's arguments and output)
are JSON text. The order of the columns here is the order in the files.
"""

import hashlib
import json
from typing import Any

import pyarrow as pa

BOX = pa.list_(pa.float32(), 4)
FORCED = " forced"  # what a student set's name ends with where a teacher's outputs were handed on

OBJECT = pa.struct(
    [
        ("object_id", pa.string()),
        ("name", pa.string()),  # "square"
        ("categories", pa.list_(pa.string())),  # hypernyms that also name it: "object", "item"
        ("attributes", pa.list_(pa.string())),  # "red", "striped"
        ("box", BOX),
    ]
)
RELATION = pa.struct([("subject", pa.string()), ("name", pa.string()), ("object", pa.string())])

QUESTIONS = pa.schema(
    [
        ("question_id", pa.string()),
        ("task", pa.string()),
        ("split", pa.string()),  # train (the teacher's), distill, val, test
        ("group_id", pa.string()),  # image or record: the unit of splits and of the bootstrap
        ("image_ids", pa.list_(pa.string())),
        ("question", pa.string()),
        ("answer", pa.string()),
        ("answer_type", pa.string()),  # word, yesno, truth, number, box
        ("semantic", pa.string()),  # JSON list of operations, or null
    ]
)
IMAGES = pa.schema(
    [
        ("image_id", pa.string()),
        ("bytes", pa.binary()),  # the encoded file, or null where `path` is used
        ("path", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("sha256", pa.string()),
        ("status", pa.string()),  # ok, missing, corrupt
        ("message", pa.string()),
    ]
)
ANNOTATIONS = pa.schema(
    [
        ("image_id", pa.string()),
        ("objects", pa.list_(OBJECT)),
        ("relations", pa.list_(RELATION)),
    ]
)
PROGRAMS = pa.schema(
    [
        ("program_id", pa.string()),
        ("question_id", pa.string()),
        ("dialect", pa.string()),  # visprog, viper
        ("program", pa.string()),
        ("source", pa.string()),  # semantic, recorded, llm
        ("model", pa.string()),
        ("prompt_sha256", pa.string()),
        ("sample", pa.int32()),
        ("logprob", pa.float64()),
        ("status", pa.string()),  # ok, missing, invalid
        ("message", pa.string()),
    ]
)
EXECUTIONS = pa.schema(
    [
        ("execution_id", pa.string()),
        ("program_id", pa.string()),
        ("question_id", pa.string()),
        ("dialect", pa.string()),
        ("student_set", pa.string()),  # with FORCED at its end under teacher forcing
        ("status", pa.string()),  # ok, program_error, limit, forbidden, module_error
        ("error", pa.string()),
        ("answer", pa.string()),  # JSON value, null unless status is ok
        ("correct", pa.bool_()),
        ("steps", pa.int32()),
    ]
)
STEPS = pa.schema(
    [
        ("step_id", pa.string()),
        ("execution_id", pa.string()),
        ("index", pa.int32()),
        ("parents", pa.list_(pa.int32())),  # indices of the steps this one's region came from
        ("module", pa.string()),  # locate, vqa, match, ...
        # JSON object, as the program gave them; under `handed` the output it got for the student's
        ("arguments", pa.string()),
        ("text", pa.string()),  # question, object name; options of `match` joined by " | "
        ("image_id", pa.string()),
        ("region", BOX),
        ("output", pa.string()),  # JSON: answer, list of boxes, or list of scores
        ("confidence", pa.float32()),
    ]
)
ANSWER_PROBABILITY = pa.struct([("answer", pa.string()), ("probability", pa.float32())])
SCORED_BOX = pa.struct([("box", BOX), ("score", pa.float32())])
SUPERVISION = pa.schema(
    [
        *[field for field in STEPS],
        ("question_id", pa.string()),
        ("program_id", pa.string()),
        ("task", pa.string()),
        ("dialect", pa.string()),
        ("group_id", pa.string()),
        ("forced", pa.bool_()),  # of an execution in which the teacher's outputs were handed on
        ("adapter", pa.string()),  # none, name, lineage, box
        ("pointer", pa.string()),  # the words that say which thing is meant, or null
        ("teacher_text", pa.string()),
        ("teacher_region", BOX),
        ("target_answer", pa.string()),
        ("target_topk", pa.list_(ANSWER_PROBABILITY)),
        ("target_boxes", pa.list_(SCORED_BOX)),
        ("target_confidence", pa.float32()),
        ("agree", pa.bool_()),  # the student's output equals the target
        ("kept", pa.bool_()),
        ("drop_reason", pa.string()),
        ("oracle_answer", pa.string()),  # JSON in the form of `output`, where annotations allow
        ("module_revision", pa.string()),
        ("teacher_revision", pa.string()),
    ]
)
CONTRASTS = pa.schema(  # what else the teacher was asked about the regions that steps searched
    [
        ("module", pa.string()),  # locate
        ("image_id", pa.string()),
        ("group_id", pa.string()),
        ("region", BOX),
        ("text", pa.string()),
        ("target_boxes", pa.list_(SCORED_BOX)),
        ("target_confidence", pa.float32()),
        ("kept", pa.bool_()),
        ("oracle_answer", pa.string()),
        ("teacher_revision", pa.string()),
    ]
)
PREDICTIONS = pa.schema(
    [
        ("student_set", pa.string()),
        ("task", pa.string()),
        ("dialect", pa.string()),  # visprog, viper, or bare_student / bare_teacher
        ("question_id", pa.string()),
        ("group_id", pa.string()),
        ("program_id", pa.string()),
        ("status", pa.string()),
        ("prediction", pa.string()),
        ("answer", pa.string()),
        ("correct", pa.bool_()),
    ]
)
REPLAY = pa.schema(  # inputs a student set was trained on: self-distillation asks it them again
    [
        ("module", pa.string()),
        ("image_id", pa.string()),
        ("region", BOX),
        ("texts", pa.list_(pa.string())),
    ]
)


def stable_id(*parts: Any) -> str:
    """16 hex digits that depend on the parts alone (ids in every table are made this way)."""
    return hashlib.sha256(to_json(parts).encode()).hexdigest()[:16]


def to_json(value: Any) -> str:
    """Canonical JSON: sorted keys, no spaces, one text for one value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
