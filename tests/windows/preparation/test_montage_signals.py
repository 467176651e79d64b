"""What is flat or not finite, found part by part, against a look at the whole."""

import itertools

import mne
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd.registry import montages
from biot_bd.signals import resampling
from biot_bd.signals.resampling import resample_fft, resample_polyphase
from biot_bd.windows.preparation import montage_signals as harmonised
from biot_bd.windows.preparation.montage_signals import Harmonised

FUNCTIONS = {"fft": resample_fft, "polyphase": resample_polyphase}


def runs(values):
    """The stretches of one value, as (start, stop, value)."""
    place = 0
    for value, group in itertools.groupby(values):
        n = len(list(group))
        yield place, place + n, value
        place += n


@st.composite
def stretches(draw, n):
    start = draw(st.integers(0, n - 1))
    return start, min(n, start + draw(st.integers(1, 6000))), draw(st.sampled_from([np.nan, np.inf, 0.0, 7.0]))


@pytest.mark.parametrize("how", ["fft", "polyphase", "none"])
@settings(max_examples=25, deadline=None)
@given(data=st.data(), n=st.integers(10_300, 40_000), at_once=st.sampled_from([512, 3000, 9000, 65_536]))
def test_stretches_are_found_and_bridged_across_parts(how, data, n, at_once):
    montage = montages["biot-16"]
    x = np.random.default_rng(n).standard_normal((16, n)) * 30
    for start, stop, value in data.draw(st.lists(stretches(n), max_size=6)):
        x[0, start:stop] = value
    raw = mne.io.RawArray(x * 1e-6, mne.create_info(list(montage.ch_names), 256, "eeg"), verbose="error")
    x0 = (raw.get_data([0])[0] * 1e6).astype(np.float32)
    good = np.isfinite(x0)
    where = np.arange(n)
    whole = np.interp(where, where[good], x0[good]).astype(np.float32) if good.any() else np.zeros_like(x0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resampling, "SAMPLES_AT_ONCE", at_once)
        patch.setattr(harmonised, "BLOCK_SAMPLES", at_once)
        source = Harmonised(raw, montage, "raise")
        plan = resampling.make_plan(how, n, 256, 200, source.shortest_flat_samples)
        made = np.empty(plan.n_out, np.float32)
        for start, channels, part in source.resampled(plan, [0, 5], [1.0] * 16):
            if 0 in channels:
                made[start : start + part.shape[1]] = part[channels.index(0)]
    assert source.not_finite[0] == [[a, b] for a, b, finite in runs(good) if not finite]
    assert source.flat[0] == [[a, b] for a, b, _ in runs(whole) if b - a >= 128]
    assert source.not_finite[5] == source.flat[5] == []
    expected = whole if how == "none" else FUNCTIONS[how](whole, 256, 200)
    np.testing.assert_allclose(made, expected, rtol=0, atol=2e-6 * np.abs(whole).max() + 1e-6)
