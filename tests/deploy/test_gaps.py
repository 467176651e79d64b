"""A recording with a pause: no window reaches across it, and events have their true time in every output."""

import json
import re

import mne
import numpy as np
import pandas as pd
import pytest
from gap_files import NOT_TOLD, START, TOLD, write_with_pause

from biot_bd.deploy import Detector
from biot_bd.deploy.live import LiveDetector
from biot_bd.deploy.live.replay import FileSource
from biot_bd.deploy.patient_page import PagePart, write_page
from biot_bd.deploy.results import write_events
from biot_bd.events.detector import EventDetector
from biot_bd.exceptions import DetectionError
from biot_bd.signals.montages import BIOT_16

CUT_S, LENGTH_S, RATE = 60, 130, 200
LOUD_S = (80, 104)  # in what was recorded


class Loudness:
    """Probability by amplitude; keeps where its windows lie."""

    montage, sfreq, window_s, threshold, precision = BIOT_16, 200.0, 10.0, 0.5, None

    def score(self, batch):
        return np.clip(np.nanstd(batch.x, axis=(1, 2)) / 300, 0, 1)


def detector(causal=False):
    return Detector(Loudness(), EventDetector(window_s=10, smoothing_s=0, causal=causal, target=None), stride_s=1)


@pytest.fixture(scope="module")
def x_uv():
    x = np.random.default_rng(0).normal(0, 30, (16, LENGTH_S * RATE))
    x[:, LOUD_S[0] * RATE : LOUD_S[1] * RATE] *= 10
    return np.clip(x, -2900, 2900)


@pytest.fixture(scope="module")
def alone(x_uv):
    """What is found in the second segment by itself."""
    info = mne.create_info(list(BIOT_16.ch_names), RATE, "eeg")
    raw = mne.io.RawArray(x_uv[:, CUT_S * RATE :] * 1e-6, info, verbose="error")
    found = detector().detect(raw)
    assert len(found.events) == 1
    return found


@pytest.mark.parametrize("kind", [*TOLD, *NOT_TOLD])
@pytest.mark.filterwarnings("ignore:.*boundary.*:RuntimeWarning")
def test_events_behind_a_pause(tmp_path, x_uv, alone, kind):
    gap_s = 20 if kind == "skips" else 3600
    path = write_with_pause(tmp_path, kind, x_uv, BIOT_16.ch_names, CUT_S * RATE, gap_s)
    found = detector().detect(path)
    begins_s = CUT_S + (gap_s if kind in TOLD else 0)
    assert [start for start, _ in found.segments] == pytest.approx([0, begins_s])
    assert [length for _, length in found.segments] == pytest.approx([CUT_S, LENGTH_S - CUT_S])
    # Exactly what the second segment gives by itself, later.
    ((onset_s, offset_s, _),) = found.events
    ((alone_onset_s, alone_offset_s, _),) = alone.events
    assert (onset_s, offset_s) == pytest.approx((alone_onset_s + begins_s, alone_offset_s + begins_s), abs=0.1)
    inside = (found.start_s + 10 <= CUT_S + 1e-6) | (found.start_s >= begins_s - 1e-6)
    assert inside.all()
    second = found.start_s >= begins_s - 1e-6
    assert np.allclose(found.probabilities[second], alone.probabilities, atol=0.02)
    assert any("gap" in note or "splice" in note for note in found.notes)
    assert found.start_time == (None if kind.startswith("eeglab") else START)
    # Every output.
    rows = pd.read_csv(write_events(tmp_path / "events.tsv", found, "tsv"), sep="\t")
    assert rows["onset"].tolist() == pytest.approx([onset_s], abs=0.01)
    assert rows["recordingDuration"].tolist() == pytest.approx([begins_s + LENGTH_S - CUT_S], abs=0.01)
    facts = json.loads(write_events(tmp_path / "events.json", found, "json").read_text())
    assert facts["events"][0]["onset_s"] == pytest.approx(onset_s)
    assert facts["segments"] == [[0.0, CUT_S], [begins_s, LENGTH_S - CUT_S]]
    page = write_page(tmp_path / "page.html", "p", [PagePart(found)], [], "m").read_text()
    shown = json.loads(re.search(r'<script type="application/json">(.*?)</script>', page)[1])
    assert shown["about"]["events"][0]["onset_s"] == pytest.approx(onset_s)
    # The EEG on either side of the event is there, and none lies in the pause.
    stretches = [
        (piece["start_s"], piece["start_s"] + sum(chunk["n"] for chunk in piece["chunks"]) / shown["about"]["sfreq"])
        for piece in shown["pieces"]
    ]
    assert any(start <= onset_s < stop for start, stop in stretches)
    assert all(stop <= CUT_S + 0.1 or start >= begins_s - 0.1 for start, stop in stretches)


