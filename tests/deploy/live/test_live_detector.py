"""The live detector: the same events as offline, alarms after a fixed delay, gaps, channels and clocks."""

import numpy as np
import pytest
from deploy_files import BIPOLAR
from hypothesis import given, settings
from hypothesis import strategies as st
from live_signals import loudness, recording, signal

from biot_bd.deploy import Detector
from biot_bd.deploy.live import Chunk, LiveDetector, Notice
from biot_bd.deploy.live.replay import FileSource
from biot_bd.deploy.live.runner import make_live, run
from biot_bd.events.detector import EventDetector

pytestmark = pytest.mark.usefixtures("one_thread")
SFREQ = 256
WILD = ((20, 31), (40, 75), (78, 79), (90, 130), (175, 190), (260, 300))


def pieces(x, sizes):
    begin = number = 0
    while begin < x.shape[1]:
        size = sizes[number % len(sizes)]
        yield slice(begin, min(begin + size, x.shape[1]))
        begin, number = begin + size, number + 1


def follow(detector, x, sizes=(256,), times=None, received=None, sfreq=SFREQ, **options):
    """Push a signal in pieces; return lines and result."""
    lines = []
    live = LiveDetector(detector, BIPOLAR, sfreq, emit=lines.append, **options)
    for part in pieces(x, sizes):
        came = None if received is None else float(received[part][-1])
        live.push(Chunk(x[:, part], sfreq, None if times is None else times[part], came))
    return lines, live.finish()


def of(lines, *types):
    return [line for line in lines if line["type"] in types]


def test_final_events_are_those_of_detect_and_each_had_its_alarm():
    raw = recording(loud=WILD)
    detector = loudness(min_duration_s=7, merge_gap_s=4)
    offline = detector.detect(raw)
    assert len(offline.events) >= 4
    x = np.float32(raw.get_data() * 1e6)
    lines, result = follow(detector, x, sizes=(100,))
    assert result.detection.events == offline.events
    np.testing.assert_array_equal(result.detection.probabilities, offline.probabilities)
    told = of(lines, "event")
    assert [(e["onset_s"], e["offset_s"], e["confidence"]) for e in told] == offline.events
    assert [a["onset_s"] for a in of(lines, "alarm")] == [e.onset_s for e in offline.events]
    assert result.detection.gaps == offline.gaps
    assert result.as_dict()["n_alarms"] == len(told)


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(
    sizes=st.lists(st.one_of(st.integers(1, 40), st.integers(1, 9000)), min_size=1, max_size=3),
    stride_s=st.sampled_from([1.0, 0.73, 2.5]),
    sfreq=st.sampled_from([200, 256, 500]),
)
def test_no_line_depends_on_the_chunks(sizes, stride_s, sfreq):
    x = signal(sfreq, seconds=120, loud=((20, 45), (70, 90)))
    x[3, 50 * sfreq : 60 * sfreq] = np.nan
    detector = loudness(stride_s, min_duration_s=5, merge_gap_s=3)
    whole = follow(detector, x, (x.shape[1],), sfreq=sfreq)
    cut = follow(detector, x, sizes, sfreq=sfreq)
    assert cut[0] == whole[0]
    assert cut[1].detection.events == whole[1].detection.events
    assert of(whole[0], "alarm")
    assert of(whole[0], "channels")


@settings(max_examples=6, deadline=None)
@given(sizes=st.lists(st.integers(1, 7000), min_size=1, max_size=3))
def test_a_saved_model_gives_the_same_events_live_and_offline(model, sizes):
    raw = recording(seconds=60, loud=((20, 40),))
    probabilities = Detector.load(model, causal=True, stride_s=1).detect(raw).probabilities
    options = {"stride_s": 1, "threshold": float(np.median(probabilities)), "smoothing_s": 0, "min_duration_s": 2}
    detector = Detector.load(model, causal=True, merge_gap_s=1, **options)
    offline = detector.detect(raw)
    assert offline.events
    _, result = follow(detector, np.float32(raw.get_data() * 1e6), sizes)
    assert result.detection.events == offline.events
    np.testing.assert_array_equal(result.detection.probabilities, offline.probabilities)


