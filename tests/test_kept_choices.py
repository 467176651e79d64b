"""What was measured once is kept for the next process, and only for the same machine."""

import json
import math
import threading

import pytest

from biot_bd.kept_choices import best_of, cached_choice, choices_file


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BIOT_BD_CACHE", str(tmp_path / "cache"))
    return choices_file()


def test_a_choice_is_measured_once(cache):
    calls = []

    def measure():
        calls.append(1)
        return {"plan": 1}

    assert cached_choice("a", measure) == cached_choice("a", measure) == {"plan": 1}
    assert cached_choice("b", lambda: {"plan": 2}) == {"plan": 2}
    assert len(calls) == 1
    assert json.loads(cache.read_text()) == {"a": {"plan": 1}, "b": {"plan": 2}}


def test_threads_that_ask_together_measure_once_and_lose_nothing(cache):
    calls = []
    barrier = threading.Barrier(4)

    def ask(number):
        barrier.wait()
        cached_choice("same", lambda: calls.append(1) or {"v": 0})
        cached_choice(f"own {number}", lambda: {"v": number})

    asking = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert len(calls) == 1
    assert len(json.loads(cache.read_text())) == 5


@pytest.mark.parametrize("damage", ["{", "[1]", '{"a": 3}'])
def test_a_damaged_file_costs_a_measurement(cache, damage):
    cache.parent.mkdir()
    cache.write_text(damage)
    assert cached_choice("a", lambda: {"v": 1}) == {"v": 1}
    assert json.loads(cache.read_text()) == {"a": {"v": 1}}


def test_without_a_writable_folder_every_call_measures(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BIOT_BD_CACHE", str(tmp_path / "file"))
    assert cached_choice("a", lambda: {"v": 1}) == {"v": 1}


def test_a_measurement_may_ask_for_another_choice_and_both_are_kept(cache):
    """The engine's is measured by models that choose their own precision."""
    outer = cached_choice("engine", lambda: {"of": cached_choice("precision", lambda: {"plan": "bf16"})})
    assert outer == {"of": {"plan": "bf16"}}
    assert json.loads(cache.read_text()) == {"precision": {"plan": "bf16"}, "engine": outer}


def test_what_is_no_choice_is_measured_again(cache):
    cached_choice("a", lambda: {"plan": "of an older version"})
    assert cached_choice("a", lambda: {"engine": "onnx"}, lambda kept: "engine" in kept) == {"engine": "onnx"}
    assert json.loads(cache.read_text()) == {"a": {"engine": "onnx"}}


def test_best_of_prefers_the_first_unless_another_gains():
    assert best_of({"a": 1.0, "b": 0.98, "c": 2.0}) == "a"
    assert best_of({"a": 1.0, "b": 0.96, "c": 0.95}) == "c"
    assert best_of({"a": math.inf, "b": 2.0}) == "b"
    with pytest.raises(ValueError, match="no candidate"):
        best_of({"a": math.nan})
