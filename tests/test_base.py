"""base: tables, records, params, shards, wording, images."""

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
import yaml
from PIL import Image

from sdvp_core.base import tables
from sdvp_core.base.errors import UserError
from sdvp_core.base.folder import TaskFolder
from sdvp_core.base.images import ImageError, ImageStore, ImageTable
from sdvp_core.base.ontology import attribute, holds
from sdvp_core.base.params import Distill, Params, load_params
from sdvp_core.base.records import IMAGES, QUESTIONS, stable_id
from sdvp_core.base.shards import in_shards
from sdvp_core.base.tables import chosen_rows, iterate_rows, read_jsonl, write_table
from sdvp_core.base.wording import choose, count, exists, parse, plural, query, singular, verify

ROOT = Path(__file__).parent.parent
ROWS = [{"question_id": str(i), "task": "t", "image_ids": [f"i{i}"]} for i in range(25)]


def test_equal_rows_give_equal_bytes_and_come_back(tmp_path):
    first, second = tmp_path / "a.parquet", tmp_path / "b.parquet"
    assert write_table(first, iter(ROWS), QUESTIONS) == 25
    write_table(second, ROWS, QUESTIONS)
    assert first.read_bytes() == second.read_bytes()
    rows = list(iterate_rows(first, QUESTIONS))
    assert [row["question_id"] for row in rows] == [row["question_id"] for row in ROWS]
    assert rows[3]["answer"] is None


def test_a_key_without_column_is_refused_and_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match="answr"):
        write_table(tmp_path / "a.parquet", [{"question_id": "1", "answr": "x"}], QUESTIONS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"no parquet at all", b""])
def test_a_foreign_file_is_one_sentence(tmp_path, content):
    path = tmp_path / "q.parquet"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"q\.parquet"):
        list(iterate_rows(path, QUESTIONS))
    with pytest.raises(UserError, match="does not exist"):
        list(iterate_rows(tmp_path / "absent.parquet", QUESTIONS))


def test_a_parquet_of_another_schema_names_the_missing_column(tmp_path):
    path = tmp_path / "q.parquet"
    write_table(path, [{"a": 1}], pa.schema([("a", pa.int64())]))
    with pytest.raises(UserError, match="question_id"):
        list(iterate_rows(path, QUESTIONS))


def test_a_broken_json_line_is_named_by_its_number(tmp_path):
    path = tmp_path / "bank.jsonl"
    path.write_text('{"a": 1}\n\n{"a": \n')
    rows = read_jsonl(path)
    assert next(rows) == {"a": 1}
    with pytest.raises(UserError, match=":3 is not valid JSON"):
        next(rows)


def test_ids_depend_on_the_parts_and_on_nothing_else():
    assert stable_id("a", 1) == stable_id("a", 1)
    assert len({stable_id("a", 1), stable_id("a1"), stable_id("a", "1")}) == 3


def test_a_killed_run_repeats_no_finished_shard(tmp_path):
    seen = []

    def compute(shard):
        seen.extend(shard)
        if 5 in shard and len(seen) <= 6:
            raise KeyboardInterrupt
        return [{"value": item * 2} for item in shard]

    with pytest.raises(KeyboardInterrupt):
        list(in_shards(range(7), tmp_path, compute, size=2))
    rows = list(in_shards(range(7), tmp_path, compute, size=2))
    assert [row["value"] for row in rows] == [0, 2, 4, 6, 8, 10, 12]
    assert seen == [0, 1, 2, 3, 4, 5, 4, 5, 6]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace('"value": 4', '"value": 5'),
        lambda text: "".join(text.splitlines(keepends=True)[1:]),
        lambda text: "".join(text.splitlines(keepends=True)[:-1]),
        lambda text: text[:20],
        lambda text: "",
    ],
)
def test_a_damaged_shard_is_computed_again(tmp_path, damage):
    # A line separator of Unicode within a value is no end of a line.
    rows = [{"value": n, "text": "a\u2028b"} for n in range(6)]
    computed = []

    def compute(shard):
        computed.append(shard[0]["value"])
        return shard

    assert list(in_shards(rows, tmp_path, compute, size=3)) == rows
    path = tmp_path / "000001.jsonl"
    whole = path.read_text()
    path.write_text(damage(whole))
    assert list(in_shards(rows, tmp_path, compute, size=3)) == rows
    assert computed == [0, 3, 3] and path.read_text() == whole
    assert list(in_shards(rows, tmp_path, compute, size=3)) == rows and len(computed) == 3


def test_an_error_of_the_computation_is_not_taken_for_one_of_the_disk(tmp_path):
    def compute(shard):
        raise PermissionError(13, "Permission denied", "/models/x")

    with pytest.raises(PermissionError):
        list(in_shards([1], tmp_path, compute, size=1))
    assert list(tmp_path.iterdir()) == []


