import copy
import hashlib
import io
import json
import random
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from sdvp_core.base.errors import UserError
from sdvp_core.base.images import ImageStore
from sdvp_core.base.records import EXECUTIONS, IMAGES, PROGRAMS, QUESTIONS, SUPERVISION
from sdvp_core.base.tables import write_table
from sdvp_core.command.dataset import describe_release, validate_release
from sdvp_core.evaluate.compare import evaluate_link
from sdvp_core.modules.call import Call, Output
from sdvp_core.report import columns
from sdvp_core.report.card import Release, Source
from sdvp_core.report.gallery import LinkTables, collect, trace_html
from sdvp_core.report.html import build
from sdvp_core.report.plots import curves
from sdvp_core.report.release import Traced, write_release
from sdvp_core.report.summary import Results, matrices, pooled_targets, summarise
from sdvp_core.report.tables import TARGETS, all_tables
from sdvp_core.report.text import MISSING, clean, interval, markdown_cell, points
from sdvp_core.report.views import trace_view
from sdvp_core.teacher.accuracy import Tally

HOSTILE = '</pre><script>alert("x")</script><img src="http://evil.example/x" onerror=alert(1)>'
LINK = re.compile(r"(?<!\\)\]\(")  # a bracket that is not escaped
ACCURACY = {
    ("base", "old"): 0.9, ("base", "a"): 0.5, ("base", "b"): 0.4, ("base", "new"): 0.5,
    ("a", "old"): 0.88, ("a", "a"): 0.8, ("a", "b"): 0.45, ("a", "new"): 0.6,
    ("b", "old"): 0.86, ("b", "a"): 0.78, ("b", "b"): 0.75, ("b", "new"): 0.62,
    ("oracle", "a"): 1.0, ("oracle", "b"): 0.98, ("teacher", "a"): 0.85, ("teacher", "b"): 0.8,
}  # fmt: skip


def predictions(sets):
    for (student_set, task), accuracy in ACCURACY.items():
        if student_set not in sets:
            continue
        for dialect in ("visprog", "viper"):
            chance = random.Random(task + dialect)  # the same luck for every student set
            for i in range(60):
                right = chance.random() < accuracy
                yield {"student_set": student_set, "task": task, "dialect": dialect,
                       "question_id": f"{task}{i}", "group_id": f"g{i // 2}",
                       "program_id": f"{dialect}{task}{i}", "status": "ok", "answer": "yes",
                       "correct": right}  # fmt: skip


@pytest.fixture(scope="module")
def results():
    skills = {"old": "previous", "new": "unseen"}
    models = ("oracle", "teacher")
    rows_a = [r for r in predictions(("base", "a", *models)) if r["task"] != "b"]
    a = evaluate_link("a", "a", ["base", "a"], rows_a, {**skills, "a": "target"}, resamples=100)
    b = evaluate_link("b", "b", ["base", "a", "b"], predictions(("base", "a", "b", *models)),
                      {**skills, "a": "previous", "b": "target"}, resamples=100)  # fmt: skip
    targets = {
        "a": {
            "vqa": {
                "none": {"accuracy": 0.6, "n": 100, "ambiguous_accuracy": 0.1, "ambiguous_n": 40},
                "name": {
                    "accuracy": 0.9,
                    "n": 100,
                    "ambiguous_accuracy": 0.8,
                    "ambiguous_n": 40,
                    "meant_accuracy": 0.95,
                    "meant_n": 20,
                },
            }
        },
        "b": {"vqa": {"none": {"accuracy": 0.9, "n": 300}}, "locate": {"none": 0.8}},
    }
    without = {"a": {"points": 12.0, "low": 9.0, "high": 15.0, "tasks": {}}}
    return Results([a, b], targets, without, 7.5, {"python": "3.11"})


# --- summary


