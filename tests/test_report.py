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
from sdvp_core.base.records import EXECUTIONS, IMAGES, SUPERVISION
from sdvp_core.base.tables import write_table
from sdvp_core.evaluate.compare import evaluate_link
from sdvp_core.modules.call import Call, Output
from sdvp_core.report.card import Release, Source, write_release
from sdvp_core.report.columns import MEANINGS
from sdvp_core.report.gallery import LinkTables, collect, trace_html
from sdvp_core.report.html import build
from sdvp_core.report.plots import curves
from sdvp_core.report.summary import Results, matrices, pooled_targets, summarise
from sdvp_core.report.tables import TARGETS, all_tables
from sdvp_core.report.text import MISSING, clean, interval, markdown_cell, points
from sdvp_core.report.views import trace_view

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
        *("minutes", "versions"),
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


def test_a_module_that_every_strategy_asks_the_same_has_one_number(results):
    found = all_tables(results)[TARGETS][0]
    assert [row for row in found.rows if row[1] == "locate"] == [
        ("b", "locate", "all steps", "80.0", "none", "1")
    ]


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
         target_answer="blue square", target_topk=[{"answer": "blue square", "probability": 0.9},
         {"answer": "red square", "probability": 0.1}], oracle_answer="[0,1]"),
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
    executions, supervision, images, questions = [], [], [], {}
    for n in range(8):
        dialect = "visprog" if n % 2 else "viper"
        where = {"execution_id": f"e{n}", "question_id": f"q{n % 6}", "dialect": dialect}
        executions.append(
            {
                **where,
                "program_id": f"p{n}",
                "student_set": "base",
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
                    "kept": row.get("kept", True),
                }
            )
        questions[f"q{n % 6}"] = {"question": HOSTILE, "image_ids": [f"i{n % 6}"], "answer": "red"}
        images.append(image_row(f"i{n}", (20 * n, 90, 90)))
    write_table(tmp_path / "executions.parquet", executions, EXECUTIONS)
    write_table(tmp_path / "supervision.parquet", supervision, SUPERVISION)
    write_table(tmp_path / "images.parquet", images, IMAGES)
    return LinkTables("my link", tmp_path / "supervision.parquet", tmp_path / "executions.parquet",
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


RELEASE = Release(sources=(Source("shapes", "Apache-2.0", "rendered", True),), url="https://a.b/c",
                  targets={"vqa": {"none": 0.7}})  # fmt: skip


def release(tables, folder, about=RELEASE):
    images = tables.supervision.parent / "images.parquet"
    return write_release(folder, {"my link": tables.supervision}, {"shapes": images}, about)


def test_every_released_column_has_a_meaning():
    assert set(MEANINGS) == set(SUPERVISION.names)


def test_a_release_is_whole_checked_and_the_same_twice(tables, tmp_path):
    counts = release(tables, tmp_path / "one")
    release(tables, tmp_path / "two")
    assert counts == {"steps": 24, "kept": 16, "images": 6}
    sums = (tmp_path / "one" / "SHA256SUMS").read_text().splitlines()
    names = {line.split("  ")[1] for line in sums}
    assert names == {"README.md", "croissant.json", "data/my-link.parquet", "images.parquet"}
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
    assert "| my link | shapes | viper | vqa | 4 | 0 |" in body
    assert "| vqa | none | 70.0% |" in body
    assert "<script" not in body and all(f"| {name} |" in body for name in SUPERVISION.names)


def test_croissant_names_every_file_and_column(tables, tmp_path):
    release(tables, tmp_path)
    about = json.loads((tmp_path / "croissant.json").read_text())
    assert about["conformsTo"].endswith("/1.0") and about["url"] == "https://a.b/c"
    files = {f["@id"]: f["sha256"] for f in about["distribution"]}
    for name, digest in files.items():
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == digest
    steps = next(r for r in about["recordSet"] if r["name"] == "my-link")
    assert [f["name"] for f in steps["field"]] == SUPERVISION.names
    by_name = {f["name"]: f for f in steps["field"]}
    assert by_name["agree"]["dataType"] == "sc:Boolean" and by_name["region"]["repeated"]
    assert [p["name"] for p in by_name["target_boxes"]["subField"]] == ["box", "score"]


def test_a_release_that_cannot_be_whole_says_why(tables, tmp_path):
    with pytest.raises(UserError, match="sequence"):
        write_release(tmp_path, {}, {})
    with pytest.raises(UserError, match="6 images"):
        write_release(tmp_path, {"x": tables.supervision}, {})
