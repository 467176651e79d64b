"""Events in cross-validation: operating points from validation subjects alone, files, scores."""

import json

import mne
import numpy as np
import pytest
from braindecode.datasets import BaseConcatDataset, RawDataset
from epilepsy2bids.annotations import Annotations
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, TunedThresholdClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from biot_bd import BIOTClassifier, PercentileScaler, Windows, cross_validate, prepare
from biot_bd.evaluation import Result
from biot_bd.evaluation.final_model import fit_all
from biot_bd.evaluation.fold_events import event_notes, fit_detectors, recording_scores
from biot_bd.events import EventDetector, load_event_detector, score_events

SUBJECTS = ["a", "b", "c", "d", "e"]
SECONDS = 400
TINY = {"module__embed_dim": 16, "module__num_heads": 2, "module__num_layers": 1, "device": "cpu"}
CHANNELS = "FP1-F7 F7-T7 T7-P7 P7-O1 FP2-F8 F8-T8 T8-P8 P8-O2 FP1-F3 F3-C3 C3-P3 P3-O1 FP2-F4 F4-C4 C4-P4 P4-O2".split()

pytestmark = pytest.mark.usefixtures("one_thread")


def log_power(x):
    return np.log(np.var(np.asarray(x), axis=-1) + 1e-3)


def pipeline():
    return make_pipeline(FunctionTransformer(log_power), StandardScaler(), LogisticRegression())


def store(folder, planted=()):
    """Two recordings a subject, a seizure in the first; of a planted subject signals and seizures are turned around."""
    parts = []
    for number, subject in enumerate(SUBJECTS):
        for run in (1, 2):
            rng = np.random.default_rng([number, run])
            x = rng.normal(0, 20e-6, (len(CHANNELS), SECONDS * 64))
            onset = 100.0 + 20 * number
            seizures = [(onset, onset + 60)] if run == 1 else []
            loud = slice(int(onset * 64), int((onset + 60) * 64))
            x[:, loud] *= 3 if run == 1 else 1 + 0.4 * number  # some recordings without seizures are loud too
            if subject in planted:
                x = x[:, ::-1] * 5
                seizures = [(10.0, 300.0)]
            raw = mne.io.RawArray(x, mne.create_info(CHANNELS, 64, "eeg"), verbose="ERROR")
            raw.set_annotations(mne.Annotations([s[0] for s in seizures], [s[1] - s[0] for s in seizures], "sz"))
            parts.append(RawDataset(raw, {"recording": f"{subject}_{run}", "subject": subject}))
    return prepare(BaseConcatDataset(parts), folder, sfreq=64, stride_s=5.0)


@pytest.fixture(scope="module")
def windows(tmp_path_factory):
    return store(tmp_path_factory.mktemp("store") / "w")


