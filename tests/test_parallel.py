"""Jobs side by side: results by name, what they tell on the way, and every way they can end."""

import os
import signal
import time

import pytest
import torch

from sdvp_core.base import parallel
from sdvp_core.base.errors import UserError
from sdvp_core.base.images import ImageStore
from sdvp_core.base.parallel import leave_a_core, side_by_side


def double(number, tell):
    tell(number)
    return 2 * number, torch.get_num_threads(), os.getpid()


def refuse(tell):
    raise UserError("no such thing")


def break_down(tell):
    raise ZeroDivisionError("of mine")


def ended_from_outside(tell):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(("cores", "given", "left"), [(4, 4, 3), (4, 2, 2), (2, 2, 1), (1, 1, 1)])
def test_a_core_is_left_and_no_thread_added(monkeypatch, cores, given, left):
    before = torch.get_num_threads()
    monkeypatch.setattr(parallel, "_cores", lambda: cores)
    try:
        torch.set_num_threads(given)
        leave_a_core()
        assert torch.get_num_threads() == left
    finally:
        torch.set_num_threads(before)


def endless(path, tell):
    whole = path.with_suffix(".tmp")
    whole.write_text(str(os.getpid()))
    whole.replace(path)
    while True:
        tell(None)
        time.sleep(0.01)


def test_results_come_by_name_in_the_order_of_the_jobs_and_from_other_processes():
    told = []
    done = side_by_side(
        {name: (double, (number,)) for number, name in enumerate("cab")},
        lambda name, what: told.append((name, what)),
    )
    assert list(done) == ["c", "a", "b"]
    assert [done[name][0] for name in "cab"] == [0, 2, 4]
    assert os.getpid() not in {pid for _, _, pid in done.values()}
    assert sorted(told) == [("a", 1), ("b", 2), ("c", 0)]


def test_a_device_of_its_own_is_used_in_this_process_one_job_after_the_other():
    done = side_by_side({"a": (double, (1,)), "b": (double, (2,))}, lambda name, told: None, "meta")
    assert {pid for _, _, pid in done.values()} == {os.getpid()}


@pytest.mark.parametrize(
    ("job", "error", "words"),
    [
        (refuse, UserError, "no such thing"),
        (break_down, RuntimeError, "x: .*ZeroDivisionError: of mine"),
        (ended_from_outside, UserError, "`x` was ended from outside"),
    ],
)
def test_a_job_that_ends_badly_is_heard_of(job, error, words):
    with pytest.raises(error, match="(?s)" + words):
        side_by_side({"x": (job, ())}, lambda name, told: None)


def test_one_failure_ends_the_other_jobs(tmp_path):
    mark = tmp_path / "pid"
    with pytest.raises(UserError):
        side_by_side({"a": (endless, (mark,)), "b": (refuse, ())}, lambda name, told: None)
    if mark.exists():  # it may have been ended before its first word
        for _ in range(100):
            if not _alive(int(mark.read_text())):
                break
            time.sleep(0.05)
        assert not _alive(int(mark.read_text()))


def test_images_travel_to_other_processes(png):
    store = ImageStore([{"image_id": "a", "bytes": png}, {"image_id": "b", "bytes": png}])
    store.get("a")
    done = side_by_side({"x": (_size, (store.only({"a"}),))}, lambda name, told: None)
    assert done == {"x": ((3, 2), False)}


def _size(store, tell):
    return store.get("a").size, "b" in store


@pytest.fixture
def png():
    import io

    from PIL import Image

    stream = io.BytesIO()
    Image.new("RGB", (3, 2)).save(stream, "PNG")
    return stream.getvalue()


def _alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stream:
            return stream.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