def test_the_summary_has_the_promised_keys_and_units(results):
    summary = summarise(results)
    assert set(summary) == {
        *("links", "forgetting", "forgetting_without_self_distillation", "unseen", "targets"),
        *("targets_meant", "minutes", "versions"),
    }
    viper = summary["links"]["a"]["dialects"]["viper"]
    assert set(viper) == {
        *("before", "after", "gain", "low", "high", "n", "ceiling", "bare_student"),
        "bare_teacher",
    }
    assert viper["gain"] == pytest.approx(100 * (viper["after"] - viper["before"]), abs=1e-3)
    assert summary["links"]["a"]["task"] == "a" and viper["n"] == 60
    assert set(summary["forgetting"]["b"]) == {"points", "low", "high"}
    assert summary["forgetting_without_self_distillation"]["a"]["points"] == 12.0
    assert set(summary["unseen"]) == {"new"}
    assert set(summary["unseen"]["new"]) == {"before", "after", "low", "high"}
    assert summary["minutes"] == 7.5


def test_unseen_tasks_are_compared_from_the_base_to_the_last_link(results):
    last = results.evaluations[1]["tasks"]["new"]["since_base"]
    assert summarise(results)["unseen"]["new"]["after"] == last["after"]
    assert last["before"] == results.evaluations[0]["tasks"]["new"]["since_base"]["before"]


def test_targets_of_several_links_are_weighed_by_their_steps(results):
    assert pooled_targets(results.targets)["vqa"]["none"] == pytest.approx(0.825)
    assert pooled_targets(results.targets)["locate"]["none"] == pytest.approx(0.8)
    other = {"c": {"vqa": {"name": {"accuracy": 0, "n": 1, "meant_accuracy": 0.5, "meant_n": 10}}}}
    both = Results([], results.targets | other)
    assert summarise(both)["targets_meant"] == {"vqa": {"name": pytest.approx(0.8)}}


def test_a_module_that_every_strategy_asks_the_same_has_one_number(results):
    found = all_tables(results)[TARGETS][0]
    assert [row for row in found.rows if row[1] == "locate"] == [
        ("b", "locate", "all steps", "80.0", "none", "1")
    ]


def test_modules_before_a_link_are_those_after_the_earlier_one(results):
    a, b = copy.deepcopy(results.evaluations)
    a["tasks"]["a"]["modules"] = {"vqa": {"before": 0.4, "after": 0.7, "n": 9}}
    b["tasks"]["a"]["modules"] = {"vqa": {"before": None, "after": 0.65, "n": 9}}
    for evaluation, after in ((a, 0.5), (b, 0.6)):
        evaluation["tasks"]["new"]["modules"] = {"vqa": {"before": None, "after": after, "n": 9}}
    found = next(t for t in all_tables(Results([a, b]))[TARGETS] if "Steps of each" in t.title)
    assert {row[:2]: row[3] for row in found.rows} == {
        ("a", "a"): "40.0", ("a", "new"): MISSING, ("b", "a"): "70.0", ("b", "new"): "50.0",
    }  # fmt: skip
    assert "base students are checked on the link's own task alone" in found.note


def test_the_matrix_takes_each_entry_from_whoever_measured_it(results):
    both = matrices(results.evaluations)["both"]
    a, b = results.evaluations
    assert both.sets == ("base", "a", "b") and both.learnt == ("a", "b")
    assert both.at(0, "old") == a["tasks"]["old"]["since_base"]["before"]
    assert both.at(1, "a") == a["tasks"]["a"]["pooled"]["after"]
    assert both.at(1, "b") == b["tasks"]["b"]["pooled"]["before"]  # a's students on b's task
    assert both.at(0, "b") == b["tasks"]["b"]["since_base"]["before"]
    assert both.at(2, "new") == b["tasks"]["new"]["pooled"]["after"]
    viper = matrices(results.evaluations)["viper"]
    assert viper.at(0, "b") == b["tasks"]["b"]["dialects"]["viper"]["base"]


# --- text


def test_text_loses_controls_and_direction_marks():
    assert clean("a\x00b\u202ec\ud800d") == "a\ufffdb\ufffdc\ufffdd"
    assert clean("x" * 400, 10) == "x" * 9 + "…"
    assert clean("two\nlines") == "two\nlines"


