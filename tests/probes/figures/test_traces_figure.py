"""EEG over shaded cells."""

import itertools

import numpy as np
import pytest
from drawn_maps import BIOT, a_map, saved, words

from biot_bd.models import TokenMap, signal_layout, whole_layout
from biot_bd.probes.figures import traces_figure

X = np.random.default_rng(1).normal(0, 30, (2, 16, 2000))
X[:, 3] = np.nan


def shades(figure):
    return figure.axes[0].images[0].get_array()


def test_each_channel_has_its_trace_its_shade_and_its_name():
    figure = traces_figure(a_map(peak=(2, 6), absent=(3,)), X, 200, events=[(4, 30)], title="Mine", caution="failed x")
    axis = figure.axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == list(BIOT)
    traces = [line for line in axis.lines if len(line.get_xdata()) == 2000]
    assert len(traces) == 15
    np.testing.assert_allclose(np.median(traces[2].get_ydata()), -2, atol=0.01)
    assert [text.get_text().strip() for text in axis.texts if "absent" in text.get_text()] == ["absent"]
    assert "Mine" in words(figure)
    assert "Caution: failed x" in words(figure)
    (bar,) = [line for line in axis.lines if line.get_label() == "seizure"]
    assert list(bar.get_xdata()) == [4, 10]  # cut at the window's end
    image = shades(figure)
    # The peak's frame covers 3 to 4 s; overlapping frames halve it beside.
    darkest = image[2, :, 2].argmin() / 200
    assert 2.9 < darkest < 4.1
    np.testing.assert_allclose(image[3], image[3, :1].repeat(2000, axis=0))
    assert saved(figure).startswith(b"\x89PNG")


def test_one_window_or_all_of_them():
    found = a_map()
    np.testing.assert_array_equal(
        shades(traces_figure(found, X, 200, window=1)), shades(traces_figure(found, X[1], 200, window=1))
    )
    for x, said in ((X[:1], "1 windows, the map 2"), (X[0, :5], "the map has 16 channels, x 5"), (X[0, 0], "shape")):
        with pytest.raises(ValueError, match=said):
            traces_figure(found, x, 200)
    with pytest.raises(ValueError, match="no window 5"):
        traces_figure(found, X[0], 200, window=5)


def test_signed_values_say_for_and_against_what():
    figure = traces_figure(a_map(signed=True, unit="logit margin"), X, 200, target_name="seizure")
    (bar,) = [axis for axis in figure.axes if axis.get_label() == "<colorbar>"]
    assert (
        bar.get_xlabel().replace("\n", " ") == "blue: speaks against seizure; orange: speaks for seizure (logit margin)"
    )
    figure = traces_figure(a_map(signed=True), X, 200)
    assert any("class 1" in axis.get_xlabel() for axis in figure.axes)


def test_even_values_are_called_even_and_stay_pale():
    found = TokenMap(
        np.full((1, 16, 19), 0.01) + np.random.default_rng(0).normal(0, 1e-5, (1, 16, 19)), a_map().layout, probe="m"
    )
    figure = traces_figure(found, X[0], 200)
    assert "nothing is preferred" in words(figure)
    assert shades(figure)[0].min() > 0.97  # white


def test_layouts_without_seconds_and_of_other_sizes():
    unknown = traces_figure(a_map(known=False), X, 200)
    assert "equal parts of the window" in words(unknown)
    assert shades(unknown).shape[:2] == (16, 19)
    by_sample = TokenMap(np.ones((1, 16, 2000)), signal_layout(16, 2000, 200), probe="m")
    assert shades(traces_figure(by_sample, X[0], 200)).shape[:2] == (16, 2000)
    whole = TokenMap(np.ones((1, 16, 1)), whole_layout(16, 2000, 200), probe="m")
    assert "one value a channel" in words(traces_figure(whole, X[0], 200))
    mixed = traces_figure(a_map(["all"]), X[0], 200, ch_names=BIOT)
    assert "mixes channels" in words(mixed)
    assert [label.get_text() for label in mixed.axes[0].get_yticklabels()] == list(BIOT)


def test_bands_stand_beside_the_traces():
    bands = ("delta", "theta", "alpha")
    figure = traces_figure(a_map(signed=True, bands=bands), X, 200)
    beside = figure.axes[1]
    assert [label.get_text() for label in beside.get_xticklabels()] == list(bands)
    assert beside.images[0].get_array().shape[:2] == (16, 3)


@pytest.mark.parametrize(("n_chans", "width_px"), [(2, 1100), (64, 320)])
def test_any_number_of_channels_at_any_width(n_chans, width_px):
    names = [f"channel ${i}$" for i in range(n_chans)]
    found = a_map(names, 5)
    figure = traces_figure(found, np.random.default_rng(0).normal(size=(n_chans, 300)), 100, width_px=width_px)
    assert saved(figure).startswith(b"\x89PNG")
    assert figure.get_figwidth() * figure.dpi == width_px
    labels = figure.axes[0].get_yticklabels()
    # Names do not run into each other.
    boxes = [label.get_window_extent() for label in labels]
    assert all(lower.y1 <= upper.y0 + 1.5 for upper, lower in itertools.pairwise(boxes))
    with pytest.raises(ValueError, match="240 or more"):
        traces_figure(found, np.zeros((n_chans, 300)), 100, width_px=100)
