"""The tables of numbers that report.md and report.html both print."""

from collections.abc import Mapping, Sequence

from sdvp_core.report.measures import matrix_table, measure_table, skill_table
from sdvp_core.report.summary import Results, Row, matrices, measured, targets
from sdvp_core.report.table import Table, table
from sdvp_core.report.text import MISSING, interval, number, percent

GAIN, KEPT, TARGETS = "Gain", "What was kept", "Steps and targets"


def all_tables(results: Results) -> dict[str, list[Table]]:
    """Every table by the section of the report it stands in; those without rows are left out."""
    links = [e for e in results.evaluations if e["task"]]
    sections = {
        GAIN: [_gain_table(links), _beside_table(links), _subset_table(links)],
        KEPT: [
            _kept_table(links),
            _forgetting_table(links, results.without_self_distillation),
            *(matrix_table(name, matrix) for name, matrix in matrices(links).items()),
            measure_table(links),
            skill_table(links),
        ],
        TARGETS: [_target_table(results.targets), _module_table(links)],
    }
    return {name: [t for t in tables if t.rows] for name, tables in sections.items()}


def _gain_table(links: Sequence[Row]) -> Table:
    rows = [
        (
            *(link, dialect, f"{v['n']} / {v['groups']}"),
            *(percent(v["before"]), percent(v["after"])),
            interval(v["gain"], v["low"], v["high"]),
            *(number(v["p"]), percent(v["executed"]), percent(v["ceiling"])),
            percent(v["groups_all_right"]),
        )
        for link, dialect, v in targets(links)
    ]
    return table(
        "Gain of each link on its own task",
        "link, dialect, questions / groups, before %, after %, gain (points) [95%], p, executed %, "
        "ceiling %, whole groups %",
        rows,
        "The same questions before and after the link. Intervals: bootstrap over groups (images or "
        "records); p: McNemar's exact test. Executed: programs that ended with an answer; those "
        "that did not count as wrong. Ceiling: the same programs over perfect modules.",
    )


def _beside_table(links: Sequence[Row]) -> Table:
    keys = ("after", "bare_student_before", "bare_student_after", "bare_teacher", "teacher_swap")
    rows = [
        (link, dialect, *(percent(v.get(key)) for key in keys))
        for link, dialect, v in targets(links)
    ]
    return table(
        "Beside the programs: the models asked directly",
        "link, dialect, program after %, bare student before %, bare student after %, "
        "bare teacher %, teacher swap %",
        rows,
        "Bare: the VQA student or the teacher is asked the whole question about the whole image, "
        "without a program. Teacher swap: the teacher stands in the modules' place.",
    )


def _subset_table(links: Sequence[Row]) -> Table:
    rows = []
    for e in links:
        for name, subset in e["tasks"].get(e["task"], {}).get("subsets", {}).items():
            for dialect, v in subset["dialects"].items():
                gain = interval(v["gain"], v["low"], v["high"])
                numbers = (percent(v["before"]), percent(v["after"]), gain, percent(v["ceiling"]))
                rows.append((e["link"], name, dialect, str(v["n"]), *numbers))
    head = "link, kind, dialect, questions, before %, after %, gain (points) [95%], ceiling %"
    return table("Kinds of questions of the target task", head, rows)


def _kept_table(links: Sequence[Row]) -> Table:
    rows = []
    for e in links:
        for task, of_task in e["tasks"].items():
            if of_task["role"] == "target":
                continue
            base, step = of_task["since_base"], of_task["pooled"]
            rows.append(
                (
                    *(e["link"], task, of_task["role"], f"{base['n']} / {base['groups']}"),
                    *(percent(base["before"]), percent(base["after"])),
                    interval(base["gain"], base["low"], base["high"]),
                    interval(step["gain"], step["low"], step["high"]),
                )
            )
    return table(
        "Previous and unseen tasks",
        "link, task, role, answers / groups, base %, after %, since base (points) [95%], "
        "this link alone (points) [95%]",
        rows,
        "Dialects pooled. Unseen tasks are trained on by no link.",
    )


def _forgetting_table(links: Sequence[Row], without: Mapping[str, Row]) -> Table:
    rows = []
    for e in links:
        kept, lost = e["forgetting"], without.get(e["link"])
        if kept is None and lost is None:
            continue
        cells = [
            interval(v["points"], v.get("low"), v.get("high")) if v else MISSING
            for v in (kept, lost)
        ]
        tasks = ", ".join(kept.get("tasks", {})) if kept else ""
        rows.append((e["link"], tasks, *cells))
    return table(
        "Forgetting of earlier tasks",
        "link, tasks, forgetting (points) [95%], without self-distillation [95%]",
        rows,
        "Best earlier accuracy minus accuracy after the link (Chaudhry et al. 2018), mean over "
        "previous tasks, dialects pooled. Positive is loss.",
    )


def _module_table(links: Sequence[Row]) -> Table:
    by_name = {e["link"]: e for e in links}

    def before(e: Row, task: str, module: str, own: float | None) -> float | None:
        """Of a task of others: what the link before, whose students these were, ended with."""
        earlier = by_name.get(e["chain"][-2], {"tasks": {}})["tasks"].get(task, {})
        return earlier.get("modules", {}).get(module, {}).get("after") if own is None else own

    rows = [
        (
            *(e["link"], task, module, percent(before(e, task, module, v["before"]))),
            *(percent(v["after"]), str(v["n"])),
        )
        for e in links
        for task, of_task in e["tasks"].items()
        for module, v in of_task.get("modules", {}).items()
    ]
    return table(
        "Steps of each module against the oracle",
        "link, task, module, before %, after %, steps",
        rows,
        "Share of steps whose output equals the annotation's: the word, the best option, or every "
        "box at IoU 0.5 with none too many; each student set on the steps it took itself. Before: "
        "on its own task a link is measured before and after it; on others before is what the "
        f"earlier link ended with, and {MISSING} where there is none, for the steps of the base "
        "students are checked on the link's own task alone.",
    )


_KINDS = (("all steps", ""), ("ambiguous", "ambiguous_"), ("thing meant", "meant_"))


def _target_table(by_link: Mapping[str, Mapping[str, Mapping[str, Row]]]) -> Table:
    found = {(link, m): by for link, modules in by_link.items() for m, by in modules.items()}
    names = list(dict.fromkeys(strategy for by in found.values() for strategy in by))
    rows = []
    for (link, module), by in found.items():
        other = next(iter(by)) if len(by) == 1 else MISSING
        for kind, prefix in _KINDS:
            pairs = {name: measured(value, prefix) for name, value in by.items()}
            steps = max((n for _, n in pairs.values()), default=0)
            if not prefix or steps:
                shares = [percent(pairs[name][0]) if name in pairs else other for name in names]
                rows.append((link, module, kind, *shares, f"{steps:.0f}"))
    return table(
        "Accuracy of the teacher's targets by adapter strategy",
        ", ".join(["link", "module", "of", *(f"{name} %" for name in names), "steps"]),
        rows,
        "Targets against the oracle. none: the crop as it is; name: the thing's name in the "
        "question; lineage: a referring expression; box: the region drawn on the whole image. "
        "A module with a word in place of a number is asked the same under every strategy. "
        "Ambiguous: the region shows two things or more; the oracle takes for it what fills it "
        "best. Thing meant: those of them on something that was found by a name, held against "
        "what is true of the thing of that name.",
    )
