"""Run folders: atomic writes, JSON, fingerprints."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
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
