"""Report and release: what the chain of links gained and forgot, and the dataset it left.

python -m stages.report
"""

import json
from pathlib import Path
from typing import Any

from sdvp_core.base.folder import TaskFolder
from sdvp_core.base.params import load_params
from sdvp_core.base.runtime import log, run_stage, versions
from stages import paths


def main() -> None:
    from sdvp_core.report.card import Release, source_of
    from sdvp_core.report.duration import pipeline_minutes
    from sdvp_core.report.gallery import LinkTables, collect
    from sdvp_core.report.html import build
    from sdvp_core.report.release import Traced, write_release
    from sdvp_core.report.summary import Results

    params = load_params()
    links = {name: Traced(params.link(name).task, *_tables(name)) for name in params.sequence}
    tasks = {name: paths.task(name) for name in sorted({of.task for of in links.values()})}
    results = Results(
        [_json(paths.EVALUATIONS / link / "evaluation.json") for link in links],
        {link: _json(paths.SUPERVISED / f"{link}.json")["strategies"] for link in links},
        _json(paths.CONTRAST)["forgetting"] if paths.CONTRAST.is_file() else {},
        pipeline_minutes(params),
        versions(),
    )
    live = {link: paths.LIVE / link for link in links}
    traces = []
    for link, of in links.items():
        task = TaskFolder(tasks[of.task])
        shown = LinkTables.of(link, of.supervision, of.executions, task, params.generate.dialects)
        traces += collect(shown)
    summary = build(paths.RESULTS, results, live, traces)
    log.info("wrote report.html, report.md and summary.json to %s", paths.RESULTS)
    sources = tuple(source_of(name, params.task(name)) for name in tasks)
    told = Release(
        sources=sources, targets=summary["targets"], targets_meant=summary["targets_meant"]
    )
    counts = write_release(paths.RELEASE, links, tasks, told)
    log.info("wrote the dataset to %s: %s", paths.RELEASE, counts)


def _tables(link: str) -> list[Path]:
    return [paths.link(link) / f"{table}.parquet" for table in ("supervision", "executions")]


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    run_stage(main)