@pytest.mark.parametrize("chunk_s", [1 / 256, 0.3, 7, 1000])
def test_a_replayed_file_gives_the_events_of_detect(chunk_s):
    raw = recording(seconds=60 if chunk_s < 0.1 else 200, loud=((20, 45), (110, 150)))
    detector = loudness()
    source = FileSource(raw, speed=float("inf"), chunk_s=chunk_s)
    ended = run(source, make_live(detector, source))
    assert (ended.reason, ended.error) == ("end of signal", None)
    offline = detector.detect(raw)
    assert ended.result.detection.events == offline.events
    assert offline.events
    assert ended.result.detection.duration_s == offline.duration_s


@pytest.mark.parametrize(("min_duration_s", "smoothing_s"), [(0, 0), (3, 0), (10, 6), (6.5, 0)])
@pytest.mark.parametrize("sfreq", [200, 256])
def test_an_alarm_comes_a_fixed_time_after_the_crossing(min_duration_s, smoothing_s, sfreq):
    x = signal(sfreq, seconds=200, loud=((50, 100), (150, 180)))
    detector = loudness(min_duration_s=min_duration_s, smoothing_s=smoothing_s, merge_gap_s=5)
    live = LiveDetector(detector, BIPOLAR, sfreq)
    lines, result = follow(detector, x, (1000,), sfreq=sfreq)
    # The truth by hand: the curve over whole seconds, from each window's end.
    found = result.detection
    smooth = max(1, int(smoothing_s))
    probabilities = found.probabilities
    curve = [np.mean(probabilities[max(0, i - smooth + 1) : i + 1]) for i in range(len(probabilities))]
    ends = found.start_s + 10
    crossings = [ends[i] - 1 for i in range(1, len(curve)) if curve[i] >= 0.5 > curve[i - 1]]
    alarms = of(lines, "alarm")
    assert [alarm["onset_s"] for alarm in alarms] == crossings
    filter_s = 0.05 if sfreq == 256 else 0.0  # half of the filter: 10 * 32 / 25 samples of 1/256 s
    wait = max(1, int(np.ceil(min_duration_s)))
    for alarm in alarms:
        assert alarm["time_s"] - alarm["onset_s"] == wait
        assert alarm["known_s"] - alarm["onset_s"] == pytest.approx(wait + filter_s, abs=1e-3)
    assert live.alarm_delay_s == pytest.approx(wait + filter_s)


@pytest.mark.parametrize("sizes", [(1000,), (17, 3)])
def test_a_short_gap_has_no_probability(sizes):
    x = signal(seconds=100, loud=((60, 80),))
    keep = np.r_[0 : 30 * SFREQ, 33 * SFREQ : x.shape[1]]
    times = 1e5 + np.arange(x.shape[1])[keep] / SFREQ
    lines, result = follow(loudness(), x[:, keep], sizes, times)
    (gap,) = of(lines, "gap")
    assert (gap["start_s"], gap["stop_s"], gap["seconds"], gap["action"]) == (30, 33, 3, "filled")
    assert result.n_segments == 1
    found = result.detection
    touching = (found.start_s < 33) & (found.start_s + 10 > 30)
    np.testing.assert_array_equal(np.isnan(found.probabilities), touching)
    assert found.duration_s == 100
    # Later times are those of the recording, and nothing is said of channels.
    whole = follow(loudness(), x)[1].detection
    assert found.events == whole.events
    assert of(lines, "channels") == []
    assert any("no probability" in note for note in found.notes)


@pytest.mark.parametrize("sizes", [(1000,), (170, 3)])
def test_a_long_gap_closes_the_segment_and_later_times_stay(sizes):
    x = signal(seconds=200, loud=((30, 70), (150, 180)))
    keep = np.r_[0 : 60 * SFREQ, 100 * SFREQ : x.shape[1]]
    times = 5.0 + np.arange(x.shape[1])[keep] / SFREQ
    lines, result = follow(loudness(), x[:, keep], sizes, times)
    kinds = [line["type"] for line in lines]
    assert kinds == ["alarm", "gap", "event", "alarm", "event"]
    (gap,) = of(lines, "gap")
    assert (gap["start_s"], gap["stop_s"], gap["action"]) == (60, 100, "segment closed")
    found = result.detection
    assert result.n_segments == 2
    assert found.duration_s == 200
    assert not ((found.start_s > 50) & (found.start_s < 100)).any()
    whole = follow(loudness(), x)[1].detection.events
    assert [e.onset_s for e in found.events] == [e.onset_s for e in whole]
    assert found.events[0].offset_s == 60  # no event reaches into what was not seen
    assert found.events[1] == whole[1]
    assert (60.0, 100.0) in found.gaps


