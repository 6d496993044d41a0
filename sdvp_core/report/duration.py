"""What the whole pipeline took: minutes of every stage that dvc.yaml makes of params.yaml."""

from sdvp_core.base.params import Params
from sdvp_core.base.runtime import minutes


def pipeline_minutes(params: Params) -> float:
    """Minutes of the last run of every stage, as far as this checkout knows them."""
    return round(minutes(stages_of(params)), 2)


def stages_of(params: Params) -> list[str]:
    """The stages that dvc.yaml makes of params.yaml, by the words of their commands."""
    by_key = {
        "prepare": params.tasks,
        "generate": params.tasks,
        "teacher": params.teachers,
        "evaluate:base": params.evaluate.skills,
        **dict.fromkeys(("execute", "supervise", "distill", "evaluate"), params.sequence),
    }
    each = [f"{stage}:{key}" for stage, keys in by_key.items() for key in keys]
    return ["pretrain", *each, "report"]