@pytest.fixture(scope="module")
def finished(windows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "run"
    return cross_validate(pipeline(), windows, folder=folder, progress=False)


def operating(result):
    return {
        fold["test"][0]: (fold["threshold"], fold["events"]["detector"], fold["events"]["causal"])
        for fold in (
            json.loads((result.folder / "folds" / f"{i:02d}" / "fold.json").read_text()) for i in range(len(SUBJECTS))
        )
    }


@pytest.mark.parametrize(
    "events",
    [
        None,
        EventDetector(target="fa_per_24h", target_fa_per_24h=20.0),
        EventDetector(target="sensitivity", target_sensitivity=0.9),
    ],
)
def test_a_giveaway_in_the_test_subjects_changes_no_operating_value(windows, tmp_path, events):
    honest = cross_validate(pipeline(), windows, folder=tmp_path / "honest", progress=False, event_detector=events)
    for subject in SUBJECTS[:2]:
        other = store(tmp_path / subject, planted=[subject])
        planted = cross_validate(
            pipeline(), other, folder=tmp_path / f"run-{subject}", progress=False, event_detector=events
        )
        before, after = operating(honest), operating(planted)
        assert before[subject] == after[subject]
        # The plant is no dud: it changes what is scored, and the operating points that it validates.
        scores = [r.metrics["events"]["subjects"][subject]["events"] for r in (honest, planted)]
        assert scores[0]["n_reference"] != scores[1]["n_reference"]
        assert any(before[other] != after[other] for other in SUBJECTS if other != subject)


def test_operating_points_are_fitted_on_the_stored_validation_predictions(finished, windows):
    table = finished.predictions
    durations = dict.fromkeys((r.recording for t in windows.tables for r in t.recordings), float(SECONDS))
    for point in finished.metrics["events"]["operating_points"]:
        fold = finished.run["splits"][point["fold"]]
        assert point["validation"]["subjects"] == sorted(fold["valid"])
        detector = EventDetector(**point_parameters(point))
        found = {"tp": 0, "fp": 0, "n_reference": 0}
        for name, rows in table[(table["fold"] == point["fold"]) & (table["part"] == "valid")].groupby("recording"):
            events = detector.predict(rows["proba"], rows["start_s"], durations[name])
            seizures = windows.seizures.query("recording == @name")[["onset_s", "offset_s"]].to_numpy()
            scores = score_events(seizures, events, durations[name])
            found = {key: found[key] + scores[key] for key in found}
        assert {key: point["validation"]["point"][key] for key in found} == found


def point_parameters(point):
    names = ("threshold", "smoothing_s", "release_fraction", "min_duration_s", "merge_gap_s")
    return {name: point[name] for name in names}


def test_scores_files_and_predictions_say_the_same(finished):
    events = finished.metrics["events"]
    assert sorted(events["subjects"]) == SUBJECTS
    assert sum(one["events"]["n_reference"] for one in events["subjects"].values()) == 5
    assert events["pooled"]["hours"] == pytest.approx(10 * SECONDS / 3600)
    assert events["coverage"] == pytest.approx(1.0)
    files = sorted((finished.folder / "events").glob("*.tsv"))
    assert [p.stem for p in files] == [f"{subject}_{run}" for subject in SUBJECTS for run in (1, 2)]
    listed = {}
    for row in events["detections"]:
        listed.setdefault(row["recording"], []).append((row["onset_s"], row["offset_s"]))
    for path in files:
        theirs = Annotations.loadTsv(str(path))
        assert theirs.getEvents() == listed.get(path.stem, [])
        assert theirs.events[0]["recordingDuration"] == SECONDS
    assert events["scorer"]["version"] == "0.0.7"
    assert events["baselines"]["always-on"]["macro"]["events"]["sensitivity"]["value"] == 1.0
    assert (
        json.loads((finished.folder / "metrics.json").read_text())["events"]
        == Result.open(finished.folder).metrics["events"]
    )
    shown = " ".join(str(finished).split())
    assert "always-off: sensitivity 0.000 (5 subjects)" in shown
    assert "by timescoring 0.0.7" in shown
    curve = events["curve"]
    assert all(point["n_reference"] == 5 for point in curve)
    assert curve[-1]["threshold"] > 0.99 > 0.01 > curve[0]["threshold"]


def test_a_resumed_run_keeps_its_events_and_another_target_is_another_study(finished, windows):
    again = cross_validate(pipeline(), windows, folder=finished.folder, progress=False)
    assert again.metrics["events"] == finished.metrics["events"]
    with pytest.raises(ValueError, match="event_detector"):
        cross_validate(
            pipeline(), windows, folder=finished.folder, progress=False, event_detector=EventDetector(target=None)
        )


def test_arrays_have_no_events(windows):
    result = cross_validate(pipeline(), np.asarray(windows), y=windows.y, groups=windows.groups, progress=False)
    assert result.metrics["events"] is None


def test_windows_that_leave_gaps_are_noted_and_the_gaps_are_background(windows):
    some = windows[np.flatnonzero(windows.metadata["start_s"].to_numpy() < 200)]
    result = cross_validate(pipeline(), some, progress=False)
    assert result.metrics["events"]["coverage"] == pytest.approx(205 / 400)
    assert any("windows cover 51%" in note for note in result.notes)
    assert all(row["offset_s"] <= 205 for row in result.metrics["events"]["detections"])


def test_recordings_without_windows_are_named(windows):
    some = windows[np.flatnonzero(windows.metadata["recording"].to_numpy() != "c_2")]
    result = cross_validate(pipeline(), some, progress=False)
    assert result.metrics["events"]["without_windows"] == ["c_2"]
    assert result.metrics["events"]["subjects"]["c"]["n_recordings"] == 1
    assert any("c_2" in note for note in result.notes)


def test_no_validation_subjects_keep_the_parameters_and_say_so(windows):
    result = cross_validate(pipeline(), windows, progress=False, validation_fraction=0, cv="subject-kfold-2")
    assert all(p["reason"].startswith("no validation recordings") for p in result.metrics["events"]["operating_points"])
    assert any("no validation recordings" in note for note in result.notes)


def test_repeated_folds_have_folders_of_their_own(windows, tmp_path):
    class Twice:
        def split(self, X, y=None, groups=None):
            yield from list(GroupKFold(2).split(X, y, groups)) * 2

        def get_n_splits(self, X=None, y=None, groups=None):
            return 4

    result = cross_validate(pipeline(), windows, folder=tmp_path / "run", cv=Twice(), progress=False)
    assert sorted(p.name for p in (result.folder / "events").iterdir()) == [f"fold-0{i}" for i in range(4)]
    assert len(list((result.folder / "events").glob("*/*.tsv"))) == 20
    assert result.metrics["events"]["pooled"]["n_recordings"] == 20


def test_wrong_templates_are_refused_before_anything_is_fitted(windows):
    for events, error in ((3, TypeError), (EventDetector(threshold=2), ValueError)):
        with pytest.raises(error):
            cross_validate(pipeline(), windows, progress=False, event_detector=events)


def test_events_json_lies_with_every_saved_model(windows, tmp_path):
    pipe = make_pipeline(PercentileScaler(), BIOTClassifier("biot", max_epochs=1, batch_size=64, **TINY))
    wanted = EventDetector(target="fa_per_24h", target_fa_per_24h=50.0)
    result = cross_validate(
        pipe,
        windows,
        folder=tmp_path / "run",
        progress=False,
        cv="subject-kfold-2",
        validation_fraction=0.4,
        event_detector=wanted,
    )
    for i in range(2):
        model = tmp_path / "run" / "folds" / f"{i:02d}" / "model"
        facts = json.loads((model.parent / "fold.json").read_text())
        assert load_event_detector(model).as_dict() == facts["events"]["detector"]
        assert load_event_detector(model, causal=True).as_dict() == facts["events"]["causal"]
    assert result.metrics["events"]["operating_points"][0]["target_fa_per_24h"] == 50.0
    record = fit_all(pipe, windows, tmp_path / "model", hold_out=["a"], event_detector=wanted)
    saved = load_event_detector(tmp_path / "model")
    assert record["events"]["threshold"] == saved.threshold_
    assert record["subjects"]["valid"] == saved.validation_["subjects"]
    assert list(record["scores"]["events"]["subjects"]) == ["a"]


def test_lengths_and_seizures_come_from_the_store(windows):
    from biot_bd.evaluation.data import as_data

    data = as_data(windows)
    table = data.table.assign(proba=0.5)
    scores = recording_scores(data, table[table["subject"] == "b"])
    assert [(r.recording, r.subject, r.duration_s) for r in scores] == [("b_1", "b", 400.0), ("b_2", "b", 400.0)]
    assert [r.reference for r in scores] == [[(120.0, 180.0)], []]
    detectors = fit_detectors(EventDetector(window_s=3), data, table)
    assert (detectors.offline.window_s, detectors.offline.causal, detectors.causal.causal) == (10.0, False, True)


def test_scikit_learns_window_threshold_works_with_our_classifier(windows):
    pipe = make_pipeline(
        PercentileScaler(), BIOTClassifier("biot", max_epochs=2, batch_size=64, train_split=None, **TINY)
    )
    subjects = np.isin(windows.groups, ["a", "b", "c"])
    train, test = windows[np.flatnonzero(subjects)], windows[np.flatnonzero(~subjects)]
    splits = list(GroupKFold(3).split(np.zeros(len(train)), train.y, train.groups))
    tuned = TunedThresholdClassifierCV(pipe, scoring="balanced_accuracy", cv=splits).fit(train, train.y)
    assert 0 < tuned.best_threshold_ < 1
    expected = tuned.predict_proba(test)[:, 1] >= tuned.best_threshold_
    np.testing.assert_array_equal(tuned.predict(test), expected.astype(int))


def test_recordings_of_one_name_and_two_subjects_are_refused(tmp_path):
    info = mne.create_info(CHANNELS, 64, "eeg")
    stores = []
    for subject in ("a", "b"):
        raw = mne.io.RawArray(np.random.default_rng(0).normal(0, 1e-5, (16, 6400)), info, verbose="ERROR")
        data = BaseConcatDataset([RawDataset(raw, {"recording": "run-01", "subject": subject})])
        stores.append(prepare(data, tmp_path / subject, sfreq=64))
    with pytest.raises(ValueError, match="recording 'run-01' is one of a and b"):
        cross_validate(pipeline(), Windows.concat(stores), folder=tmp_path / "run", progress=False)


def test_a_reason_of_several_folds_is_said_once():
    def notes(*reasons):
        points = [{"fold": fold, "reason": reason} for fold, reason in enumerate(reasons)]
        return event_notes({"events": {"coverage": 1.0, "without_windows": [], "operating_points": points}})

    nobody = "no validation recordings; parameters kept"
    assert notes(None, None) == []
    assert notes(nobody, nobody, nobody) == [f"events, operating point: each fold: {nobody}"]
    assert notes(nobody, None) == [f"events, operating point: fold 0: {nobody}"]
    assert notes(nobody, "other", nobody) == [f"events, operating point: folds 0, 2: {nobody}; fold 1: other"]
