"""Records of detections: they hold all that was found, and the curve that decided."""

import json
import shutil

import mne
import numpy as np
import pytest
from deploy_files import REFERENTIAL, write_edf
from epilepsy2bids.annotations import Annotations
from gap_files import recorded_readers, write_with_pauses
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd.cli import main
from biot_bd.deploy import Detector, curve_of, read_detection, write_detection_record
from biot_bd.events import score_folders
from biot_bd.events.detector import EventDetector, save_event_detector
from biot_bd.exceptions import DetectionError
from biot_bd.io.walk import find_recordings
from biot_bd.signals.montages import BIOT_16


class Loudness:
    """Probability by amplitude."""

    montage, sfreq, window_s, threshold, precision = BIOT_16, 200.0, 10.0, 0.5, None

    def score(self, batch):
        return np.clip(np.nanstd(batch.x, axis=(1, 2)) / 300, 0, 1)


def found_in(source, **events):
    detector = EventDetector(window_s=10, target=None, **events)
    return Detector(Loudness(), detector, stride_s=1).detect(source)


def check_decided(found):
    """The events follow from the curve alone, where nothing is dropped and nothing merged."""
    curve, threshold = curve_of(found), found.setting["events"]["threshold"]
    ends = np.append(curve.times_s[1:], found.duration_s)
    above = curve.values >= threshold
    inside = np.zeros(len(above), bool)
    for event in found.events:
        rows = (curve.times_s >= event.onset_s - 1e-6) & (curve.times_s < event.offset_s - 1e-6)
        assert abs(curve.times_s[rows][0] - event.onset_s) < 1e-6
        assert ends[rows][-1] >= event.offset_s - 1e-6
        assert event.confidence == curve.values[rows].max()
        inside |= rows
    np.testing.assert_array_equal(inside, above)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 99),
    seconds=st.integers(40, 90),
    smoothing_s=st.sampled_from([0.0, 5.0, 10.0]),
    smoothing=st.sampled_from(["mean", "median"]),
    causal=st.booleans(),
)
def test_the_curve_is_the_one_that_decided(seed, seconds, smoothing_s, smoothing, causal):
    rng = np.random.default_rng(seed)
    level = np.repeat(rng.choice([30e-6, 300e-6], seconds), 200)
    raw = mne.io.RawArray(
        rng.standard_normal((16, len(level))) * level,
        mne.create_info(list(BIOT_16.ch_names), 200.0, "eeg"),
        verbose="error",
    )
    few = {"min_duration_s": 0, "merge_gap_s": 0, "threshold": 0.6}
    check_decided(found_in(raw, smoothing_s=smoothing_s, smoothing=smoothing, causal=causal, **few))


@pytest.mark.parametrize("kind", ["edf+d", "edf+c", "brainvision"])
@pytest.mark.parametrize("causal", [False, True])
def test_the_curve_of_a_recording_with_pauses(tmp_path, kind, causal):
    x_uv = np.clip(np.random.default_rng(0).normal(0, 30, (16, 120 * 200)), -290, 290)
    for start, stop in ((25, 60), (90, 118)):
        x_uv[:, start * 200 : stop * 200] *= 10
    with recorded_readers():
        path = write_with_pauses(tmp_path, kind, x_uv, BIOT_16.ch_names, [(40 * 200, 4), (80 * 200, 301)])
        found = found_in(path, smoothing_s=5, min_duration_s=0, merge_gap_s=0, threshold=0.5, causal=causal)
        assert len(found.segments) == 3
        assert len(found.events) >= 3
        check_decided(found)
        again = read_detection(write_detection_record(tmp_path / "x_detection.json", found, tmp_path, patient="p"))
    check_decided(again.detection)
    curve = curve_of(found)
    # No second lies in a pause.
    assert not ((curve.times_s >= 40) & (curve.times_s < 43.9)).any()
    assert not ((curve.times_s >= 84) & (curve.times_s < 384.9)).any()


@pytest.fixture(scope="module")
def results(tmp_path_factory, model):
    root = tmp_path_factory.mktemp("records")
    detector = shutil.copytree(model, root / "model")
    save_event_detector(EventDetector(window_s=10, threshold=1e-4, smoothing_s=0, target=None), detector)
    for run in (0, 1):
        write_edf(root / f"in/sub-01/sub-01_run-{run}_eeg.edf", ch_names=REFERENTIAL, seconds=23 + run, seed=run)
    assert main(["detect", str(detector), str(root / "in"), "-o", str(root / "out")]) == 0
    return root


