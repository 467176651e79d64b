import numpy as np
import pytest
from sklearn.base import clone

from biot_bd.signals import FillAbsent, IgnoreChannels, SignalInfo
from biot_bd.testing import check_transformer

INFO = SignalInfo(("FP1-F7", "F7-T7", "T7-P7"), 200.0, 8, "uV")


def test_ignored_channels_are_absent_and_others_untouched():
    x = np.random.default_rng(0).normal(size=(2, 3, 8))
    present = np.array([[True, True, True], [True, True, False]])
    x[1, 2] = np.nan
    step = IgnoreChannels(["Fp1-F7", 1])
    found, there = step.apply(x, present, step.output_info(INFO))
    assert np.isnan(found[:, :2]).all()
    np.testing.assert_array_equal(found[:, 2], x[:, 2])
    assert there.tolist() == [[False, False, True], [False, False, False]]
    assert np.isfinite(x[:, :2]).all()


def test_names_in_any_spelling():
    assert IgnoreChannels(["EEG F7-T3", "t7-p7"]).positions(INFO) == [1, 2]


def test_it_is_a_transformer_and_can_be_cloned():
    assert clone(IgnoreChannels(["F7-T7"])).channels == ["F7-T7"]
    assert IgnoreChannels().is_identity(INFO)
    check_transformer(IgnoreChannels([0]))


@pytest.mark.parametrize(
    ("channels", "info", "match"),
    [
        (["C3-C4"], INFO, "no channel 'C3-C4'; there are FP1-F7"),
        ([3], INFO, "positions are 0 to 2"),
        ([0, 1, 2], INFO, "all 3 channels"),
        ("F7-T7", INFO, "must be a list"),
        (["F7-T7"], SignalInfo(None, None, 8, "uV", 3), "arrays carry no channel names"),
    ],
)
def test_what_cannot_be_ignored(channels, info, match):
    with pytest.raises(ValueError, match=match):
        IgnoreChannels(channels).output_info(info)


def test_models_that_cannot_leave_channels_out_get_a_constant_behind_it():
    x = np.ones((1, 2, 4))
    assert FillAbsent().transform(IgnoreChannels([1]).transform(x)).tolist() == [[[1] * 4, [0] * 4]]
