"""Live sources at another rate than they say: the events of a source at its rate, at the true times, or a refusal."""

import re

import numpy as np
import pytest
from deploy_files import BIPOLAR
from hypothesis import given, settings
from hypothesis import strategies as st
from live_signals import loudness, recording, signal

from biot_bd.deploy.live import Chunk, LiveDetector
from biot_bd.exceptions import DetectionError

pytestmark = pytest.mark.usefixtures("one_thread")
SECONDS, LOUD = 130.0, ((60, 95),)


def lived(x, times, nominal, size=64, live=None, lines=None):
    """Return lines and result of a signal that says to have this rate."""
    lines = [] if lines is None else lines
    live = live or LiveDetector(loudness(), BIPOLAR, nominal, emit=lines.append)
    for k in range(0, x.shape[1], size):
        part = slice(k, k + size)
        live.push(Chunk(x[:, part], nominal, times[part], float(times[part][-1]) + 0.02))
    return lines, live.finish()


def at(rate, seconds=SECONDS, loud=LOUD):
    x = signal(rate, seconds=seconds, loud=loud)
    return x, 1e4 + np.arange(x.shape[1]) / rate


def told(lines):
    return [line for line in lines if line["type"] == "clock"]


@settings(max_examples=5, deadline=None)
@given(
    percent=st.floats(0.5, 5),
    sign=st.sampled_from([-1, 1]),
    nominal=st.sampled_from([200.0, 250.0, 256.0]),
    size=st.integers(30, 300),
    jitter_s=st.sampled_from([0.0, 0.03]),
)
def test_every_window_has_a_probability_and_events_stand_at_true_times(percent, sign, nominal, size, jitter_s):
    rate = nominal * (1 + sign * percent / 100)
    x, times = at(rate)
    times = times + np.random.default_rng(0).uniform(-jitter_s, jitter_s, len(times))
    lines, result = lived(x, times, nominal, size)
    found = result.detection
    assert result.n_segments == 1
    assert np.isfinite(found.probabilities).all()
    assert found.duration_s == pytest.approx(SECONDS, abs=0.25)
    assert [line["type"] for line in lines if line["type"] != "clock"] == ["alarm", "event"]
    (event,) = found.events
    (known,) = loudness().detect(recording(256, seconds=SECONDS, loud=LOUD)).events
    assert event.onset_s == pytest.approx(known.onset_s, abs=1)
    assert event.offset_s == pytest.approx(known.offset_s, abs=1)
    line = told(lines)[-1]
    assert (line["change"], line["action"], line["nominal_hz"]) == ("measured", "followed", nominal)
    assert line["measured_hz"] == pytest.approx(rate, rel=0.003)
    assert f"samples a second by its time stamps, its nominal rate is {nominal:g} Hz" in " ".join(found.notes)


@pytest.mark.parametrize("size", [64, 300])
def test_a_source_at_its_rate_gives_the_bits_of_detect(size):
    x, times = at(256)
    times = times * 1.0001 + np.random.default_rng(0).uniform(-0.05, 0.05, len(times))
    lines, result = lived(x, times, 256, size)
    offline = loudness().detect(recording(256, seconds=SECONDS, loud=LOUD))
    assert result.detection.events == offline.events
    np.testing.assert_array_equal(result.detection.probabilities, offline.probabilities)
    assert told(lines) == []
    assert result.detection.notes == offline.notes


@pytest.mark.parametrize("percent", [-2.3, 3.5])
def test_gaps_of_a_source_at_another_rate(percent):
    rate = 256 * (1 + percent / 100)
    x, times = at(rate, 200, ((60, 80), (150, 175)))
    # Three seconds that are filled, and a minute that is not.
    there = ((times < 1e4 + 40) | (times >= 1e4 + 43)) & ((times < 1e4 + 85) | (times >= 1e4 + 120))
    lines, result = lived(x[:, there], times[there], 256)
    gaps = [line for line in lines if line["type"] == "gap"]
    assert [line["action"] for line in gaps] == ["filled", "segment closed"]
    for line, (start_s, stop_s) in zip(gaps, ((40, 43), (85, 120)), strict=True):
        assert line["start_s"] == pytest.approx(start_s, abs=0.2)
        assert line["stop_s"] == pytest.approx(stop_s, abs=0.2)
    found = result.detection
    assert found.duration_s == pytest.approx(200, abs=0.2)
    assert [event.onset_s for event in found.events] == pytest.approx([63, 153], abs=2)
    assert np.isnan(found.probabilities).sum() == pytest.approx(13, abs=1)  # those that touch three seconds


def test_a_channel_that_is_flat_or_not_there_stays_so():
    x, times = at(250)
    x[2], x[5, 250 * 70 :] = 7.1, np.nan
    _, result = lived(x, times, 256)
    names = loudness().scorer.montage.ch_names
    (note,) = [note for note in result.detection.notes if note.startswith("flat or not finite")]
    counts = {name: int(n) for name, n in re.findall(r"(\S+) \((\d+) window", note)}
    # All windows, and those that end after the 70 s.
    assert counts == {
        names[2]: len(result.detection.probabilities),
        names[5]: pytest.approx(130 - 70, abs=2),
    }


@pytest.mark.parametrize("percent", [-50, -20, -8, 8, 20])
def test_a_rate_beyond_the_bound_is_refused(percent):
    x, times = at(256 * (1 + percent / 100), 60, ())
    lines = []
    live = LiveDetector(loudness(), BIPOLAR, 256, where="amplifier", emit=lines.append)
    with pytest.raises(DetectionError, match=r"amplifier: its time stamps tell of .* its nominal rate is 256 Hz"):
        lived(x, times, 256, live=live)
    last = told(lines)[-1]
    assert (last["change"], last["action"]) == ("measured", "refused")
    assert last["percent"] == pytest.approx(percent, abs=0.3)
    assert live.time_s < 40
    live.finish()


def test_lines_of_a_source_whose_rate_changes():
    first, times = at(253, 60, ())
    second, later = at(262, 70, ())
    later = later - later[0] + times[-1] + 1 / 253
    lines, result = lived(np.concatenate([first, second], axis=1), np.concatenate([times, later]), 256)
    measured = [line["measured_hz"] for line in told(lines)]
    assert measured[0] == pytest.approx(253, rel=1e-3)
    assert measured[-1] == pytest.approx(262, rel=3e-3)
    assert np.isfinite(result.detection.probabilities).all()
    assert result.detection.duration_s == pytest.approx(130, abs=0.4)
