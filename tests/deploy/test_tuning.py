"""Another operating point from reviews: what is chosen, on what, and what the new model says."""

import errno
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from deploy_files import write_edf
from hypothesis import given, settings
from hypothesis import strategies as st
from reviewed_files import write_review
from scipy.stats import beta
from small_model import save_small_model
from timescoring.annotations import Annotation
from timescoring.scoring import EventScoring

from biot_bd.deploy import Detection, Detector, read_detection, write_detection_record
from biot_bd.deploy.operating_point import in_words
from biot_bd.deploy.reviewed_scores import reviews_of, scores_of_reviews
from biot_bd.deploy.tuning import point_of, save_tuned, tune
from biot_bd.events import EventDetector, RecordingScores, load_event_detector, save_event_detector
from biot_bd.exceptions import ContaminationError, DetectionError, ReviewError

DURATION_S = 1200.0
OLD = EventDetector(window_s=10, threshold=0.9, smoothing_s=0, target=None)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = save_small_model(tmp_path_factory.mktemp("tuning") / "small")
    save_event_detector(OLD, folder)
    (folder / "metrics.json").write_text("{}")
    return folder


def detection(stretches, stride_s=5.0, source="/eeg/gone.edf", digest=None, causal=False):
    """What a model found whose probability is 0.6 in some stretches and 0.1 elsewhere."""
    start = np.arange(0, DURATION_S - 10 + 1e-9, stride_s)
    proba = np.full(len(start), 0.1)
    for onset, offset in stretches:
        proba[(start >= onset) & (start + 10 <= offset)] = 0.6
    proba[-1] = np.nan
    setting = {
        "montage": "biot-16",
        "sfreq": 200.0,
        "window_s": 10.0,
        "stride_s": stride_s,
        "on_missing": "raise",
        "causal": causal,
        "precision": "fp32",
        "smoothing": "mean",
        "events": OLD.setting(),
    }
    known = ~np.isnan(proba)
    return Detection(
        source=source,
        events=OLD.predict(proba[known], start[known], DURATION_S),
        start_s=start,
        probabilities=proba,
        window_s=10.0,
        stride_s=stride_s,
        duration_s=DURATION_S,
        sfreq=256.0,
        channels={},
        notes=[],
        setting=setting,
        segments=[(0.0, DURATION_S)],
        segment_samples=[round(DURATION_S * 256)],
        digest=digest,
    )


def reviewed(results, model, name, truth, stretches=None, *, read_whole=True, digest=None, **found):
    """Write the record of a detection and its review."""
    one = detection(truth if stretches is None else stretches, digest=digest, **found)
    record = results / f"{name}_detection.json"
    record.parent.mkdir(parents=True, exist_ok=True)
    write_detection_record(record, one, model, patient=record.parent.name, subject=f"clinic/{record.parent.name}")
    marks = [("added", *span, None) for span in truth]
    write_review(results, "anna", name, marks, DURATION_S, digest=digest, read_whole=read_whole)


@pytest.fixture
def results(tmp_path, model):
    reviewed(tmp_path, model, "p1/a", [(100, 160), (500, 540)], digest="d1")
    reviewed(tmp_path, model, "p2/b", [(300, 360)], [(300, 360), (700, 715)], digest="d2")
    reviewed(tmp_path, model, "p3/c", [], digest="d3")
    reviewed(tmp_path, model, "p3/d", [(10, 60)], read_whole=False)
    return tmp_path


def tuned(results, model, *, partly_read=False, stride_s=None, recordings=None, **options):
    folder, reviews, _ = reviews_of(results, None, partly_read)
    found = list(scores_of_reviews(folder, reviews, model, stride_s=stride_s, recordings=recordings))
    return tune(model, found, reviewer="anna", **options)


def test_records_are_enough_and_no_model_runs(results, model, monkeypatch):
    monkeypatch.setattr(Detector, "load", None)
    tuning = tuned(results, model)
    facts = tuning.facts
    # At 0.9 nothing is found, between 0.1 and 0.6 all three seizures; at least 20 s leave the false alarm out.
    assert (facts["before"]["tp"], facts["before"]["fp"]) == (0, 0)
    assert (facts["after"]["tp"], facts["after"]["fp"], facts["after"]["n_reference"]) == (3, 0, 3)
    assert 0.1 < facts["after"]["setting"]["threshold"] < 0.6
    assert facts["chosen_on"]["n_subjects"] == 3
    assert facts["chosen_on"]["n_seizures"] == 3
    assert facts["chosen_on"]["hours"] == pytest.approx(1.0)
    assert facts["chosen_on"]["what"].startswith("recordings reviewed by anna, 20")
    assert facts["n_recordings"] == 3


