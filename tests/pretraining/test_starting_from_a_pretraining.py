"""Classifiers start from a pretraining to the last tensor, and refuse what it does not fit."""

import json
import shutil

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from biot_bd import BIOTClassifier, PercentileScaler, Pretrainer, load_pipeline, save_pipeline
from biot_bd.evaluation.model_selection.contamination import check_contamination, find_origins
from biot_bd.exceptions import CheckpointError, ContaminationError
from biot_bd.models import BIOT, provenance_of
from biot_bd.pretraining import save_pretraining
from biot_bd.training.input_data import InputInfo
from biot_bd.training.pretrained import check_pretrained_input, checkpoint_identity

pytestmark = pytest.mark.usefixtures("one_thread")

MODELS = {
    "biot": ("biot-contrastive", {"embed_dim": 16, "num_heads": 2, "num_layers": 1}),
    "multi-scale-biot": ("biot-contrastive", {"embed_dim": 16, "num_heads": 2, "num_layers": 1}),
    "masked-vit": ("masked-patch", {"embed_dim": 16, "num_heads": 2, "num_layers": 1, "patch_samples": 100}),
}
OLD, NEW = np.repeat(["old/a", "old/b"], 8), np.repeat(["new/a", "new/b"], 8)
NAMES = ("FP1-F7", "F7-T7", "T7-P7")


def signals(seed=0):
    return np.random.default_rng(seed).normal(0, 20, (16, 3, 400)).astype(np.float32)


def pretrained(model, folder, scaled=False):
    objective, sizes = MODELS[model]
    net = Pretrainer(
        model,
        objective,
        **{f"module__{key}": value for key, value in sizes.items()},
        module__sfreq=200,
        max_epochs=1,
        batch_size=8,
        train_split=None,
        device="cpu",
        random_state=0,
    )
    steps = [PercentileScaler()] if scaled else []
    return save_pretraining(make_pipeline(*steps, net).fit(signals(), pretrainer__groups=OLD), folder)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("pretrained")
    return {model: pretrained(model, root / model) for model in MODELS}


def tuned(model, run, **kwargs):
    settings = {"max_epochs": 1, "batch_size": 8, "random_state": 3, "device": "cpu", "train_split": None}
    return BIOTClassifier(model, pretrained=str(run), **{**settings, **kwargs})


def without_head(module):
    return {key: value for key, value in module.state_dict().items() if not key.startswith("final_layer.")}


@pytest.mark.parametrize("model", MODELS)
def test_all_tensors_but_the_head_are_those_of_the_pretraining(runs, model):
    from safetensors.torch import load_file

    still = tuned(model, runs[model], lr=0.0, optimizer__weight_decay=0.0).fit(signals(1), [0, 1] * 8, groups=NEW)
    wanted, found = load_file(runs[model] / "model.safetensors"), without_head(still.module_)
    found = {key: value for key, value in found.items() if key in wanted or key != "encoder.index"}
    assert wanted.keys() == found.keys()
    assert all(torch.equal(found[key], value) for key, value in wanted.items())
    assert still.pretrained_report_.complete
    assert still.pretrained_report_.head.startswith("fresh")


@pytest.mark.parametrize("model", MODELS)
def test_a_saved_model_names_both_steps_and_needs_the_pretraining_no_more(runs, model, tmp_path):
    run = shutil.copytree(runs[model], tmp_path / "run")
    net = tuned(model, run).fit(signals(1), [0, 1] * 8, groups=NEW)
    folder = save_pipeline(net, tmp_path / "model")
    shutil.rmtree(run)
    np.testing.assert_array_equal(load_pipeline(folder).predict_proba(signals(2)), net.predict_proba(signals(2)))
    seen = provenance_of(folder)
    assert seen.known
    assert [(one.subjects, one.how) for one in seen.trained_on] == [
        (("old/a", "old/b"), "unsupervised"),
        (("new/a", "new/b"), "supervised"),
    ]


def test_a_subject_seen_without_labels_may_not_test(runs):
    origins = find_origins(tuned("biot", runs["biot"]))
    with pytest.raises(ContaminationError, match=r"was trained on old/b of old \(unsupervised\)"):
        check_contamination(origins, ["new/a", "old/b"])
    assert check_contamination(origins, ["new/a"]) is None
    assert check_contamination(origins, ["old/b"], allow=True).subjects == ("old/b",)


