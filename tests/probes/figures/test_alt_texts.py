"""What is highest is said in words."""

import numpy as np
import pytest
from drawn_maps import a_map, a_matrix

from biot_bd.models import TokenMap, signal_layout
from biot_bd.probes.figures import alt_text, alt_text_of_links


def test_the_highest_cell_is_named_with_its_channel_and_seconds():
    said = alt_text(a_map(peak=(2, 6), absent=(0,)))
    assert "16 channels x 19 moments" in said
    assert "highest at T7-P7, 3 to 4 s" in said
    assert said.endswith("Absent: Fp1-F7.")


def test_a_signed_map_has_two_ends_and_units():
    found = a_map(signed=True, peak=(1, 0), unit="logit margin")
    found.values[0, 5, 18] = -9
    assert "highest at F7-T7, 0 to 1 s (4.1 logit margin)" in alt_text(found)
    assert "lowest at F8-T8, 9 to 10 s (-9 logit margin)" in alt_text(found)


def test_what_is_not_known_is_said():
    assert "moment 3 of 4" in alt_text(a_map(["C3", "C4"], 4, known=False, peak=(0, 2)))
    assert alt_text(a_map(["C3"], 1, absent=(0,))).endswith("1 channels: no channel is present.")
    assert "window" not in alt_text(a_map(), window=None)
    with pytest.raises(ValueError, match="no window 2: the map has 2"):
        alt_text(a_map(), window=2)


def test_the_band_and_the_sample_are_named():
    found = a_map(["C3", "C4"], 1, bands=("delta", "theta"), n=1)
    found.values[0, 1, 0, 0] = 9
    assert "2 channels x 2 frequency bands: highest at C3, theta (" in alt_text(found)
    by_sample = TokenMap(np.eye(1, 400, 301)[None], signal_layout(1, 400, 200, ["Cz"]), probe="mine")
    assert "highest at Cz, 1.505 s (400 times" in alt_text(by_sample)


def test_the_strongest_links_are_named_in_their_direction():
    matrix = a_matrix(4, spread=0.01, absent=(3,))
    matrix[1, :3] = [0.8, 0.1, 0.1]
    said = alt_text_of_links(matrix, ["A", "B", "C", "D"], most=1)
    assert said == "Attention flow between 3 channels: most from B to A (2.4 times an even share). Absent: D."
    nothing = np.full((2, 2), np.nan)
    assert "no two channels" in alt_text_of_links(nothing, ["A", "B"])
