"""Writes counting questions in TallyQA's form, with a bank of programs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from sdvp_core.base.wording import count as how_many
from sdvp_core.base.wording import plural
from sdvp_core.tasks.descriptions import Phrase, Thing, describe, twisted
from sdvp_core.tasks.shapes.ask_yesno import WORDS
from sdvp_core.tasks.shapes.files import (
    save_image,
    scene_graph,
    stream,
    write_compact,
    write_json_lines,
)
from sdvp_core.tasks.shapes.geometry import RELATIONS, Referent, refer, related
from sdvp_core.tasks.shapes.programs import COMPARISONS, CROPS, Visprog, first, viper
from sdvp_core.tasks.shapes.render import scene

QUESTIONS = 2  # a scene
_TRIES = 30


@dataclass(frozen=True, slots=True)
class _Question:
    text: str
    answer: int
    simple: bool
    viper: str
    visprog: str


def write(task: str, folder: Path, scenes: dict[str, int], seed: int, looks: Sequence[str]) -> None:
    """test.json, images, scene graphs and bank; the looks take turns. Test scenes only."""
    records: list[dict[str, Any]] = []
    graphs: dict[str, Any] = {}
    bank: dict[str, dict[str, str]] = {}
    for number in range(scenes.get("test", 0)):
        rng = stream(seed, task, "test", number)
        image, things = scene(rng, looks[number % len(looks)])
        name = f"{task}/{number:05d}"
        save_image(folder / f"{name}.jpg", image)
        graphs[name] = scene_graph(things)
        for question in _ask(rng, things):
            records.append(_record(question, name, number, len(records)))
            programs = {"viper": question.viper, "visprog": question.visprog}
            bank[question.text] = {"sentence": question.text, **programs}
    write_compact(folder / "test.json", records)
    write_compact(folder / "sceneGraphs.json", graphs)
    write_json_lines(folder / "programs.jsonl", bank.values())


def _record(question: _Question, name: str, image_id: int, question_id: int) -> dict[str, Any]:
    return {
        "image": f"{name}.jpg",
        "question": question.text,
        "answer": question.answer,
        "issimple": question.simple,
        "image_id": image_id,
        "question_id": question_id,
        "data_source": "shapes",
    }


def _ask(rng: Random, things: Sequence[Thing]) -> list[_Question]:
    questions: dict[str, _Question] = {}
    for _ in range(_TRIES):
        if len(questions) == QUESTIONS:
            break
        question = _related(rng, things) if rng.random() < 0.4 else _plain(rng, things)
        # One is the easy answer to everything: keep a part of it only.
        if question is not None and (question.answer != 1 or rng.random() < 0.4):
            questions[question.text] = question
    return list(questions.values())


def _plain(rng: Random, things: Sequence[Thing]) -> _Question | None:
    phrase = describe(rng, rng.choice(things))
    if phrase is not None and rng.random() < 0.2:
        phrase = twisted(rng, phrase, WORDS)
    if phrase is None:
        return None
    steps = Visprog()
    answer = steps.count(steps.loc("IMAGE", phrase.text))
    lines = [
        "image_patch = ImagePatch(image)",
        f'return str(len(image_patch.find("{phrase.text}")))',
    ]
    number = sum(phrase.holds(thing) for thing in things)
    return _Question(how_many(phrase.text), number, True, viper(lines), steps.result(answer))


def _related(rng: Random, things: Sequence[Thing]) -> _Question | None:
    anchor = refer(rng, things, rng.choice(things), relational=0)
    phrase = Phrase(rng.choice([thing["name"] for thing in things]))
    relation = rng.choice(list(RELATIONS))
    if anchor is None or phrase.holds(anchor.thing):
        return None
    found = related(things, relation, anchor.thing, phrase)
    if found is None:
        return None
    text = f"How many {plural(phrase.text)} are {relation} the {anchor.words}?"
    viper_code, visprog_code = related_programs(phrase, relation, anchor)
    return _Question(text, len(found), False, viper_code, visprog_code)


def related_programs(phrase: Phrase, relation: str, anchor: Referent) -> tuple[str, str]:
    """ViperGPT and VisProg programs that count what stands so to an anchor."""
    steps = Visprog()
    part = steps.crop("IMAGE", steps.loc("IMAGE", anchor.phrase.text), CROPS[relation])
    answer = steps.count(steps.loc(part, phrase.text))
    center, sign = COMPARISONS[relation]
    lines = [
        "image_patch = ImagePatch(image)",
        *first("anchor", "image_patch", anchor.phrase.text),
        f'patches = image_patch.find("{phrase.text}")',
        f"return str(len([p for p in patches if p.{center} {sign} anchor.{center}]))",
    ]
    return viper(lines), steps.result(answer)