def test_images_that_do_not_decode_raise_image_error():
    buffer = io.BytesIO()
    Image.new("L", (7, 5)).save(buffer, "PNG")
    rows = [
        {"image_id": "good", "bytes": buffer.getvalue(), "width": 7, "height": 5, "status": "ok"},
        {"image_id": "cut", "bytes": buffer.getvalue()[:40], "status": "ok", "width": 7},
        {"image_id": "gone", "bytes": None, "path": None, "status": "missing", "message": "no"},
        {"image_id": "nul", "path": "a\0.png", "status": "ok"},
        {"image_id": "nowhere", "path": None, "status": "ok"},
    ]
    store = ImageStore(rows)
    assert store.get("good").mode == "RGB" and store.size("good") == (7, 5)
    for image_id in ("cut", "gone", "nul", "nowhere", "unknown"):
        with pytest.raises(ImageError, match=image_id):
            store.get(image_id)
    assert set(IMAGES.names) >= set(rows[0])


@pytest.mark.parametrize(
    "error", [MemoryError, ValueError, IndexError, Image.DecompressionBombError]
)
def test_whatever_a_decoder_raises_is_an_image_error(monkeypatch, error):
    def fail(*_):
        raise error("broken")

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(ImageError, match=r"'i' cannot be decoded: .*broken"):
        ImageStore([{"image_id": "i", "bytes": b"x", "status": "ok"}]).get("i")


def test_decoded_images_are_held_up_to_so_many_bytes():
    buffer = io.BytesIO()
    Image.new("RGB", (10, 10)).save(buffer, "PNG")
    rows = [{"image_id": str(n), "bytes": buffer.getvalue(), "status": "ok"} for n in range(5)]
    store = ImageStore(rows, capacity=900)
    first = store.get("0")
    assert [store.get("1"), store.get("2")] and store.get("0") is first
    assert store.get("3") and store.get("0") is first  # "1" was asked longest ago, and went
    assert sorted(store._decoded) == ["0", "2", "3"] and store._held == 900
    small = ImageStore(rows, capacity=1)
    assert small.get("0") is small.get("0")  # one is held in any case


QUESTIONS_IN_THE_WORDING = [
    (query("color"), ("color", "it", "", ())),
    (query("pattern", "red square"), ("pattern", "red square", "", ())),
    (verify("red", "striped square"), ("is", "striped square", "red", ())),
    (verify("square", "red item", noun=True), ("is", "red item", "square", ())),
    (verify("circle", noun=True), ("is", "it", "circle", ())),
    (exists("red striped square"), ("exists", "red striped square", "", ())),
    (count("red cross"), ("count", "red cross", "", ())),
    (choose("red", "blue", "square"), ("choose", "square", "", ("red", "blue"))),
    (choose("square", "ring", noun=True), ("choose", "it", "", ("square", "ring"))),
]


@pytest.mark.parametrize(("question", "parsed"), QUESTIONS_IN_THE_WORDING)
def test_what_is_worded_parses_back(question, parsed):
    found = parse(question)
    assert (found.kind, found.subject, found.value, found.options) == parsed


def test_other_questions_do_not_parse():
    assert parse("Who is carrying the umbrella?") is None
    for word in ("square", "box", "cross", "berry", "boy"):
        assert singular(plural(word)) == word


def test_descriptions_hold_word_by_word():
    square = {"name": "square", "categories": ["item", "object"], "attributes": ["red", "striped"]}
    assert (
        holds(square, "red square") and holds(square, "striped red item") and holds(square, "red")
    )
    assert not holds(square, "blue square") and not holds(square, "red circle")
    assert attribute(square, "color") == "red" and attribute(square, "shape") == "square"
    assert attribute(square, "size") is None
    racket = {"name": "tennis racket", "categories": [], "attributes": ["blue"]}
    assert holds(racket, "blue tennis racket") and not holds(racket, "red tennis racket")


def _params(tmp_path, change):
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    change(values)
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_params_as_shipped_are_valid_and_know_their_chain():
    params = load_params(ROOT / "params.yaml")
    assert params.chain("shapes_nlvr2") == ["shapes_gqa", "shapes_nlvr2"]
    with pytest.raises(UserError, match="'nowhere' is no task"):
        params.task("nowhere")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p["distill"].update(alhpa=0.1), "distill.alhpa"),
        (lambda p: p["distill"].update(alpha=3), "distill.alpha"),
        (lambda p: p["sequence"].update(x={"after": "bsae", "task": "shapes_gqa"}), "bsae"),
        (lambda p: p["sequence"].update(x={"after": "x", "task": "shapes_gqa"}), "circle"),
        (lambda p: p["tasks"].update(x={"reader": "gqa"}), "source"),
        (lambda p: p["evaluate"]["skills"].update(x="unseen"), "'x' is not under `tasks`"),
    ],
)
def test_a_mistake_in_params_is_one_sentence_with_its_place(tmp_path, change, message):
    with pytest.raises(UserError, match=message) as caught:
        load_params(_params(tmp_path, change))
    assert "\n" not in str(caught.value)


