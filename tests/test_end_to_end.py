"""The whole chain on a handful of questions, stage by stage, as `dvc repro` would run it."""

import importlib
import json
from pathlib import Path

import pytest
import yaml

from sdvp_core.base.errors import UserError
from sdvp_core.base.records import EXECUTIONS, STEPS, SUPERVISION
from sdvp_core.base.tables import iterate_rows
from sdvp_core.command.score import score

ROOT = Path(__file__).parent.parent
FEW = {"steps": 4, "batch_size": 8, "samples": 60}


def _small(values: dict) -> dict:
    """params.yaml with small numbers: the toy run is the real run."""
    for task in values["tasks"].values():
        task["world"] = {split: 6 for split in task["world"]}
    pretrain, teacher = values["pretrain"], {"answers": FEW, "boxes": FEW, "measured": 30}
    pretrain |= {module: FEW for module in ("vqa", "locate", "match")}
    pretrain["replay"] = {"vqa": 12, "locate": 6, "match": 6}
    values["teachers"] = {name: teacher for name in values["teachers"]}
    values["distill"] |= {module: FEW for module in ("vqa", "locate", "match")}
    values["supervise"] |= {"min_confidence": {}, "measured_steps": 40}
    values["evaluate"]["resamples"] = 50
    return values


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder in which every stage has run."""
    folder = tmp_path_factory.mktemp("chain")
    patch = pytest.MonkeyPatch()
    patch.chdir(folder)
    patch.setenv("SDVP_CACHE", str(folder / "cache"))
    params = _small(yaml.safe_load((ROOT / "params.yaml").read_text()))
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    for stage, arguments in _commands(params):
        importlib.import_module(f"stages.{stage}").main(*arguments)
    yield folder
    patch.undo()


def _commands(params: dict) -> list[tuple[str, list[str]]]:
    tasks, links = list(params["tasks"]), list(params["sequence"])
    each = [("prepare", [t]) for t in tasks] + [("generate", [t]) for t in tasks]
    each += [("pretrain", [])] + [("teacher", [t]) for t in params["teachers"]]
    each += [("evaluate", ["base", skill]) for skill in params["evaluate"]["skills"]]
    for link in links:
        each += [(s, [link]) for s in ("execute", "supervise", "distill", "evaluate")]
    return [*each, ("report", [])]


def test_every_program_has_a_row_and_every_step_a_target_or_a_reason(finished):
    links = finished / "data" / "links" / "shapes_gqa"
    programs = iterate_rows(finished / "data" / "shapes_gqa" / "programs.parquet")
    executions = list(iterate_rows(links / "executions.parquet", EXECUTIONS))
    questions = iterate_rows(finished / "data" / "shapes_gqa" / "questions.parquet")
    traced = {row["question_id"] for row in questions if row["split"] == "distill"}
    expected = [p for p in programs if p["question_id"] in traced]
    own = [row for row in executions if row["student_set"] == "base"]
    assert len(own) == len(expected) > 0
    assert len(executions) == 2 * len(own)  # each once more under teacher forcing
    steps = list(iterate_rows(links / "steps.parquet", STEPS))
    supervision = list(iterate_rows(links / "supervision.parquet", SUPERVISION))
    assert [row["step_id"] for row in supervision] == [row["step_id"] for row in steps]
    assert sum(row["steps"] for row in executions) == len(steps) > 0
    assert all(row["kept"] != bool(row["drop_reason"]) for row in supervision)
    by_set = {row["execution_id"]: row["student_set"] for row in executions}
    assert {row["forced"] for row in supervision} == {False, True}
    for row in supervision:
        assert row["forced"] == (by_set[row["execution_id"]] == "base forced")
        assert row["forced"] or "handed" not in json.loads(row["arguments"])


def test_the_summary_has_what_users_read(finished):
    summary = json.loads((finished / "results" / "summary.json").read_text())
    assert set(summary) >= {"links", "forgetting", "unseen", "targets", "minutes", "versions"}
    for link in ("shapes_gqa", "shapes_nlvr2"):
        for dialect in ("visprog", "viper"):
            numbers = summary["links"][link]["dialects"][dialect]
            keys = {"before", "after", "gain", "low", "high", "n", "ceiling", "bare_student",
                    "bare_teacher"}  # fmt: skip
            assert set(numbers) >= keys and numbers["n"] > 0
            assert numbers["gain"] == pytest.approx(
                100 * (numbers["after"] - numbers["before"]), abs=1e-3
            )
    assert set(summary["unseen"]) == {"shapes_count", "shapes_refer"}


def test_perfect_modules_answer_what_the_world_asks(finished):
    summary = json.loads((finished / "results" / "summary.json").read_text())
    ceilings = [
        d["ceiling"] for link in summary["links"].values() for d in link["dialects"].values()
    ]
    assert min(ceilings) == 1.0


def test_a_split_is_scored_without_the_test(finished):
    told = score("shapes_gqa", "oracle", "val", Path("data")).splitlines()
    assert [line.split()[:2] for line in told] == [["viper", "all"], ["visprog", "all"]]
    assert all(line.endswith("100.0 %") for line in told)
    assert "100.0 %" not in score("shapes_gqa", "models/base", "val", Path("data"))
    every = ["locate", "vqa", "match"]
    assert score("shapes_gqa", "models/base", "val", Path("data"), every).splitlines() == told
    with pytest.raises(UserError, match="nose"):
        score("shapes_gqa", "models/base", "val", Path("data"), ["nose"])
    with pytest.raises(UserError, match="no programs for the split 'train'"):
        score("shapes_gqa", "oracle", "train", Path("data"))


def test_a_stranger_can_read_the_release(finished):
    import pandas

    from sdvp_core.command.dataset import describe_release, validate_release

    release = finished / "release"
    assert "steps" in validate_release(release)
    assert "shapes_gqa" in describe_release(release)
    frame = pandas.concat(map(pandas.read_parquet, release.glob("data/*.parquet")))
    assert frame["step_id"].is_unique and set(frame["module"]) <= {"vqa", "locate", "match"}


def test_a_stage_run_again_writes_the_same_bytes(finished):
    path = finished / "data" / "links" / "shapes_gqa" / "steps.parquet"
    before = path.read_bytes()
    path.unlink()
    importlib.import_module("stages.execute").main("shapes_gqa")
    assert path.read_bytes() == before


def test_the_report_needs_nothing_from_outside(finished):
    html = (finished / "results" / "report.html").read_text()
    assert "shapes_gqa" in html
    for word in ('src="http', 'href="http', "<script src", "@import"):
        assert word not in html
