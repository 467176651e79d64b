"""OVERLAP and TAES: counts of NEDC's own software on random events, and cases by hand."""

import json
from pathlib import Path

import pytest
from made_events import random_events

from biot_bd.events import ScoredRecording, score_nedc, score_nedc_subjects

GOLDEN = json.loads((Path(__file__).parents[1] / "data" / "nedc.json").read_text())["seeds"]


def counts(reference, hypothesis, method, duration_s=3600.0):
    scores = score_nedc(reference, hypothesis, duration_s, method)
    return [scores[name] for name in ("tp", "fn", "fp")]


@pytest.mark.parametrize("method", ["nedc-ovlp", "nedc-taes"])
@pytest.mark.parametrize("seed", GOLDEN)
def test_counts_are_those_of_the_software(seed, method):
    reference, hypothesis, duration_s = random_events(int(seed))
    assert counts(reference, hypothesis, method, duration_s) == pytest.approx(GOLDEN[seed][method], rel=1e-12)


def test_one_long_detection_over_four_seizures_hits_the_first_alone():
    """The example of the definition: the others are whole misses."""
    seizures = [(100, 110), (120, 130), (140, 150), (160, 170)]
    assert counts(seizures, [(102, 165)], "nedc-taes") == pytest.approx([0.8, 3.2, 1.0])
    assert counts(seizures, [(102, 165)], "nedc-ovlp") == [4, 0, 0]


def test_several_detections_share_one_seizure():
    assert counts([(100, 120)], [(95, 105), (108, 112), (116, 130)], "nedc-taes") == pytest.approx([0.65, 0.35, 0.75])


def test_an_event_that_only_touches_another_does_not_overlap_it():
    for method in ("nedc-ovlp", "nedc-taes"):
        assert counts([(100, 120)], [(120, 130)], method) == [0, 1, 1]


def test_scores_without_seizures_or_detections_are_undefined_with_a_reason():
    scores = score_nedc([], [], 3600.0, "nedc-taes")
    assert (scores["sensitivity"], scores["precision"], scores["f1"], scores["fa_per_24h"]) == (None, None, None, 0.0)
    assert scores["reasons"]["sensitivity"] == "no seizure in the reference"


def test_counts_are_summed_over_recordings_and_subjects_are_averaged():
    made = [
        ScoredRecording("a1", "s/a", [(100, 120), (300, 320)], [(110, 120)], 3600.0),
        ScoredRecording("a2", "s/a", [], [(10, 20)], 3600.0),
        ScoredRecording("b1", "s/b", [(100, 120)], [(100, 120)], 3600.0),
        ScoredRecording("c1", "s/c", [], [], 3600.0),
    ]
    found = score_nedc_subjects(made, "nedc-ovlp")
    assert (found["pooled"]["tp"], found["pooled"]["fn"], found["pooled"]["fp"]) == (2, 1, 1)
    assert found["pooled"]["fa_per_24h"] == pytest.approx(6.0)
    assert found["macro"]["sensitivity"] == {"value": 0.75, "n_subjects": 2, "reason": None}
    assert found["scorer"]["name"] == "nedc-ovlp"


def test_what_cannot_be_scored_is_refused():
    with pytest.raises(ValueError, match=r"no method 'taes'; there are nedc-ovlp, nedc-taes"):
        score_nedc([], [], 10.0, "taes")
    with pytest.raises(ValueError, match=r"recording r1: hypothesis: event \(5.0, 20.0\) is not inside"):
        score_nedc_subjects([ScoredRecording("r1", "s", [], [(5, 20)], 10.0)], "nedc-ovlp")
    with pytest.raises(ValueError, match="no recordings"):
        score_nedc_subjects([], "nedc-ovlp")
