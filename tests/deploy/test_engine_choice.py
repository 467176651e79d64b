"""The engine that is the fastest here is taken, measured once; what is compared is what fits.

Speeds are those of a made clock: each model moves it by its own seconds a window.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from described_models import export_folder, pipeline_folder

from biot_bd.deploy import engine_candidates, engine_choice
from biot_bd.deploy.engine_candidates import Candidate, find_candidates
from biot_bd.deploy.engine_choice import choose, machine_key, measure_candidates, open_model
from biot_bd.exceptions import MissingExtraError
from biot_bd.kept_choices import choices_file
from biot_bd.processor import Processor
from biot_bd.registry import montages

HERE = Path("model")
TORCH = Candidate(HERE, "torch", "fp32", "w")
ONNX = Candidate(HERE / "exports/onnx", "onnx", "fp32", "o", 2e-7)
BF16 = Candidate(HERE / "exports/openvino", "openvino", "bf16", "v", 0.00293)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BIOT_BD_CACHE", str(tmp_path / "cache"))
    return choices_file()


class World:
    """Models that take the seconds a window that the test gives, on a clock of their own."""

    def __init__(self, seconds, broken=()):
        self.seconds, self.broken, self.now, self.loads, self.windows = seconds, broken, 0.0, [], 0

    def clock(self):
        return self.now

    def load(self, candidate):
        self.loads.append(candidate.name)
        if candidate.name in self.broken:
            raise OSError("the library is of another processor")
        return Fake(self, self.seconds[candidate.name], candidate.precision)


class Fake:
    montage, sfreq, window_s, n_times, threshold = montages["biot-16"], 200.0, 1.0, 200, 0.5

    def __init__(self, world, seconds, precision):
        self.world, self.seconds, self.precision = world, seconds, precision

    def score(self, batch):
        assert batch.x.shape == (len(batch), 16, 200)
        self.world.now += self.seconds * len(batch)
        self.world.windows += len(batch)
        return np.full(len(batch), 0.5)


def choice(world, candidates=(TORCH, ONNX, BF16), n_windows=64, **options):
    return choose(list(candidates), world.load, n_windows, clock=world.clock, **options)


def test_the_fastest_is_taken_and_the_note_says_by_how_much():
    world = World({"torch fp32": 0.1, "onnx fp32": 0.04, "openvino bf16": 0.02})
    scorer, chosen, note = choice(world, left_out=["pt2 fp32 (why)"])
    assert chosen is BF16
    assert scorer.seconds == 0.02
    assert note == (
        "computed by openvino in bf16, 5.0 times as fast here as torch fp32; "
        "probabilities within 0.003 of the saved model's at export; not compared: pt2 fp32 (why)"
    )


@pytest.mark.parametrize(("onnx", "taken"), [(0.098, TORCH), (0.09, ONNX)])
def test_the_first_stays_unless_another_is_clearly_faster(onnx, taken):
    _, chosen, note = choice(World({"torch fp32": 0.1, "onnx fp32": onnx}), (TORCH, ONNX))
    assert chosen is taken
    if taken is TORCH:
        assert note == "computed by torch in fp32, the fastest here (compared: onnx fp32)"


def test_it_is_measured_once_and_then_only_the_chosen_one_is_loaded(cache):
    world = World({"torch fp32": 0.1, "onnx fp32": 0.04, "openvino bf16": 0.02})
    first = choice(world)
    assert world.loads == ["torch fp32", "onnx fp32", "openvino bf16"]
    windows = world.windows
    again = choice(world)
    assert world.loads[3:] == ["openvino bf16"]
    assert world.windows == windows
    assert again[1:] == first[1:]
    assert len(json.loads(cache.read_text())) == 1


@pytest.mark.parametrize("damage", [{"chosen": 7}, {"chosen": True}, {"seconds_a_window": {}}, {"failed": None}])
def test_a_damaged_choice_is_measured_again(cache, damage):
    world = World({"torch fp32": 0.1, "onnx fp32": 0.04, "openvino bf16": 0.02})
    choice(world)
    kept = json.loads(cache.read_text())
    cache.write_text(json.dumps({key: value | damage for key, value in kept.items()}))
    loads = len(world.loads)
    assert choice(world)[1] is BF16
    assert len(world.loads) == loads + 3
    assert [found["chosen"] for found in json.loads(cache.read_text()).values()] == [2]


def test_another_processor_measures_for_itself(monkeypatch):
    """The two share a folder and a name, not their instructions."""
    seconds = {"torch fp32": 0.1, "onnx fp32": 0.2, "openvino bf16": 0.05}
    assert choice(World(seconds))[1] is BF16
    monkeypatch.setattr(engine_choice, "this_processor", lambda: Processor("AMD EPYC", ("avx2",), 2))
    slow = World(seconds | {"openvino bf16": 0.4})
    assert choice(slow)[1] is TORCH
    monkeypatch.undo()


def test_a_key_knows_what_a_choice_depends_on(monkeypatch):
    keys = {machine_key([TORCH, ONNX], 64), machine_key([TORCH, BF16], 64), machine_key([TORCH, ONNX], 1)}
    keys.add(machine_key([TORCH, Candidate(ONNX.folder, "onnx", "fp32", "other weights")], 64))
    monkeypatch.setattr(engine_choice, "_version", lambda name: "9")
    keys.add(machine_key([TORCH, ONNX], 64))
    assert len(keys) == 5


def test_what_cannot_be_loaded_is_left_out_with_its_reason():
    world = World({"torch fp32": 0.1, "onnx fp32": 0.04}, broken=["openvino bf16"])
    _, chosen, note = choice(world)
    assert chosen is ONNX
    assert note.endswith("not compared: openvino bf16 (the library is of another processor)")
    with pytest.raises(ValueError, match=r"openvino bf16: the library is of another processor"):
        choice(world, [BF16, BF16])


@pytest.mark.parametrize("scale", [0.001, 0.1, 3.0])
def test_the_measurement_is_short(scale):
    """Below two seconds, unless two windows of each engine take longer themselves."""
    world = World({"torch fp32": 5 * scale, "onnx fp32": 2 * scale, "openvino bf16": scale})
    found = measure_candidates([TORCH, ONNX, BF16], world.load, 64, clock=world.clock)
    assert found["chosen"] == 2
    assert world.now < max(2.0, 2.01 * 8 * scale)
    assert found["n_windows"] <= 16


def test_a_hopeless_engine_is_not_timed_to_the_end():
    world = World({"torch fp32": 1.0, "onnx fp32": 0.01})
    found = measure_candidates([TORCH, ONNX], world.load, 64, clock=world.clock)
    assert found["seconds_a_window"] == pytest.approx({"0": 1.0, "1": 0.01})
    assert world.now < 2.5


# What is compared


ALL = [("onnx", "fp32"), ("openvino", "fp32"), ("openvino", "bf16")]


def names(found):
    return [one.name for one in found[0]]


def test_a_saved_model_is_compared_with_its_exports(tmp_path, monkeypatch):
    monkeypatch.setattr(engine_candidates, "find_spec", lambda name: name)
    model = pipeline_folder(tmp_path / "model")
    assert names(find_candidates(model)) == ["torch auto"]
    export_folder(model / "exports/a", ALL)
    export_folder(model / "exports/b", [("openvino", "int8")])
    export_folder(model / "exports/c", ALL, weights="b" * 64)
    candidates, left_out = find_candidates(model)
    assert [one.name for one in candidates] == [
        "torch fp32",
        "torch auto",
        "onnx fp32",
        "openvino fp32",
        "openvino bf16",
        "openvino int8",
    ]
    assert [one.folder.name for one in candidates] == ["model", "model", "a", "a", "a", "b"]
    assert left_out == ["exports/c (exported from other weights; export this model again)"]
    assert names(find_candidates(model, "auto", "fp32")) == ["torch fp32", "onnx fp32", "openvino fp32"]
    assert names(find_candidates(model, "openvino", "auto")) == ["openvino fp32", "openvino bf16", "openvino int8"]
    assert names(find_candidates(model, "torch", "auto")) == ["torch auto"]
    assert names(find_candidates(model, "auto", None)) == ["torch fp32", "onnx fp32", "openvino fp32"]
    assert names(find_candidates(model, "auto", "int8")) == ["openvino int8"]
    assert names(find_candidates(model, "my-engine", "bf16")) == ["my-engine bf16"]


def test_an_exported_folder_is_compared_within_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(engine_candidates, "find_spec", lambda name: name)
    folder = export_folder(tmp_path / "exported", ALL)
    assert names(find_candidates(folder)) == ["onnx fp32", "openvino fp32", "openvino bf16"]
    assert names(find_candidates(folder, "auto", None)) == ["onnx fp32", "openvino fp32"]
    with pytest.raises(ValueError, match=r"exported: no engine 'torch'.*proven in onnx fp32, openvino fp32") as told:
        find_candidates(folder, "torch")
    assert "\n" not in str(told.value)
    with pytest.raises(ValueError, match=r"precision 'int8': it was proven in onnx fp32, openvino fp32, openvino bf16"):
        find_candidates(folder, "auto", "int8")


def test_an_engine_that_is_not_installed_is_left_out_and_said(tmp_path, monkeypatch):
    monkeypatch.setattr(engine_candidates, "find_spec", lambda name: None if name in ("torch", "onnxruntime") else name)
    model = pipeline_folder(tmp_path / "model")
    with pytest.raises(MissingExtraError, match=r"torch fp32 \(torch is not installed\); pip install torch, or export"):
        find_candidates(model, "auto", "fp32")
    export_folder(model / "exports/a", ALL)
    candidates, left_out = find_candidates(model, "auto", "fp32")
    assert [one.name for one in candidates] == ["openvino fp32"]
    assert left_out == ["torch fp32 (torch is not installed)", "onnx fp32 (onnxruntime is not installed)"]
    with pytest.raises(MissingExtraError, match=r"onnxruntime is not installed.*pip install onnxruntime"):
        find_candidates(model, "onnx", "fp32")


def test_a_saved_model_without_exports_says_how_to_make_one(tmp_path):
    model = pipeline_folder(tmp_path / "model")
    with pytest.raises(ValueError, match=r"no engine 'onnx'.*exports/ holds no exported model.*biot-bd export"):
        find_candidates(model, "onnx", "fp32")


def test_a_damaged_export_leaves_the_saved_model_usable(tmp_path):
    model = pipeline_folder(tmp_path / "model")
    (export_folder(model / "exports/a", ALL) / "artifact.json").write_text("{")
    candidates, left_out = find_candidates(model, "auto", "fp32")
    assert [one.name for one in candidates] == ["torch fp32"]
    assert "exports/a" in left_out[0]
    assert "not valid JSON" in left_out[0]


def test_a_saved_model_alone_is_loaded_without_a_measurement(model, cache):
    scorer, notes = open_model(model, precision="fp32")
    assert (scorer.precision, notes) == ("fp32", [])
    assert not cache.exists()
