"""Devices lent between processes: never more tasks than places, first come first served, freed by death."""

import multiprocessing
import os
import signal
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biot_bd.evaluation import DeviceQueue, device_queue
from biot_bd.evaluation.device_queue import CONTEXT_BYTES, SPARE, note_peak, tasks_that_fit

FORK = multiprocessing.get_context("fork")
GB = 2**30


def holds(queue, label, seconds, log, meeting=None):
    with queue.leased(label) as device:
        log.put(("begins", label, device))
        if meeting is not None:
            meeting.wait(timeout=60)
        time.sleep(seconds)
        log.put(("ends", label, device))


def told(log, n):
    return [log.get(timeout=30) for _ in range(n)]


@pytest.fixture
def log():
    return FORK.Queue()


def start(queue, label, seconds, log, meeting=None):
    process = FORK.Process(target=holds, args=(queue, label, seconds, log, meeting), daemon=True)
    process.start()
    return process


def test_without_a_gpu_nothing_is_handed_out_and_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(device_queue.torch.cuda, "is_available", lambda: False)
    with DeviceQueue(folder=tmp_path / "locks").leased("fold-00") as device:
        assert device is None
    assert not (tmp_path / "locks").exists()


@pytest.mark.parametrize(("per_device", "most"), [(1, 2), (2, 4)])
def test_processes_never_hold_more_places_than_there_are(tmp_path, log, per_device, most):
    queue = DeviceQueue(["cpu", "cpu"], per_device=per_device, folder=tmp_path)
    meeting = FORK.Barrier(most)  # however slowly they start, as many as there are places meet
    processes = [start(queue, f"fold-{k}", 0.3, log, meeting) for k in range(8)]
    holding, seen = set(), []
    for what, label, _ in told(log, 16):
        holding = holding | {label} if what == "begins" else holding - {label}
        seen.append(len(holding))
    for process in processes:
        process.join()
    assert max(seen) == most
    assert queue.holders() == []


def test_who_came_first_is_served_first(tmp_path, log):
    queue = DeviceQueue(["cpu"], folder=tmp_path)
    labels = [f"fold-{k}" for k in range(4)]
    with queue.leased("before"):
        for place, label in enumerate(labels):
            start(queue, label, 0.01, log)
            while len(list((tmp_path / "line").glob("*.ticket"))) <= place:
                time.sleep(0.01)
    assert [label for what, label, _ in told(log, 8) if what == "begins"] == labels


def test_a_killed_process_frees_its_device_and_its_place_in_the_line(tmp_path, log):
    queue = DeviceQueue(["cpu"], folder=tmp_path)
    holder = start(queue, "holder", 60, log)
    assert told(log, 1) == [("begins", "holder", "cpu")]
    waiting = start(queue, "waiting", 60, log)
    while not list((tmp_path / "line").glob("*.ticket")):
        time.sleep(0.01)
    assert [one["label"] for one in queue.holders()] == ["holder"]
    assert queue.holders()[0]["process"] == holder.pid
    for process in (waiting, holder):
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    with DeviceQueue(["cpu"], folder=tmp_path, timeout_s=20).leased("next") as device:
        assert device == "cpu"


def test_threads_share_the_places_as_processes_do(tmp_path):
    queue, order = DeviceQueue(["cpu"], folder=tmp_path), []

    def work(label):
        with queue.leased(label):
            order.append((label, "in"))
            time.sleep(0.05)
            order.append((label, "out"))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [what for _, what in order] == ["in", "out"] * 3


def test_a_wait_that_is_too_long_says_who_holds_the_device(tmp_path):
    queue = DeviceQueue(["cpu"], folder=tmp_path, timeout_s=0.05)
    with (
        queue.leased("fold-03"),
        pytest.raises(TimeoutError, match=rf"fold-04.*cpu: fold-03 \(process {os.getpid()}\)"),
        queue.leased("fold-04"),
    ):
        pass


def test_an_error_in_the_block_frees_the_device(tmp_path):
    queue = DeviceQueue(["cpu"], folder=tmp_path, timeout_s=5)
    with pytest.raises(ZeroDivisionError), queue.leased("fold-00"):
        raise ZeroDivisionError
    assert queue.holders() == []


@pytest.mark.parametrize("per_device", [0, -1, 1.5, True, "many"])
def test_a_wrong_number_is_refused(per_device):
    with pytest.raises(ValueError, match="per_device"):
        DeviceQueue(per_device=per_device)


@given(peak=st.integers(1, 100 * GB), total=st.integers(GB, 200 * GB), used=st.floats(0, 1), busy=st.integers(0, 8))
def test_as_many_tasks_as_fit_into_the_memory_and_always_one(peak, total, used, busy):
    free = int(total * (1 - used))
    found = tasks_that_fit(peak, free, total, busy)
    assert 1 <= found <= 8
    if found > 1:
        assert found * (peak + CONTEXT_BYTES) <= total * (1 - SPARE)  # in all
        assert (found - busy) * (peak + CONTEXT_BYTES) <= max(0, free - total * SPARE) + 1  # those to come


def test_auto_takes_one_task_until_its_memory_is_known(tmp_path, monkeypatch):
    monkeypatch.setattr(device_queue, "memory_of", lambda device: (40 * GB, 40 * GB))
    queue = DeviceQueue(["meta"], per_device="auto", folder=tmp_path, timeout_s=0.05)
    with queue.leased("fold-00", "study"), pytest.raises(TimeoutError), queue.leased("fold-01", "study"):
        pass
    note_peak(tmp_path / "0-meta.memory", "study", 15 * GB)
    note_peak(tmp_path / "0-meta.memory", "study", 9 * GB)  # the largest counts
    with queue.leased("fold-00", "study"), queue.leased("fold-01", "study"):
        assert len(queue.holders()) == 2
        with pytest.raises(TimeoutError), queue.leased("fold-02", "study"):
            pass


@pytest.mark.parametrize("error", [KeyError("getpwuid(): uid not found: 1234"), OSError("No username set")])
def test_a_user_without_a_name_as_in_containers_has_a_queue_too(error, tmp_path, monkeypatch):
    def nameless():
        raise error

    monkeypatch.setattr(device_queue.getpass, "getuser", nameless)
    monkeypatch.setattr(device_queue.tempfile, "gettempdir", lambda: str(tmp_path))
    with DeviceQueue(["cpu"]).leased("fold-00") as device:
        assert device == "cpu"
    assert [path.name for path in tmp_path.iterdir()] == [f"biot-bd-devices-{os.getuid()}"]
