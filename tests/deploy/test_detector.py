"""The detector: events where the signal has them, the same probabilities as the pipeline, nothing unscored."""

import subprocess
import sys

import edfio
import mne
import numpy as np
import pytest
from deploy_files import BIPOLAR, ELECTRODES, REFERENTIAL, write_edf
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd import load_dataset, load_pipeline, prepare, save_pipeline
from biot_bd.deploy import Detector
from biot_bd.evaluation.recalibration import Recalibration, save_recalibration
from biot_bd.events.detector import EventDetector, RecordingScores, save_event_detector
from biot_bd.exceptions import DetectionError
from biot_bd.io.recordings import open_recording, read_blocks
from biot_bd.signals.montages import BIOT_16


class Loudness:
    """A model of which the truth is known: a window is a seizure by the share of it that is loud."""

    montage, sfreq, window_s, threshold = BIOT_16, 200.0, 10.0, 0.5

    def __init__(self):
        self.sizes = []

    def score(self, batch):
        self.sizes.append(len(batch))
        loud = np.abs(batch.x) > 120
        usable = batch.present.any(axis=1)
        share = loud.sum(axis=(1, 2)) / np.maximum(batch.present.sum(axis=1), 1) / batch.x.shape[2]
        return np.where(usable, np.minimum(share * 2, 1), np.nan)


def loudness(causal=False, **options):
    events = EventDetector(window_s=10, smoothing_s=0, threshold=0.5, causal=causal, target=None)
    return Detector(Loudness(), events, **options)


def recording(sfreq=256, seconds=300, ch_names=BIPOLAR, loud=(100, 160), seed=0):
    rng = np.random.default_rng(seed)
    n = int(sfreq * seconds)
    x = rng.standard_normal((len(ch_names), n)) * 30
    x[:, int(loud[0] * sfreq) : int(loud[1] * sfreq)] *= 10
    return mne.io.RawArray(x / 1e6, mne.create_info(list(ch_names), sfreq, "eeg"), verbose="error")


@pytest.mark.parametrize("stride_s", [1, 5, 7.3])
@pytest.mark.parametrize("causal", [False, True])
def test_events_lie_where_the_signal_is_loud(causal, stride_s):
    found = loudness(causal, stride_s=stride_s).detect(recording())
    ((onset, offset, confidence),) = found.events
    late = 10 if causal else 0  # a causal value speaks of the ten seconds before it
    assert abs(onset - 100) <= 6 + stride_s + late
    assert abs(offset - 160) <= 6 + stride_s + late
    assert confidence > 0.9
    assert found.duration_s == 300


@pytest.mark.parametrize("seconds", [10, 10.5, 12, 44, 61.3])
@pytest.mark.parametrize("causal", [False, True])
def test_no_tail_goes_unscored(seconds, causal):
    found = loudness(causal).detect(recording(seconds=seconds, loud=(0, 0)))
    assert found.gaps == []
    assert found.start_s[-1] + 10 == pytest.approx(int(seconds * 256) / 256)
    assert (np.diff(found.start_s) > 0).all()
    assert (np.diff(found.start_s)[:-1] == 5).all()


def test_the_tail_alone_gives_an_event():
    found = loudness().detect(recording(seconds=64, loud=(60, 64)))
    assert found.probabilities[-1] > 0.3
    assert (found.probabilities[:-1] < 0.3).all()


MONTAGES = {
    "bipolar": BIPOLAR,
    "referential, old names, prefix": REFERENTIAL,
    "reversed order": BIPOLAR[::-1],
    "with others between": ("ECG", *REFERENTIAL[::2], "-", *REFERENTIAL[1::2], "PHOTIC"),
    "EEGMMIDB's dots": tuple(f"{e}." for e in ELECTRODES),
}


@pytest.mark.parametrize("sfreq", [100, 256, 500])
@pytest.mark.parametrize("name", MONTAGES)
def test_any_montage_and_rate(name, sfreq):
    found = loudness().detect(recording(sfreq, ch_names=MONTAGES[name]))
    ((onset, offset, _),) = found.events
    assert abs(onset - 100) <= 11
    assert abs(offset - 160) <= 11
    assert "missing" not in found.channels.values()


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(1, 20_000), min_size=1, max_size=30), stride_s=st.sampled_from([1, 2.5, 5]))
def test_a_stream_gives_what_detect_gives_whatever_the_chunks(cuts, stride_s):
    raw = recording(seconds=200, loud=(50, 95), seed=3)
    detector = loudness(causal=True, stride_s=stride_s)
    whole = detector.detect(raw)
    stream = detector.stream(raw.ch_names, 256)
    (x,) = (np.concatenate(list(read_blocks(open_recording(raw), stream.needed)), axis=1),)
    told, alarms, start = [], [], 0
    for cut in [*cuts, x.shape[1]]:
        scored = stream.push(x[:, start : start + cut])
        told += scored.events
        alarms += scored.alarms
        start += cut
    result = stream.finish()
    np.testing.assert_array_equal(result.probabilities, whole.probabilities)
    np.testing.assert_array_equal(result.start_s, whole.start_s)
    assert result.events == whole.events
    assert len(result.events) == 1
    assert len(alarms) == 1
    assert told in ([], result.events)
    assert set(detector.scorer.sizes) == {1}


