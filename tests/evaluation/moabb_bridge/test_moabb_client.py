"""MOABB as a client: our pipelines in its evaluations, scores as ours, tables for its statistics."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.pipeline import make_pipeline

from biot_bd import BIOTClassifier, PercentileScaler, SubjectSplit, cross_validate, load_dataset, prepare
from biot_bd.evaluation import SeizureDetection, SeizureWindows, baseline
from biot_bd.training import SubjectValidSplit

moabb = pytest.importorskip("moabb.evaluations", reason="needs MOABB")
pytestmark = pytest.mark.usefixtures("one_thread")

SIZE = {"module__embed_dim": 16, "module__num_heads": 2, "module__num_layers": 1}
METRICS = ["average_precision", "roc_auc", "balanced_accuracy"]


@pytest.fixture(scope="module")
def windows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("moabb")
    recordings = load_dataset("demo", folder / "demo", n_subjects=4, recordings=1, minutes=1)
    return prepare(recordings, folder / "windows", window_s=4, stride_s=2)


@pytest.fixture(scope="module")
def data(windows):
    return SeizureWindows(windows)


def net(**parameters):
    settings = {"max_epochs": 2, "batch_size": 16, "device": "cpu", **SIZE, **parameters}
    return make_pipeline(PercentileScaler(), BIOTClassifier(**settings))


def evaluate(folder, data, pipe, *, name="CrossSubjectEvaluation", param_grid=None, **options):
    """Return MOABB's table, by subject."""
    evaluation = getattr(moabb, name)(
        paradigm=SeizureDetection(), datasets=[data], overwrite=True, hdf5_path=str(folder), random_state=0, **options
    )
    return evaluation.process({"pipe": pipe}, param_grid=param_grid).set_index("subject").sort_index()


def one_fold(test):
    """Return what makes MOABB test one subject only."""
    side = {"test_fold": lambda metadata: np.where(metadata["subject"].isin(test), 0, -1)}
    return {"cv_class": PredefinedSplit, "cv_kwargs": side}


def ours(result, metric):
    """Return the scores by subject with the digits that MOABB's file keeps."""
    scores = {name: scores[metric]["value"] for name, scores in result.metrics["subjects"].items()}
    return pd.Series(scores, dtype="float32")


def test_epochs_are_the_windows_sample_by_sample(windows, data):
    x, labels, metadata = SeizureDetection().get_data(data, additional_metadata="all")
    rows = [row for subject in data.subject_list for run in data._runs(subject) for row in run]
    np.testing.assert_array_equal(x.astype("float32"), windows.read(rows))
    assert list(labels) == [("background", "seizure")[label] for label in windows.y[rows]]
    asked = ["subject", "recording", "start_s", "stop_s"]
    pd.testing.assert_frame_equal(
        metadata[asked], windows.metadata.iloc[rows][asked].reset_index(drop=True), check_dtype=False
    )


def test_epochs_in_volts_are_the_windows_too(windows, data):
    epochs, _, _ = SeizureDetection().get_data(data, return_epochs=True)
    assert tuple(epochs.ch_names) == windows.ch_names
    assert epochs.info["sfreq"] == windows.sfreq
    rows = [row for subject in data.subject_list for run in data._runs(subject) for row in run]
    np.testing.assert_array_equal(epochs.get_data(units="uV").astype("float32"), windows.read(rows))


def test_an_absent_channel_stays_absent_and_never_becomes_zero(tmp_path):
    recordings = load_dataset("demo", tmp_path / "demo", n_subjects=2, recordings=1, minutes=1)
    raw = recordings.datasets[0].raw
    recordings.datasets[0].raw = raw.drop_channels([ch for ch in raw.ch_names if "T7" in ch.upper().split("-")])
    windows = prepare(recordings, tmp_path / "windows", window_s=4, on_missing="drop")
    assert not windows.present.all()
    for return_epochs in (False, True):
        x, _, _ = SeizureDetection().get_data(SeizureWindows(windows), return_epochs=return_epochs)
        found = x.get_data() if return_epochs else x
        np.testing.assert_array_equal(np.isnan(found).all(axis=-1), ~windows.present)
        np.testing.assert_array_equal(np.isnan(found).any(axis=-1), ~windows.present)


def test_features_score_as_in_cross_validate(tmp_path, windows, data):
    pipe = baseline("spectral-power", windows)
    table = evaluate(tmp_path, data, pipe, return_epochs=True)
    result = cross_validate(pipe, windows, validation_fraction=0, progress=False)  # MOABB holds nobody back
    for metric in METRICS:
        np.testing.assert_array_equal(table[f"score_{metric}"], ours(result, metric)[table.index])


def with_valid_of(run, windows, fraction):
    """Return a run's stored splits with the validation subjects that the classifier's own default split takes."""
    splits = []
    for split in run["splits"][:2]:  # enough to tell, and quick
        rows = np.flatnonzero(np.isin(windows.groups, split["train"] + split["valid"]))
        chosen = SubjectValidSplit(fraction, split["seed"])(windows, windows.y[rows], windows.groups[rows])[1]
        valid = sorted(set(windows.groups[rows[chosen.indices]]))
        train = sorted({*split["train"], *split["valid"]} - set(valid))
        splits.append({**split, "train": train, "valid": valid})
    return {**run, "splits": splits}


@pytest.fixture(scope="module")
def on_default_splits(windows):
    """Return a run with the validation subjects that the classifier's own default split takes."""
    planned = cross_validate(make_pipeline(DummyClassifier()), windows, progress=False)
    folds = replace(planned, run=with_valid_of(planned.run, windows, 0.2))
    return cross_validate(net(), windows, splits_from=folds, progress=False)