def test_yaml_that_is_none_is_one_sentence(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("a: [1,\nb: }")
    with pytest.raises(UserError, match="not valid YAML"):
        load_params(path)
    with pytest.raises(UserError, match="missing"):
        load_params(tmp_path / "absent.yaml")


def test_lambda_is_of_all_modules_or_of_each():
    schedule = {"steps": 1}
    one, each = (
        Distill(vqa=schedule, locate=schedule, match=schedule, self_distillation=weight)
        for weight in (0.5, {"locate": 0.25, "match": 0})
    )
    assert [one.self_distillation_of(m) for m in ("vqa", "locate", "match")] == [0.5] * 3
    assert [each.self_distillation_of(m) for m in ("vqa", "locate", "match")] == [1, 0.25, 0]


def test_a_link_replaces_defaults_and_a_typo_in_it_is_named():
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    values["sequence"]["shapes_gqa"]["distill"] = {"vqa": {"steps": 7}, "self_distillation": 0}
    params = Params.model_validate(values)
    assert params.distill_of("shapes_gqa").vqa.steps == 7
    assert params.distill_of("shapes_gqa").vqa.batch_size == params.distill.vqa.batch_size
    assert params.distill_of("shapes_gqa").self_distillation_of("locate") == 0
    assert params.distill_of("shapes_nlvr2").self_distillation == params.distill.self_distillation
    values["sequence"]["shapes_gqa"]["distill"] = {"vqa": {"stesp": 7}}
    with pytest.raises(UserError, match=r"sequence\.shapes_gqa\.distill: vqa\.stesp"):
        Params.model_validate(values).distill_of("shapes_gqa")


def test_canonical_json_is_one_text_for_one_value():
    from sdvp_core.base.records import to_json

    assert to_json({"b": 1, "a": [True]}) == to_json(json.loads('{"a":[true],"b":1}'))


def test_another_picture_under_the_same_id_is_another_revision_of_its_task(tmp_path):
    task, row = TaskFolder(tmp_path), {"image_id": "i", "path": "a.png", "status": "ok"}
    write_table(tmp_path / "images.parquet", [row | {"sha256": "1"}], IMAGES)
    write_table(tmp_path / "questions.parquet", [{"question_id": "q", "split": "val"}], QUESTIONS)
    before = task.revision("questions", "images"), task.revision("questions")
    write_table(tmp_path / "images.parquet", [row | {"sha256": "2"}], IMAGES)
    assert task.revision("questions", "images") != before[0]
    assert task.revision("questions") == before[1] and len(before[1]) == 16


def test_rows_are_chosen_by_key_in_the_order_of_the_file(tmp_path):
    rows = [{"image_id": f"i{n}", "width": n} for n in range(2500)]
    write_table(tmp_path / "images.parquet", rows, IMAGES)
    wanted = {"i2400", "i3", "absent"}
    found = list(chosen_rows(tmp_path / "images.parquet", IMAGES, "image_id", wanted))
    assert [row["width"] for row in found] == [3, 2400]
    assert list(chosen_rows(tmp_path / "images.parquet", IMAGES, "image_id", set())) == []
    assert TaskFolder(tmp_path).images({"i3"}).row("i3")["width"] == 3


def test_bytes_of_row_groups_without_a_chosen_row_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "ROWS_PER_GROUP", 1000)
    rows = [{"image_id": f"i{n}", "width": n} for n in range(3500)]
    write_table(tmp_path / "images.parquet", rows, IMAGES)
    read, picked = [], tables._picked
    monkeypatch.setattr(tables, "_picked", lambda *a: (read.append(a[1]), picked(*a))[1])
    found = ImageTable(tmp_path / "images.parquet").only({"i1000", "i1299", "i1300", "i3499"})
    assert [found.row(name)["width"] for name in ("i1000", "i1299", "i1300", "i3499")] == [
        1000, 1299, 1300, 3499
    ]  # fmt: skip
    assert read == [1, 3]


def test_a_row_group_ends_after_so_many_bytes_of_images(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "IMAGE_BYTES_PER_GROUP", 100)
    rows = [{"image_id": str(n), "bytes": b"x" * 40} for n in range(7)]
    write_table(tmp_path / "images.parquet", rows, IMAGES)
    footer = pa.parquet.read_metadata(tmp_path / "images.parquet")
    assert [footer.row_group(n).num_rows for n in range(footer.num_row_groups)] == [3, 3, 1]
    assert [row["image_id"] for row in iterate_rows(tmp_path / "images.parquet")] == list("0123456")
