"""Writes scenes and questions in GQA's own files: questions, scene graphs, images."""

from pathlib import Path
from typing import Any

from sdvp_core.tasks.shapes.ask import ask
from sdvp_core.tasks.shapes.draft import Draft, semantic_text
from sdvp_core.tasks.shapes.files import save_image, scene_graph, stream, write_compact
from sdvp_core.tasks.shapes.render import scene

QUESTIONS = {"train": 3, "test": 2}  # a scene
# GQA gives no scene graphs for testdev; this world does, so that oracle answers exist there too.
_FILES = {"train": "train_balanced_questions.json", "test": "testdev_balanced_questions.json"}
_GRAPHS = {"train": "train_sceneGraphs.json", "test": "testdev_sceneGraphs.json"}


def write(task: str, folder: Path, scenes: dict[str, int], seed: int, look: str) -> None:
    """The files of a task in one look: train, distill and val scenes make up GQA's train split."""
    official = {
        "train": sum(scenes.get(split, 0) for split in ("train", "distill", "val")),
        "test": scenes.get("test", 0),
    }
    for split, count in official.items():
        if count:
            _write_split(task, folder, split, count, seed, look)


def _write_split(task: str, folder: Path, split: str, count: int, seed: int, look: str) -> None:
    questions: dict[str, Any] = {}
    graphs: dict[str, Any] = {}
    for number in range(count):
        rng = stream(seed, task, split, number)
        image, things = scene(rng, look)
        image_id = f"{task}_{split}_{number:05d}"
        save_image(folder / "images" / f"{image_id}.jpg", image)
        graphs[image_id] = scene_graph(things)
        for place, draft in enumerate(ask(rng, things, QUESTIONS[split])):
            question_id = f"{number:05d}{place}"
            questions[question_id] = record(draft, question_id, image_id)
    write_compact(folder / _FILES[split], questions)
    write_compact(folder / _GRAPHS[split], graphs)


def record(draft: Draft, question_id: str, image_id: str) -> dict[str, Any]:
    """A question in the form of GQA's question files."""
    return {
        "semantic": draft.semantic,
        "semanticStr": semantic_text(draft.semantic),
        "question": draft.question,
        "answer": draft.answer,
        "fullAnswer": draft.full_answer,
        "types": draft.types,
        "groups": draft.groups,
        "imageId": image_id,
        "isBalanced": True,
        "entailed": [],
        "equivalent": [question_id],
        "annotations": {"question": {}, "answer": {}, "fullAnswer": {}},
    }