@pytest.mark.parametrize("chunk", [37, 256, 5000, 10**6])
def test_a_real_model_gives_the_same_bits_whatever_the_chunks(model, chunk):
    detector = Detector.load(model, causal=True, threshold=0.2)
    raw = recording(seconds=45)
    whole = detector.detect(raw)
    stream = detector.stream(raw.ch_names, 256)
    x = np.concatenate(list(read_blocks(open_recording(raw), stream.needed)), axis=1)
    for start in range(0, x.shape[1], chunk):
        stream.push(x[:, start : start + chunk])
    result = stream.finish()
    np.testing.assert_array_equal(result.probabilities, whole.probabilities)
    assert result.events == whole.events


def test_probabilities_are_those_of_the_pipeline_on_prepared_windows(model, tmp_path):
    path = write_edf(tmp_path / "edf" / "sub-01_eeg.edf", seconds=120, flat=["C3-P3"])
    windows = prepare(
        load_dataset("edf-folder", path.parent, unlisted="background"), tmp_path / "store", dtype="float32"
    )
    expected = load_pipeline(model).predict_proba(windows)[:, 1]
    found = Detector.load(model).detect(path)
    np.testing.assert_allclose(found.probabilities[: len(windows)], expected, atol=2e-5)
    assert any("C3-P3 (23 windows)" in note for note in found.notes)


def test_without_usable_channels_there_is_no_probability():
    raw = recording(loud=(0, 0))
    raw._data[:, 256 * 100 : 256 * 140] = np.nan
    found = loudness().detect(raw)
    lost = (found.start_s < 140) & (found.start_s + 10 > 100)
    np.testing.assert_array_equal(np.isnan(found.probabilities), lost)
    assert found.gaps == [(100, 140)]
    assert any("100 to 140 s" in note for note in found.notes)
    assert found.events == []


def test_a_recording_of_nothing_is_one_gap():
    raw = recording(seconds=30, loud=(0, 0))
    raw._data[:] = 0
    found = loudness().detect(raw)
    assert found.gaps == [(0.0, 30.0)]
    assert np.isnan(found.probabilities).all()
    assert found.events == []


def test_missing_channels():
    names = [name for name in REFERENTIAL if "C3" not in name]
    raw = recording(seconds=40, ch_names=names)
    with pytest.raises(DetectionError, match="missing electrodes: C3"):
        loudness().detect(raw)
    dropped = loudness(on_missing="drop").detect(raw)
    assert [k for k, how in dropped.channels.items() if how == "missing"] == ["F3-C3", "C3-P3"]
    assert any("missing channels, left out: F3-C3, C3-P3" in note for note in dropped.notes)
    filled = loudness(on_missing="interpolate").detect(raw)
    assert filled.channels["F3-C3"] == "interpolated"


def test_formats(tmp_path):
    raw = recording(seconds=40, ch_names=REFERENTIAL)
    raw.save(tmp_path / "x_raw.fif", verbose="error")
    edfio.Bdf(
        [
            edfio.BdfSignal(x * 1e6, 256, label=name[:16], physical_dimension="uV", physical_range=(-5000, 5000))
            for name, x in zip(raw.ch_names, raw.get_data(), strict=True)
        ]
    ).write(tmp_path / "x.bdf")
    expected = loudness().detect(raw).probabilities
    for name in ("x_raw.fif", "x.bdf"):
        np.testing.assert_allclose(loudness().detect(tmp_path / name).probabilities, expected, atol=2e-3)


def test_brainvision(tmp_path):
    pytest.importorskip("pybv")
    raw = recording(seconds=40, ch_names=REFERENTIAL)
    mne.export.export_raw(tmp_path / "x.vhdr", raw, verbose="error")
    expected = loudness().detect(raw).probabilities
    np.testing.assert_allclose(loudness().detect(tmp_path / "x.vhdr").probabilities, expected, atol=2e-3)


