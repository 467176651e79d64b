"""Offsets of electrodes (DC amplifiers) change no detection: with a real model, against the same without."""

import mne
import numpy as np
import pytest
from deploy_files import ELECTRODES

from biot_bd.deploy import Detector

RATE, SECONDS = 256, 90


@pytest.fixture(scope="module")
def x_uv():
    rng = np.random.default_rng(0)
    n = SECONDS * RATE
    spectrum, f = np.fft.rfft(rng.standard_normal((19, n))), np.fft.rfftfreq(n, 1 / RATE)
    spectrum *= np.where((f > 1) & (f < 45), 1 / np.maximum(f, 1), 0)
    x = np.fft.irfft(spectrum, n)
    x *= 30 / x.std(axis=1, keepdims=True)
    t = np.arange(n) / RATE
    x[:, (t > 40) & (t < 60)] += (
        200 * np.sin(2 * np.pi * 3 * t[(t > 40) & (t < 60)])[None] * rng.uniform(0.5, 2, (19, 1))
    )
    return x


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("offset_mv", "drift_mv_min"), [(2, 0), (2, 1), (20, 5), (150, 5)])
def test_probabilities_are_those_without_offsets(model, x_uv, causal, offset_mv, drift_mv_min):
    detector = Detector.load(model, causal=causal)
    rng = np.random.default_rng(1)
    level = rng.uniform(-1, 1, (19, 1)) * offset_mv * 1000
    drift = rng.uniform(-1, 1, (19, 1)) * drift_mv_min * 1000 / 60 * np.arange(x_uv.shape[1]) / RATE
    info = mne.create_info(ELECTRODES, RATE, "eeg")
    without = detector.detect(mne.io.RawArray(x_uv * 1e-6, info, verbose="error"))
    found = detector.detect(mne.io.RawArray((x_uv + level + drift) * 1e-6, info, verbose="error"))
    spread = np.ptp(without.probabilities)
    changed = np.abs(found.probabilities - without.probabilities)
    # The first and last windows of a causal chain hold the step from nothing to the offset.
    inner = slice(1, -1) if causal else slice(None)
    assert changed[inner].max() < 0.15 * spread, (changed, spread)
    assert any("offset far larger than the EEG" in note for note in found.notes)
    assert not any("offset" in note for note in without.notes)
