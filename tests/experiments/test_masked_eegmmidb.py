"""``experiments/masked_eegmmidb.py``: its windows, its guesses, and the whole of it on the real files."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from biot_bd.pretraining import Reconstruction

pytestmark = pytest.mark.usefixtures("one_thread")
EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("masked_eegmmidb", EXPERIMENTS / "masked_eegmmidb.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def found(original, predicted, interpolated, hidden):
    parts = [torch.as_tensor(part, dtype=torch.float64) for part in (original, predicted, interpolated)]
    return Reconstruction(*parts, hidden=torch.as_tensor(hidden), present=None, kind="signal", unit="")


def test_no_window_crosses_from_one_file_to_the_next(script):
    files = [np.arange(400.0)[None], 1000 + np.arange(200.0)[None]]
    windows = script.cut(files, window_s=1.0, stride_s=0.5)
    assert windows.shape == (5, 1, 160)
    assert windows[:, 0, 0].tolist() == [0, 80, 160, 240, 1000]
    assert (np.diff(windows, axis=2) == 1).all()


def test_hidden_electrodes_are_guessed_from_those_visible_at_the_same_time(script):
    names = ("Fp1", "Fp2", "C3", "Cz", "C4", "O1", "O2", "Pz")
    original = np.random.default_rng(0).normal(size=(2, 8, 2, 5))
    original[0, :, 0] = original[0, :1, 0]  # the same everywhere: a spline says so of every place
    hidden = np.zeros((2, 8, 2), bool)
    hidden[:, 3, 0] = hidden[:, 6, 0] = True
    spoilt = np.where(hidden[..., None], 99.0, original)  # what is hidden is not looked at
    guess, same = (script.by_splines(found(one, one, one, hidden), names) for one in (original, spoilt))
    np.testing.assert_allclose(guess[0, 3, 0], original[0, 0, 0], atol=0.05)
    np.testing.assert_allclose(same, guess, atol=1e-9)
    assert np.array_equal(guess[:, :, 1], original[:, :, 1])
    hidden[0, :, 1] = True
    assert script.by_splines(found(original, original, original, hidden), names) is None


def test_skill_is_what_a_guess_leaves_on_hidden_samples_alone(script):
    original = np.zeros((1, 2, 2, 4))
    original[0, 0] = 3.0
    hidden = np.array([[[True, False], [False, False]]])
    predicted, linear = np.full_like(original, 2.0), np.full_like(original, 1.0)
    told = script.score(found(original, predicted, linear, hidden), None)
    assert (told["mse_model"], told["mse_linear"], told["mse_zero"]) == (1.0, 4.0, 9.0)
    assert told["skill_linear"] == 0.75
    assert told["skill_zero"] == pytest.approx(8 / 9)
    assert told["skill_splines"] is None


@pytest.mark.slow
def test_the_real_files_train_and_the_third_is_scored(script, shared, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "SMALL", {"embed_dim": 32, "num_layers": 1, "num_heads": 2})
    result = script.main(
        f"--root {shared / 'data' / 'eegmmidb'} --out {tmp_path} --geometry channel --mask-ratio 0.5 --patch-samples 80 "
        "--stride-s 0.5 --epochs 1".split()
    )
    told = result["held_out"]
    assert (tmp_path / "masked-vae-each-channel.json").is_file()
    assert 0 < told["mse_splines"] < told["mse_linear"] < 2 * told["mse_zero"]
    assert np.isfinite(told["mse_model"])
    assert told["skill_splines"] == pytest.approx(1 - told["mse_model"] / told["mse_splines"])
