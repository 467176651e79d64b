"""Colours rise with values, and what is near the average stays pale."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgba

from biot_bd.probes.figures._scales import ABSENT, ratio_scale, ratio_to_average, rising_scale, signed_scale


def test_the_middle_is_0_or_1_and_ends_are_marked():
    signed = signed_scale(np.linspace(-1, 3, 101), "words")
    assert signed.norm(0.0) == pytest.approx(0.5)
    assert signed.ticks[0] == -signed.ticks[-1]
    ratio = ratio_scale([0.25, 1.0, 2.0] * 100, "words")
    assert [float(ratio.norm(v)) for v in ratio.ticks] == pytest.approx([0, 0.5, 1])
    assert ratio.ticks[-1] == pytest.approx(4)
    assert float(ratio.norm(0.0)) == 0
    assert float(ratio.norm.inverse(0.75)) == pytest.approx(2)
    assert rising_scale([1.0, 1.01], "words").ticks[-1] == 1.25
    assert ratio_scale([], "words").ticks == (0.8, 1.0, 1.25)
    assert ratio.marks == ("1/4", "1", "4 x")
    assert rising_scale([*[1.0] * 1000, 9.0], "").marks[-1] == "≥ 1.25 x"
    assert signed_scale([np.nan], "words").ticks == (-1, 0, 1)


def test_unknown_values_are_grey():
    for scale in (signed_scale([1.0], ""), rising_scale([2.0], ""), ratio_scale([2.0], "")):
        np.testing.assert_allclose(scale.colours([np.nan])[0], to_rgba(ABSENT))
        assert not np.allclose(scale.colours([2.0])[0], to_rgba(ABSENT))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=20))
def test_more_is_never_less_orange(values):
    ratios = np.sort(ratio_to_average(np.array(values)))
    assert ratios.mean() == pytest.approx(1)
    for scale in (ratio_scale(ratios, ""), rising_scale(ratios, "")):
        assert (np.diff(np.asarray(scale.norm(ratios))) >= -1e-12).all()
