"""Report and release: what the chain of links gained and forgot, and the dataset it left.

python -m stages.report
"""

import json

from sdvp_core.base.folder import TaskFolder
from sdvp_core.base.images import ImageStore
from sdvp_core.base.params import Params, load_params
from sdvp_core.base.runtime import log, minutes, run_stage, versions
from stages import paths


def main() -> None:
    from sdvp_core.report.card import Release, write_release
    from sdvp_core.report.gallery import collect
    from sdvp_core.report.html import build
    from sdvp_core.report.summary import Results

    params = load_params()
    links = list(params.sequence)
    results = Results(
        [_json(paths.EVALUATIONS / link / "evaluation.json") for link in links],
        {link: _json(paths.SUPERVISED / f"{link}.json")["strategies"] for link in links},
        _without_self_distillation(),
        round(sum(minutes().values()), 2),
        versions(),
    )
    live = {link: paths.LIVE / link for link in links}
    traces = [view for link in links for view in collect(_tables(params, link))]
    build(paths.RESULTS, results, live, traces)
    log.info("wrote report.html, report.md and summary.json to %s", paths.RESULTS)
    tasks = {params.link(link).task for link in links}
    counts = write_release(
        paths.RELEASE,
        {link: paths.link(link) / "supervision.parquet" for link in links},
        {task: paths.task(task) / "images.parquet" for task in sorted(tasks)},
        Release(sources=tuple(_source(params, task) for task in sorted(tasks))),
    )
    log.info("wrote the dataset to %s: %s", paths.RELEASE, counts)


def _tables(params: Params, link: str):
    from sdvp_core.report.gallery import LinkTables

    task = TaskFolder(paths.task(params.link(link).task))
    questions = task.questions("distill")
    programs = task.programs(questions, params.generate.dialects)
    folder = paths.link(link)
    return LinkTables(
        link,
        folder / "supervision.parquet",
        folder / "executions.parquet",
        questions,
        {row["program_id"]: row["program"] for row in programs},
        ImageStore.from_table(task.path / "images.parquet"),
    )


def _source(params: Params, name: str):
    from sdvp_core.report.card import Source

    task = params.task(name)
    if task.world:
        return Source(name, "Apache-2.0", "rendered by this project", pixels=True)
    return Source(name, "that of the source", f"official files, read by `{task.reader}`")


def _without_self_distillation() -> dict:
    """Forgetting in the run with self-distillation off, kept from that experiment's summary."""
    kept = paths.CONTRAST
    return _json(kept)["forgetting"] if kept.is_file() else {}


def _json(path):
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    run_stage(main)
