"""Windows, arrays and Epochs of the same signals: same units, same predictions, same subjects."""

import mne
import numpy as np
import pytest
import sklearn
from braindecode.datasets import BaseConcatDataset, RawDataset
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from training_data import make_data, small

from biot_bd.signals import MontageMapper, PercentileScaler
from biot_bd.signals.montages import BIOT_16
from biot_bd.training import BIOTClassifier, FixedSubjects, load_pipeline, save_pipeline
from biot_bd.training.input_data import SignalData
from biot_bd.training.labels import encode_labels
from biot_bd.windows import prepare
from biot_bd.windows.labels import Overlap

NAMES = list(BIOT_16.ch_names)
SFREQ, WINDOW_S = 200, 2.0


def recordings():
    """Eight recordings of four subjects, 20 s each; louder from 6 to 14 s, where the seizure is annotated."""
    found = []
    for i in range(8):
        rng = np.random.default_rng(i)
        x = rng.standard_normal((16, 20 * SFREQ)) * 30e-6
        x[:, 6 * SFREQ : 14 * SFREQ] *= 3
        raw = mne.io.RawArray(x, mne.create_info(NAMES, SFREQ, "eeg"), verbose="error")
        raw.set_annotations(mne.Annotations([6], [8], ["sz"]))
        found.append(RawDataset(raw, {"recording": f"r{i}", "subject": f"test/{i // 2}"}))
    return BaseConcatDataset(found)


@pytest.fixture(scope="module")
def windows(tmp_path_factory):
    return {
        dtype: prepare(
            recordings(),
            tmp_path_factory.mktemp(dtype),
            sfreq=SFREQ,
            window_s=WINDOW_S,
            stride_s=WINDOW_S,
            labels=Overlap(min_overlap_s=1.0),
            dtype=dtype,
        )
        for dtype in ("float32", "int16")
    }


def same_signals(windows):
    """Return the windows as an array in microvolts and as Epochs in volts, cut from the recordings themselves."""
    cut = [
        ds.raw.get_data()[:, start : start + int(WINDOW_S * SFREQ)]
        for ds in recordings().datasets
        for start in range(0, 20 * SFREQ, int(WINDOW_S * SFREQ))
    ]
    volts = np.stack(cut)
    assert len(volts) == len(windows)
    epochs = mne.EpochsArray(volts, mne.create_info(NAMES, SFREQ, "eeg"), verbose="error")
    return volts * 1e6, epochs


def pipeline(**kwargs):
    return make_pipeline(MontageMapper("biot-16", ch_names=NAMES), PercentileScaler(), small(**kwargs))


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("int16", 2e-3)])
def test_same_predictions_for_array_epochs_and_windows(windows, dtype, tolerance):
    found = windows[dtype]
    array, epochs = same_signals(found)
    fitted = pipeline(max_epochs=2).fit(found, found.y)
    of_windows = fitted.predict_proba(found)
    assert of_windows.std() > 1e-3
    np.testing.assert_allclose(fitted.predict_proba(epochs), of_windows, atol=tolerance)
    np.testing.assert_allclose(fitted.predict_proba(array), of_windows, atol=tolerance)


def test_microvolts_reach_the_model_from_every_kind(windows):
    found = windows["float32"]
    array, epochs = same_signals(found)
    for kind in (found, array, epochs):
        data = SignalData(kind)
        np.testing.assert_allclose(data.read(np.arange(len(data))), array, rtol=1e-4, atol=1e-3)
    assert SignalData(found).info.unit == SignalData(epochs).info.unit == "uV"
    assert SignalData(PercentileScaler().transform(found)).info.unit == "scaled"


def test_fitting_on_each_kind_gives_the_same_model(windows):
    found = windows["float32"]
    array, epochs = same_signals(found)
    settings = {"max_epochs": 1, "module__sfreq": SFREQ}
    reference = pipeline(**settings).fit(found, found.y).predict_proba(found)
    for kind in (array, epochs):
        net = pipeline(**settings).fit(kind, found.y, biotclassifier__groups=found.groups)
        np.testing.assert_allclose(net.predict_proba(kind), reference, atol=1e-3)


@pytest.mark.parametrize("routing", [False, True])
def test_subjects_come_from_windows_with_routing_on_and_off(windows, routing):
    found = windows["int16"]
    grid = GridSearchCV(
        pipeline(max_epochs=1), {"biotclassifier__lr": [0.01]}, cv=GroupKFold(2), scoring="roc_auc", error_score="raise"
    )
    with sklearn.config_context(enable_metadata_routing=routing):
        net = pipeline(max_epochs=1, train_split=FixedSubjects(["test/2"])).fit(found, found.y)
        grid.fit(found, found.y, groups=found.groups)
    assert net[-1].valid_subjects_ == ("test/2",)
    assert net[-1].train_subjects_ == ("test/0", "test/1", "test/3")
    best = grid.best_estimator_[-1]
    assert not set(best.train_subjects_) & set(best.valid_subjects_)


def test_windows_bring_labels_and_their_own_subjects(windows):
    found = windows["int16"]
    net = small(max_epochs=1).fit(found)
    assert set(net.train_subjects_) | set(net.valid_subjects_) == set(found.groups)
    net = small(max_epochs=1).fit(found, found.y, groups=found.groups)
    assert net.input_info_.ch_names == tuple(NAMES)
    assert net.module_.sfreq == SFREQ
    with pytest.raises(ValueError, match="differ from the subjects that the Windows carry"):
        small(max_epochs=1).fit(found, found.y, groups=np.roll(found.groups, 7))


