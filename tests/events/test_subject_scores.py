"""Scores over recordings and subjects against numbers worked out by hand."""

import json

import pytest

from biot_bd.events.subject_scores import ScoredRecording, score_subjects

# Subject a: 2 h, 2 seizures, 1 found, 1 false alarm.  Subject b: 12 h, 1 seizure, found, no false alarm.
# Subject c: 12 h, no seizure, 3 false alarms.
RECORDINGS = [
    ScoredRecording("a1", "a", [(1000, 1040)], [(1010, 1050, 0.9)], 3600),
    ScoredRecording("a2", "a", [(1000, 1005)], [(2000, 2100)], 3600),
    ScoredRecording("b1", "b", [(500, 590)], [(495, 580)], 43200),
    ScoredRecording("c1", "c", [], [(1000, 1100), (2000, 2100), (3000, 3100)], 43200),
]


@pytest.fixture(scope="module")
def scores():
    return score_subjects(RECORDINGS)


def test_counts_are_summed_by_subject(scores):
    a, b, c = (scores["subjects"][name]["events"] for name in "abc")
    assert (a["tp"], a["fp"], a["n_reference"]) == (1, 1, 2)
    assert (a["sensitivity"], a["precision"], a["f1"], a["fa_per_24h"]) == (0.5, 0.5, 0.5, 12.0)
    assert (b["sensitivity"], b["precision"], b["f1"], b["fa_per_24h"]) == (1.0, 1.0, 1.0, 0.0)
    assert (c["sensitivity"], c["precision"], c["f1"], c["fa_per_24h"]) == (None, 0.0, 0.0, 6.0)
    assert scores["subjects"]["a"]["hours"] == 2.0
    assert scores["subjects"]["a"]["n_recordings"] == 2


def test_macro_is_the_mean_of_the_subjects_for_whom_a_score_is_defined(scores):
    macro = scores["macro"]["events"]
    assert macro["sensitivity"] == {"value": 0.75, "n_subjects": 2, "reason": None}
    assert macro["f1"] == {"value": 0.5, "n_subjects": 3, "reason": None}
    assert macro["fa_per_24h"] == {"value": 6.0, "n_subjects": 3, "reason": None}
    # Time in false alarm: a 100 s in 2 h, b none, c 300 s in 12 h.
    by_hand = [100 / 3600 * 12, 0, 300 / 3600 * 2]
    assert macro["false_alarm_h_per_24h"]["value"] == pytest.approx(sum(by_hand) / 3)
    assert macro["median_latency_s"] == {"value": 2.5, "n_subjects": 2, "reason": None}


def test_pooled_is_one_sum(scores):
    pooled = scores["pooled"]["events"]
    assert (pooled["tp"], pooled["fp"], pooled["n_reference"]) == (2, 4, 3)
    assert pooled["sensitivity"] == pytest.approx(2 / 3)
    assert pooled["fa_per_24h"] == pytest.approx(4 / 26 * 24)
    assert pooled["latency_s"] == [10.0, -5.0]
    assert pooled["onset_error_s"] == [10.0, 5.0]
    samples = scores["pooled"]["samples"]  # seconds found: 30 of 40, 0 of 5, 80 of 90
    assert (samples["tp"], samples["n_reference"]) == (110, 135)
    assert samples["fp"] == 10 + 100 + 5 + 300


def test_by_length(scores):
    rows = {(row["from_s"], row["to_s"]): row for row in scores["by_length"]}
    assert (rows[0, 10]["n"], rows[0, 10]["n_detected"], rows[0, 10]["sensitivity"]) == (1, 0, 0.0)
    assert (rows[30, 60]["n"], rows[30, 60]["sensitivity"], rows[30, 60]["median_latency_s"]) == (1, 1.0, 10.0)
    assert rows[120, None]["sensitivity"] is None
    assert rows[120, None]["reason"]
    assert sum(row["n"] for row in scores["by_length"]) == 3


def test_baselines_stand_beside(scores):
    on, off = scores["baselines"]["always-on"], scores["baselines"]["always-off"]
    assert on["macro"]["events"]["sensitivity"]["value"] == 1.0
    # c: 12 h in events of 5 minutes, all false.
    assert on["pooled"]["events"]["fp"] > 144
    assert off["macro"]["events"]["sensitivity"]["value"] == 0.0
    assert off["macro"]["events"]["fa_per_24h"]["value"] == 0.0
    assert off["macro"]["events"]["precision"] == {"value": None, "n_subjects": 0, "reason": "defined for no subject"}


def test_it_is_json_without_nan_and_names_its_scorer(scores):
    json.dumps(scores, allow_nan=False)
    assert scores["scorer"]["name"] == "timescoring"
    assert scores["subjects"]["c"]["events"]["reasons"]["sensitivity"]
    assert scores["subjects"]["c"]["events"]["reasons"]["median_latency_s"]


def test_a_bad_recording_is_named():
    with pytest.raises(ValueError, match="recording x: hypothesis"):
        score_subjects([ScoredRecording("x", "p", [], [(10, 70)], 60)])
    with pytest.raises(ValueError, match="no recordings"):
        score_subjects([])


def test_a_recording_of_a_moment_is_scored():
    scores = score_subjects([ScoredRecording("x", "p", [], [], 0.3)])
    assert scores["pooled"]["events"]["fa_per_24h"] == 0.0
    assert scores["pooled"]["samples"]["sensitivity"] is None
