"""Two models side by side."""

import numpy as np
import pytest
from drawn_maps import a_map, words
from matplotlib.colors import to_rgba

from biot_bd.probes.figures import before_after_figure
from biot_bd.probes.figures._scales import ABSENT


def test_one_scale_and_the_change():
    before, after = a_map(["C3", "C4"], 6, absent=(1,)), a_map(["C3", "C4"], 6, absent=(1,), seed=1)
    figure = before_after_figure(before, after, caution="c")
    assert [axis.get_title() for axis in figure.axes[:3]] == ["before fine-tuning", "after fine-tuning", "change"]
    same = before_after_figure(before, before)
    np.testing.assert_array_equal(same.axes[0].images[0].get_array(), same.axes[1].images[0].get_array())
    assert "Rank correlation of the cells, before fine-tuning with after fine-tuning: 1.00" in words(same)
    middle = np.unique(np.round(np.asarray(same.axes[2].images[0].get_array())[0], 3), axis=0)
    assert len(middle) == 1  # nothing changed: one pale colour
    change = figure.axes[2].images[0].get_array()
    np.testing.assert_allclose(change[1], np.broadcast_to(to_rgba(ABSENT), (6, 4)))
    assert [text.get_text() for text in figure.axes[2].texts] == [" absent"]


def test_signed_maps_are_subtracted():
    before, after = a_map(["C3", "C4"], 6, signed=True), a_map(["C3", "C4"], 6, signed=True, seed=1)
    figure = before_after_figure(before, after, target_name="seizure", width_px=320)
    labels = [axis.get_xlabel().replace("\n", " ") for axis in figure.axes if axis.get_label() == "<colorbar>"]
    assert any("after fine-tuning minus before fine-tuning" in label for label in labels)


def test_maps_that_cannot_be_compared():
    with pytest.raises(ValueError, match="different probes"):
        before_after_figure(a_map(), a_map(probe="other"))
    with pytest.raises(ValueError, match="other channels or frames"):
        before_after_figure(a_map(), a_map(n_frames=5))
