"""Maps of layers on one scale."""

import numpy as np
import pytest
from drawn_maps import BIOT, a_matrix, layout_of, words

from biot_bd.models import TokenLayout
from biot_bd.probes.figures import layers_figure


def colours_of(figure, panel):
    return np.asarray(figure.axes[panel].images[0].get_array())


def test_panels_share_one_scale_of_ratios():
    early, late = a_matrix(4, spread=0.2), a_matrix(4, spread=1)
    late[1] = late[:, 1] = np.nan
    late /= np.nansum(late, axis=1, keepdims=True)
    figure = layers_figure({"early": early, "late": late}, ch_names=list("abcd"), caution="c", footnote="encoder.0")
    assert [axis.get_title() for axis in figure.axes[:2]] == ["early", "late"]
    same = np.full((4, 4), 0.25)
    same[0] = early[0]
    again = layers_figure({"one": same, "late": late}, ch_names=list("abcd"))
    np.testing.assert_allclose(colours_of(figure, 0)[0], colours_of(again, 0)[0], atol=1e-6)
    np.testing.assert_allclose(colours_of(figure, 1)[1], colours_of(figure, 1)[1, :1].repeat(4, axis=0))
    assert "encoder.0" in words(figure)
    assert "Grey: absent (b)." in words(figure)
    assert "most from" in figure.get_label()


def test_tokens_are_named_by_channel_or_by_moment():
    layout = layout_of(BIOT, 5)
    figure = layers_figure({"early": a_matrix(80)}, layout=layout)
    axis = figure.axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == list(BIOT)
    np.testing.assert_allclose(axis.get_yticks(), 5 * np.arange(16) + 2)
    frames = TokenLayout(("C3", "C4"), [0.0, 1.0], [1.0, 2.0], order="frame", special=("class",))
    axis = layers_figure({"m": a_matrix(5)}, layout=frames).axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["class", "0 s", "1 s"]
    np.testing.assert_allclose(axis.get_yticks(), [0, 1.5, 3.5])


def test_columns_of_zeros_are_absent_channels():
    recorded = a_matrix(4)
    recorded[:, 2] = 0
    recorded /= recorded.sum(axis=1, keepdims=True)
    marked = recorded.copy()
    marked[2] = marked[:, 2] = np.nan
    figures = [layers_figure({"m": one}, ch_names=list("abcd")) for one in (recorded, marked)]
    np.testing.assert_array_equal(*(colours_of(figure, 0) for figure in figures))
    assert all("Grey: absent (c)." in words(figure) for figure in figures)


def test_even_maps_and_wrong_ones():
    assert "nothing is preferred" in words(layers_figure({"m": np.full((3, 3), 1 / 3)}))
    assert "nothing is known" in layers_figure({"m": np.full((3, 3), np.nan)}).get_label()
    assert len(layers_figure({str(k): a_matrix(3) for k in range(4)}).axes) == 7  # two rows of three, and the bar
    with pytest.raises(ValueError, match="found none"):
        layers_figure({})
    with pytest.raises(ValueError, match="square"):
        layers_figure({"m": np.zeros((2, 3))})
    with pytest.raises(ValueError, match="5 channels"):
        layers_figure({"m": a_matrix(4)}, ch_names=list("abcde"))
    with pytest.raises(ValueError, match="its layout 80 tokens"):
        layers_figure({"m": a_matrix(4)}, layout=layout_of(BIOT, 5))
