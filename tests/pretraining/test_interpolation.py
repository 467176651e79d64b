"""The guess from visible neighbours equals numpy's interpolation, and fills what has none by others."""

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from scipy.interpolate import interp1d

from biot_bd.pretraining import interpolate


def random_case(seed, n=3, n_chans=3, n_frames=7, n_features=4):
    rng = np.random.default_rng(seed)
    patches = rng.standard_normal((n, n_chans, n_frames, n_features))
    hidden = rng.random((n, n_chans, n_frames)) < 0.6
    hidden[..., 0] &= ~hidden.all(-1)
    return patches, hidden


def along(values, hidden):
    """What numpy makes of one row, sample by sample, the nearest repeated at the ends."""
    place = np.arange(len(values))
    return np.interp(place, place[~hidden], values[~hidden])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_spectra_are_interpolated_frame_by_frame_as_numpy_does(seed):
    patches, hidden = random_case(seed)
    found = interpolate(torch.from_numpy(patches), torch.from_numpy(hidden)).numpy()
    for window, channel, feature in np.ndindex(3, 3, 4):
        expected = along(patches[window, channel, :, feature], hidden[window, channel])
        assert np.allclose(found[window, channel, :, feature], expected)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_signals_are_interpolated_sample_by_sample_as_numpy_does(seed):
    patches, hidden = random_case(seed)
    found = interpolate(torch.from_numpy(patches), torch.from_numpy(hidden), kind="signal").numpy()
    for window, channel in np.ndindex(3, 3):
        expected = along(patches[window, channel].ravel(), hidden[window, channel].repeat(4))
        assert np.allclose(found[window, channel].ravel(), expected)


def test_between_two_sides_it_is_what_scipy_draws():
    frames = np.array([[0.0, 1.0], [5.0, 5.0], [5.0, 5.0], [9.0, 2.0]])
    hidden = torch.tensor([[[False, True, True, False]]])
    expected = interp1d([0, 3], frames[[0, 3]], axis=0)(np.arange(4))
    assert np.allclose(interpolate(torch.from_numpy(frames)[None, None], hidden)[0, 0].numpy(), expected)


def test_tokens_of_all_channels_are_interpolated_channel_by_channel():
    patches, hidden = random_case(5)
    patches, hidden = torch.from_numpy(patches), torch.from_numpy(hidden)[:, :1].expand(-1, 3, -1)
    apart = interpolate(patches, hidden, kind="signal")
    together = interpolate(patches.transpose(1, 2).flatten(2)[:, None], hidden[:, :1], kind="signal", patch_chans=3)
    assert torch.equal(together, apart.transpose(1, 2).flatten(2)[:, None])


@pytest.mark.parametrize("kind", ["spectrum", "signal"])
def test_a_channel_that_is_hidden_gets_the_mean_of_the_others_filled_in(kind):
    patches, hidden = random_case(8, n=1)
    patches, hidden = torch.from_numpy(patches), torch.from_numpy(hidden)
    hidden[0, 1] = True
    others = interpolate(patches[:, [0, 2]], hidden[:, [0, 2]], kind=kind)
    assert torch.allclose(interpolate(patches, hidden, kind=kind)[0, 1], others[0].mean(0))


def test_absent_channels_are_neither_asked_nor_filled():
    patches, hidden = random_case(9, n=2)
    patches, hidden = torch.from_numpy(patches), torch.from_numpy(hidden)
    hidden[:, 1] = True
    hidden[:, 2] = False
    present = torch.tensor([[True, True, False]]).expand(2, -1)
    found = interpolate(patches, hidden, present)
    assert torch.equal(found[:, 1], found[:, 0])
    assert not found[:, 2].any()


def test_what_is_hidden_changes_nothing_and_what_is_visible_stays():
    patches, hidden = random_case(11)
    patches, hidden = torch.from_numpy(patches), torch.from_numpy(hidden)
    hidden[0, 1] = True
    spoilt = torch.where(hidden[..., None], 1e6, patches)
    for kind in ("spectrum", "signal"):
        found = interpolate(patches, hidden, kind=kind)
        assert torch.equal(found, interpolate(spoilt, hidden, kind=kind))
        assert torch.equal(found[~hidden], patches[~hidden])


def test_a_kind_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="found 'wavelet'"):
        interpolate(torch.zeros(1, 1, 2, 1), torch.zeros(1, 1, 2, dtype=torch.bool), kind="wavelet")