def test_the_former_point_is_scored_as_it_detected(results, model):
    folder, reviews, left_out = reviews_of(results)
    assert [one.recording for one in left_out] == ["p3/d"]
    for one in scores_of_reviews(folder, reviews, model):
        record = read_detection(results / f"{one.scores.recording}_detection.json")
        scores = one.scores
        assert OLD.predict(scores.probabilities, scores.start_s, scores.duration_s) == record.detection.events
        assert not one.computed


@pytest.mark.parametrize(("found", "n"), [(7, 7), (3, 12), (0, 4)])
def test_the_interval_is_clopper_and_pearsons(found, n):
    onsets = [1000.0 * k for k in range(n)]
    start = np.arange(0, 1000.0 * n - 10, 5)
    proba = np.zeros(len(start))
    for onset in onsets[:found]:
        proba[(start >= onset) & (start < onset + 30)] = 0.9
    scores = RecordingScores("r", "s", proba, start, 1000.0 * n, [(onset, onset + 30) for onset in onsets])
    point = point_of(EventDetector(window_s=10, threshold=0.5), [scores])
    assert (point["tp"], point["n_reference"]) == (found, n)
    low = beta.ppf(0.025, found, n - found + 1) if found else 0.0
    high = beta.ppf(0.975, found + 1, n - found) if found < n else 1.0
    assert point["sensitivity_interval"] == pytest.approx([low, high])


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999))
def test_counts_are_timescorings_summed_over_recordings(seed):
    rng = np.random.default_rng(seed)
    recordings, counts = [], np.zeros(3, dtype=int)
    detector = EventDetector(window_s=10, threshold=0.5, smoothing_s=0, min_duration_s=0, merge_gap_s=0)
    for name in "abc":
        start = np.arange(0, 590, 5.0)
        proba = np.clip(np.convolve(rng.normal(0.3, 0.5, len(start)), np.ones(6) / 6, "same"), 0, 1)
        onset = float(rng.integers(0, 500))
        truth = [(onset, onset + 40)] if rng.random() < 0.7 else []
        recordings.append(RecordingScores(name, "s", proba, start, 600.0, truth))
        events = [event[:2] for event in detector.predict(proba, start, 600.0)]
        one = EventScoring(Annotation(truth, 10, 6000), Annotation(events, 10, 6000))
        counts += one.tp, one.fp, one.refTrue
    point = point_of(detector, recordings)
    assert [point["tp"], point["fp"], point["n_reference"]] == counts.tolist()


def test_a_rate_may_be_asked_for(results, model):
    target = EventDetector(target="fa_per_24h", target_fa_per_24h=0.0)
    facts = tuned(results, model, target=target).facts
    assert facts["after"]["fp"] == 0
    assert (facts["target"], facts["target_value"]) == ("fa_per_24h", 0.0)


def test_the_new_model_is_the_old_one_with_another_point(results, model, tmp_path):
    tuning = tuned(results, model)
    folder = save_tuned(tuning, model, tmp_path / "new")
    same = {path.name for path in model.iterdir()} - {"events.json", "metrics.json"}
    assert {path.name for path in folder.iterdir()} == same | {"events.json", "tuning.json"}
    for name in same:
        assert (folder / name).read_bytes() == (model / name).read_bytes()
    assert load_event_detector(folder).setting() == tuning.offline.setting()
    assert load_event_detector(folder, causal=True).setting() == tuning.causal.setting()
    assert load_event_detector(folder).chosen_on_ == tuning.facts["chosen_on"]
    facts = json.loads((folder / "tuning.json").read_text())
    assert facts["after"] == tuning.facts["after"]
    text = (folder / "tuning.json").read_text()
    assert str(model) not in text  # whoever gets the folder learns neither paths
    assert '"d1"' not in text  # nor recordings


