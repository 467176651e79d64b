import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd.exceptions import ExportError
from biot_bd.export.gate_inputs import make_inputs
from biot_bd.export.scaling_graphs import scaling_graph
from biot_bd.signals import FixedScaler, IgnoreChannels, MontageMapper, Notch, PercentileScaler, Standardizer
from biot_bd.signals.base import SignalInfo
from biot_bd.signals.montages import BIOT_16


def info_of(x):
    return SignalInfo(None, 200.0, x.shape[2], "uV", x.shape[1])


def both(step, x, present):
    """What a step and its graph make of windows; absent channels as zeros."""
    marked = np.where(present[..., None], x, np.float32(np.nan))
    expected, kept = step.apply(marked, present, info_of(x))
    (graph,) = scaling_graph([step], info_of(x))
    found, there = graph(torch.from_numpy(x), torch.from_numpy(present))
    return np.where(kept[..., None], expected, 0), kept, found.numpy(), there.numpy()


@pytest.mark.parametrize("q", [95, 50, 100, 99.99])
def test_percentiles_are_those_of_the_scaler(q):
    made = make_inputs(3, 437, 200.0)
    expected, kept, found, there = both(PercentileScaler(q, on_bad="drop"), made.x, made.present)
    assert (kept == there).all()
    assert not kept[made.of_kind("flat channels")].all()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@given(offset=st.floats(-300, 300), wave_uv=st.floats(0.5, 200), drift=st.floats(-50, 50), seed=st.integers(0, 2**16))
@settings(max_examples=60, deadline=None)
def test_offsets_are_found_where_the_scaler_finds_them(offset, wave_uv, drift, seed):
    rng = np.random.default_rng(seed)
    x = wave_uv * rng.standard_normal((4, 2, 300)) + offset + drift * np.linspace(-1, 1, 300)
    x = x.astype(np.float32)
    mean = np.abs(x.mean(axis=-1, dtype=float))
    share = mean / np.percentile(np.abs(x), 95, axis=-1)
    # A window on the edge may fall to either side by the last digit of a sum.
    coarse = np.abs(x[..., ::16].mean(axis=-1, dtype=float))
    clear = (np.abs(mean - 50) > 1e-3) & (np.abs(share - 0.5) > 1e-5) & (np.abs(coarse - 25) > 1e-3)
    expected, kept, found, there = both(PercentileScaler(on_bad="drop"), x, np.ones((4, 2), bool))
    assert (kept == there).all()
    np.testing.assert_allclose(found[clear], expected[clear], rtol=1e-4, atol=1e-4)


def test_an_offset_at_the_very_edge_of_the_percentile_is_interpolated_as_numpy_does():
    # 95 % of 41 values lie below place 38: the 95th percentile is 38th + 0.0 of the 39th; twice the
    # mean is put just below and just above it.
    n = 41
    for above in (-1e-3, 1e-3):
        x = np.full(n, 100.0)
        x[::2] = 90.0
        x[37:] = 2 * x.mean() + above
        x = x.astype(np.float32)[None, None]
        expected, _, found, _ = both(PercentileScaler(on_bad="drop"), x, np.ones((1, 1), bool))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_other_scalers():
    made = make_inputs(3, 400, 200.0)
    for step in (IgnoreChannels([1]), FixedScaler(100), Standardizer(), Standardizer(clip=2)):
        rows = np.setdiff1d(np.arange(len(made.x)), made.of_kind("flat channels"))
        expected, kept, found, there = both(step, made.x[rows], made.present[rows])
        assert (kept == there).all()
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    (graph,) = scaling_graph([Standardizer()], info_of(made.x))
    flat = made.of_kind("flat channels")
    _, there = graph(torch.from_numpy(made.x[flat]), torch.from_numpy(made.present[flat]))
    assert not there.all()
    assert there.any()


def test_a_montage_has_its_place_in_front_and_other_steps_have_none():
    info = SignalInfo(BIOT_16.ch_names, 200.0, 400, "uV")
    assert len(scaling_graph([MontageMapper("biot-16"), PercentileScaler()], info)) == 1
    with pytest.raises(ExportError, match="step Notch: has no place in a graph"):
        scaling_graph([Notch(50), PercentileScaler()], info)
    with pytest.raises(ExportError, match="step MontageMapper"):
        scaling_graph([FixedScaler(), MontageMapper("biot-16")], info)
