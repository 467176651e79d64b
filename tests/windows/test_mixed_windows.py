"""Windows of corpora with other channels: the channels of all, absent where a corpus has them not."""

import pickle

import mne
import numpy as np
import pytest
from braindecode.datasets import BaseConcatDataset, RawDataset

from biot_bd import PercentileScaler, Windows, prepare
from biot_bd.signals import Montage
from biot_bd.windows import Annotated

PARAMETERS = {"sfreq": 50, "window_s": 2, "stride_s": 2}


def corpus(folder, space, ch_names, labels, dtype="int16", seed=0):
    """Prepare two recordings of two subjects, 20 s each, with channels of different sizes."""
    rng = np.random.default_rng(seed)
    parts = []
    for subject in ("01", "02"):
        x = rng.normal(0, 2e-5, (len(ch_names), 1000)) * np.arange(1, len(ch_names) + 1)[:, None]
        raw = mne.io.RawArray(x, mne.create_info(ch_names, 50.0, "eeg"), verbose="error")
        rows = [(0, 8, "left"), (8, 8, "right"), (16, 4, "sz")]
        raw.set_annotations(mne.Annotations(*zip(*rows, strict=True)))
        parts.append(RawDataset(raw, {"recording": f"{space}{subject}", "subject": f"{space}/{subject}"}))
    montage = Montage(space, tuple(ch_names), "referential")
    return prepare(BaseConcatDataset(parts), folder, montage=montage, labels=labels, dtype=dtype, **PARAMETERS)


@pytest.fixture(params=["int16", "float32"])
def pair(tmp_path, request):
    first = corpus(tmp_path / "a", "lab", ["C3", "Cz"], Annotated(classes=("left", "right")))
    second = corpus(tmp_path / "b", "ward", ["Fz", "Cz", "C3", "O1"], "overlap", request.param, seed=1)
    return first, second


def test_each_channel_is_read_by_its_name_and_the_others_are_absent(pair):
    first, second = pair
    mixed = Windows.mix(pair)
    assert mixed.ch_names == ("C3", "Cz", "Fz", "O1")
    assert mixed.shape == (len(first) + len(second), 4, 100)
    x = mixed.read(range(len(mixed)))
    expected = np.full(x.shape, np.nan, np.float32)
    expected[: len(first), :2] = first.read(range(len(first)))
    expected[len(first) :] = second.read(range(len(second)))[:, [2, 1, 0, 3]]
    np.testing.assert_array_equal(x, expected)
    np.testing.assert_array_equal(mixed.present, ~np.isnan(x[:, :, 0]))
    order = np.random.default_rng(0).permutation(len(mixed))
    np.testing.assert_array_equal(mixed.read(order), expected[order])
    np.testing.assert_array_equal(mixed[int(order[0])], expected[order[0]])


def test_scaled_and_packed_windows_are_the_same_ones(pair):
    mixed, scaler = Windows.mix(pair), PercentileScaler()
    rows = np.arange(len(mixed))
    one_by_one = np.concatenate([part.map(scaler).read(range(len(part))).mean(axis=(1, 2)) for part in pair])
    np.testing.assert_allclose(np.nanmean(mixed.map(scaler).read(rows), axis=(1, 2)), one_by_one, rtol=1e-5, atol=1e-6)
    exact = mixed.map(PercentileScaler(90))
    for windows in (mixed, mixed.map(scaler), exact):
        values, scales = windows.read_packed(rows)
        np.testing.assert_allclose(values * scales[..., None], windows.read(rows), rtol=1e-6)


def test_labels_subjects_and_steps_go_with_the_parts(pair):
    first, second = pair
    mixed = Windows.mix([first.query("label == 1"), second])
    assert mixed.groups.tolist() == [*first.query("label == 1").groups, *second.groups]
    assert mixed.y.tolist() == [*first.query("label == 1").y, *second.y]
    assert mixed.classes == ("label 0", "label 1")
    assert mixed.label_rule == "annotated(classes=('left', 'right')) | overlap"
    assert len(mixed.seizures) == 4
    assert "2 subjects" not in repr(mixed)
    again = pickle.loads(pickle.dumps(mixed.map(PercentileScaler())))
    np.testing.assert_array_equal(again[[0, -1]].read([0, 1]), mixed.map(PercentileScaler()).read([0, -1]))
    relabelled = Windows.mix(pair).relabel("none")
    assert relabelled.classes == ("background", "seizure")
    assert relabelled.ch_names == mixed.ch_names


def test_corpora_with_the_same_channels_are_mixed_as_concat_joins_them(pair, tmp_path):
    third = corpus(tmp_path / "c", "home", ["C3", "Cz"], Annotated(classes=("left", "right")), seed=2)
    mixed, joined = Windows.mix([pair[0], third]), Windows.concat([pair[0], third])
    assert mixed.classes == joined.classes == ("left", "right")
    assert mixed.ch_names == joined.ch_names
    np.testing.assert_array_equal(mixed.read(range(len(mixed))), joined.read(range(len(joined))))


def test_concat_still_refuses_other_channels_and_rates_are_never_mixed(pair):
    with pytest.raises(
        ValueError, match=r"cannot join windows .* their classes are left, right and background, seizure"
    ):
        Windows.concat(pair)
    with pytest.raises(ValueError, match="ch_names is"):
        Windows.concat([part.relabel("none") for part in pair])
    with pytest.raises(ValueError, match="n_times is 100 and 50"):
        Windows.mix([pair[0], pair[1].relabel("none", window_s=1)])
    with pytest.raises(ValueError, match="different steps"):
        Windows.mix([pair[0], pair[1].map(PercentileScaler())])
