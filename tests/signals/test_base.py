"""The base class: arrays, Epochs and lazy containers, and what it refuses."""

import mne
import numpy as np
import pandas as pd
import pytest

from biot_bd.signals.base import SignalInfo, WindowTransformer, check_windows, describe_channels, present_channels


class Double(WindowTransformer):
    """Twice the signal."""

    def output_info(self, info):
        return info

    def apply(self, x, present, info):
        check_windows(x, present, info)
        return 2 * x, present


class Same(Double):
    """A step that returns what it is given."""

    def apply(self, x, present, info):
        return x, present


@pytest.fixture
def x():
    return np.random.default_rng(0).standard_normal((4, 3, 50))


def epochs(x, names=("F3", "C3", "P3")):
    info = mne.create_info(list(names), 100.0, "eeg")
    events = np.column_stack([np.arange(len(x)) * 60, np.zeros(len(x), int), np.arange(len(x)) % 2 + 1])
    metadata = pd.DataFrame({"subject": [f"p{i}" for i in range(len(x))]})
    return mne.EpochsArray(
        x * 1e-6, info, events=events, event_id={"a": 1, "b": 2}, tmin=-0.2, metadata=metadata, verbose="error"
    )


def test_signal_info_counts_its_channels_and_compares():
    info = SignalInfo(["Fp1", "Fp2"], 200, 2000, "uV")
    assert info.n_chans == 2
    assert info == SignalInfo(("Fp1", "Fp2"), 200.0, 2000, "uV", 2)
    assert hash(info) == hash(SignalInfo(("Fp1", "Fp2"), 200.0, 2000, "uV"))


def test_signal_info_refuses_contradictions():
    with pytest.raises(ValueError, match="2 channel names for 3 channels"):
        SignalInfo(("a", "b"), None, 10, "uV", 3)
    with pytest.raises(ValueError, match="'V'"):
        SignalInfo(None, None, 10, "V", 3)


def test_epochs_keep_events_metadata_times_and_volts(x):
    before = epochs(x)
    after = Double().transform(before)
    np.testing.assert_allclose(after.get_data(copy=True), 2e-6 * x, rtol=1e-12)
    np.testing.assert_array_equal(after.events, before.events)
    assert after.event_id == before.event_id
    assert after.tmin == before.tmin
    assert after.metadata["subject"].tolist() == ["p0", "p1", "p2", "p3"]
    np.testing.assert_allclose(before.get_data(copy=True), 1e-6 * x)


def test_a_dropped_epoch_stays_dropped(x):
    before = epochs(x)
    before.drop([1], verbose="error")
    after = Double().transform(before)
    assert len(after) == 3
    np.testing.assert_array_equal(after.selection, [0, 2, 3])


def test_lazy_containers_map_themselves(x):
    class Lazy:
        shape = x.shape

        def map(self, step):
            return self, step

    lazy, step = Lazy(), Double()
    assert step.transform(lazy) == (lazy, step)


def test_a_table_has_map_too_and_is_no_container_of_windows(x):
    with pytest.raises(ValueError, match="2-D input"):
        Double().transform(pd.DataFrame(x[0]))


def test_the_output_never_shares_memory_with_the_input(x):
    out = Same().transform(x)
    out[:] = 0
    assert x.any()


def test_whole_numbers_and_half_precision_become_floats(x):
    assert Double().transform((100 * x).astype(np.int16)).dtype == np.float32
    assert Double().transform(x.astype(np.float16)).dtype == np.float32
    assert Double().transform((100 * x).astype(np.int64)).dtype == np.float64


@pytest.mark.parametrize("dtype", [complex, object, "U3"])
def test_other_dtypes_raise_naming_them(dtype):
    with pytest.raises(ValueError, match="dtype"):
        Double().transform(np.ones((2, 2, 4)).astype(dtype))


def test_some_nan_raises_and_all_nan_is_an_absent_channel(x):
    x[2, 1] = np.nan
    out = Double().transform(x)
    assert np.isnan(out[2, 1]).all()
    np.testing.assert_array_equal(present_channels(x), ~np.isnan(x).all(axis=-1))
    x[3, 0, 0] = np.nan
    with pytest.raises(ValueError, match="window 3 channel 0;"):
        Double().transform(x)
    with pytest.raises(ValueError, match="window 3 channel F3"):
        Double().transform(epochs(x))


def test_large_finite_values_are_finite(x):
    big = np.full((1, 1, 50), 3e38, np.float32)  # their sum overflows
    check_windows(big, np.ones((1, 1), bool), SignalInfo(None, None, 50, "uV", 1))
    big[0, 0, 3] = np.inf
    with pytest.raises(ValueError, match="not finite"):
        check_windows(big, np.ones((1, 1), bool), SignalInfo(None, None, 50, "uV", 1))


def test_messages_name_a_few_places_and_count_the_rest():
    mask = np.zeros((4, 2), bool)
    mask[1:, 0] = True
    assert describe_channels(mask, ("Fp1", "Fp2"), limit=2) == ("window 1 channel Fp1, window 2 channel Fp1 and 1 more")


def test_shapes_that_disagree_with_the_description_raise(x):
    info = SignalInfo(None, None, 50, "uV", 4)
    with pytest.raises(ValueError, match=r"expected \(n, 4, 50\)"):
        check_windows(x, np.ones(x.shape[:2], bool), info)
