"""Channels on the head."""

import numpy as np
import pytest
from drawn_maps import BIOT, SINGLE, a_map, labelled, saved, words
from matplotlib import pyplot

from biot_bd.models import TokenMap, whole_layout
from biot_bd.probes.figures import scalp_figure
from biot_bd.probes.figures._places import places_of


def by_channel(values, names, **more):
    values = np.atleast_3d(np.asarray(values, dtype=float))
    values = values.reshape(-1, len(names), 1)
    return TokenMap(values, whole_layout(len(names), 200, 200, names), probe="mine", **more)


def test_derivations_are_lines_between_their_electrodes():
    values = np.arange(1.0, 17)
    values[15], values[5] = 30, np.nan
    figure = scalp_figure(by_channel(values, BIOT))
    axis = figure.axes[0]
    lines = labelled(axis, "derivations")
    ends = places_of(BIOT).ends
    drawn = np.array(lines.get_segments())
    assert drawn.shape == (15, 2, 2)
    # The one that differs most lies on top; colours rise with the values.
    ends = ends + 0.1 * (ends.mean(axis=1, keepdims=True) - ends)  # apart from their electrodes
    np.testing.assert_allclose(drawn[-1], ends[15])
    colours = lines.get_colors()
    reds = {
        tuple(np.round(segment.ravel(), 6)): colour[0] - colour[2]
        for segment, colour in zip(drawn, colours, strict=True)
    }
    rising = [reds[tuple(np.round(ends[k].ravel(), 6))] for k in range(16) if k != 5]
    assert (np.diff(rising) >= -0.02).all()
    np.testing.assert_allclose(np.array(labelled(axis, "absent derivations").get_segments()), ends[[5]])
    assert "Absent (grey, dashed): F8-T8." in words(figure)
    assert {text.get_text() for text in axis.texts} == {e for name in BIOT for e in name.split("-")}


def test_what_differs_is_drawn_and_evenness_is_said():
    even = scalp_figure(by_channel(1 + np.random.default_rng(0).normal(0, 0.01, 16), BIOT))
    assert "none stands out" in words(even)
    (bar,) = [axis for axis in even.axes if axis.get_label() == "<colorbar>"]
    assert bar.get_xlim() == (-10, 10)  # percent; not stretched to what noise gives
    one = np.ones(16)
    one[4] = 3
    assert "none stands out" not in words(scalp_figure(by_channel(one, BIOT)))


def test_scatter_over_windows_is_no_difference():
    rng = np.random.default_rng(0)
    noise = by_channel(rng.normal(1, 0.5, (40, 2)), ["C3", "C4"], signed=True)
    assert "no channel differs" in words(scalp_figure(noise, window=None))
    real = by_channel(rng.normal(1, 0.1, (40, 2)) + [0, 1], ["C3", "C4"], signed=True)
    assert "no channel differs" not in words(scalp_figure(real, window=None))


def test_single_electrodes_are_discs_with_a_surface_where_there_are_enough():
    many = scalp_figure(by_channel(np.arange(19.0), SINGLE))
    assert len(many.axes[0].images) == 1
    np.testing.assert_allclose(labelled(many.axes[0], "channels").get_offsets(), places_of(SINGLE).xy)
    few = scalp_figure(by_channel([1.0, 2, 3], ["C3", "Cz", "ECG"]))
    assert len(few.axes[0].images) == 0
    assert "No place on the head is known for ECG" in words(few)
    assert "schematic ring" in words(scalp_figure(by_channel([1.0, 2], ["a", "b"])))


def test_one_head_a_band():
    figure = scalp_figure(a_map(bands=("delta", "theta", "alpha"), absent=(1,)))
    assert [axis.get_title() for axis in figure.axes[:3]] == ["delta", "theta", "alpha"]


@pytest.mark.parametrize("values", [np.zeros(4), np.full(4, np.nan), [0, 0, 0, 5.0]])
def test_zeros_and_nothing(values):
    figure = scalp_figure(by_channel(values, ["C3", "C4", "P3", "P4"]), width_px=320)
    assert saved(figure).startswith(b"\x89PNG")
    assert ("No channel is present" in words(figure)) == bool(np.isnan(values).all())


def test_nothing_is_opened_in_pyplot():
    before = pyplot.get_fignums()
    scalp_figure(by_channel(np.arange(19.0), SINGLE))
    assert pyplot.get_fignums() == before
