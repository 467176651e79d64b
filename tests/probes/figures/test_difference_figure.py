"""Differences and what of them is beyond chance."""

import numpy as np
import pytest
from drawn_maps import layout_of, saved, words
from matplotlib.patches import Rectangle

from biot_bd.probes import subject_difference
from biot_bd.probes.figures import difference_figure

RNG = np.random.default_rng(0)


def framed(axis):
    return sorted((round(p.get_y() + 0.5), round(p.get_x() + 0.5)) for p in axis.patches if isinstance(p, Rectangle))


def test_cells_beyond_chance_are_framed_and_no_others():
    a, b = RNG.normal(0, 1, (2, 10, 3, 5))
    a[:, 1, 4] += 6
    found = subject_difference(a, b)
    layout = layout_of(["C3", "Cz", "C4"], 5)
    figure = difference_figure(found, layout, caution="few")
    assert framed(figure.axes[0]) == [(1, 4)]
    assert "Framed: 1 cells beyond chance at p ≤ 0.05 over all cells together (10 subjects as units" in words(figure)
    assert "largest at Cz, 2 (" in figure.get_label()
    nothing = difference_figure(subject_difference(b, RNG.normal(0, 1, b.shape)), layout)
    assert framed(nothing.axes[0]) == []
    assert "No cell is beyond chance" in words(nothing)
    assert saved(figure).startswith(b"\x89PNG")


def test_too_few_subjects_cannot_show_anything():
    a = RNG.normal(5, 0.1, (4, 3))
    figure = difference_figure(subject_difference(a), layout_of(["C3", "Cz", "C4"], 1), cells="channel")
    assert "With 4 subjects no cell can be told from chance" in words(figure)
    assert framed(figure.axes[0]) == []


def test_other_cells():
    layout = layout_of(["C3", "C4"], 5)
    matrix = difference_figure(subject_difference(RNG.normal(size=(6, 2, 2))), layout, cells="channel-channel")
    assert [label.get_text() for label in matrix.axes[0].get_xticklabels()] == ["C3", "C4"]
    values = RNG.normal(size=(6, 2, 3))
    values[:, 1] = np.nan
    bands = ("delta", "theta", "alpha")
    by_band = difference_figure(subject_difference(values), layout, cells="channel-band", bands=bands, width_px=320)
    assert [label.get_text() for label in by_band.axes[0].get_xticklabels()] == list(bands)
    assert [text.get_text() for text in by_band.axes[0].texts] == [" absent"]
    with pytest.raises(ValueError, match="have the shape"):
        difference_figure(subject_difference(values), layout)
    with pytest.raises(ValueError, match="cells must be"):
        difference_figure(subject_difference(values), layout, cells="band")
