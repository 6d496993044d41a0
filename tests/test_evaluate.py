import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.stats import binomtest

from sdvp_core.base import records
from sdvp_core.base.compare import overlap
from sdvp_core.base.folder import TaskFolder
from sdvp_core.base.params import load_params
from sdvp_core.base.tables import iterate_rows, write_table
from sdvp_core.evaluate import link, predict, runs
from sdvp_core.evaluate.compare import evaluate_link
from sdvp_core.evaluate.forgetting import (
    Matrix,
    average_accuracy,
    average_forgetting,
    backward_transfer,
    forgetting,
    forward_transfer,
    normalised_forgetting,
    since_base,
)
from sdvp_core.evaluate.intervals import mcnemar, mean_interval, paired_interval, resample
from sdvp_core.evaluate.predictions import Predictions
from sdvp_core.evaluate.score import correct, step_correct
from sdvp_core.modules import stub

# --- score


@pytest.mark.parametrize(
    ("kind", "expected", "answer", "right"),
    [
        ("word", "red", "red", True),
        ("word", "red", " The  RED", True),
        ("word", "tennis racket", "a tennis racket", True),
        ("word", "red", "reddish", False),
        ("word", "red", ["red"], False),
        ("word", "a", "a", True),  # an article alone is an answer, not an article
        ("word", "3", 3, True),
        ("yesno", "yes", True, True),
        ("yesno", "no", "False", True),
        ("yesno", "yes", "no", False),
        ("yesno", "yes", 1, False),
        ("yesno", "yes", "yes it is", False),
        ("truth", "true", "yes", True),
        ("truth", "false", False, True),
        ("truth", "false", "true", False),
        ("number", "3", 3, True),
        ("number", "3", 3.0, True),
        ("number", "3", "Three", True),
        ("number", "3", "4", False),
        ("number", "1", True, False),  # a boolean is no count
        ("number", "0", "no", False),
        ("number", "3", "nan", False),
        ("number", "10", "1_0", False),
        pytest.param("number", "3", 10**5000, False, id="too-long-for-text"),
        ("number", "3", float("inf"), False),
        ("box", "[0, 0, 10, 10]", [0, 0, 10, 10], True),
        ("box", "[0, 0, 10, 10]", [[0, 0, 10, 9], [50, 50, 60, 60]], True),
        ("box", "[0, 0, 10, 10]", [[50, 50, 60, 60], [0, 0, 10, 10]], False),
        ("box", "[0, 0, 10, 10]", [0, 0, 10, 4.9], False),
        ("box", "[0, 0, 10, 10]", [], False),
        ("box", "[0, 0, 10, 10]", ["0", "0", "10", "10"], False),
        ("box", "[0, 0, 10, 10]", [10, 10, 0, 0], False),
        ("box", "not a box", [0, 0, 10, 10], False),
        ("box", "[0, 0, 10, 10]", "red", False),
    ],
)
def test_answers_are_scored_by_their_type(kind, expected, answer, right):
    assert correct(answer, {"answer": expected, "answer_type": kind}) is right


def test_a_failed_program_is_wrong_whatever_was_expected():
    for kind in ("word", "yesno", "truth", "number", "box"):
        assert correct(None, {"answer": "None", "answer_type": kind}) is False


def test_an_unknown_answer_type_is_no_silent_zero():
    with pytest.raises(ValueError, match="colour"):
        correct("red", {"answer": "red", "answer_type": "colour"})


def test_overlap_counts_overlap_over_union():
    assert overlap((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 1, 1), (1, 0, 2, 1)) == 0.0
    assert overlap((0, 0, 0, 0), (0, 0, 0, 0)) == 0.0


def test_steps_are_compared_with_the_oracle_by_module():
    true = [[0, 0, 10, 10], [20, 20, 30, 30]]
    assert step_correct("locate", [[20, 20, 30, 29], [0, 0, 10, 10]], true)
    assert not step_correct("locate", true[:1], true)
    assert not step_correct("locate", [*true, [50, 50, 60, 60]], true)
    assert not step_correct("locate", [[0, 0, 10, 10], [0, 0, 10, 10]], true)
    assert step_correct("locate", [], [])
    assert step_correct("match", [0.2, 0.7], [0, 1])
    assert not step_correct("match", [0.7, 0.2], [0, 1])
    assert step_correct("match", [0.6], [1.0]) and not step_correct("match", [0.4], [1.0])
    assert step_correct("vqa", "Red", "red") and not step_correct("vqa", None, "red")