def test_a_gap_at_the_limit_and_one_beyond():
    x = signal(seconds=60, loud=())
    for missing, n_segments in ((2.0, 1), (2.1, 2)):
        times = np.arange(x.shape[1]) / SFREQ
        times[30 * SFREQ :] += missing
        _, result = follow(loudness(), x, (99,), times, max_gap_s=2.0)
        assert result.n_segments == n_segments
        assert result.detection.duration_s == pytest.approx(60 + missing, abs=1 / SFREQ)


def test_a_clock_set_back_closes_the_segment():
    x = signal(seconds=100, loud=((20, 45), (70, 95)))
    times = 1000 + np.arange(x.shape[1]) / SFREQ
    times[50 * SFREQ :] -= 300
    received = 7.0 + np.arange(x.shape[1]) / SFREQ
    lines, result = follow(loudness(min_duration_s=5), x, (64,), times, received)
    (clock,) = of(lines, "clock")
    assert (clock["change"], clock["action"], clock["seconds"]) == ("backward", "segment closed", -300)
    assert result.n_segments == 2
    assert result.detection.duration_s == pytest.approx(100, abs=0.01)
    assert (np.diff(result.detection.start_s) > 0).all()
    second = result.detection.events[1]
    assert second.onset_s == pytest.approx(75, abs=3)


def test_after_a_restarted_sender_our_own_clock_tells_the_time():
    x = signal(seconds=100, loud=())
    times = 1000 + np.arange(x.shape[1]) / SFREQ
    times[50 * SFREQ :] -= 900
    received = np.arange(x.shape[1]) / SFREQ
    received[50 * SFREQ :] += 20
    lines, result = follow(loudness(), x, (64,), times, received)
    assert of(lines, "clock")[0]["start_s"] == pytest.approx(70, abs=0.01)
    assert result.detection.duration_s == pytest.approx(120, abs=0.01)


def test_a_clock_set_forward_adds_no_time():
    x = signal(seconds=100, loud=())
    times = np.arange(x.shape[1]) / SFREQ
    received = times + 0.1
    times = times + np.where(np.arange(x.shape[1]) >= 50 * SFREQ, 3600.0, 0)
    lines, result = follow(loudness(), x, (64,), times, received)
    (clock,) = of(lines, "clock")
    assert (clock["change"], clock["seconds"]) == ("forward", 3600)
    assert result.detection.duration_s == pytest.approx(100, abs=0.01)


def test_drift_is_told_and_later_segments_stand_right():
    x = signal(seconds=700, loud=())
    times = np.arange(x.shape[1]) / SFREQ * 1.002
    times[600 * SFREQ :] += 50
    lines, result = follow(loudness(), x, (64,), times)
    drifts = [line for line in of(lines, "clock") if line["change"] == "drift"]
    assert drifts[0]["seconds"] == pytest.approx(1, abs=0.1)
    (gap,) = of(lines, "gap")
    # 600 s and their drift, then the gap; the drift lags a little behind.
    assert gap["stop_s"] == pytest.approx(600 * 1.002 + 50, abs=1.2)
    assert result.n_segments == 2


def test_channels_that_go_and_come_are_told():
    x = signal(seconds=90, loud=())
    x[2, 30 * SFREQ : 55 * SFREQ] = 7.0  # flat
    x[5, 40 * SFREQ :] = np.nan
    lines, result = follow(loudness(), x)
    told = [(line["time_s"], line["lost"], line["back"], line["n_present"]) for line in of(lines, "channels")]
    third, sixth = loudness().scorer.montage.ch_names[2], loudness().scorer.montage.ch_names[5]
    # Flat: absent from the first window that is flat throughout.  NaN: from the first window that holds one.
    assert told == [(40, [third], [], 15), (41, [sixth], [], 14), (56, [], [third], 15)]
    assert any(third in note and sixth in note for note in result.detection.notes)


