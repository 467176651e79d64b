"""The same study on ``Windows``, on ``mne.Epochs`` and on an array of the same signals."""

import mne
import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from biot_bd import BIOTClassifier, PercentileScaler, cross_validate, load_dataset, prepare

TINY = {"module__embed_dim": 16, "module__num_heads": 2, "module__num_layers": 1, "device": "cpu"}


def log_power(x):
    x = x.get_data(units="uV") if isinstance(x, mne.BaseEpochs) else np.asarray(x)
    return np.log(np.var(x, axis=-1) + 1e-3)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def windows(shared, tmp_path_factory):
    recordings = load_dataset("chb-mit", shared / "data" / "chbmit-excerpts")
    return prepare(recordings, tmp_path_factory.mktemp("store") / "w", dtype="float32")


@pytest.fixture(scope="module")
def epochs(windows):
    info = mne.create_info(list(windows.ch_names), windows.sfreq, "eeg")
    return mne.EpochsArray(np.asarray(windows, dtype=float) * 1e-6, info, verbose="error")


def test_windows_bring_labels_subjects_and_places(windows):
    result = cross_validate(
        make_pipeline(FunctionTransformer(log_power), StandardScaler(), LogisticRegression()), windows, progress=False
    )
    test = result.predictions.query("part == 'test'").sort_values("window").reset_index(drop=True)
    metadata = windows.metadata.reset_index(drop=True)
    for column in ("recording", "subject", "start_s", "stop_s"):
        assert test[column].tolist() == metadata[column].tolist()
    assert test["y_true"].tolist() == windows.y.tolist()
    data = result.run["data"]
    assert (data["label_rule"], data["generated"], data["folder"]) == ("overlap", False, str(windows.folder))
    assert "label rule: overlap" in str(result)
    # 30 excerpts: the time from the first window's start to the last one's end.
    spans = metadata.groupby("recording").agg({"start_s": "min", "stop_s": "max"})
    assert data["hours"] == pytest.approx((spans["stop_s"] - spans["start_s"]).sum() / 3600)


def test_the_same_scores_from_windows_epochs_and_array(windows, epochs):
    pipe = make_pipeline(PercentileScaler(), BIOTClassifier("biot", max_epochs=1, batch_size=32, **TINY))
    known = {
        "y": windows.y,
        "groups": windows.groups,
        "progress": False,
        "cv": "subject-kfold-2",
        "validation_fraction": 0,
    }
    expected = cross_validate(pipe, windows, **{**known, "y": None, "groups": None}).predictions
    for X in (epochs, np.asarray(windows)):
        found = cross_validate(pipe, X, **known).predictions
        np.testing.assert_allclose(found["proba"], expected["proba"], atol=1e-5)
        assert found["window"].equals(expected["window"])


def test_a_forest_and_a_search_on_windows(windows):
    forest = make_pipeline(FunctionTransformer(log_power), RandomForestClassifier(10))
    search = GridSearchCV(forest, {"randomforestclassifier__max_depth": [2, 4]}, cv=GroupKFold(2))
    one, two = (cross_validate(search, windows, progress=False) for _ in range(2))
    pd.testing.assert_frame_equal(one.predictions, two.predictions, check_exact=True)


def test_subjects_other_than_those_of_the_windows_raise(windows):
    with pytest.raises(ValueError, match="groups differ from the subjects"):
        cross_validate(LogisticRegression(), windows, groups=windows.groups[::-1], progress=False)


def test_generated_windows_say_so_on_every_output(windows, monkeypatch):
    monkeypatch.setattr(type(windows), "generated", property(lambda self: True))
    pipe = make_pipeline(FunctionTransformer(log_power), StandardScaler(), LogisticRegression())
    result = cross_validate(pipe, windows, progress=False)
    assert result.run["data"]["generated"] is True
    assert "generated data" in result.run["not_a_result"]
    assert "generated data" in str(result)