@pytest.mark.parametrize("kind", [*TOLD, *NOT_TOLD])
@pytest.mark.filterwarnings("ignore:.*boundary.*:RuntimeWarning")
def test_a_replay_leaves_the_pause(tmp_path, x_uv, kind):
    gap_s = 20 if kind == "skips" else 3600
    path = write_with_pause(tmp_path, kind, x_uv, BIOT_16.ch_names, CUT_S * RATE, gap_s)
    expected = detector(causal=True).detect(path)
    lines = []
    source = FileSource(path, speed=float("inf"), chunk_s=7)
    live = LiveDetector(detector(causal=True), source.ch_names, source.sfreq, emit=lines.append)
    for chunk in source.chunks(live.needed):
        live.push(chunk)
    result = live.finish()
    assert result.n_segments == 2
    assert [line["type"] for line in lines if line["type"] in ("gap", "event")] == ["gap", "event"]
    assert np.allclose(result.detection.segments, expected.segments)
    assert np.allclose([event[:2] for event in result.detection.events], [event[:2] for event in expected.events])
    assert np.allclose(result.detection.probabilities, expected.probabilities, equal_nan=True)


def test_a_recording_without_a_pause_is_one_segment(x_uv):
    info = mne.create_info(list(BIOT_16.ch_names), RATE, "eeg")
    raw = mne.io.RawArray(x_uv * 1e-6, info, verbose="error")
    assert detector().detect(raw).segments == [(0.0, float(LENGTH_S))]


def test_a_crop_says_when_it_begins_and_its_events_can_be_set_on_it(tmp_path, x_uv):
    info = mne.create_info(list(BIOT_16.ch_names), RATE, "eeg")
    raw = mne.io.RawArray(x_uv * 1e-6, info, verbose="error").set_meas_date(START)
    raw.crop(40, None).save(tmp_path / "c_raw.fif", verbose="error")
    found = detector().detect(tmp_path / "c_raw.fif")
    assert (found.start_time - START).total_seconds() == 40
    again = mne.io.read_raw_fif(tmp_path / "c_raw.fif", verbose="error")
    again.set_annotations(mne.read_annotations(write_events(tmp_path / "e_annot.fif", found, "mne")))
    seizures = again.annotations[again.annotations.description == "sz"]
    assert seizures.onset - again.first_time == pytest.approx([found.events[0].onset_s])


def test_segments_that_are_all_too_short_are_told(tmp_path, x_uv):
    path = write_with_pause(tmp_path, "edf+d", x_uv[:, : 15 * RATE], BIOT_16.ch_names, 8 * RATE, 100)
    with pytest.raises(
        ValueError, match=r"has 2 segments, the longest lasts 8 s \(1600 samples\), shorter than a window"
    ):
        detector().detect(path)


@pytest.mark.parametrize("sfreq", [0.5, 2.56, 25.6, 49.9])
def test_rates_far_below_the_models(sfreq):
    raw = mne.io.RawArray(np.zeros((16, 1000)), mne.create_info(list(BIOT_16.ch_names), sfreq, "eeg"), verbose="error")
    with pytest.raises(DetectionError, match=f"sampled at {sfreq:g} Hz, less than a quarter of the 200 Hz"):
        detector().detect(raw)
