"""The event detector: its curve, its steps, its search and its incremental form."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from biot_bd.events import EventDetector, RecordingScores, load_event_detector, save_event_detector, score_events
from biot_bd.events.operating_point import TimeLine

PLAIN = {"smoothing_s": 0, "min_duration_s": 0, "merge_gap_s": 0}


def seconds(values, **parameters):
    """Events of one value a second."""
    detector = EventDetector(window_s=1, **(PLAIN | parameters))
    return [(e.onset_s, e.offset_s) for e in detector.predict(values, np.arange(len(values)))]


def validation(seed=0, n=6, hours=0.5, separation=4.0, subjects=3):
    rng = np.random.default_rng(seed)
    out = []
    for i in range(n):
        duration = hours * 3600
        start = np.arange(0, duration - 9, 5.0)
        onset = rng.uniform(60, duration - 120)
        reference = [(onset, onset + 60)] if i % 3 else []
        ictal = np.zeros(len(start), dtype=bool)
        for on, off in reference:
            ictal |= (start + 10 > on) & (start < off)
        logit = rng.normal(-3, 1.5, len(start)) + separation * ictal
        out.append(RecordingScores(f"r{i}", f"p{i % subjects}", 1 / (1 + np.exp(-logit)), start, duration, reference))
    return out


def test_curve_is_the_mean_of_the_windows_that_cover_a_second():
    proba, start = np.array([0.2, 0.4, 0.9]), np.array([0.0, 2.0, 4.0])
    times, values = EventDetector(window_s=4, **PLAIN).curve(proba, start, 9.5)
    assert times.tolist() == list(range(10))
    np.testing.assert_allclose(values, [0.2, 0.2, 0.3, 0.3, 0.65, 0.65, 0.9, 0.9, 0, 0])


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_curve_equals_a_loop_over_seconds_at_any_stride(data):
    window = data.draw(st.sampled_from([1.0, 2.5, 10.0]))
    start = np.array(sorted(data.draw(st.sets(st.integers(0, 240), min_size=1, max_size=30)))) / 4
    proba = np.array(data.draw(st.lists(st.floats(0, 1), min_size=len(start), max_size=len(start))))
    causal = data.draw(st.booleans())
    width = data.draw(st.sampled_from([0, 5]))
    detector = EventDetector(window_s=window, causal=causal, smoothing_s=width)
    _, values = detector.curve(proba, start)
    n = int(np.ceil(start.max() + window))
    raw = []
    for k in range(n):
        if causal:
            ended = [t + window for t in start if t + window <= k + 1]
            second = np.ceil(max(ended)) - 1 if ended else None
            use = [] if second is None or k - second >= np.ceil(window) else np.ceil(start + window) - 1 == second
        else:
            use = (start < k + 1) & (start + window > k)
        raw.append(np.mean(proba[use]) if np.any(use) else np.nan)
    raw = np.array(raw)
    for k in range(n):
        around = raw[max(0, k - 4) : k + 1] if causal else raw[max(0, k - 2) : k + 3]
        around = raw[k : k + 1] if width == 0 else around
        expected = 0.0 if np.isnan(raw[k]) else np.nanmean(around)
        assert values[k] == pytest.approx(expected, abs=1e-12)


def test_a_causal_value_does_not_change_with_the_future():
    rng = np.random.default_rng(0)
    proba, start = rng.uniform(size=100), np.arange(100) * 3.0
    detector = EventDetector(causal=True, smoothing_s=12)
    _, whole = detector.curve(proba, start)
    changed = proba.copy()
    changed[60:] = 1 - changed[60:]  # window 60 ends at 190 s
    _, other = detector.curve(changed, start)
    np.testing.assert_array_equal(whole[:189], other[:189])
    assert (whole[189:] != other[189:]).any()


def test_median_smoothing_drops_a_spike_and_a_mean_of_ones_is_one():
    spike = np.zeros(21) + 0.1
    spike[10] = 1
    _, values = EventDetector(window_s=1, smoothing="median", smoothing_s=5).curve(spike, np.arange(21))
    np.testing.assert_allclose(values, 0.1)
    _, ones = EventDetector(smoothing_s=30).curve(np.ones(50), np.arange(50) * 5.0)
    assert (ones == 1).all()


def test_gaps_are_background_and_lend_nothing():
    proba, start = np.full(4, 0.9), np.array([0.0, 10.0, 60.0, 70.0])
    detector = EventDetector(smoothing_s=10, min_duration_s=0, merge_gap_s=0)
    _, values = detector.curve(proba, start, 100)
    np.testing.assert_allclose(values[:20], 0.9)
    assert (values[20:60] == 0).all()
    assert [(e.onset_s, e.offset_s) for e in detector.predict(proba, start, 100)] == [(0, 20), (60, 80)]


def test_each_step_of_the_events():
    v = [0, 0.6, 0.6, 0, 0, 0.6, 0.3, 0.6, 0, 0.3, 0.9]
    assert seconds(v) == [(1, 3), (5, 6), (7, 8), (10, 11)]
    assert seconds(v, release_fraction=0.5) == [(1, 3), (5, 8), (10, 11)]  # begins at the threshold, not at the release
    assert seconds(v, min_duration_s=2) == [(1, 3)]
    assert seconds(v, merge_gap_s=1) == [(1, 3), (5, 8), (10, 11)]
    assert seconds(v, merge_gap_s=2) == [(1, 11)]
    assert seconds(v, min_duration_s=2, merge_gap_s=60) == [(1, 3)]  # too short before merging
    found = EventDetector(window_s=1, threshold=0.5, **(PLAIN | {"merge_gap_s": 2})).predict(v, np.arange(11))
    assert found == [(1.0, 11.0, 0.9)]


def test_an_event_ends_with_the_recording_and_no_windows_are_no_events():
    detector = EventDetector(**PLAIN)
    assert detector.predict([1.0], [0.0], 9.7) == [(0.0, 9.7, 1.0)]
    assert detector.predict([], [], 60) == []
    with pytest.raises(ValueError, match="how long"):
        detector.predict([], [])


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (([0.1, 0.2], [0.0]), "shapes"),
        (([np.nan], [0.0]), r"not in \[0, 1\]"),
        (([1.2], [0.0]), r"not in \[0, 1\]"),
        (([0.5], [-1.0]), "before the recording"),
        (([0.5], [60.0], 60), "after the recording"),
        (([0.5], [np.inf]), "not finite"),
    ],
)
def test_bad_input_is_refused(args, message):
    with pytest.raises(ValueError, match=message):
        EventDetector().predict(*args)


@pytest.mark.parametrize(
    "parameters",
    [
        {"threshold": 0},
        {"release_fraction": 1.5},
        {"smoothing": "gauss"},
        {"smoothing_s": -1},
        {"target": "recall"},
        {"target": "fa_per_24h"},
        {"target_fa_per_24h": 1.0},
        {"target": "sensitivity", "target_sensitivity": 1.5},
        {"grid": {"thresholds": [1]}},
    ],
)
def test_bad_parameters_are_refused_by_name(parameters):
    with pytest.raises(ValueError, match=next(reversed(parameters)).split("_")[0]):
        EventDetector(**parameters).fit([])


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_stream_gives_the_events_of_the_whole_whatever_the_chunks(data):
    seed = data.draw(st.integers(0, 10_000))
    rng = np.random.default_rng(seed)
    stride = data.draw(st.sampled_from([0.5, 1.0, 2.7, 5.0, 10.0, 14.0]))
    n = data.draw(st.integers(1, 150))
    start = np.arange(n) * stride
    if data.draw(st.booleans()):  # a gap
        start[n // 2 :] += data.draw(st.sampled_from([7.0, 40.0, 4000.0]))
    proba = np.clip(np.cumsum(rng.normal(0, 0.2, n)) % 1.3, 0, 1)
    detector = EventDetector(
        causal=True,
        smoothing=data.draw(st.sampled_from(["mean", "median"])),
        smoothing_s=data.draw(st.sampled_from([0, 3, 10])),
        threshold=data.draw(st.sampled_from([0.3, 0.6])),
        release_fraction=data.draw(st.sampled_from([1.0, 0.5])),
        min_duration_s=data.draw(st.sampled_from([0, 4, 11])),
        merge_gap_s=data.draw(st.sampled_from([0, 6, 30])),
    )
    duration = data.draw(st.sampled_from([None, start[-1] + 10, start[-1] + 9.6, start[-1] + 10.4, start[-1] + 100]))
    whole = detector.predict(proba, start, duration)
    stream, found, alarms, at = detector.stream(), [], [], 0
    while at < n:
        size = data.draw(st.integers(1, 40))
        found += stream.push(proba[at : at + size], start[at : at + size])
        alarms += stream.take_alarms()
        at += size
    found += stream.finish(duration)
    alarms += stream.take_alarms()
    assert found == whole
    # One alarm an event, at its onset, as soon as the shortest duration has passed.
    assert [a.onset_s for a in alarms] == [e.onset_s for e in whole]
    assert all(a.time_s == a.onset_s + max(1, detector.min_duration_s) for a in alarms)


def test_stream_needs_causal_and_windows_in_order():
    with pytest.raises(ValueError, match="causal"):
        EventDetector().stream()
    stream = EventDetector(causal=True).stream()
    stream.push(0.5, 0.0)
    with pytest.raises(ValueError, match="does not start after"):
        stream.push([0.5], [0.0])
    stream.finish()
    with pytest.raises(ValueError, match="finished"):
        stream.push(0.5, 10.0)
    assert EventDetector(causal=True).stream().finish() == []


def test_stream_keeps_little_of_a_long_recording():
    stream = EventDetector(causal=True, smoothing_s=30).stream()
    for k in range(0, 20_000, 100):
        start = np.arange(k, k + 100, dtype=float)
        stream.push(np.full(100, 0.1), start)
    assert len(stream._tail) < 30
    assert not stream._waiting


def test_one_time_line_counts_what_single_recordings_sum_up_to():
    recordings = validation(3, n=8, separation=1.0)
    detector = EventDetector(threshold=0.2)
    events = [detector.predict(r.probabilities, r.start_s, r.duration_s) for r in recordings]
    each = [score_events(r.reference, found, r.duration_s) for r, found in zip(recordings, events, strict=True)]
    line = TimeLine(recordings)
    placed = [
        (int(e.onset_s) + at, int(e.offset_s) + at)
        for found, at in zip(events, line.starts, strict=True)
        for e in found
    ]
    total = line.score(np.array(placed, dtype=np.int64))
    assert total["fp"] > 5
    for name in ("tp", "fp", "n_reference"):
        assert total[name] == sum(one[name] for one in each)
    assert total["fa_per_24h"] == pytest.approx(total["fp"] / (4.0 / 24))


def brute_force(recordings, thresholds, **parameters):
    rows = []
    for threshold in thresholds:
        detector = EventDetector(threshold=threshold, **parameters)
        counts = [
            score_events(r.reference, detector.predict(r.probabilities, r.start_s, r.duration_s), r.duration_s)
            for r in recordings
        ]
        rows.append([sum(one[name] for one in counts) for name in ("tp", "fp", "n_reference")])
    return np.array(rows)


def test_operating_curve_equals_scoring_each_threshold_by_itself():
    recordings = validation(1, separation=2.5)
    detector = EventDetector(grid={}).fit(recordings)
    curve = detector.operating_curve_
    inside = curve[curve["threshold"] <= 1]
    found = brute_force(recordings, inside["threshold"], smoothing_s=10, min_duration_s=10, merge_gap_s=30)
    np.testing.assert_array_equal(found, inside[["tp", "fp", "n_reference"]])


def test_each_target_is_met_on_validation():
    recordings = validation(2, n=9, separation=3.0)
    hours = sum(r.duration_s for r in recordings) / 3600
    best = EventDetector(target="f1").fit(recordings)
    assert best.validation_["point"]["f1"] == best.operating_curve_["f1"].max()
    for wanted in (0.0, 6.0, 60.0):
        rate = EventDetector(target="fa_per_24h", target_fa_per_24h=wanted).fit(recordings)
        point = rate.validation_["point"]
        assert point["fa_per_24h"] <= wanted
        ok = rate.operating_curve_[rate.operating_curve_["fa_per_24h"] <= wanted]
        assert point["sensitivity"] == ok["sensitivity"].max()
        # the fitted detector does on the recordings what its curve says
        counts = [
            score_events(r.reference, rate.predict(r.probabilities, r.start_s, r.duration_s), r.duration_s)
            for r in recordings
        ]
        assert sum(one["fp"] for one in counts) / hours * 24 == pytest.approx(point["fa_per_24h"])
        assert sum(one["tp"] for one in counts) == point["tp"]
    for wanted in (0.3, 0.8, 1.0):
        sensitive = EventDetector(target="sensitivity", target_sensitivity=wanted).fit(recordings)
        assert sensitive.validation_["point"]["sensitivity"] >= wanted
        assert sensitive.reason_ is None


def test_what_cannot_be_chosen_has_a_reason():
    healthy = [r for r in validation(0) if not r.reference]
    for parameters in ({"target": "f1"}, {"target": "sensitivity", "target_sensitivity": 0.9}):
        fitted = EventDetector(threshold=0.4, **parameters).fit(healthy)
        assert fitted.threshold_ == 0.4
        assert "no seizure" in fitted.reason_
    rate = EventDetector(target="fa_per_24h", target_fa_per_24h=0.0).fit(healthy)
    assert "rate alone" in rate.reason_
    assert all(not rate.predict(r.probabilities, r.start_s, r.duration_s) for r in healthy)
    nobody = EventDetector().fit([])
    assert (nobody.threshold_, nobody.reason_) == (0.5, "no validation recordings; parameters kept")
    # Probabilities that are upside down: no rate of 0 finds a seizure.
    wrong = [
        RecordingScores("r", "p", np.where(np.arange(200) == 20, 0.0, 1.0), np.arange(200) * 10.0, 2000, [(203, 207)])
    ]
    upside = EventDetector(target="fa_per_24h", target_fa_per_24h=0.0, grid={}).fit(wrong)
    assert "no seizure is found" in upside.reason_
    assert upside.predict(wrong[0].probabilities, wrong[0].start_s, 2000) == []


def test_targetless_fit_keeps_parameters_and_draws_the_curve():
    fitted = EventDetector(threshold=0.3, target=None).fit(validation())
    assert fitted.setting() == EventDetector(threshold=0.3).setting()
    assert len(fitted.operating_curve_) > 10
    assert 0.3 in set(fitted.operating_curve_["threshold"])


def test_a_bad_recording_is_named():
    bad = RecordingScores("night-7", "p", [0.5], [100.0], 50.0, [])
    with pytest.raises(ValueError, match="night-7"):
        EventDetector().fit([bad])
    with pytest.raises(ValueError, match="night-8"):
        EventDetector().fit([RecordingScores("night-8", "p", [0.5], [0.0], 50.0, [(40, 70)])])


def test_clone_forgets_and_json_keeps(tmp_path):
    recordings = validation()
    fitted = EventDetector(grid={"smoothing_s": [5]}, target="fa_per_24h", target_fa_per_24h=12.0).fit(recordings)
    causal = clone(fitted).set_params(causal=True).fit(recordings)
    assert not hasattr(clone(fitted), "threshold_")
    path = save_event_detector(fitted, tmp_path, causal)
    json.loads(path.read_text(), parse_constant=lambda text: pytest.fail(f"{text} in JSON"))
    for original, read in ((fitted, load_event_detector(tmp_path)), (causal, load_event_detector(tmp_path, True))):
        assert read.as_dict() == original.as_dict()
        assert read.causal == original.causal
        r = recordings[1]
        args = r.probabilities, r.start_s, r.duration_s
        assert read.predict(*args) == original.predict(*args)
        assert read.operating_curve_.equals(original.operating_curve_)
    save_event_detector(fitted, tmp_path)
    assert load_event_detector(tmp_path, causal=True).causal


def test_damaged_detectors_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"events\.json"):
        load_event_detector(tmp_path)
    (tmp_path / "events.json").write_text("{}")
    with pytest.raises(ValueError, match=r"events\.json"):
        load_event_detector(tmp_path)
    data = EventDetector().as_dict()
    with pytest.raises(ValueError, match="version"):
        EventDetector.from_dict(data | {"version": 99})
    with pytest.raises(ValueError, match="unknown parameter"):
        EventDetector.from_dict(data | {"parameters": {"loudness": 3}})
    assert EventDetector.from_dict(data).threshold == 0.5


def test_the_choice_says_on_how_much_it_was_made(tmp_path):
    recordings = validation(2, n=9, separation=3.0)
    expected = {
        "n_subjects": len({r.subject for r in recordings}),
        "n_seizures": sum(len(r.reference) for r in recordings),
        "hours": pytest.approx(sum(r.duration_s for r in recordings) / 3600),
    }
    fitted = EventDetector(grid={}).fit(recordings)
    assert fitted.chosen_on_ == expected
    path = save_event_detector(fitted, tmp_path, EventDetector(grid={}, causal=True).fit(recordings))
    stored = json.loads(path.read_text())["detectors"]
    assert stored["offline"]["chosen_on"] == stored["causal"]["chosen_on"] == expected
    assert load_event_detector(tmp_path).chosen_on_ == expected


def test_what_was_not_chosen_says_so():
    recordings = validation()
    healthy = [r for r in recordings if not r.reference]
    kept = EventDetector(target=None).fit(recordings), EventDetector().fit([]), EventDetector().fit(healthy)
    assert [detector.chosen_on_ for detector in kept] == [None, None, None]
    rate_alone = EventDetector(target="fa_per_24h", target_fa_per_24h=0.0).fit(healthy)
    assert rate_alone.chosen_on_["n_seizures"] == 0


def test_files_of_former_versions_tell_what_they_know_of_the_choice():
    recordings = validation()
    healthy = [r for r in recordings if not r.reference]
    for detector, n in ((EventDetector(grid={}).fit(recordings), len(recordings)), (EventDetector().fit(healthy), 0)):
        data = detector.as_dict()
        del data["chosen_on"]
        read = EventDetector.from_dict(data).chosen_on_
        assert (read is None) == (n == 0)
        if read is not None:
            assert read == {**detector.chosen_on_, "n_seizures": None}
    with pytest.raises(ValueError, match=r"chosen_on.*hours"):
        EventDetector.from_dict(data | {"chosen_on": {"n_subjects": 1, "n_seizures": 2, "hours": "long"}})