def test_restart_knows_selections_apart(windows, tmp_path):
    found = windows["int16"]
    small(max_epochs=1, restart_dir=tmp_path).fit(found)
    with pytest.warns(UserWarning, match="other parameters or data"):
        small(max_epochs=1, restart_dir=tmp_path).fit(found[10:])
    with pytest.warns(UserWarning, match="other parameters or data"):
        small(max_epochs=1, restart_dir=tmp_path).fit(PercentileScaler().transform(found))
    assert len(list(tmp_path.iterdir())) == 3


def test_saved_pipeline_predicts_the_same_on_windows_and_checks_them(windows, tmp_path):
    found = windows["int16"]
    fitted = pipeline(max_epochs=1).fit(found, found.y)
    save_pipeline(fitted, tmp_path)
    again = load_pipeline(tmp_path)
    np.testing.assert_array_equal(again.predict_proba(found), fitted.predict_proba(found))
    with pytest.raises(ValueError, match="fitted on signals in 'scaled', found 'uV'"):
        again[-1].predict_proba(found)
    _, epochs = same_signals(found)
    with pytest.raises(ValueError, match=r"fitted on the channels Fp1-F7.*MontageMapper"):
        small(max_epochs=1).fit(found).predict_proba(epochs.copy().reorder_channels(NAMES[::-1]))
    with pytest.raises(ValueError, match=r"fitted on 200\S* Hz, found 100"):
        small(max_epochs=1).fit(found).predict_proba(
            mne.EpochsArray(epochs.get_data(), mne.create_info(NAMES, 100, "eeg"), verbose="error")
        )


# --- absent channels and bad samples ----------------------------------------------------------------------


def test_absent_channels_are_for_models_that_can():
    x, y, groups = make_data(n_times=400)
    x[3, 1] = np.nan
    net = small(max_epochs=1).fit(x, y, groups=groups)
    assert np.isfinite(net.predict_proba(x)).all()
    other = BIOTClassifier("eegnet", max_epochs=1, batch_size=16, device="cpu", random_state=0)
    with pytest.raises(ValueError, match="EEGNet cannot leave out absent channels, but window 3 channel 1 are absent"):
        other.fit(x, y, groups=groups)
    whole = x.copy()
    whole[3, 1] = 0
    with pytest.raises(ValueError, match="window 3 channel 1"):
        other.fit(whole, y, groups=groups).predict_proba(x)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_bad_samples_name_the_window(value):
    x, y, groups = make_data()
    x[1030 % len(x), 2, 17] = value
    with pytest.raises(ValueError, match=r"not finite in window 10 channel 2"):
        small().fit(x, y, groups=groups)
    x, y, groups = make_data()
    x[5] = np.nan
    with pytest.raises(ValueError, match="window 5 has no channel"):
        small().fit(x, y, groups=groups)


class OneBadWindow:
    """Stands for Windows whose file was damaged after preparation."""

    def __init__(self, x, y, groups):
        from biot_bd.signals.base import SignalInfo

        self.x, self.y, self.groups = x, y, groups
        self.present = np.ones(x.shape[:2], bool)
        self.info = SignalInfo(("A", "B", "C", "D"), 200, x.shape[2], "uV")

    def __len__(self):
        return len(self.x)

    def read(self, rows):
        return self.x[rows]


def test_bad_samples_in_lazy_windows_are_found_when_read():
    x, y, groups = make_data()
    x[42, 3, 5] = np.nan
    with pytest.raises(ValueError, match="not finite in window 42 channel D"):
        small().fit(OneBadWindow(x, y, groups))


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (np.zeros((4, 300)), ValueError, "found shape"),
        (np.zeros((4, 0, 300)), ValueError, "found shape"),
        (np.full((4, 2, 300), "a"), ValueError, "real numbers"),
        ({"a": 1}, TypeError, "found dict"),
        (recordings(), TypeError, "BaseConcatDataset; its windows are in volts .* biot_bd.prepare"),
    ],
)
def test_other_input_is_refused(X, error, message):
    with pytest.raises(error, match=message):
        SignalData(X)


def test_integers_and_doubles_are_read_as_float32():
    x, y, groups = make_data()
    proba = small(max_epochs=1).fit(x, y, groups=groups).predict_proba(x)
    np.testing.assert_array_equal(
        small(max_epochs=1).fit(x.astype(float), y, groups=groups).predict_proba(x.astype(float)), proba
    )
    assert SignalData(np.ones((2, 3, 4), int)).read(np.array([1])).dtype == np.float32


def test_labels_and_lengths():
    x, y, groups = make_data()
    with pytest.raises(ValueError, match="60 windows but 59 labels"):
        small().fit(x, y[:-1], groups=groups)
    with pytest.raises(ValueError, match="only Windows carry labels"):
        small().fit(x, groups=groups)
    with pytest.raises(ValueError, match="no windows to train on"):
        small().fit(x[:0], y[:0], groups=groups[:0])
    assert encode_labels([True, 0.0, 1], np.array([0, 1])).tolist() == [1, 0, 1]
