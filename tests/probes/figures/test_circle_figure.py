"""Directed links around a circle."""

import numpy as np
import pytest
from drawn_maps import BIOT, a_matrix, labelled, saved, words

from biot_bd.probes.figures import circle_figure
from biot_bd.probes.figures._links import Links
from biot_bd.probes.figures._places import around, places_of


def ends_of(axis):
    return [(path.vertices[0], path.vertices[-1], len(path.vertices)) for path in labelled(axis, "links").get_paths()]


def test_every_direction_has_its_own_arrow_and_none_is_dropped():
    matrix = a_matrix(16, absent=(4,))
    axis = circle_figure(matrix, BIOT).axes[0]
    ends = ends_of(axis)
    assert len(ends) == 15 * 15  # with each channel's own loop
    assert len(labelled(axis, "arrowheads").get_paths()) == 15 * 14
    angles = around(places_of(BIOT))
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1) * 0.94
    found = set()
    for start, stop, size in ends:
        if size == 3:
            i, j = (int(np.linalg.norm(points - end, axis=1).argmin()) for end in (start, stop))
            np.testing.assert_allclose([start, stop], points[[i, j]])
            found.add((i, j))
    assert found == {(i, j) for i in range(16) for j in range(16) if i != j and 4 not in (i, j)}


def test_the_way_back_is_another_curve():
    axis = circle_figure(a_matrix(2), ["C3", "C4"]).axes[0]
    there, back = (path for path in labelled(axis, "links").get_paths() if len(path.vertices) == 3)
    assert np.linalg.norm(there.vertices[1] - back.vertices[1]) > 0.2


def test_arrowheads_point_at_the_channel_that_is_looked_at():
    matrix = np.full((3, 3), 1 / 3)
    matrix[0] = [0.01, 0.98, 0.01]
    names = ["C3", "C4", "Cz"]
    axis = circle_figure(matrix, names).axes[0]
    angles = around(places_of(names))
    # Of all links the one from C3 to C4 is the most orange.
    colours = labelled(axis, "arrowheads").get_facecolors()
    strongest = labelled(axis, "arrowheads").get_paths()[int((colours[:, 0] - colours[:, 2]).argmax())]
    np.testing.assert_allclose(
        strongest.vertices[0], 0.94 * np.array([np.cos(angles[1]), np.sin(angles[1])]), atol=1e-9
    )


def test_what_gets_most_is_widest_and_on_top_and_little_stays_thin():
    matrix = a_matrix(6, seed=3)
    links = Links.of(matrix, list("abcdef"))
    widths = labelled(circle_figure(matrix, list("abcdef")).axes[0], "links").get_linewidths()
    assert (np.diff(widths) >= -1e-12).all()
    assert len(set(widths[: int((links.ratio < 1).sum())])) == 1
    assert widths[-1] > 4 * widths[0]


def test_absent_even_and_unknown_are_said():
    figure = circle_figure(a_matrix(4, absent=(1,)), ["a", "b", "c", "d"], caution="untested", footnote="encoder.0")
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["a", "b\nabsent", "c", "d"]
    assert "schematic ring" in words(figure)
    assert "Caution: untested" in words(figure)
    assert "encoder.0" in words(figure)
    assert "connectivity" not in words(figure).lower()
    assert "no channel is preferred" in words(circle_figure(np.full((2, 2), 0.5), ["C3", "C4"]))
    nothing = circle_figure(np.full((2, 2), np.nan), ["C3", "C4"])
    assert saved(nothing).startswith(b"\x89PNG")


@pytest.mark.parametrize("n", [1, 2, 64])
def test_any_number_of_channels(n):
    figure = circle_figure(a_matrix(n), [f"E{k}" for k in range(n)], width_px=320)
    assert len(ends_of(figure.axes[0])) == n * n
