"""Windows of a recording, one by one, are those that a detector scores."""

from __future__ import annotations

import numpy as np
import pytest
from deploy_files import BIPOLAR, write_edf
from live_signals import Loudness

from biot_bd import Detector, EventDetector
from biot_bd.deploy.recording_windows import RecordingWindows
from biot_bd.exceptions import DetectionError
from biot_bd.io import open_recording


def test_they_are_scored_as_the_detector_scores_them(tmp_path):
    path = write_edf(tmp_path / "night.edf", BIPOLAR, seconds=70, loud=(20, 40))
    detector = Detector(Loudness(), EventDetector(window_s=10, smoothing_s=0, threshold=0.5, target=None))
    found = detector.detect(path)
    windows = RecordingWindows(open_recording(path), detector.scorer, detector.stride_s, batch_size=4)
    for _ in range(2):  # as often as needed
        batches = list(windows)
        np.testing.assert_array_equal(np.concatenate([one.start_s for one in batches]), found.start_s)
        scores = np.concatenate([detector.scorer.score(one) for one in batches])
        np.testing.assert_array_equal(scores, found.probabilities)


def test_a_recording_without_the_channels_is_refused_by_name(tmp_path):
    path = write_edf(tmp_path / "few.edf", BIPOLAR[:3], seconds=30)
    with pytest.raises(DetectionError, match=r"few\.edf"):
        list(RecordingWindows(open_recording(path), Loudness()))
    short = write_edf(tmp_path / "short.edf", BIPOLAR, seconds=4)
    with pytest.raises(DetectionError, match="shorter than a window"):
        list(RecordingWindows(open_recording(short), Loudness()))
