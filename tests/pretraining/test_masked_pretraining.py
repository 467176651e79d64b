"""Masked and supervised objectives through ``Pretrainer``: history, skill on other subjects, corpora with other channels."""

import numpy as np
import pytest

from biot_bd import Pretrainer

TINY = {"module__embed_dim": 16, "module__num_heads": 2, "module__num_layers": 1, "device": "cpu", "random_state": 0}
pytestmark = pytest.mark.usefixtures("one_thread")


def test_masked_spectrum_has_its_logs_in_the_history_and_reconstructs():
    rng = np.random.default_rng(0)
    x, groups = rng.standard_normal((48, 3, 800)).astype(np.float32), np.repeat(list("abcdef"), 8)
    net = Pretrainer("biot", "masked-spectrum", objective__mask_geometry="time", max_epochs=2, batch_size=8, **TINY)
    last = net.fit(x, groups=groups).history[-1]
    told = ("mse", "mse_visible", "mse_interpolation", "mse_window_mean", "skill", "skill_strict", "chance")
    assert {f"{side}_{key}" for side in ("train", "valid") for key in told} <= set(last)
    assert last["valid_masked_fraction"] == pytest.approx(4 / 7)
    assert last["valid_skill"] == pytest.approx(1 - last["valid_mse"] / last["valid_mse_interpolation"], rel=1e-4)
    # A second pass tells collapse, in validation alone; guesses do not depend on the weights.
    assert "train_embedding_std" not in last
    first = net.history[0]
    for key in ("valid_chance", "valid_mse_interpolation", "valid_mse_window_mean"):
        assert last[key] == pytest.approx(first[key], rel=1e-6)


def test_two_corpora_of_other_channels_train_one_encoder():
    # Corpus a has channels 0 and 1 and tells two rhythms apart, corpus b channels 1 and 2 and three amplitudes.
    rng, t, n = np.random.default_rng(1), np.arange(400) / 200, 96
    corpus, subject = np.repeat([0, 1], n // 2), np.arange(n) // 8
    label = np.where(corpus == 0, np.arange(n) % 2, np.arange(n) % 3)
    hz = np.where((corpus == 0) & (label == 1), 11.0, 5.0)
    size = np.where(corpus == 1, 4.0 ** (label - 1), 1.0)
    phase = rng.uniform(0, 6.28, (n, 3, 1))
    x = size[:, None, None] * np.sin(2 * np.pi * hz[:, None, None] * t + phase) + 0.1 * rng.standard_normal((n, 3, 400))
    x[corpus == 0, 2] = np.nan
    x[corpus == 1, 0] = np.nan
    groups = np.array([f"{'ab'[c]}/{s}" for c, s in zip(corpus, subject, strict=True)], dtype=object)
    net = Pretrainer("biot", "supervised-multitask", max_epochs=6, batch_size=8, lr=1e-2, module__drop_prob=0.0, **TINY)
    net.fit(x.astype(np.float32), label, groups=groups)
    assert (net.corpora_.names, net.corpora_.n_classes) == (("a", "b"), (2, 3))
    last = net.history[-1]
    assert last["train_accuracy_a"] > 0.9
    assert last["train_accuracy_b"] > 0.9
    assert last["train_chance_a"] == pytest.approx(np.log(2), abs=0.02)
    assert last["train_chance_b"] == pytest.approx(np.log(3), abs=0.03)
    assert last["valid_skill"] > 0.5
    assert net.transform(x.astype(np.float32)).shape == (n, 16)