# --- intervals


def test_mcnemar_is_the_exact_binomial_test_of_the_changed_answers():
    before = [True] * 3 + [False] * 12 + [True] * 50
    after = [False] * 3 + [True] * 12 + [True] * 50
    assert mcnemar(before, after) == pytest.approx(binomtest(3, 15, 0.5).pvalue)
    assert mcnemar(before, before) == 1.0
    assert mcnemar([True, False], [False, True]) == 1.0
    with pytest.raises(ValueError, match="paired"):
        mcnemar([True], [True, False])


def test_the_bootstrap_of_single_rows_has_the_width_of_theory():
    values = np.r_[np.ones(700), np.zeros(300)]
    found = mean_interval(values, [str(i) for i in range(1000)], np.random.default_rng(0))
    half = 1.96 * math.sqrt(0.7 * 0.3 / 1000)
    assert found.value == pytest.approx(0.7)
    assert found.low == pytest.approx(0.7 - half, abs=0.004)
    assert found.high == pytest.approx(0.7 + half, abs=0.004)


def test_questions_of_one_image_count_as_one_when_they_stand_and_fall_together():
    values = np.repeat(np.r_[np.ones(70), np.zeros(30)], 10)
    alone = mean_interval(values, [str(i) for i in range(1000)], np.random.default_rng(0))
    grouped = mean_interval(values, [str(i // 10) for i in range(1000)], np.random.default_rng(0))
    assert grouped.groups == 100
    ratio = (grouped.high - grouped.low) / (alone.high - alone.low)
    assert ratio == pytest.approx(math.sqrt(10), rel=0.15)


def test_groups_of_unequal_size_weigh_by_their_questions():
    draws = resample([1, 1, 1, 0], ["a", "a", "a", "b"], np.random.default_rng(0), 4000)
    # Two groups drawn with replacement: aa, ab or ba, bb.
    assert set(np.round(draws, 6)) == {1.0, 0.75, 0.0}
    assert np.mean(draws == 0.75) == pytest.approx(0.5, abs=0.03)


def test_a_paired_difference_is_surer_than_its_parts():
    rng = np.random.default_rng(1)
    before = rng.random(600) < 0.5
    after = before | (rng.random(600) < 0.1)
    groups = [str(i) for i in range(600)]
    gain = paired_interval(before, after, groups, np.random.default_rng(0))
    level = mean_interval(after, groups, np.random.default_rng(0))
    assert gain.value == pytest.approx(np.mean(after) - np.mean(before))
    assert 0 < gain.low < gain.value < gain.high
    assert gain.high - gain.low < 0.8 * (level.high - level.low)


def test_intervals_are_seeded_and_need_two_groups():
    groups = ["a", "b", "c", "c"]
    runs = [mean_interval([1, 0, 1, 0], groups, np.random.default_rng(3)) for _ in range(2)]
    assert runs[0] == runs[1]
    lonely = mean_interval([1, 0], ["a", "a"], np.random.default_rng(0))
    assert (lonely.low, lonely.high, lonely.groups) == (None, None, 1)
    with pytest.raises(ValueError, match="0 values"):
        mean_interval([], [], np.random.default_rng(0))


# --- forgetting: the worked example is checked by hand


@pytest.fixture
def matrix():
    return Matrix(
        sets=("base", "one", "two", "three"),
        tasks=("old", "a", "b", "c"),
        learnt=("a", "b", "c"),
        values=(
            (0.90, 0.30, 0.40, 0.50),
            (0.92, 0.80, 0.46, 0.50),
            (0.88, 0.76, 0.70, 0.54),
            (0.85, 0.70, 0.71, 0.90),
        ),
    )


def test_measures_of_a_chain(matrix):
    assert average_accuracy(matrix) == pytest.approx((0.70 + 0.71 + 0.90) / 3)
    assert backward_transfer(matrix) == pytest.approx((-0.10 + 0.01) / 2)
    assert backward_transfer(matrix, "T") == pytest.approx((-0.10 + 0.01) / 3)
    assert forgetting(matrix, "old") == pytest.approx(0.92 - 0.85)
    assert average_forgetting(matrix) == pytest.approx((0.10 - 0.01) / 2)
    base = {"a": 0.30, "b": 0.40, "c": 0.50}
    assert forward_transfer(matrix, base) == pytest.approx((0.06 + 0.04) / 2)
    assert since_base(matrix, "old") == pytest.approx(-0.05)
    assert normalised_forgetting(0.8, 0.7, 0.3) == pytest.approx(20.0)
    assert normalised_forgetting(0.3, 0.2, 0.3) is None


def test_a_missing_accuracy_makes_a_measure_unknown_not_zero(matrix):
    holed = Matrix(matrix.sets, matrix.tasks, matrix.learnt,
                   (*matrix.values[:3], (0.85, None, 0.71, 0.90)))  # fmt: skip
    assert average_accuracy(holed) is None
    assert backward_transfer(holed) is None
    assert forgetting(holed, "a") is None
    assert forgetting(holed, "b") == pytest.approx(-0.01)
    with pytest.raises(ValueError):
        backward_transfer(matrix, "2")
    with pytest.raises(ValueError):
        Matrix(("base",), ("a",), (), ((0.1, 0.2),))


# --- compare


def rows(student_set, task, dialect, right, status="ok"):
    """One row a character of ``right`` ("1" right, "0" wrong); two questions a group."""
    bare = dialect.startswith("bare")
    return [
        {
            "student_set": student_set,
            "task": task,
            "dialect": dialect,
            "question_id": f"{task}{i}",
            "group_id": f"{task}-g{i // 2}",
            "program_id": None if bare else f"{dialect}{task}{i}",
            "status": status if mark == "0" else "ok",
            "prediction": None,
            "answer": "yes" if i % 4 else "no",
            "correct": mark == "1",
        }
        for i, mark in enumerate(right)
    ]


@pytest.fixture
def evaluation():
    predictions = [
        *rows("base", "t", "viper", "00001111"),
        *rows("one", "t", "viper", "00111111"),
        *rows("two", "t", "viper", "11111110", status="limit"),
        *rows("oracle", "t", "viper", "11111111"),
        *rows("teacher", "t", "viper", "11111100"),
        *rows("teacher", "t", "bare_teacher", "11110000"),
        *rows("one", "t", "bare_student", "10000000"),
        *rows("two", "t", "bare_student", "11000000"),
        *rows("base", "old", "viper", "11111111"),
        *rows("one", "old", "viper", "11111110"),
        *rows("two", "old", "viper", "11111100"),
        *rows("base", "s", "visprog", "0000"),
        *rows("one", "s", "visprog", "1111"),
        *rows("two", "s", "visprog", "1100"),
        *rows("elsewhere", "t", "viper", "00000000"),
    ]
    roles = {"t": "target", "old": "previous", "s": "previous"}
    steps = [
        {"student_set": s, "task": "t", "module": "vqa", "correct": c}
        for s, c in [("one", False), ("one", True), ("two", True), ("two", True), ("two", None)]
    ]
    subsets = {"t": {"first": ["t0", "t1"]}}
    return evaluate_link("two", "t", ["base", "one", "two"], predictions, roles, "rev", subsets,
                         steps, resamples=300)  # fmt: skip


def test_a_link_is_compared_with_the_set_it_started_from(evaluation):
    t = evaluation["tasks"]["t"]["dialects"]["viper"]
    assert (evaluation["after"], evaluation["student_set"]) == ("one", "rev")
    assert (t["before"], t["after"], t["n"], t["groups"]) == (0.75, 0.875, 8, 4)
    assert t["gain"] == 12.5 and t["low"] <= 12.5 <= t["high"]
    assert (t["gained"], t["lost"], t["p"]) == (2, 1, 1.0)
    assert (t["ceiling"], t["teacher_swap"], t["bare_teacher"]) == (1.0, 0.75, 0.5)
    assert (t["bare_student_before"], t["bare_student_after"]) == (0.125, 0.25)
    assert (t["base"], t["best_before"]) == (0.5, 0.75)
    assert t["executed"] == 0.875 and t["groups_all_right"] == 0.75
    assert evaluation["tasks"]["t"]["since_base"]["gain"] == 37.5
    assert evaluation["tasks"]["t"]["chance"] == 0.75
    assert evaluation["modules"] == {"vqa": {"before": 0.5, "after": 1.0, "n": 2}}
    first = evaluation["tasks"]["t"]["subsets"]["first"]["dialects"]["viper"]
    assert (first["before"], first["after"], first["n"]) == (0.0, 1.0, 2)
    assert first["bare_student_after"] == 1.0


def test_forgetting_is_measured_from_the_best_earlier_set(evaluation):
    found = evaluation["forgetting"]
    assert found["tasks"]["old"]["best_set"] == "base" and found["tasks"]["old"]["points"] == 25.0
    assert found["tasks"]["s"]["best_set"] == "one" and found["tasks"]["s"]["points"] == 50.0
    assert found["points"] == 37.5 and found["low"] <= 37.5 <= found["high"]


def test_the_result_is_small_json_and_the_same_in_any_order_of_rows(evaluation):
    text = json.dumps(evaluation)
    assert "t3" not in text and len(text) < 10_000
    predictions = rows("base", "t", "viper", "0101") + rows("one", "t", "viper", "0111")
    twice = [evaluate_link("one", "t", ["base", "one"], p, {"t": "target"}) for p in
             (predictions, predictions[::-1])]  # fmt: skip
    assert twice[0] == twice[1]


def test_only_questions_that_both_sets_answered_are_compared():
    predictions = rows("base", "t", "viper", "0000") + rows("one", "t", "viper", "001111")
    t = evaluate_link("one", "t", ["base", "one"], predictions, {})["tasks"]["t"]
    assert t["dialects"]["viper"]["n"] == 4 and t["dialects"]["viper"]["gain"] == 50.0
    assert t["role"] == "unseen"


def test_the_base_alone_has_levels_and_no_gain():
    base = evaluate_link("base", None, ["base"], rows("base", "t", "viper", "0111"), {})
    t = base["tasks"]["t"]["dialects"]["viper"]
    assert (t["before"], t["gain"], t["after"]) == (None, None, 0.75)
    assert base["forgetting"] is None and base["after"] is None


def test_contradicting_rows_and_broken_chains_are_errors():
    once = rows("base", "t", "viper", "01")
    assert Predictions(once + once).tasks("base") == ["t"]
    with pytest.raises(ValueError, match="different"):
        Predictions(once + rows("base", "t", "viper", "11"))
    with pytest.raises(ValueError, match="chain"):
        evaluate_link("one", "t", ["base"], once, {})


# --- runs: what a link is judged by, from the tables on


@pytest.fixture
def places(tmp_path):
    """Three tasks of two questions, whose one program asks the vqa module."""
    program = "def execute_command(image):\n    return image.simple_query('What color is it?')"
    for task in ("t", "skill", "unseen"):
        found = [
            {"question_id": f"{task}{n}", "task": task, "split": "test", "group_id": f"g{n}",
             "image_ids": [f"i{n}"], "question": "Is it?", "answer": "red", "answer_type": "word"}
            for n in range(2)
        ]  # fmt: skip
        size = {"width": 90, "height": 80, "status": "ok"}
        thing = {"object_id": "o", "name": "ring", "categories": [], "attributes": ["red"],
                 "box": [10.0, 10.0, 30.0, 30.0]}  # fmt: skip
        programs = [
            {"program_id": f"p{row['question_id']}", "question_id": row["question_id"],
             "dialect": "viper", "program": program, "status": "ok"} for row in found
        ]  # fmt: skip
        folder = tmp_path / task
        write_table(folder / "questions.parquet", found, records.QUESTIONS)
        write_table(folder / "programs.parquet", programs, records.PROGRAMS)
        images = [{"image_id": f"i{n}"} | size for n in range(2)]
        write_table(folder / "images.parquet", images, records.IMAGES)
        things = [{"image_id": f"i{n}", "objects": [thing], "relations": []} for n in range(2)]
        write_table(folder / "annotations.parquet", things, records.ANNOTATIONS)
    return link.Places(lambda task: tmp_path / task, lambda name: Path(name), lambda task: Path())


def test_a_link_loads_each_set_and_each_task_once_and_writes_all_rows(
    places, tmp_path, monkeypatch
):
    values = yaml.safe_load((Path(__file__).parent.parent / "params.yaml").read_text())
    values["tasks"] = {t: {"reader": "gqa", "world": {"test": 2}} for t in ("t", "skill", "unseen")}
    values["sequence"] = {"one": {"after": "base", "task": "t"}}
    values["teachers"] = {"t": values["teachers"]["shapes_gqa"]}
    values["pretrain"]["task"] = "skill"
    values["evaluate"] = {"skills": {"skill": "previous", "unseen": "unseen"}, "resamples": 50}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    loaded, read = [], link.AskedTask.load
    told = lambda what, value: (loaded.append(str(what)), value)[1]  # noqa: E731
    monkeypatch.setattr(link, "load_students", lambda folder, _: told(folder, stub.load()))
    monkeypatch.setattr(link, "students_revision", str)
    monkeypatch.setattr(link, "load_modules", lambda folder: stub.load())
    monkeypatch.setattr(link, "teacher_revision", str)
    monkeypatch.setattr(link.AskedTask, "load", lambda name, *a: told(name, read(name, *a)))
    evaluation = link.Evaluation(load_params(tmp_path / "params.yaml"), places, tmp_path / "cache")
    base = [tmp_path / "base" / f"{task}.parquet" for task in ("skill", "unseen")]
    for path in base:
        evaluation.base(path.stem, path)
    assert loaded == ["base", "skill", "unseen"]
    del loaded[:]
    result = evaluation.link("one", base, tmp_path / "predictions.parquet")
    assert loaded == ["one", "skill", "unseen", "t", "base"]
    found = list(iterate_rows(tmp_path / "predictions.parquet", records.PREDICTIONS))
    sets = [(row["student_set"], row["task"]) for row in found if row["dialect"] == "viper"]
    assert [pair for n, pair in enumerate(sets) if n % 2] == [
        *(("one", "skill"), ("one", "unseen"), ("one", "t"), ("base", "t"), ("oracle", "t")),
        *(("teacher", "t"), ("base", "skill"), ("oracle", "skill"), ("base", "unseen")),
        ("oracle", "unseen"),
    ]
    assert set(result["tasks"]) == {"t", "skill", "unseen"} and result["modules"]["vqa"]["n"] == 2
    assert list((tmp_path / "cache").iterdir()) == []


def test_checked_steps_are_spread_over_the_run(monkeypatch):
    monkeypatch.setattr(runs, "CHECKED_STEPS", 5)
    steps = [
        {"module": m, "output": None if n % 2 else "1", "n": n}
        for n in range(40)
        for m in ("vqa", "locate", "depth")
    ]
    counts = Counter(step["module"] for step in steps if step["output"])
    chosen = runs._some_steps(lambda: iter([({}, steps[:30]), ({}, steps[30:])]), counts)
    assert [step["n"] for step in chosen["vqa"]] == [0, 8, 16, 24, 32]
    assert set(chosen) == {"vqa", "locate", "match"} and chosen["match"] == []


def test_bare_questions_are_asked_some_at_a_time_with_equal_answers(places, monkeypatch):
    asked = []

    class Vqa:
        def answer(self, calls, images):
            asked.append([call.image_id for call in calls])
            assert all(images.size(call.image_id) == (90, 80) for call in calls)
            return stub.Stub("vqa").answer(calls, images)

    task = predict.AskedTask.load("t", TaskFolder(places.task("t")), "image", ["viper"])
    assert task.programs == 2 and len(list(task.asked())) == 2
    together = list(predict.ask_whole(task, Vqa(), "base", "bare_student"))
    monkeypatch.setattr(predict, "ASKED_TOGETHER", 1)
    assert list(predict.ask_whole(task, Vqa(), "base", "bare_student")) == together
    assert [row["question_id"] for row in together] == ["t0", "t1"]
    assert asked == [["i0", "i1"], ["i0"], ["i1"]]


def test_another_split_or_dialect_is_another_revision(places):
    folder = TaskFolder(places.task("t"))
    loaded = [
        predict.AskedTask.load("t", folder, "image", dialects, split)
        for dialects, split in ((["viper"], "test"), (["visprog"], "test"), (["viper"], "val"))
    ]
    assert len({task.revision for task in loaded}) == 3
    assert [task.programs for task in loaded] == [2, 0, 0]
