"""Scorers: the pipeline's probabilities without the imports of training."""

import json
import os
import subprocess
import sys

import mne
import numpy as np
import pytest
import torch
from sklearn.pipeline import Pipeline, make_pipeline
from training_data import small

from biot_bd.exceptions import SavedPipelineError
from biot_bd.models.inference_plan import PrecisionPlan
from biot_bd.signals import MontageMapper, PercentileScaler
from biot_bd.training import BIOTClassifier, load_pipeline, load_scorer, save_pipeline
from biot_bd.training.persistence.scorer import _is_plain

HEAVY = ["braindecode", "skorch", "moabb", "torchaudio", "matplotlib", "tensorboard", "mne.epochs", "torch._dynamo"]


@pytest.fixture(scope="module")
def saved(data, tmp_path_factory):
    x, y, groups = data
    folder = tmp_path_factory.mktemp("scorer")
    pipeline = make_pipeline(PercentileScaler(q=90), small(max_epochs=2)).fit(x, y, biotclassifier__groups=groups)
    return save_pipeline(pipeline, folder, record={"threshold": 0.3})


def check_same(folder, x, without_braindecode):
    scorer, pipeline = load_scorer(folder), load_pipeline(folder)
    net = pipeline[-1] if isinstance(pipeline, Pipeline) else pipeline
    assert scorer.without_braindecode is without_braindecode
    np.testing.assert_allclose(scorer.predict_proba(x), pipeline.predict_proba(x), atol=1e-6)
    np.testing.assert_array_equal(scorer.predict(x), pipeline.predict(x))
    np.testing.assert_array_equal(scorer.classes_, net.classes_)
    assert (scorer.threshold_, scorer.input_info_, scorer.record_) == (
        net.threshold_,
        net.input_info_,
        pipeline.record_,
    )
    return scorer


def test_same_as_the_pipeline(saved, data):
    scorer = check_same(saved, data[0], without_braindecode=True)
    assert scorer.predict_proba(data[0]).dtype == np.float32
    assert scorer.predict_proba(data[0][:0]).shape == (0, 2)
    assert [type(step) for step in scorer.steps] == [PercentileScaler]


def test_absent_channels_and_any_number_of_windows(saved, data):
    x = data[0][:37].copy()
    x[::3, 1] = np.nan
    check_same(saved, x, without_braindecode=True)
    check_same(saved, x[:1], without_braindecode=True)


def test_epochs(saved, data):
    info = mne.create_info(4, 200.0, "eeg")
    check_same(saved, mne.EpochsArray(data[0][:5] * 1e-6, info, verbose="error"), without_braindecode=True)


def test_words_threshold_tokens_nested_pipeline_and_montage(data, tmp_path):
    x, y, groups = data
    names = "Fp1 F3 C3 P3 O1 F7 T3 T5 Fz Cz Pz Fp2 F4 C4 P4 O2 F8 T4 T6".split()
    x = np.concatenate([x] * 5, axis=1)[:, : len(names)] + np.random.default_rng(0).normal(size=(len(x), 19, 300))
    net = small(classes=None, max_epochs=1, module__channel_ids=[*range(1, 17)], module__n_channel_tokens=20)
    inner = Pipeline([("montage", MontageMapper("biot-16", ch_names=names)), ("nothing", "passthrough")])
    pipeline = Pipeline([("signals", inner), ("scale", PercentileScaler()), ("net", net)])
    pipeline.fit(x, np.array(["no", "yes"])[y], net__groups=groups)
    pipeline[-1].threshold_ = 0.4
    scorer = check_same(save_pipeline(pipeline, tmp_path), x, without_braindecode=True)
    assert [type(step) for step in scorer.steps] == [MontageMapper, PercentileScaler]


def test_a_bare_classifier(data, tmp_path):
    x, y, groups = data
    check_same(save_pipeline(small(max_epochs=1).fit(x, y, groups=groups), tmp_path), x, without_braindecode=True)


def test_other_modules_are_loaded_whole(data, tmp_path):
    x, y, groups = data
    net = BIOTClassifier("eegnet", max_epochs=1, batch_size=16, random_state=0, device="cpu")
    pipeline = make_pipeline(PercentileScaler(), net).fit(x, y, biotclassifier__groups=groups)
    check_same(save_pipeline(pipeline, tmp_path), x, without_braindecode=False)