def test_a_recording_shorter_than_a_window_says_how_long_it_is():
    with pytest.raises(DetectionError, match=r"lasts 9\.99609 s \(2559 samples\), shorter than a window of 10 s"):
        loudness().detect(recording(seconds=2559 / 256, loud=(0, 0)))


def test_events_come_from_the_model_folder(model, tmp_path):
    import shutil

    folder = shutil.copytree(model, tmp_path / "model")
    plain = Detector.load(folder)
    assert any("no events.json" in note for note in plain.notes)
    save_event_detector(EventDetector(window_s=10, threshold=0.25, smoothing_s=3, target=None), folder)
    own = Detector.load(folder)
    assert (own.notes, own.event_detector.setting()["threshold"], own.event_detector.setting()["smoothing_s"]) == (
        [],
        0.25,
        3,
    )
    assert not own.causal
    changed = Detector.load(folder, threshold=0.75, causal=True)
    assert changed.event_detector.setting() == {**own.event_detector.setting(), "threshold": 0.75}
    assert changed.causal
    assert any("threshold 0.75" in note for note in changed.notes)
    assert own.setting()["events"] == own.event_detector.setting()


def test_wrong_options(model):
    for options, message in (
        ({"stride_s": 0}, "stride_s"),
        ({"on_missing": "zero"}, "on_missing"),
        ({"threshold": 2}, "threshold"),
        ({"precision": "int4"}, "precision"),
    ):
        with pytest.raises(ValueError, match=message):
            Detector.load(model, **options)
    with pytest.raises(TypeError, match="treshold"):
        Detector.load(model, treshold=0.5)
    with pytest.raises(ValueError, match="windows of 5 s"):
        Detector(Loudness(), EventDetector(window_s=5, target=None))


def test_a_folder_without_model(tmp_path):
    with pytest.raises(FileNotFoundError, match="no saved pipeline"):
        Detector.load(tmp_path)


def test_detect_many_goes_on_after_a_failure(tmp_path):
    (tmp_path / "empty.edf").touch()
    results = list(loudness().detect_many([tmp_path / "empty.edf", recording(seconds=30)]))
    assert isinstance(results[0][1], DetectionError)
    assert results[1][1].duration_s == 30


def test_lower_precision_says_so(model):
    detector = Detector.load(model, precision="bf16")
    raw = recording(seconds=60)
    exact = Detector.load(model).detect(raw)
    found = detector.detect(raw)
    np.testing.assert_allclose(found.probabilities, exact.probabilities, atol=1e-2)
    assert any("computed in" in note for note in found.notes)


def test_a_recalibration_beside_the_model_is_said_not_to_be_applied(model, tmp_path):
    import shutil

    folder = shutil.copytree(model, tmp_path / "model")
    plain, source = Detector.load(folder), recording(seconds=30, loud=(10, 20))
    save_recalibration(Recalibration("sigmoid", a=-3.0, b=2.0), folder)
    other = Detector.load(folder)
    assert [note for note in other.notes if "recalibration.json is not applied" in note]
    assert np.array_equal(plain.detect(source).probabilities, other.detect(source).probabilities)


def test_a_model_of_generated_data_says_so(model, tmp_path):
    record = {"title": "small BIOT", "data": {"generated": True}}
    folder = save_pipeline(load_pipeline(model), tmp_path / "made", record=record)
    told = "demonstration: model trained on generated data, never for clinical use (small BIOT)"
    assert told in Detector.load(folder).notes
    assert not any("generated" in note for note in Detector.load(model).notes)


def test_channels_marked_as_bad_are_named():
    source = recording(seconds=30, loud=(0, 0))
    source.info["bads"] = [BIPOLAR[2]]
    assert f"marked as bad in the recording, used all the same: {BIPOLAR[2]}" in loudness().detect(source).notes


def test_a_detector_that_may_never_alarm_takes_other_options(model, tmp_path):
    import shutil

    folder = shutil.copytree(model, tmp_path / "model")
    healthy = RecordingScores("r", "p", np.ones(30), np.arange(30) * 10.0, 300.0, [])
    wanted = EventDetector(window_s=10, target="fa_per_24h", target_fa_per_24h=0).fit([healthy])
    assert wanted.setting()["threshold"] > 1
    save_event_detector(wanted, folder)
    assert Detector.load(folder, merge_gap_s=5).event_detector.predict(np.ones(30), np.arange(30) * 10.0) == []


def test_a_detector_imports_nothing_that_trains(model):
    said = "import sys; from biot_bd import Detector; Detector.load(sys.argv[1]); print('braindecode.models' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", said, str(model)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