def assert_equal_scores(folder, data, result, split, **options):
    pipe = net(random_state=split["seed"])
    assert pipe[-1].train_split == "subject"
    table = evaluate(folder, data, pipe, **one_fold(split["test"]), **options)
    assert list(table.index) == split["test"]
    for metric in METRICS[:2]:
        assert table[f"score_{metric}"].iloc[0] == ours(result, metric)[split["test"][0]]


def test_biot_with_its_default_split_scores_as_in_cross_validate_on_the_same_folds(tmp_path, data, on_default_splits):
    for split in on_default_splits.run["splits"]:
        assert_equal_scores(tmp_path, data, on_default_splits, split)


def test_so_it_does_on_epochs_in_volts(tmp_path, data, on_default_splits):
    assert_equal_scores(tmp_path, data, on_default_splits, on_default_splits.run["splits"][0], return_epochs=True)


class Watched(BIOTClassifier):
    """Tells who trained and who validated."""

    seen = []

    def get_split_datasets(self, X, y=None, groups=None, **fit_params):
        train, valid = super().get_split_datasets(X, y, groups, **fit_params)
        names = np.asarray(groups, dtype=object)
        self.seen.append([set(names[side.indices]) for side in (train, valid)])
        return train, valid


def test_no_subject_is_on_two_sides_of_any_split_of_a_search_inside(tmp_path, data):
    Watched.seen.clear()
    pipe = make_pipeline(PercentileScaler(), Watched(max_epochs=1, device="cpu", random_state=0, **SIZE))
    search = GridSearchCV(pipe, {"watched__lr": [1e-3]}, cv=SubjectSplit(), scoring="roc_auc")
    table = evaluate(tmp_path, data, search, **one_fold(["demo/02"]))
    assert list(table.index) == ["demo/02"]
    *inside, refitted = Watched.seen
    assert len(inside) == 3
    for train, valid in Watched.seen:
        assert train
        assert valid
        assert not train & valid
        assert "demo/02" not in train | valid
    assert set.union(*refitted) == {"demo/01", "demo/03", "demo/04"}
    trained = [set.union(*sides) for sides in inside]
    assert sorted(map(sorted, trained)) == [["demo/01", "demo/03"], ["demo/01", "demo/04"], ["demo/03", "demo/04"]]


def test_subjects_of_a_data_set_of_moabb_reach_the_default_split(tmp_path):
    from moabb.datasets.fake import FakeDataset
    from moabb.paradigms import LeftRightImagery

    size = {"n_sessions": 1, "n_runs": 1, "n_subjects": 3, "n_events": 10, "duration": 40, "sfreq": 100, "seed": 0}
    fake = FakeDataset(event_list=["left_hand", "right_hand"], stim=True, **size)
    Watched.seen.clear()
    pipe = make_pipeline(
        PercentileScaler(),
        Watched(
            max_epochs=1, device="cpu", random_state=0, classes=None, module__sfreq=100, module__hop_length=50, **SIZE
        ),
    )
    paradigm = LeftRightImagery(fmin=1, fmax=40, resample=100)
    evaluation = moabb.CrossSubjectEvaluation(
        paradigm=paradigm, datasets=[fake], overwrite=True, hdf5_path=str(tmp_path), random_state=0
    )
    table = evaluation.process({"pipe": pipe}).sort_values("subject")
    assert table["score"].between(0, 1).all()
    assert [set.union(*sides) for sides in Watched.seen] == [{2, 3}, {1, 3}, {1, 2}]


def test_without_routed_subjects_the_cure_is_named(tmp_path, data):
    with pytest.raises(ValueError, match="or set train_split=None to train without validation"):
        evaluate(tmp_path, data, net(), name="WithinSessionEvaluation")


def test_the_folds_of_n_splits_have_one_row_each_named_by_their_first_subject(tmp_path, windows, data):
    pipe = baseline("always-off", windows)
    table = evaluate(tmp_path, data, pipe, n_splits=2, cv_kwargs={"shuffle": True})
    assert len(table) == 2
    assert table["samples_test"].sum() == len(windows)


def test_windows_that_are_no_data_set_are_refused(windows):
    for wrong, why in (
        (windows.map(PercentileScaler()), "expected windows in microvolts, found the unit None"),
        (windows[windows.groups == "demo/01"], r"expected at least two subjects, found 1 \(demo/01\)"),
    ):
        with pytest.raises(ValueError, match=why):
            SeizureWindows(wrong)
    with pytest.raises(TypeError, match=r"expected biot_bd.Windows, found ndarray; prepare"):
        SeizureWindows(np.zeros((2, 3, 4)))


def test_other_windows_have_another_code(windows, data):
    assert SeizureWindows(windows).code == data.code
    assert SeizureWindows(windows[1:]).code != data.code
    assert SeizureWindows(windows.relabel("overlap", window_s=4, stride_s=4)).code != data.code


def test_a_class_that_is_absent_leaves_no_score_and_never_zero(windows):
    scorers, y = SeizureDetection().scoring, np.zeros(6, dtype=int)
    model = DummyClassifier(strategy="prior").fit(np.zeros((4, 1)), [0, 0, 1, 1])
    assert all(np.isnan(scorer(model, np.zeros((6, 1)), y)) for scorer in scorers.values())
    with pytest.raises(ValueError, match="expected some of average_precision, roc_auc, balanced_accuracy, found 'f1'"):
        SeizureDetection(["f1"])
