"""base/runtime: what the stages took, and the device they compute on."""

from pathlib import Path

import pytest
import yaml

from sdvp_core.base import runtime
from sdvp_core.base.errors import UserError
from sdvp_core.base.params import load_params
from sdvp_core.report.duration import stages_of

ROOT = Path(__file__).parent.parent


def commands_of_dvc():
    """The words of every command that dvc.yaml makes of params.yaml, joined by colons."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    for stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].values():
        keys = [""]
        if "foreach" in stage:
            keys = params
            for part in stage["foreach"].removeprefix("${").removesuffix("}").split("."):
                keys = keys[part]
        words = stage.get("do", stage)["cmd"].removeprefix("python -m stages.").split()
        yield from (":".join(words).replace("${key}", key) for key in keys)


def test_the_report_knows_every_stage_of_dvc():
    assert sorted(stages_of(load_params(ROOT / "params.yaml"))) == sorted(commands_of_dvc())


def test_minutes_of_a_link_that_is_gone_are_not_counted(monkeypatch, tmp_path):
    monkeypatch.setenv("SDVP_CACHE", str(tmp_path))
    for spent, stage in enumerate(["distill:gone", "pretrain", "distill:shapes_gqa"], 1):
        runtime._note_minutes(stage, spent)
    assert runtime.minutes(stages_of(load_params(ROOT / "params.yaml"))) == 2 + 3


@pytest.mark.parametrize("name", ["cudaa", "cuda:x", "meta", "cuda:99"])
def test_a_device_that_is_not_there_is_one_sentence(name):
    with pytest.raises(UserError, match=rf"'{name}' cannot be used .*: give auto, cpu") as told:
        runtime.pick_device(name)
    assert "\n" not in str(told.value)


def test_a_device_that_is_there_is_taken():
    assert runtime.pick_device("cpu") == "cpu"
    assert runtime.pick_device("auto") in ("cpu", "cuda")