def test_the_chain_goes_on_from_pretraining_to_pretraining(runs, tmp_path):
    net = Pretrainer(
        "masked-vit",
        "masked-patch",
        pretrained=str(runs["masked-vit"]),
        max_epochs=1,
        batch_size=8,
        train_split=None,
        device="cpu",
        random_state=0,
        lr=0.0,
        optimizer__weight_decay=0.0,
    ).fit(signals(1), groups=NEW)
    run = save_pretraining(net, tmp_path / "second")
    assert provenance_of(run).saw(["old/a", "new/b", "other/c"]) == ["new/b", "old/a"]
    third = tuned("masked-vit", run).initialize()
    wanted = tuned("masked-vit", runs["masked-vit"]).initialize()
    assert all(torch.equal(third.module_.state_dict()[k], v) for k, v in without_head(wanted.module_).items())


def test_clones_and_changed_dropout_start_from_it_too(runs):
    net = clone(tuned("masked-vit", runs["masked-vit"], module__drop_prob=0.4)).initialize()
    assert net.module_.get_config()["drop_prob"] == 0.4


@pytest.mark.parametrize(
    ("model", "settings", "said"),
    [
        ("biot", {"model": "masked-vit"}, "a pretrained 'biot', but the model is 'masked-vit'; take module='biot'"),
        ("masked-vit", {"model": "biot"}, "a pretrained 'masked-vit', but the model is 'biot'"),
        ("masked-vit", {"module__embed_dim": 32}, "other shapes"),
        ("masked-vit", {"module__num_layers": 2}, "missing: "),
        ("biot", {"module__embed_dim": 32}, "embed_dim=32 but the checkpoint needs 16"),
    ],
)
def test_another_model_or_other_sizes_are_refused(runs, model, settings, said):
    settings = dict(settings)
    with pytest.raises(CheckpointError, match=said):
        tuned(settings.pop("model", model), runs[model], **settings).fit(signals(), [0, 1] * 8, groups=NEW)


@pytest.mark.parametrize("shape", [(16, 4, 400), (16, 3, 800)])
def test_other_channels_or_lengths_are_refused_with_what_to_do(runs, shape):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    with pytest.raises(CheckpointError, match=r"pretrained on \d+ (channels|samples) a window, found \d+; prepare"):
        tuned("masked-vit", runs["masked-vit"]).fit(x, [0, 1] * 8, groups=NEW)


def info(**changes):
    known = {
        "n_chans": 3,
        "n_times": 400,
        "ch_names": NAMES,
        "sfreq": 200.0,
        "unit": "scaled",
        "scale": "percentile-95",
    }
    return InputInfo(**{**known, **changes})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"unit": "uV", "scale": None}, "on signals scaled to percentile-95, found signals in 'uV'"),
        ({"scale": "percentile-99"}, "on signals scaled to percentile-95, found signals scaled to percentile-99"),
        ({"sfreq": 256.0}, "on 200 Hz, found 256"),
        ({"ch_names": ("A", "B", "C")}, "on the channels FP1-F7, F7-T7, T7-P7, found A, B, C; put a MontageMapper"),
    ],
)
def test_signals_that_were_scaled_or_recorded_otherwise_are_refused(runs, tmp_path, changes, said):
    from biot_bd import registry

    run = shutil.copytree(runs["masked-vit"], tmp_path / "run")
    description = json.loads((run / "pretraining.json").read_text())
    description["input_info"] = info().as_dict()
    (run / "pretraining.json").write_text(json.dumps(description))
    check_pretrained_input(run, registry.models["masked-vit"], info())
    with pytest.raises(CheckpointError, match=said):
        check_pretrained_input(run, registry.models["masked-vit"], info(**changes))


def test_a_subclass_of_biot_takes_what_biot_pretrained(runs):
    class Mine(BIOT):
        pass

    net = tuned(Mine, runs["biot"]).fit(signals(), [0, 1] * 8, groups=NEW)
    assert net.pretrained_report_.complete


def test_the_fingerprint_of_a_study_changes_with_the_weights(runs, tmp_path):
    run = shutil.copytree(runs["masked-vit"], tmp_path / "moved")
    assert checkpoint_identity(run) == checkpoint_identity(runs["masked-vit"])
    assert checkpoint_identity(run) != checkpoint_identity(runs["biot"])
