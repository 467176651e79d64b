"""The strongest links on a head."""

import numpy as np
import pytest
from drawn_maps import BIOT, a_matrix, saved, words

from biot_bd.probes.figures import head_figure
from biot_bd.probes.figures._links import Links
from biot_bd.probes.figures.head import arc


def drawn_links(axis):
    return [line.get_label() for line in axis.lines if " to " in line.get_label()]


def test_the_strongest_links_are_drawn_in_each_view():
    matrix = a_matrix(16, absent=(2,))
    figure = head_figure(matrix, BIOT, strongest=7)
    wanted = [f"{BIOT[i]} to {BIOT[j]}" for i, j, _ in Links.of(matrix, BIOT).strongest(7)]
    for axis in figure.axes[:3]:
        assert drawn_links(axis) == wanted[::-1]  # the strongest on top
    assert "The 7 strongest of 210 links" in words(figure)
    assert saved(figure).startswith(b"\x89PNG")


def test_names_on_the_far_side_are_not_shown():
    figure = head_figure(a_matrix(2), ["T7", "T8"], strongest=1)
    _, left, right = figure.axes[:3]
    assert [text.get_text() for text in left.texts] == ["T7"]
    assert [text.get_text() for text in right.texts] == ["T8"]


def test_arcs_rise_above_the_head_and_the_way_back_is_another():
    one, two = np.array([[-0.9, 0.0, 0.43], [0.9, 0.0, 0.43]])
    there, back = arc(one, two), arc(two, one)
    np.testing.assert_allclose(there[[0, -1]], [one, two])
    assert (np.linalg.norm(there, axis=1) > 0.997).all()
    assert np.linalg.norm(there[30] - back[30]) > 0.1


def test_few_unknown_and_wrong():
    assert "no link" in words(head_figure([[1.0]], ["C3"]))
    ring = head_figure(a_matrix(3), list("abc"), width_px=320)
    assert "schematic ring" in words(ring)
    assert len(drawn_links(ring.axes[0])) == 6
    assert len(ring.axes) == 2  # no sides; the bar
    with pytest.raises(ValueError, match="1 link or more"):
        head_figure(a_matrix(3), list("abc"), strongest=0)
