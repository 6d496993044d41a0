"""Contrasts: which names a region is asked, and what is said of them."""

from collections import Counter

import pytest

from sdvp_core.base.params import Distill, Schedule
from sdvp_core.base.records import CONTRASTS
from sdvp_core.base.tables import iterate_rows, write_table
from sdvp_core.distill.link import _samples
from sdvp_core.modules.call import Output
from sdvp_core.teacher.contrast import Contrasts, names_in, searches
from sdvp_core.teacher.label import to_samples

LEFT, RIGHT = (0.0, 0.0, 10.0, 10.0), (10.0, 0.0, 20.0, 10.0)
NAMES = {"item": 50, "square": 30, "circle": 15, "red item": 5}


class Seer:
    """Sees squares only, one in each region; of circles it is not sure."""

    revision = "seer"

    def inside(self, image_id, images, description, region, least):
        x0, y0, x1, y1 = region
        box = (x0 + 1.0, y0 + 1.0, x1 - 1.0, y1 - 1.0)
        score = {"square": 0.9, "circle": 0.2}.get(description, 0.0)
        return [(box, score)] if score >= least else []


class Truth:
    def answer(self, calls, images):
        return [Output(boxes=(), scores=()) for _ in calls]


def searched(text, region=LEFT, image_id="a", **other):
    return {"module": "locate", "image_id": image_id, "group_id": f"g-{image_id}",
            "region": list(region), "text": text, "kept": True} | other  # fmt: skip


def asked(steps, count=99, seed=0, names=NAMES, least=0.0, oracle=None):
    return list(Contrasts(Seer(), names, count, seed, least).rows(steps, None, oracle))


def test_only_searches_with_a_target_count():
    rows = [searched("item"), searched("item"), searched("red", kept=False),
            searched("what color is it?", module="vqa")]  # fmt: skip
    assert names_in(rows) == {"item": 2}
    assert list(searches(rows)) == rows[:2]


def test_every_region_is_asked_every_other_name_once():
    rows = asked([searched("item"), searched("square"), searched("item"), searched("item", RIGHT)])
    by_region = Counter((tuple(row["region"]), row["text"]) for row in rows)
    assert set(by_region) == {
        (LEFT, "circle"), (LEFT, "red item"),
        (RIGHT, "square"), (RIGHT, "circle"), (RIGHT, "red item"),
    }  # fmt: skip
    assert set(by_region.values()) == {1}
    assert {row["group_id"] for row in rows} == {"g-a"}


def test_the_target_is_what_the_teacher_finds_and_nothing_is_a_target_too():
    rows = {row["text"]: row for row in asked([searched("item", RIGHT)], least=0.8)}
    (box,) = rows["square"]["target_boxes"]
    assert box == {"box": [11.0, 1.0, 19.0, 9.0], "score": 0.9}
    assert rows["red item"]["target_boxes"] == [] and rows["red item"]["target_confidence"] == 1.0
    assert rows["circle"]["target_boxes"] == []
    assert [rows[name]["kept"] for name in ("square", "red item", "circle")] == [True, True, False]
    assert rows["square"]["oracle_answer"] is None


def test_annotations_are_asked_where_there_are_any(tmp_path):
    rows = asked([searched("item")], oracle=Truth())
    assert {row["oracle_answer"] for row in rows} == {"[]"}
    path = tmp_path / "contrasts.parquet"
    assert write_table(path, rows, CONTRASTS) == 3
    assert [row["text"] for row in iterate_rows(path, CONTRASTS)] == [r["text"] for r in rows]


def test_which_names_depends_on_region_and_seed_alone():
    steps = [searched("none of them", image_id=str(place)) for place in range(400)]
    drawn = {row["image_id"]: [] for row in asked(steps, count=2)}
    for row in asked(steps, count=2):
        drawn[row["image_id"]].append(row["text"])
    assert all(len(names) == len(set(names)) == 2 for names in drawn.values())
    backwards = {}
    for row in asked(steps[::-1], count=2):
        backwards.setdefault(row["image_id"], []).append(row["text"])
    assert backwards == drawn
    assert asked(steps, count=2, seed=1) != asked(steps, count=2)
    often = Counter(name for names in drawn.values() for name in names)
    assert often["item"] > often["square"] > often["circle"] > often["red item"] > 0


@pytest.mark.parametrize("control", ["none", "oracle"])
def test_they_are_learnt_but_held_out_groups_keep_theirs(control):
    schedule = Schedule(steps=1)
    settings = Distill(vqa=schedule, locate=schedule, match=schedule, control=control)
    steps = [
        searched("item", image_id=str(n), target_boxes=[], target_topk=None, target_confidence=1.0,
                 oracle_answer="[]")
        for n in range(40)
    ]  # fmt: skip
    contrasts = asked(steps, oracle=Truth())
    learnt, held = _samples(steps, contrasts, settings, seed=0)
    aside = {sample.image_id for sample in held["locate"]}
    assert len(held["locate"]) == len(aside) == 2
    assert len(learnt["locate"]) == 38 * len(NAMES)
    assert not aside & {sample.image_id for sample in learnt["locate"]}
    found = {s.texts[0]: s.boxes for s in learnt["locate"]}
    assert bool(found["square"]) == (control == "none")  # the truth here is that nothing is there


def test_what_is_asked_twice_is_learnt_once():
    rows = asked([searched("item")])
    assert len(to_samples(rows * 2)) == len(rows) == 3