def test_exported_models_of_the_old_point_stay_behind(results, model, tmp_path):
    copy = shutil.copytree(model, tmp_path / "copy")
    (copy / "exports/onnx").mkdir(parents=True)
    shutil.copy(copy / "config.json", copy / "exports/onnx/events.json")
    assert not (save_tuned(tuned(results, copy), copy, tmp_path / "new") / "exports").exists()


def test_detections_with_it_say_so(results, model, tmp_path):
    path = write_edf(tmp_path / "rec" / "a.edf", seconds=30)
    digest = Detector.load(model).detect(path).digest
    write_detection_record(
        results / "p9_detection.json", detection([(100, 160)], digest=digest), model, patient="p9", subject=None
    )
    write_review(results, "anna", "p9", [("added", 100, 160, None)], DURATION_S, digest=digest)
    folder = save_tuned(tuned(results, model), model, tmp_path / "new")
    notes = Detector.load(folder).detect(path).notes
    assert any("operating point chosen on 4 subjects, 4 seizures" in note for note in notes)
    assert any("this recording chose the operating point" in note for note in notes)
    other = Detector.load(folder).detect(write_edf(tmp_path / "rec" / "b.edf", seconds=30, seed=5)).notes
    assert not any("this recording chose" in note for note in other)
    found = Detector.load(folder).detect(path)
    said = in_words(found.operating_point, found.setting["events"]["threshold"])
    assert "chosen on 4 subjects, 4 seizures, 1.33 h (recordings reviewed by anna, 20" in said
    assert "validation" not in said
    given = Detector.load(folder, threshold=0.5).detect(path).notes
    assert not any("operating point chosen on" in note for note in given)


def test_only_recordings_read_whole_count_unless_told(results, model):
    assert tuned(results, model).facts["n_partly_read"] == 0
    facts = tuned(results, model, partly_read=True).facts
    assert (facts["n_recordings"], facts["n_partly_read"]) == (4, 1)
    assert any("1 recording not read whole" in note for note in facts["notes"])


def test_none_read_whole_is_refused(tmp_path, model):
    reviewed(tmp_path, model, "p1/a", [(100, 160)], read_whole=False)
    with pytest.raises(ReviewError, match="none of 1 recordings was read whole by anna, so nobody knows"):
        reviews_of(tmp_path)


def test_without_a_seizure_f1_cannot_choose_but_a_rate_can(tmp_path, model):
    reviewed(tmp_path, model, "p1/a", [], [(100, 160)])
    with pytest.raises(ReviewError, match="can be chosen on these reviews: no seizure in the reviewed recordings"):
        tuned(tmp_path, model)
    facts = tuned(tmp_path, model, target=EventDetector(target="fa_per_24h", target_fa_per_24h=0.0)).facts
    assert facts["after"]["sensitivity_interval"] is None
    assert "the rate alone chose" in facts["reason"]


def test_what_trained_the_model_is_refused(results, model):
    folder, reviews, _ = reviews_of(results)
    found = list(scores_of_reviews(folder, reviews, model))
    own = [replace(found[0], in_training={"recording": True, "subject": "clinic/p1"}), *found[1:]]
    with pytest.raises(
        ContaminationError, match=r"1 reviewed recording trained the model \(p1/a\), so an operating point"
    ):
        tune(model, own, reviewer="anna")
    facts = tune(model, own, reviewer="anna", allow_contaminated=True).facts
    assert facts["contamination"].startswith("contaminated: 1 reviewed recording")
    subject = [replace(found[0], in_training={"recording": False, "subject": "clinic/p1"}), *found[1:]]
    with pytest.raises(
        ContaminationError, match=r"subjects of the reviewed recordings trained the model \(clinic/p1\)"
    ):
        tune(model, subject, reviewer="anna")


def test_where_no_record_fits_the_model_runs(tmp_path, model):
    path = write_edf(tmp_path / "rec" / "p1" / "a.edf", seconds=60)
    own = Detector.load(model, stride_s=2.5).detect(path)
    write_review(tmp_path / "out", "anna", "p1/a", [("added", 10, 30, None)], 60.0, digest=own.digest)
    folder, reviews, _ = reviews_of(tmp_path / "out")
    with pytest.raises(ReviewError, match=r"the recording is not at /eeg/p1/a\.edf; name the folder of recordings"):
        list(scores_of_reviews(folder, reviews, model))
    (found,) = scores_of_reviews(folder, reviews, model, stride_s=2.5, recordings=tmp_path / "rec")
    assert found.computed
    np.testing.assert_array_equal(found.scores.probabilities, own.probabilities)
    write_edf(path, seconds=60, seed=3)
    with pytest.raises(DetectionError, match=r"a\.edf: is not the recording that anna reviewed"):
        list(scores_of_reviews(folder, reviews, model, recordings=tmp_path / "rec"))