def test_a_channel_that_is_not_there_from_the_start_is_no_news():
    x = signal(seconds=30, loud=())
    lines = []
    live = LiveDetector(loudness(on_missing="drop"), BIPOLAR[:-1], SFREQ, emit=lines.append)
    live.push(Chunk(x[:-1], SFREQ))
    result = live.finish()
    assert of(lines, "channels") == []
    assert "missing channels, left out" in " ".join(result.detection.notes)
    assert live.facts()["channels"][loudness().scorer.montage.ch_names[-1]] == "missing"


def test_another_rate_begins_a_new_segment():
    lines = []
    live = LiveDetector(loudness(), BIPOLAR, 256, emit=lines.append)
    live.push(Chunk(signal(256, seconds=40, loud=()), 256.0))
    live.push(Chunk(signal(500, seconds=40, loud=((10, 30),)), 500.0))
    result = live.finish()
    assert (lines[0]["change"], lines[0]["from_hz"], lines[0]["to_hz"]) == ("rate", 256, 500)
    assert result.detection.duration_s == 80
    assert result.n_segments == 2
    assert 50 < result.detection.events[0].onset_s < 62


def test_falling_behind_is_told_once():
    lines = []
    live = LiveDetector(loudness(), BIPOLAR, SFREQ, emit=lines.append)
    for lag in (None, 0.2, 11, 30, 5, 0.5, 2, 12):
        live.lag(lag)
    assert [(line["state"], line["lag_s"]) for line in lines] == [("behind", 11), ("caught up", 0.5), ("behind", 12)]
    assert live.finish().max_lag_s == 30


def test_notices_become_lines():
    lines = []
    live = LiveDetector(loudness(), BIPOLAR, SFREQ, emit=lines.append)
    live.notice(Notice("connection", {"state": "lost", "reason": "why"}))
    assert lines == [{"type": "connection", "time_s": 0, "state": "lost", "reason": "why"}]


def test_nothing_came():
    result = LiveDetector(loudness(), BIPOLAR, SFREQ).finish()
    assert (result.detection.events, result.detection.duration_s) == ([], 0)


def test_wrong_parameters():
    offline = Detector(loudness().scorer, EventDetector(window_s=10, target=None))
    with pytest.raises(ValueError, match="causal"):
        LiveDetector(offline, BIPOLAR, SFREQ)
    with pytest.raises(ValueError, match="max_gap_s"):
        LiveDetector(loudness(), BIPOLAR, SFREQ, max_gap_s=-1)


def test_memory_does_not_grow_with_the_signal():
    import tracemalloc

    live = LiveDetector(loudness(), BIPOLAR, SFREQ)
    x = signal(seconds=20, loud=())
    tracemalloc.start()
    used = []
    for _ in range(4):
        for _ in range(8):
            live.push(Chunk(x, SFREQ))
        used.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    # 160 decisions of 16 bytes a round; the signal would be 2.6 MB.
    assert used[3] - used[1] < 100_000


@pytest.mark.parametrize("chunk_s", [0.4, 50])
def test_real_files_give_the_events_of_detect(shared, model, chunk_s):
    files = sorted((shared / "data" / "chbmit-excerpts").rglob("*.edf"))[:3]
    assert files
    n_events = 0
    for path in files:
        said = Detector.load(model, causal=True, stride_s=1).detect(path).probabilities
        options = {"threshold": float(np.nanmedian(said)), "smoothing_s": 0, "min_duration_s": 2, "merge_gap_s": 1}
        detector = Detector.load(model, causal=True, stride_s=1, **options)
        source = FileSource(path, speed=float("inf"), chunk_s=chunk_s)
        found = run(source, make_live(detector, source)).result.detection
        assert found.events == detector.detect(path).events
        n_events += len(found.events)
    assert n_events
