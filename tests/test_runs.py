"""Run folders: atomic writes, JSON, fingerprints."""

import errno
import json
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from biot_bd import runs


def test_a_file_appears_whole_and_alone(tmp_path):
    path = tmp_path / "deep" / "er" / "a.txt"
    assert runs.write_text(path, "µV") == path
    assert path.read_bytes() == "µV".encode()
    assert os.listdir(path.parent) == ["a.txt"]


def test_an_exception_keeps_the_old_file_and_leaves_nothing(tmp_path):
    path = runs.write_text(tmp_path / "a.txt", "old")
    with pytest.raises(ZeroDivisionError), runs.atomic_path(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent
        assert temporary.suffix == ".txt"
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_folder_replaces_a_folder(tmp_path):
    path = tmp_path / "run"
    for n in (1, 2):
        with runs.atomic_path(path) as temporary:
            temporary.mkdir()
            (temporary / f"{n}.txt").write_text(str(n))
    assert os.listdir(path) == ["2.txt"]
    assert os.listdir(tmp_path) == ["run"]


def test_an_exception_keeps_the_old_folder(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    (path / "old").touch()
    with pytest.raises(KeyboardInterrupt), runs.atomic_path(path) as temporary:  # noqa: PT012
        temporary.mkdir()
        (temporary / "new").touch()
        raise KeyboardInterrupt
    assert os.listdir(path) == ["old"]
    assert os.listdir(tmp_path) == ["run"]


def test_a_rename_that_fails_brings_the_old_folder_back(tmp_path, monkeypatch):
    path = tmp_path / "run"
    path.mkdir()
    (path / "old").touch()
    rename = os.replace

    def fail_for_the_new_one(source, target):
        if str(source).endswith(".tmp"):
            raise OSError("disk full")
        rename(source, target)

    monkeypatch.setattr(os, "replace", fail_for_the_new_one)
    with pytest.raises(OSError, match="disk full"), runs.atomic_path(path) as temporary:
        temporary.mkdir()
    assert os.listdir(path) == ["old"]
    assert os.listdir(tmp_path) == ["run"]


def _save_weights(path):
    from safetensors.torch import save_file

    save_file({"w": torch.zeros(50_000)}, path)


WRITERS = {
    "text": lambda path: path.write_text("x" * 200_000),
    "numpy": lambda path: np.save(path.open("wb"), np.zeros(50_000)),
    "torch": lambda path: torch.save({"w": torch.zeros(50_000)}, path),
    "safetensors": _save_weights,
    "parquet": lambda path: pd.DataFrame({"x": np.random.default_rng(0).normal(size=50_000)}).to_parquet(path),
    "npz": lambda path: np.savez(path.open("wb"), x=np.random.default_rng(0).normal(size=50_000)),
}


def _in_a_child(call):
    """Return what ``call`` returns in a process of its own: its limits and umask end with it."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply_async(call).get(60)


class _Written:
    """Write by a library under a limit of the size of files, or under a umask; tell what became of it."""

    def __init__(self, kind, path, limit=None, umask=0o022):
        self.kind, self.path, self.limit, self.umask = kind, path, limit, umask

    def __call__(self):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        if self.limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.limit, self.limit))
        os.umask(self.umask)
        try:
            with runs.atomic_path(self.path) as temporary:
                WRITERS[self.kind](temporary)
        except OSError as error:
            return type(error), error.errno, error.strerror, error.filename
        return self.path.stat().st_mode & 0o777


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("limit", [0, 1000, 70_000])
def test_a_disk_that_is_full_is_told_with_file_and_cause_whatever_library_writes(tmp_path, kind, limit):
    path = runs.write_text(tmp_path / "a.bin", "old")
    found = _in_a_child(_Written(kind, path, limit))
    assert found == (OSError, errno.EFBIG, "File too large", str(path))
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.bin"]


@given(number=st.sampled_from(runs.DISK_FAULTS), name=st.sampled_from(["a.txt", "ä b.json", ".x", "c"]))
def test_the_cause_is_kept_and_the_file_named_for_every_fault_of_a_disk(tmp_path_factory, number, name):
    path = tmp_path_factory.mktemp("full") / name
    with pytest.raises(OSError, match=os.strerror(number)) as caught, runs.atomic_path(path):
        raise OSError(number, os.strerror(number))
    assert (caught.value.errno, caught.value.filename) == (number, str(path))
    assert not os.listdir(path.parent)


def test_an_error_of_what_is_read_in_the_block_is_not_laid_at_the_door_of_the_file(tmp_path):
    for error in (FileNotFoundError(errno.ENOENT, "gone", "in.edf"), RuntimeError("no such channel"), OSError("odd")):
        with pytest.raises(type(error)) as caught, runs.atomic_path(tmp_path / "a.txt") as temporary:  # noqa: PT012
            temporary.touch()
            raise error
        assert caught.value is error


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_a_file_gets_the_mode_of_any_new_file_whatever_library_writes(tmp_path, kind, umask, mode):
    assert _in_a_child(_Written(kind, tmp_path / "a.bin", umask=umask)) == mode
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_block_that_writes_nothing_is_an_error_that_names_the_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing was written.*a\.txt"), runs.atomic_path(tmp_path / "a.txt"):
        pass
    assert os.listdir(tmp_path) == []


def test_a_killed_process_leaves_the_old_file(tmp_path):
    path = runs.write_text(tmp_path / "a.txt", "old")
    code = (
        "import os, signal, sys; from biot_bd.runs import atomic_path\n"
        "with atomic_path(sys.argv[1]) as t:\n    t.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"


def test_two_writers_at_once_do_not_share_a_temporary(tmp_path):
    with runs.atomic_path(tmp_path / "a") as one, runs.atomic_path(tmp_path / "a") as two:
        assert one != two
        one.write_text("one")
        two.write_text("two")
    assert (tmp_path / "a").read_text() == "one"  # the outer block ends last


def test_json_forms(tmp_path):
    data = {
        "f": np.float32(0.5),
        "i": np.int64(3),
        "b": np.bool_(True),
        "a": np.array([[1.0, np.nan]]),
        "t": (1, 2),
        "s": {"b", "a"},
        "p": tmp_path,
        "n": None,
        "inf": [np.inf, -np.inf],
        3: "number as key",
    }
    assert runs.to_jsonable(data) == {
        "f": 0.5,
        "i": 3,
        "b": True,
        "a": [[1.0, None]],
        "t": [1, 2],
        "s": ["a", "b"],
        "p": str(tmp_path),
        "n": None,
        "inf": ["Infinity", "-Infinity"],
        "3": "number as key",
    }


@pytest.mark.parametrize("value", [object(), 1j, b"bytes", {"deep": [len]}, np.datetime64("2020-01-01")])
def test_what_has_no_json_form_raises(value):
    with pytest.raises(TypeError, match="no JSON form"):
        runs.to_jsonable(value)


def test_keys_that_would_fall_together_raise():
    with pytest.raises(TypeError, match="same text"):
        runs.to_jsonable({1: "a", "1": "b"})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=15,
)


@given(JSON)
def test_json_goes_through_unchanged(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "round-trip.json"
    assert runs.read_json(runs.write_json(path, data)) == data
    assert json.loads(json.dumps(runs.to_jsonable(data))) == data


def test_what_cannot_be_written_keeps_the_old_file(tmp_path):
    path = runs.write_json(tmp_path / "a.json", {"old": 1})
    with pytest.raises(TypeError):
        runs.write_json(path, {"new": object()})
    assert runs.read_json(path) == {"old": 1}


@pytest.mark.parametrize("content", [b'{"half": ', b"\xff\xfe"])
def test_a_file_that_is_not_json_is_named(tmp_path, content):
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"run\.json: not valid JSON"):
        runs.read_json(path)


def test_fingerprints_ignore_the_order_of_keys_and_see_values():
    assert runs.fingerprint({"a": 1, "b": (2.0, None)}) == runs.fingerprint({"b": [2.0, None], "a": 1})
    values = [{"a": 1}, {"a": 2}, {"a": 1.5}, {"b": 1}, {"a": "1"}, {"a": [1]}, {"a": None}, {}]
    prints = {runs.fingerprint(value) for value in values}
    assert len(prints) == len(values)
    assert all(len(text) == 16 and set(text) <= set("0123456789abcdef") for text in prints)


def test_a_fingerprint_is_the_same_in_another_process():
    code = "from biot_bd.runs import fingerprint; print(fingerprint({'x': {'b', 'a', 'c'}, 'y': 0.1}))"
    texts = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ, PYTHONHASHSEED=seed)
        ).stdout
        for seed in ("1", "2")
    }
    assert texts == {runs.fingerprint({"x": {"c", "b", "a"}, "y": 0.1}) + "\n"}


def test_environment_is_json_and_names_the_versions():
    found = runs.environment()
    assert json.loads(json.dumps(found)) == found
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["packages"]["numpy"] == np.__version__
    assert set(found["packages"]) == set(runs.PACKAGES)


def test_json_nested_without_end_is_told_by_its_file(tmp_path):
    (tmp_path / "run.json").write_text("[" * 200_000)
    with pytest.raises(ValueError, match=r"run\.json: not valid JSON"):
        runs.read_json(tmp_path / "run.json")


def test_the_commit_is_that_of_the_checkout_that_runs_or_of_what_pip_installed(monkeypatch, tmp_path):
    package = tmp_path / "checkout" / "biot_bd"
    package.mkdir(parents=True)
    (package / "runs.py").write_text("x = 1\n")
    monkeypatch.setattr(runs, "__file__", str(package / "runs.py"))
    git = ["git", "-C", str(package.parent), "-c", "user.name=n", "-c", "user.email=e@example.org"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *words], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert runs.git_revision.__wrapped__() == head
    (package / "runs.py").write_text("x = 2\n")
    assert runs.git_revision.__wrapped__() == f"{head}+changes"
    shutil.rmtree(package.parent / ".git")
    told = '{"url": "https://example.org/x", "vcs_info": {"vcs": "git", "commit_id": "0a1b"}}'
    for text, expected in ((told, "0a1b"), ('{"url": "file:///x", "dir_info": {}}', None), (None, None)):
        installed = SimpleNamespace(read_text=lambda name, text=text: text)
        monkeypatch.setattr(runs, "distribution", lambda name, installed=installed: installed)
        assert runs.git_revision.__wrapped__() == expected