@pytest.mark.parametrize("other", ["stride", "weights", "causal"])
def test_a_record_of_another_kind_does_not_count(results, model, other, tmp_path):
    folder, reviews, _ = reviews_of(results)
    if other == "weights":
        copy = shutil.copytree(model, tmp_path / "copy")
        text = (copy / "pipeline.json").read_text()
        sha = read_detection(results / "p1/a_detection.json").model["weights"]
        (copy / "pipeline.json").write_text(text.replace(sha, "0" * 64))
        model = copy
    if other == "causal":
        reviewed(results / "again", model, "p1/a", [(100, 160)], causal=True)
        folder, reviews, _ = reviews_of(results / "again")
    with pytest.raises(ReviewError, match="no record of this model's detection fits"):
        list(scores_of_reviews(folder, reviews, model, stride_s=2.5 if other == "stride" else None))


def test_a_record_of_another_recording_is_refused(results, model):
    one = detection([(100, 160)], digest="other")
    write_detection_record(results / "p1/a_detection.json", one, model, patient="p1", subject=None)
    folder, reviews, _ = reviews_of(results)
    with pytest.raises(ReviewError, match=r"a_detection\.json: is of another recording than the review by anna"):
        list(scores_of_reviews(folder, reviews, model))


def test_whose_reviews(results, model):
    assert reviews_of(results / "reviews" / "anna")[0] == reviews_of(results / "reviews")[0] == results
    write_review(results, "ben", "p1/a", [], DURATION_S)
    with pytest.raises(ReviewError, match="was reviewed by anna, ben; say whose reviews count"):
        reviews_of(results)
    assert reviews_of(results, "ben")[1][0].reviewer == "ben"
    with pytest.raises(ReviewError, match="is the folder of anna, not of ben"):
        reviews_of(results / "reviews" / "anna", "ben")
    with pytest.raises(ReviewError, match="no reviews by carl; there are those of anna, ben"):
        reviews_of(results, "carl")
    with pytest.raises(FileNotFoundError, match="no such folder; expected the results"):
        reviews_of(results / "nowhere")
    with pytest.raises(ReviewError, match="holds no reviews; make them with"):
        reviews_of(model)


def test_the_new_folder_is_new(results, model, tmp_path):
    tuning = tuned(results, model)
    with pytest.raises(ValueError, match="lies in the folder of the model itself"):
        save_tuned(tuning, model, model / "new")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(FileExistsError, match="is there already and not empty"):
        save_tuned(tuning, model, tmp_path / "full")
    with pytest.raises(FileNotFoundError, match=r"no saved model .* here; expected a folder of `biot-bd train`"):
        tune(tmp_path, [], reviewer="anna")


def test_a_damaged_tuning_file_is_one_line(results, model, tmp_path):
    folder = save_tuned(tuned(results, model), model, tmp_path / "new")
    (folder / "tuning.json").write_text('{"recordings": {"salt": 3}}')
    with pytest.raises(ValueError, match=r"tuning\.json: damaged") as error:
        Detector.load(folder)
    assert len(str(error.value).splitlines()) == 1


def test_a_model_without_events_gets_some(results, model, tmp_path):
    bare = shutil.copytree(model, tmp_path / "bare")
    (bare / "events.json").unlink()
    facts = tuned(results, bare).facts
    assert facts["before"]["setting"]["threshold"] == Detector.load(bare).scorer.threshold
    assert facts["after"]["tp"] == 3


def test_a_full_disk_leaves_nothing_of_the_new_model(results, model, tmp_path, monkeypatch):
    tuning = tuned(results, model)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("biot_bd.deploy.tuning.write_json", full)
    (tmp_path / "place").mkdir()
    with pytest.raises(OSError, match="No space left on device"):
        save_tuned(tuning, model, tmp_path / "place" / "new")
    assert list((tmp_path / "place").iterdir()) == []
