"""In what two versions differ."""

import shutil

import pytest
import torch
from registered_models import RECORD, with_record
from safetensors.torch import load_file, save_file
from small_model import RandomWindows
from small_pipeline import save_small_pipeline

from biot_bd import load_pipeline
from biot_bd.deploy import Detector
from biot_bd.events import EventDetector, save_event_detector
from biot_bd.models.checkpoints.pipeline_folder import sha256
from biot_bd.runs import read_json, write_json


@pytest.fixture(scope="module")
def changed(saved, trained, tmp_path_factory):
    """Return a registry with a second version: one tensor and one threshold are others, more subjects trained it."""
    folder = tmp_path_factory.mktemp("changed") / "model"
    shutil.copytree(trained, folder)
    weights = load_file(folder / "model.safetensors")
    weights["final_layer.classification_head.bias"][1] += 0.25
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    description = read_json(folder / "pipeline.json")
    description["pipeline"]["steps"][-1]["weights"]["sha256"] = sha256(folder / "model.safetensors")
    write_json(folder / "pipeline.json", description)
    save_event_detector(EventDetector(threshold=0.6, smoothing_s=0), folder)
    subjects = RECORD["subjects"] | {"train": ["site/01", "site/02", "site/04"]}
    with_record(folder, RECORD | {"subjects": subjects})
    saved.save(folder, "changed", "1.0.0")
    return saved


def test_weights_threshold_subjects_and_probabilities_that_differ_are_told(changed):
    found = changed.diff("mine/1.0.0", "changed")
    one, other = (load_file(version.folder / "model.safetensors") for version in (found.one, found.other))
    expected = {
        name: float((one[name] - other[name]).abs().max()) for name in one if not torch.equal(one[name], other[name])
    }
    assert found.tensors == pytest.approx(expected)
    assert found.tensors == pytest.approx({"final_layer.classification_head.bias": 0.25})
    assert (found.n_equal_tensors, found.other_tensors, found.same_weights) == (len(one) - 1, (), False)
    facts = {one.key: (one.one, one.other) for one in found.facts}
    assert facts["events.setting.threshold"] == (0.4, 0.6)
    assert facts["training.subjects.train"] == (["site/01", "site/02"], ["site/01", "site/02", "site/04"])
    assert facts["licence"] == ("ODC-By-1.0", None)
    assert "input.sfreq" not in facts
    assert set(found.probabilities) == {"mine/1.0.0", "changed/1.0.0"}


def test_the_largest_difference_of_a_probability_is_that_of_the_two_models(changed):
    found = changed.diff("mine", "changed")
    windows = RandomWindows(4, seed=3)
    first, second = (load_pipeline(version.folder).predict_proba(windows) for version in (found.one, found.other))
    # A bias of 0.25 moves a probability by at most 0.25 / 4, the largest slope of the logistic function.
    assert 0 < abs(first - second).max() <= 0.0625
    assert all(0 < value <= 0.0625 for value in found.probabilities.values())


def test_a_version_does_not_differ_from_itself(changed):
    found = changed.diff("mine", "mine/1.0.0")
    assert (found.facts, found.tensors, found.other_tensors, found.same_weights) == ((), {}, (), True)
    assert found.probabilities == {"mine/1.0.0": 0.0}


def test_models_of_other_windows_are_compared_by_what_they_share(changed, tmp_path):
    changed.save(save_small_pipeline(tmp_path / "model"), "narrow", "1.0.0")
    found = changed.diff("mine", "narrow")
    assert (found.probabilities, found.not_computed) == ({}, "they take other windows")
    assert "encoder.channel_tokens.weight" in found.other_tensors
    assert Detector.load(found.other.folder).scorer.n_times == 400
