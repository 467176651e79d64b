"""Positions of channels by their names, against MNE's own template."""

import mne
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd.signals import channel_positions, make_chs_info
from biot_bd.signals.montages import BIOT_16, SZCORE_19


@pytest.fixture(scope="module")
def template():
    name = "colin27_1005" if "colin27_1005" in mne.channels.get_builtin_montages() else "standard_1005"
    return mne.channels.make_standard_montage(name).get_positions()["ch_pos"]


def test_electrodes_lie_where_the_template_says(template):
    found = channel_positions(SZCORE_19.ch_names)
    np.testing.assert_array_equal(found, [template[name] for name in SZCORE_19.ch_names])
    np.testing.assert_array_equal(
        channel_positions(["EEG T3-REF", "T5", "fp1"]), [template[n] for n in ("T7", "P7", "Fp1")]
    )


def test_a_derivation_lies_at_the_midpoint(template):
    found = make_chs_info(BIOT_16.ch_names)
    assert [one["ch_name"] for one in found] == list(BIOT_16.ch_names)
    for one, (plus, minus) in zip(found, BIOT_16.pairs, strict=True):
        np.testing.assert_allclose(one["loc"], (template[plus] + template[minus]) / 2)


@given(st.permutations(list(SZCORE_19.ch_names)))
@settings(max_examples=10, deadline=None)
def test_the_order_is_that_of_the_names(names):
    by_name = dict(zip(SZCORE_19.ch_names, channel_positions(SZCORE_19.ch_names), strict=True))
    np.testing.assert_array_equal(channel_positions(names), [by_name[name] for name in names])


def test_what_is_no_electrode_has_no_position():
    assert np.isnan(channel_positions(["ECG", "Fp1-ECG", "T1"])).all()
    assert channel_positions([]).shape == (0, 3)
    with pytest.raises(ValueError, match="no position is known for the channels ECG; expected electrodes"):
        make_chs_info(["Fp1", "ECG"])


def test_they_are_in_the_axes_of_the_interpolated_models():
    """Positions of ``mne.Info`` are not: those are in the axes of the head."""
    from braindecode.models import InterpolatedLaBraM

    theirs = {one["ch_name"].upper(): one["loc"] for one in InterpolatedLaBraM._TARGET_CHS_INFO}
    names = ["FP1", "T7", "OZ", "FP1-F7"]
    np.testing.assert_allclose(channel_positions(names), [theirs[name] for name in names], atol=1e-6)
