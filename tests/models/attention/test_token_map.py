"""Values by channel and frame: sums, samples, other frames, files."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd.models import TokenLayout, TokenMap, signal_layout, whole_layout

LAYOUT = TokenLayout(("a", "b"), [0.0, 0.5, 1.0], [1.0, 1.5, 2.0])


def some(n=2, bands=None, seed=0, **facts):
    shape = (n, *(() if bands is None else (len(bands),)), 2, 3)
    values = np.random.default_rng(seed).normal(size=shape)
    return TokenMap(values, LAYOUT, probe="made", bands=bands, **facts)


def test_sums_leave_absent_channels_out():
    found = some(bands=("delta", "theta"))
    values = found.values.copy()
    values[0, :, 1] = np.nan
    found = TokenMap(values, LAYOUT, probe="made", bands=found.bands)
    assert found.dims == ("window", "band", "channel", "frame")
    assert np.isnan(found.by_channel()[0, :, 1]).all()
    np.testing.assert_allclose(found.by_channel()[1], values[1].sum(-1))
    np.testing.assert_allclose(found.by_time()[0], values[0, :, 0])
    np.testing.assert_allclose(found.by_band()[1], values[1].sum((-1, -2)))
    whole = found.without_bands()
    assert whole.bands is None
    assert np.isnan(whole.values[0, 1]).all()
    np.testing.assert_allclose(whole.values[1], values[1].sum(0))
    assert whole.without_bands() is whole
    with pytest.raises(ValueError, match="no values by frequency band"):
        whole.by_band()


def test_samples_get_the_mean_of_the_frames_over_them():
    values = np.array([[[1.0, 2.0, 4.0], [np.nan] * 3]])
    found = TokenMap(values, LAYOUT, probe="made").to_samples(sfreq=2, n_times=5)
    np.testing.assert_array_equal(found[0, 0], [1, 1.5, 3, 4, np.nan])
    assert np.isnan(found[0, 1]).all()
    unknown = TokenMap(values, TokenLayout(("a", "b"), [np.nan] * 3, [np.nan] * 3), probe="made")
    with pytest.raises(ValueError, match="not known in seconds"):
        unknown.to_samples(2, 5)


@given(st.integers(1, 5), st.integers(1, 8), st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_other_frames_keep_the_sum_where_both_cover_alike(n_frames, times, seed):
    values = np.random.default_rng(seed).normal(size=(1, 2, n_frames))
    edges = np.linspace(0, 2, n_frames + 1)
    fine = np.linspace(0, 2, n_frames * times + 1)
    layout = TokenLayout(("a", "b"), edges[:-1], edges[1:])
    other = TokenLayout(("a", "b"), fine[:-1], fine[1:])
    moved = TokenMap(values, layout, probe="made").on(other)
    np.testing.assert_allclose(moved.values, np.repeat(values, times, axis=-1) / times, atol=1e-12)
    np.testing.assert_allclose(moved.on(layout).values, values, atol=1e-12)
    np.testing.assert_allclose(moved.by_channel(), values.sum(-1), atol=1e-12)


def test_frames_that_cannot_be_compared():
    found = some()
    with pytest.raises(ValueError, match="2 channels, the other layout 3"):
        found.on(signal_layout(3, 4, 2.0))
    with pytest.raises(ValueError, match="not known in seconds"):
        found.on(whole_layout(2, 4, None))
    with pytest.raises(ValueError, match="no frame covers"):
        found.on(TokenLayout(("a", "b"), [0.0, 5.0], [1.0, 6.0]))


@pytest.mark.parametrize("bands", [None, ("delta", "theta")])
def test_a_file_gives_back_what_was_saved(tmp_path, bands):
    found = some(
        bands=bands, signed=True, target=(1, 0), unit="logit margin", info={"steps": 32, "layers": ("a", "b")},
        special=None,
    )  # fmt: skip
    found.save(tmp_path / "map.npz")
    other = TokenMap.load(tmp_path / "map.npz")
    np.testing.assert_array_equal(other.values, found.values)
    assert (other.probe, other.signed, other.target, other.unit, other.bands, other.info, other.dims, len(other)) == (
        found.probe, True, (1, 0), "logit margin", bands, {"steps": 32, "layers": ["a", "b"]}, found.dims, 2,
    )  # fmt: skip
    assert other.layout.as_dict() == LAYOUT.as_dict()
    assert other.named(["x", "y"]).layout.ch_names == ("x", "y")


def test_special_tokens_are_saved_too(tmp_path):
    layout = TokenLayout(("a",), [np.nan], [np.nan], special=("class",), readout="class")
    TokenMap(np.ones((2, 1, 1)), layout, probe="made", special=np.array([[1.0], [2.0]])).save(tmp_path / "m.npz")
    other = TokenMap.load(tmp_path / "m.npz")
    assert other.special.tolist() == [[1.0], [2.0]]
    assert (other.layout.special, other.layout.readout, other.layout.knows_time) == (("class",), "class", False)


def test_other_files_are_named(tmp_path):
    (tmp_path / "x.npz").write_bytes(b"not an archive")
    with pytest.raises(ValueError, match=r"x\.npz: not a saved map"):
        TokenMap.load(tmp_path / "x.npz")
    np.savez(tmp_path / "y.npz", values=np.zeros(1), facts=np.array('{"format": "other", "version": 1}'))
    with pytest.raises(ValueError, match=r"y\.npz.*expected biot_bd token map 1, found other 1"):
        TokenMap.load(tmp_path / "y.npz")
    np.savez(tmp_path / "z.npz", values=np.zeros(1), facts=np.array([{"format": "other"}], dtype=object))
    with pytest.raises(ValueError, match=r"z\.npz.*allow_pickle=False"):
        TokenMap.load(tmp_path / "z.npz")
    with pytest.raises(FileNotFoundError):
        TokenMap.load(tmp_path / "none.npz")


@pytest.mark.parametrize(
    ("values", "facts", "message"),
    [
        (np.zeros((1, 2, 4)), {}, r"shape \(n, 2, 3\), n > 0; got float64 \(1, 2, 4\)"),
        (np.zeros((0, 2, 3)), {}, "n > 0"),
        (np.zeros((1, 2, 3), int), {}, "got int64"),
        (np.zeros((1, 2, 3)), {"bands": ("delta",)}, r"\(n, 1, 2, 3\)"),
        (np.full((1, 2, 3), np.inf), {}, "infinite"),
        (np.zeros((2, 2, 3)), {"target": (1,)}, "1 targets for 2 windows"),
        (np.zeros((2, 2, 3)), {"special": np.zeros((2, 1))}, r"special must have shape \(2, 0\)"),
    ],
)
def test_what_does_not_fit_raises(values, facts, message):
    with pytest.raises(ValueError, match=message):
        TokenMap(values, LAYOUT, probe="made", **facts)


def test_info_must_be_plain():
    with pytest.raises(TypeError, match="no JSON form"):
        some(info={"model": object()})