def test_a_record_holds_all_that_was_found(results):
    path = results / "out/sub-01/sub-01_run-1_detection.json"
    record = read_detection(path)
    source = results / "in/sub-01/sub-01_run-1_eeg.edf"
    now = Detector.load(results / "model").detect(source, subject="in/01")
    then = record.detection
    np.testing.assert_array_equal(then.probabilities, now.probabilities)
    np.testing.assert_array_equal(then.start_s, now.start_s)
    differing = {"seconds"}
    assert {k: v for k, v in then.as_dict().items() if k not in differing} == {
        k: v for k, v in now.as_dict().items() if k not in differing
    }
    assert (record.patient, record.subject, record.stem) == ("sub-01", "in/01", "sub-01_run-1")
    assert record.source == source.resolve()
    assert record.recording["relative"] == "../../in/sub-01/sub-01_run-1_eeg.edf"
    weights = json.loads((results / "model/pipeline.json").read_text())["pipeline"]["steps"][-1]["weights"]["sha256"]
    assert (record.model["name"], record.model["weights"]) == ("model", weights)
    assert record.open_recording().duration_s == 24


def test_results_that_moved_with_their_recordings_find_them(results, tmp_path):
    moved = shutil.copytree(results, tmp_path / "moved")
    record = read_detection(moved / "out/sub-01/sub-01_run-0_detection.json")
    assert record.source == (moved / "in/sub-01/sub-01_run-0_eeg.edf").resolve()
    record.source.unlink()
    assert record.source == results / "in/sub-01/sub-01_run-0_eeg.edf"
    # Another recording under the name is not taken for it.
    shutil.copy(moved / "in/sub-01/sub-01_run-1_eeg.edf", moved / "in/sub-01/sub-01_run-0_eeg.edf")
    with pytest.raises(DetectionError, match="not the recording of"):
        record.open_recording()
    shutil.rmtree(moved / "in")
    lost = read_detection(moved / "out/sub-01/sub-01_run-0_detection.json")
    object.__setattr__(lost, "recording", lost.recording | {"path": str(tmp_path / "gone.edf")})
    with pytest.raises(DetectionError, match="the recording is gone"):
        lost.open_recording()


def test_other_readers_are_not_disturbed(results):
    out = results / "out"
    for table in out.rglob("*_events.tsv"):
        (event,) = Annotations.loadTsv(table).events
        assert event["onset"] == 0
    with pytest.warns(UserWarning, match="looks like detections"):
        scores = score_folders(out, out)
    assert set(scores["recordings"]) == {"sub-01/sub-01_run-0", "sub-01/sub-01_run-1"}
    assert find_recordings(out, set()) == []


def test_a_named_file_has_no_record(results, tmp_path):
    source = results / "in/sub-01/sub-01_run-0_eeg.edf"
    assert main(["detect", str(results / "model"), str(source), "-o", str(tmp_path / "x.tsv")]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["x.tsv"]


def change(data, key, value):
    *path, last = key.split(".")
    for part in path:
        data = data[part]
    if value is KeyError:
        del data[last]
    else:
        data[last] = value


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("format", "other", "not the record of a detection"),
        ("version", 2, "this biot_bd reads version 1"),
        ("detection", KeyError, "detection is missing"),
        ("detection.n_windows", 3, "expected 3 values"),
        ("windows.probabilities", [0.5], "windows.probabilities: expected"),
        ("windows.start_s", ["0"], r"windows.start_s\[0\]: expected a number"),
        ("windows.segments", [], "windows.segments"),
        ("windows.window_s", 0, "window_s: expected a positive number"),
        ("detection.events", [{"onset_s": 5.0, "offset_s": 500.0, "confidence": 0.5}], "number 1"),
        ("detection.events", [{"onset_s": 5.0}], "offset_s"),
        ("detection.start_time", "yesterday", "isoformat"),
        ("detection.setting.events.threshold", 7.0, "threshold lies above 0"),
        ("detection.setting.smoothing", "magic", "smoothing is one of"),
        ("recording.path", None, "recording.path: expected a text"),
    ],
)
def test_what_is_damaged_is_one_line_that_names_the_file(results, tmp_path, key, value, said):
    path = tmp_path / "x_detection.json"
    data = json.loads((results / "out/sub-01/sub-01_run-0_detection.json").read_text())
    change(data, key, value)
    path.write_text(json.dumps(data))
    with pytest.raises(ValueError, match=said) as caught:
        read_detection(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_probabilities_outside_their_range_are_refused(results, tmp_path):
    data = json.loads((results / "out/sub-01/sub-01_run-0_detection.json").read_text())
    for name, value, said in (("probabilities", 1.5, "from 0 to 1"), ("start_s", 900.0, "ascending times")):
        broken = json.loads(json.dumps(data))
        broken["windows"][name][-1] = value
        (tmp_path / "x_detection.json").write_text(json.dumps(broken))
        with pytest.raises(ValueError, match=said):
            read_detection(tmp_path / "x_detection.json")