@pytest.mark.parametrize(
    ("part", "change", "plain"),
    [
        ("params", {}, True),
        ("params", {"precision": "fp32"}, True),
        ("params", {"precision": "bf16"}, False),
        ("params", {"precision": "auto"}, False),
        ("params", {"compile": True}, False),
        ("params", {"module": {"$class": "torch.nn.modules.linear:Linear"}}, False),
        ("fitted", {"module_config": None}, False),
    ],
)
def test_what_is_loaded_whole(saved, part, change, plain):
    spec = json.loads((saved / "pipeline.json").read_text())["pipeline"]["steps"][-1]
    assert _is_plain({**spec, part: {**spec[part], **change}}) is plain


def test_nothing_of_training_is_imported(saved, data, tmp_path):
    np.save(tmp_path / "x.npy", data[0])
    code = f"""
import sys, numpy as np
from biot_bd import load_scorer
scorer = load_scorer(sys.argv[1])
np.save(sys.argv[3], scorer.predict_proba(np.load(sys.argv[2])))
print([name for name in {HEAVY} if name in sys.modules])
"""
    arguments = [str(saved), str(tmp_path / "x.npy"), str(tmp_path / "p.npy")]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
    wanted = load_pipeline(saved).predict_proba(data[0])
    np.testing.assert_allclose(np.load(tmp_path / "p.npy"), wanted, atol=1e-6)


def test_wrong_input_raises(saved, data):
    scorer = load_scorer(saved)
    with pytest.raises(ValueError, match="fitted on 4 channels a window, found 3"):
        scorer.predict_proba(data[0][:, :3])
    with pytest.raises(ValueError, match="fitted on 300 samples a window, found 250"):
        scorer.predict_proba(data[0][..., :250])
    bad = data[0].copy()
    bad[2, 1, 7] = np.nan
    with pytest.raises(ValueError, match="window 2 channel 1"):
        scorer.predict_proba(bad)


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (lambda f, c: (f / "pipeline.json").unlink(), FileNotFoundError, "no saved pipeline here"),
        (lambda f, c: c.pop("pipeline"), SavedPipelineError, "damaged"),
        (lambda f, c: next(f.glob("*.safetensors")).write_bytes(b"x"), SavedPipelineError, "weights are damaged"),
        (lambda f, c: next(f.glob("*.safetensors")).unlink(), SavedPipelineError, "weights are missing"),
        (
            lambda f, c: last(c)["fitted"]["module_config"].update(embed_dim=32),
            SavedPipelineError,
            "embed_dim is 32, but the weights in model.safetensors have 16",
        ),
        (lambda f, c: last(c)["fitted"].pop("threshold"), SavedPipelineError, "damaged"),
        (lambda f, c: c["pipeline"]["steps"][0].update({"class": {"$class": "os:system"}}), SavedPipelineError, "os:"),
    ],
)
def test_damaged_and_hostile_files(data, tmp_path, damage, error, message):
    x, y, groups = data
    pipeline = make_pipeline(PercentileScaler(), small(max_epochs=1)).fit(x, y, biotclassifier__groups=groups)
    save_pipeline(pipeline, tmp_path)
    config = json.loads((tmp_path / "pipeline.json").read_text())
    damage(tmp_path, config)
    if (tmp_path / "pipeline.json").exists():
        (tmp_path / "pipeline.json").write_text(json.dumps(config))
    with pytest.raises(error, match=message):
        load_scorer(tmp_path)


def last(config):
    return config["pipeline"]["steps"][-1]


def test_fp32_is_fp32_also_of_a_model_that_was_told_to_predict_in_bf16(data, tmp_path):
    x, y, groups = data
    net = small(max_epochs=1, precision="bf16").fit(x, y, groups=groups)
    scorer = load_scorer(save_pipeline(net, tmp_path / "bf16"))
    with torch.no_grad():
        net.module_.eval().inference_plan = PrecisionPlan("fp32", 8)
        truth = net.module_(torch.from_numpy(x)).softmax(1).numpy()
    assert np.abs(scorer.predict_proba(x) - truth).max() > 1e-5  # as it was trained
    assert scorer.set_precision("fp32", 8) == ("fp32", [])
    np.testing.assert_allclose(scorer.predict_proba(x), truth, atol=1e-6)
    np.testing.assert_allclose(scorer.predict_proba(x), truth, atol=1e-6)  # the second call checks no plan