def test_a_markdown_cell_stays_one_cell_of_plain_text():
    cell = markdown_cell("a | b\n<b>`c` *d* [e](http://f)")
    assert "\n" not in cell and "<" not in cell
    assert cell.count("|") == cell.count("\\|") == 1
    assert not LINK.search(cell) and "\\`" in cell and "\\*" in cell
    assert markdown_cell("shapes_gqa") == "shapes_gqa"


def test_numbers_are_printed_with_sign_and_bounds():
    assert interval(12.34, 9, 15) == "+12.3 [+9.0, +15.0]"
    assert interval(-1.0, None, None) == "-1.0"
    assert points(-0.01) == "0.0" and points(None) == "\u2013"


# --- pages


class Page(HTMLParser):
    """Collects the tags and the addresses of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.addresses, self.handlers = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [v for k, v in attributes if k in ("src", "href", "xlink:href", "data")]
        self.handlers += [k for k, _ in attributes if k.startswith("on")]


def assert_harmless(text):
    page = Page(text)
    assert not {"script", "img", "iframe", "link", "object", "b-hostile"} & set(page.tags)
    assert not page.handlers
    assert all(a.startswith(("#", "data:image/")) for a in page.addresses)
    return page


def step(index, module, text, region, output, image_id="i", **more):
    return {"index": index, "module": module, "text": text, "image_id": image_id,
            "region": region, "output": json.dumps(output), **more}  # fmt: skip


STEPS = [
    step(0, "locate", "square", [0, 0, 100, 100], [[10, 10, 30, 30]], agree=False, kept=True,
         target_boxes=[{"box": [12, 12, 30, 30], "score": 0.9}, {"box": [50, 50, 70, 70],
         "score": 0.8}], oracle_answer="[[12,12,30,30],[50,50,70,70]]"),
    step(1, "vqa", HOSTILE, [10, 10, 30, 30], HOSTILE, agree=False, kept=False,
         drop_reason="low " + HOSTILE, target_answer="red",
         teacher_text="What color is the square?", oracle_answer='"red"'),
    step(2, "match", "red square | blue square", [10, 10, 30, 30], [0.2, 0.7], agree=True,
         target_answer="blue square", target_topk=[{"answer": "red square", "probability": 0.1},
         {"answer": "blue square", "probability": 0.9}], oracle_answer="[0,1]"),
]  # fmt: skip


def picture(width=100, height=100, colour=(200, 30, 40)):
    return Image.new("RGB", (width, height), colour)


def test_a_trace_page_shows_every_step_and_escapes_everything():
    page = trace_html(picture(), HOSTILE, f"A=VQA()  # {HOSTILE}", STEPS, HOSTILE)
    tags = assert_harmless(page).tags
    assert tags.count("image") == 1 and tags.count("use") == 3
    assert "&lt;script&gt;" in page
    assert "red square 0.20" in page and "blue square 0.90" in page
    assert "What color is the square?" in page and "not trained on: low" in page
    assert page.count("&#10007; no<") == 2 and page.count("&#10003; yes<") == 1  # agree
    assert ">2,3</text>" in page  # two steps that looked at the same region share a mark


def test_a_trace_judges_student_and_teacher_by_the_oracle():
    view = trace_view("t", {"i": picture()}, "q", "p", STEPS, "yes")
    locate, vqa, match = view.steps
    assert (locate.student.right, locate.teacher.right) == (False, True)
    assert (vqa.student.right, vqa.teacher.right) == (False, True)
    assert (match.student.right, match.teacher.right) == (True, True)
    assert locate.student.text == "1 box" and len(locate.teacher.boxes) == 2
    assert [mark.numbers for mark in view.pictures[0].marks] == ["2,3"]  # not the whole image


def test_steps_of_a_live_trace_are_shown_with_targets_given_apart():
    call = Call("vqa", "i", (0.0, 0.0, 50.0, 50.0), ("What color is it?",))
    steps = [
        SimpleNamespace(index=0, call=call, output=Output(answer="blue", confidence=0.8)),
        SimpleNamespace(index=1, call=call, output=Output(error="no such thing")),
    ]
    targets = {0: {"target_answer": "red", "oracle_answer": '"red"', "agree": False}}
    page = trace_html(picture(), "q", "p", steps, None, targets, status="limit")
    assert "blue" in page and "red" in page and "no answer: no such thing" in page
    assert "ended without an answer: limit" in page
    assert_harmless(page)


def test_odd_values_in_a_step_do_not_break_a_page():
    odd = [
        step(0, "locate", "x", None, [[1, 2, 3], ["a", 0, 0, 0], [0, 0, 1e999, 1]]),
        step(1, "locate", "x", [0, 0, float("nan"), 1], None, oracle_answer="[]"),
        step(2, "match", "a | b", [0, 0, 9, 9], ["?"], oracle_answer="[1]"),
        step(3, "vqa", "\ud800\x00", [90, 90, 90, 90], {"a": 1}, image_id="not there"),
    ]
    page = trace_html({"i": picture()}, "q", "p", odd, {"a": [1]})
    page.encode("utf-8")
    assert "nan" not in page and "inf" not in page.lower().replace("information", "")


def test_wide_and_large_pictures_keep_their_original_coordinates():
    steps = [step(0, "vqa", "q", [1000, 100, 1400, 300], "red")]
    view = trace_view("t", {"i": picture(4000, 1000)}, "q", "p", steps, "red")
    shown = view.pictures[0]
    assert (shown.width, shown.height) == (4000, 1000)
    assert shown.uri.startswith("data:image/jpeg") and len(shown.uri) < 20_000
    assert shown.marks[0].box == (1000.0, 100.0, 1400.0, 300.0)
    x, y, width, height = view.steps[0].view
    assert x < 1000 and y < 100 and x + width > 1400 and y + height > 300


@pytest.fixture
def live(tmp_path):
    folder = tmp_path / "live" / "a"
    metrics = folder / "plots" / "metrics"
    (metrics / "vqa").mkdir(parents=True)
    (metrics / "vqa" / "loss.tsv").write_text("step\tloss\n0\t2.0\n1\t1.0\n2\tnan\n3\n")
    (metrics / "seconds.tsv").write_text("timestamp\tstep\tseconds\n5\t0\t7\n")
    (metrics / "vqa" / "empty.tsv").write_text("step\tempty\n")
    return folder


def test_training_curves_are_grouped_by_module(live):
    found = curves(live)
    assert set(found) == {"", "vqa"}
    assert ">loss</text>" in found["vqa"] and "empty" not in found["vqa"]
    assert curves(live / "nowhere") == {}


def test_the_report_is_self_contained_and_the_same_twice(results, live, tmp_path):
    traces = [trace_view("t", {"i": picture()}, HOSTILE, HOSTILE, STEPS, "yes", title="a, viper")]
    for name in ("one", "two"):
        build(tmp_path / name, results, {"a": live}, traces)
    for file in ("summary.json", "report.md", "report.html"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    html = (tmp_path / "one" / "report.html").read_text()
    page = assert_harmless(html)
    assert page.tags.count("figure") >= 7  # gain, accuracy, three matrices, strategies, curves
    assert "currentColor" in html and "#010203" not in html
    gain = results.evaluations[0]["tasks"]["a"]["dialects"]["viper"]["gain"]
    assert f"{gain:+.1f}" in html
    assert json.loads((tmp_path / "one" / "summary.json").read_text()) == summarise(results)


def test_the_markdown_tables_are_whole(results, tmp_path):
    build(tmp_path, results)
    lines = (tmp_path / "report.md").read_text().splitlines()
    tables = [line for line in lines if line.startswith("|")]
    heads = [i for i, line in enumerate(lines) if line.startswith("| ---")]
    assert len(heads) >= 8
    for i in heads:
        width = lines[i].count("|")
        body = lines[i - 1 : i + 2]
        assert all(line.count("|") == width for line in body), body
    assert any("BWT, divided by T" in line for line in tables)
    assert "| a | vqa | ambiguous | 10.0 | 80.0 | 40 |" in tables
    assert f"| a | vqa | thing meant | {MISSING} | 95.0 | 20 |" in tables
    assert any("+12.0 [+9.0, +15.0]" in line for line in tables)


def test_names_with_mark_up_stay_text(tmp_path):
    name = "<b-hostile>$x_1$ | [a](http://b)"
    rows = [dict(r, task=name) for r in predictions(("base", "a")) if r["task"] == "a"]
    rows = [dict(r, student_set=name if r["student_set"] == "a" else "base") for r in rows]
    link = evaluate_link(name, name, ["base", name], rows, {name: "target"}, resamples=50)
    build(tmp_path, Results([link], {name: {name: {"none": 0.5}}}))
    assert_harmless((tmp_path / "report.html").read_text())
    markdown = (tmp_path / "report.md").read_text()
    assert "<b-hostile>" not in markdown and not LINK.search(markdown)


def test_a_report_without_links_or_intervals_is_still_written(tmp_path):
    assert build(tmp_path / "empty", Results([]))["links"] == {}
    row = dict(next(iter(predictions(("base",)))), task="a", correct=False)
    rows = [row, dict(row, student_set="a", correct=True)]
    link = evaluate_link("a", "a", ["base", "a"], rows, {"a": "target"}, resamples=50)
    summary = build(tmp_path / "one", Results([link]))
    assert summary["links"]["a"]["dialects"]["visprog"]["low"] is None
    assert "+100.0" in (tmp_path / "one" / "report.html").read_text()


# --- gallery and release


def image_row(image_id, colour):
    stream = io.BytesIO()
    picture(colour=colour).save(stream, "png")
    data = stream.getvalue()
    return {"image_id": image_id, "bytes": data, "path": "/home/someone/x.png", "width": 100,
            "height": 100, "sha256": hashlib.sha256(data).hexdigest(), "status": "ok"}  # fmt: skip


@pytest.fixture
def tables(tmp_path):
    """Eight executions on eight images; the even ones are viper, the first four are wrong."""
    made = tmp_path / "made"
    executions, supervision, images, programs, questions = [], [], [], [], {}
    for n in range(8):
        dialect = "visprog" if n % 2 else "viper"
        where = {"execution_id": f"e{n}", "question_id": f"q{n % 6}", "dialect": dialect}
        executions.append(
            {
                **where,
                "program_id": f"p{n}",
                "student_set": "base forced" if n in (6, 7) else "base",
                "status": "ok",
                "answer": '"blue"',
                "correct": n >= 4,
                "steps": 3,
            }
        )
        for row in STEPS:
            supervision.append(
                {
                    **row,
                    **where,
                    "step_id": f"s{n}{row['index']}",
                    "image_id": f"i{n % 6}",
                    "program_id": f"p{n}",
                    "task": "shapes",
                    "group_id": f"g{n}",
                    "forced": n in (6, 7),  # the images of 0 and 1 once more
                    "kept": row.get("kept", True),
                }
            )
        questions[f"q{n % 6}"] = {"question": HOSTILE, "image_ids": [f"i{n % 6}"], "answer": "red"}
        programs.append(where | {"program_id": f"p{n}", "program": HOSTILE, "source": "llm"})
        del programs[-1]["execution_id"]
        images.append(image_row(f"i{n}", (20 * n, 90, 90)))
    executions.append(executions[0] | {"execution_id": "no step", "status": "limit", "steps": 0})
    rows = [{"question_id": name, "split": "distill", **row} for name, row in questions.items()]
    rows[5]["image_ids"] = ["i5", "i7"]  # of which no step looks at the second
    rows.append({"question_id": "of the test", "split": "test"})
    write_table(made / "questions.parquet", rows, QUESTIONS)
    write_table(made / "programs.parquet", programs, PROGRAMS)
    write_table(made / "executions.parquet", executions, EXECUTIONS)
    write_table(made / "supervision.parquet", supervision, SUPERVISION)
    write_table(made / "images.parquet", images, IMAGES)
    return LinkTables("my link", made / "supervision.parquet", made / "executions.parquet",
                      questions, {"p0": HOSTILE}, ImageStore(images[:5]))  # fmt: skip


def test_the_gallery_takes_wrong_answers_first_from_both_dialects(tables):
    views = collect(tables, 4)
    assert [v.title for v in views] == ["my link, viper", "my link, visprog"] * 2
    assert all(v.right is False and len(v.steps) == 3 for v in views)
    assert views == collect(tables, 4)
    assert len({v.pictures[0].identity for v in views}) == 4


def test_the_gallery_asks_no_question_twice_and_bears_a_missing_image(tables):
    views = collect(tables, 20)
    assert len(views) == 6
    assert sorted(len(v.pictures) for v in views) == [0, 1, 1, 1, 1, 1]
    assert_harmless(trace_html({}, "q", "p", [], "yes"))


RELEASE = Release(
    sources=(Source("shapes", "Apache-2.0", "rendered", pixels=True, texts=True),),
    url="https://a.b/c",
    targets={"vqa": {"none": 0.7, "name": 0.6}},
    targets_meant={"vqa": {"name": 0.95}},
)
NAMED = {"executions.parquet", "images.parquet", "programs.parquet", "questions.parquet"}


def release(tables, folder, about=RELEASE):
    link = Traced("shapes", tables.supervision, tables.executions)
    return write_release(folder, {"my link": link}, {"shapes": tables.supervision.parent}, about)


def test_every_released_column_has_a_meaning():
    for table in (columns.STEPS, columns.ASKED, columns.WRITTEN, columns.EXECUTED):
        assert set(table.meanings) == set(table.schema.names)
    assert set(columns.IMAGE_MEANINGS) == set(columns.PICTURES.schema.names)


def test_a_release_is_whole_checked_and_the_same_twice(tables, tmp_path):
    counts = release(tables, tmp_path / "one")
    release(tables, tmp_path / "two")
    assert counts == {"steps": 24, "kept": 16, "images": 6}
    sums = (tmp_path / "one" / "SHA256SUMS").read_text().splitlines()
    names = {line.split("  ")[1] for line in sums}
    assert names == {"README.md", "croissant.json", "data/my-link.parquet", *NAMED}
    assert "24 steps" in validate_release(tmp_path / "one")
    lines = [line.split() for line in describe_release(tmp_path / "one").splitlines()]
    assert lines[0][3:] == ["steps", "kept", "forced"]
    assert lines[1] == ["shapes", "viper", "locate", "4", "4", "1"]
    for line in sums:
        digest, name = line.split("  ")
        data = (tmp_path / "one" / name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == digest
        assert data == (tmp_path / "two" / name).read_bytes()
    released = pq.read_table(tmp_path / "one" / "data" / "my-link.parquet")
    assert released.equals(pq.read_table(tables.supervision))


def test_pixels_and_local_paths_of_third_party_images_stay_at_home(tables, tmp_path):
    release(tables, tmp_path / "open")
    opened = pq.read_table(tmp_path / "open" / "images.parquet").to_pylist()
    assert all(hashlib.sha256(row["bytes"]).hexdigest() == row["sha256"] for row in opened)
    for sources in ((), (Source("shapes", "unknown", "web", False),)):
        release(tables, tmp_path / "closed", Release(sources=sources))
        assert "steps" in validate_release(tmp_path / "closed")
        assert not (tmp_path / "closed" / "questions.parquet").exists()
        assert not (tmp_path / "closed" / "programs.parquet").exists()
        card = card_of(tmp_path / "closed")
        assert "programs of shapes are not in this dataset" in card
        assert "programs.parquet" not in card.replace(columns.MEANINGS["program_id"], "")
        closed = pq.read_table(tmp_path / "closed" / "images.parquet")
        assert closed.column_names == ["task", "image_id", "width", "height", "sha256"]
    for folder in ("open", "closed"):
        for file in (tmp_path / folder).rglob("*"):
            assert file.is_dir() or b"someone" not in file.read_bytes()


def test_the_card_can_be_read_by_the_hub(tables, tmp_path):
    release(tables, tmp_path)
    _, head, body = (tmp_path / "README.md").read_text().split("---\n", 2)
    front = yaml.safe_load(head)
    assert front["license"] == "cc-by-4.0" and front["size_categories"] == ["n<1K"]
    assert front["configs"][0]["data_files"][0]["path"] == "data/my-link.parquet"
    assert "| my link | shapes | viper | vqa | 4 | 0 | 1 |" in body
    assert {c["config_name"] for c in front["configs"]} >= {"my-link", "programs", "questions"}
    assert f"| vqa | none | 70.0% | {MISSING} |" in body
    assert "| vqa | name | 60.0% | 95.0% |" in body
    assert "<script" not in body and all(f"| {name} |" in body for name in SUPERVISION.names)


def card_of(folder):
    return " ".join((folder / "README.md").read_text().split())


def test_the_card_tells_forced_steps_and_repeated_calls(tables, tmp_path):
    release(tables, tmp_path)
    card = card_of(tmp_path)
    assert "6 are of executions with the teacher's outputs handed on (`forced`), 18 of" in card
    assert "18 calls are distinct in module, image, region and text" in card
    assert "Every program was run twice" in card and "`handed` in `arguments`" in card
    rows = [row | {"forced": False} for row in pq.read_table(tables.supervision).to_pylist()]
    write_table(tables.supervision, rows, SUPERVISION)
    release(tables, tmp_path)
    assert "run twice" not in card_of(tmp_path) and "other students" in card_of(tmp_path)


def test_what_kept_means_is_what_the_training_does():
    from sdvp_core.distill.link import HELD_OUT

    assert f"{HELD_OUT:.0%} of the groups" in columns.MEANINGS["kept"]


def python_of(card, word):
    return next(code for code in re.findall(r"```python\n(.*?)```", card, re.S) if word in code)


def test_the_comparison_in_the_card_judges_as_the_project_does(tables, tmp_path, monkeypatch):
    wrong = [  # an answer, options, one option, and boxes of which one is not there
        STEPS[1] | {"target_answer": "blue"},
        STEPS[2] | {"oracle_answer": "[1,0]"},
        STEPS[2] | {"text": "red square", "target_topk": [{"answer": "", "probability": 0.4}],
                    "oracle_answer": "[1]"},
        STEPS[0] | {"oracle_answer": "[[12,12,30,30],[80,80,90,90]]"},
        STEPS[0] | {"oracle_answer": "[[12,12,30,30]]"},
    ]  # fmt: skip
    silent = [STEPS[1] | {"target_answer": None}, STEPS[0] | {"oracle_answer": None}]
    rows = [
        row | {"step_id": f"s{n}", "task": "shapes", "dialect": "viper", "image_id": "i0",
               "kept": True, "target_confidence": None if row is silent[0] else 0.9}
        for n, row in enumerate([*STEPS, *STEPS, *wrong, *silent])
    ]  # fmt: skip
    write_table(tables.supervision, rows, SUPERVISION)
    release(tables, tmp_path)
    monkeypatch.chdir(tmp_path)
    found = {}
    exec(python_of((tmp_path / "README.md").read_text(), "target_is_right"), found)
    tally = Tally()
    assert len(list(tally.watch(pq.read_table(tables.supervision).to_pylist()))) == len(rows)
    by_module = found["right"].groupby(found["judged"].module).mean().round(4).to_dict()
    assert by_module == tally.accuracy() == {"locate": 0.5, "match": 0.5, "vqa": 0.6667}


def test_croissant_names_every_file_and_column(tables, tmp_path):
    release(tables, tmp_path)
    about = json.loads((tmp_path / "croissant.json").read_text())
    assert about["conformsTo"].endswith("/1.0") and about["url"] == "https://a.b/c"
    files = {f["@id"]: f["sha256"] for f in about["distribution"]}
    assert set(files) == {"data/my-link.parquet", *NAMED}
    assert {f"{r['name']}.parquet" for r in about["recordSet"]} == {"my-link.parquet", *NAMED}
    for name, digest in files.items():
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == digest
    steps = next(r for r in about["recordSet"] if r["name"] == "my-link")
    assert [f["name"] for f in steps["field"]] == SUPERVISION.names
    by_name = {f["name"]: f for f in steps["field"]}
    assert by_name["agree"]["dataType"] == "sc:Boolean" and by_name["region"]["repeated"]
    assert [p["name"] for p in by_name["target_boxes"]["subField"]] == ["box", "score"]


def test_every_id_of_a_step_leads_somewhere(tables, tmp_path):
    release(tables, tmp_path / "out")
    found = {
        name: pq.read_table(tmp_path / "out" / f"{name}.parquet").to_pylist()
        for name in ("executions", "programs", "questions", "images")
    }
    by_id = {row["execution_id"]: row for row in found["executions"]}
    assert by_id["e7"]["forced"] and not by_id["e0"]["forced"] and by_id["e7"]["link"] == "my link"
    assert by_id["no step"]["status"] == "limit"
    assert {row["program_id"] for row in found["programs"]} == {f"p{n}" for n in range(8)}
    assert all(row["program"] == HOSTILE for row in found["programs"])
    asked = {row["question_id"]: row for row in found["questions"]}
    assert set(asked) == {f"q{n}" for n in range(6)}  # none of the test
    assert (asked["q0"]["question"], asked["q0"]["answer"]) == (HOSTILE, "red")
    assert {row["image_id"] for row in found["images"]} == {f"i{n}" for n in (*range(6), 7)}


def test_the_card_joins_steps_with_programs_and_questions(tables, tmp_path, monkeypatch):
    release(tables, tmp_path / "out")
    monkeypatch.chdir(tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    found = {}
    for word in ("kept = steps", "programs = pd"):
        exec(python_of(card, word), found)
    assert len(found["whole"]) == len(found["steps"]) == 24
    assert set(found["whole"].program) == set(found["whole"].question) == {HOSTILE}


@pytest.mark.parametrize("name", ["executions", "programs", "questions", "images"])
def test_a_release_with_an_id_that_leads_nowhere_is_refused(tables, tmp_path, name):
    release(tables, tmp_path / "out")
    path = tmp_path / "out" / f"{name}.parquet"
    short = pq.read_table(path)
    pq.write_table(short.slice(1), path)
    with pytest.raises(UserError, match=f"{name}.parquet differs from its checksum"):
        validate_release(tmp_path / "out")
    sums = tmp_path / "out" / "SHA256SUMS"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    lines = [line for line in sums.read_text().splitlines() if path.name not in line]
    sums.write_text("\n".join([*lines, f"{digest}  {path.name}"]))
    with pytest.raises(UserError, match=rf"is not in {name}\.parquet"):
        validate_release(tmp_path / "out")


def test_a_release_without_its_executions_is_not_whole(tables, tmp_path):
    release(tables, tmp_path / "out")
    sums = tmp_path / "out" / "SHA256SUMS"
    lines = sums.read_text().splitlines()
    sums.write_text("\n".join(line for line in lines if "executions" not in line))
    with pytest.raises(UserError, match=r"does not list executions\.parquet"):
        validate_release(tmp_path / "out")


def test_a_release_that_cannot_be_whole_says_why(tables, tmp_path):
    with pytest.raises(UserError, match="sequence"):
        write_release(tmp_path, {}, {})
    with pytest.raises(UserError, match="6 images"):
        write_release(tmp_path, {"x": Traced("t", tables.supervision, tables.executions)}, {})
