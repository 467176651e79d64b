"""Agreement of two readers, against masks of seconds and closed forms."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score, f1_score
from timescoring.annotations import Annotation
from timescoring.scoring import EventScoring

from biot_bd.events import ReadRecording, score_agreement
from biot_bd.events.agreement import kappa_of

NAMES = ("anna", "ben")
DURATION_S = 400


def mask(events, n=DURATION_S):
    found = np.zeros(n, dtype=int)
    for onset, offset in events:
        found[int(onset) : int(offset)] = 1
    return found


@st.composite
def whole_second_events(draw):
    cuts = sorted(draw(st.lists(st.integers(0, DURATION_S), unique=True, max_size=10)))
    return [(float(a), float(b)) for a, b in zip(cuts[::2], cuts[1::2], strict=False)]


def scored(first, second, **options):
    both = ([ReadRecording("r", events, DURATION_S)] for events in (first, second))
    return score_agreement(*both, reviewers=NAMES, **options)


@settings(max_examples=40, deadline=None)
@given(first=whole_second_events(), second=whole_second_events())
def test_seconds_as_masks_count_them(first, second):
    found = scored(first, second)["samples"]
    a, b = mask(first), mask(second)
    assert found["both_s"] == (a & b).sum()
    assert found["only_s"] == {"anna": (a & ~b & 1).sum(), "ben": (b & ~a & 1).sum()}
    assert found["both_s"] + sum(found["only_s"].values()) + found["neither_s"] == DURATION_S
    if a.any() and b.any() and not (a.all() and b.all()):
        assert found["kappa"] == pytest.approx(cohen_kappa_score(a, b))
        assert found["positive_agreement"] == pytest.approx(f1_score(a, b))


@settings(max_examples=40, deadline=None)
@given(first=whole_second_events(), second=whole_second_events())
def test_turned_round_it_says_the_same(first, second):
    one, other = scored(first, second), scored(second, first)
    turned = {"anna": "ben", "ben": "anna"}
    assert one["samples"]["kappa"] == pytest.approx(other["samples"]["kappa"])
    assert one["events"]["positive_agreement"] == other["events"]["positive_agreement"]
    assert one["differences"]["n_matched"] == other["differences"]["n_matched"]
    for name in NAMES:
        assert one["events"]["n_only"][name] == other["events"]["n_only"][turned[name]]
        assert one["events"]["as_reference"][name] == other["events"]["as_reference"][turned[name]]


@settings(max_examples=30, deadline=None)
@given(events=whole_second_events())
def test_who_says_the_same_agrees_wholly(events):
    found = scored(events, events)
    assert found["events"]["n_only"] == {"anna": 0, "ben": 0}
    merged = len(set(itertools.chain(*events))) == 2 * len(events)
    if events and merged:
        assert found["events"]["positive_agreement"] == 1.0
        assert found["samples"]["kappa"] in (1.0, None)
        assert found["differences"]["onset_s"] == {"median": 0, "min": 0, "max": 0}


def test_each_as_the_others_reference_by_timescoring():
    first, second = [(50, 60), (200, 230)], [(105, 120), (210, 225), (330, 340)]
    found = scored(first, second)["events"]["as_reference"]
    assert found["anna"]["sensitivity"] == 1.0  # 105 s lies within 60 s behind the event that ends at 60 s
    assert found["ben"]["sensitivity"] < 1.0  # 50 to 60 s lies more than 30 s before it
    for name, (reference, other) in {"anna": (first, second), "ben": (second, first)}.items():
        score = EventScoring(*(Annotation(e, 10, DURATION_S * 10) for e in (reference, other)))
        assert found[name]["f1"] == pytest.approx(score.f1)
        assert found[name]["fa_per_24h"] == pytest.approx(score.fpRate)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [((20, 5, 10, 15), 0.4), ((10, 0, 0, 10), 1.0), ((0, 10, 10, 0), -1.0), ((0, 3, 0, 7), 0.0)],
)
def test_kappa_of_counts(counts, expected):
    n = sum(counts)
    both, first, second, _ = counts
    chance = ((both + first) * (both + second) + (n - both - first) * (n - both - second)) / n**2
    assert kappa_of(*counts) == pytest.approx(((counts[0] + counts[3]) / n - chance) / (1 - chance))
    assert kappa_of(*counts) == pytest.approx(expected)


def test_differences_are_of_events_matched_by_the_time_they_share():
    # The long event of anna meets two of ben's; it is matched with the one that shares most.
    found = scored([(100, 200), (300, 310)], [(90, 105), (110, 190), (304, 309)])
    assert found["differences"] == {
        "n_matched": 2,
        "onset_s": {"median": 7.0, "min": 4.0, "max": 10.0},
        "offset_s": {"median": -5.5, "min": -10.0, "max": -1.0},
    }
    assert found["events"]["n_only"] == {"anna": 0, "ben": 0}


def test_only_what_both_read_counts():
    anna = [ReadRecording("a", [(10, 20)], 100), ReadRecording("b", [(10, 20)], 100)]
    ben = [ReadRecording("b", [(12, 20)], 100.4), ReadRecording("c", [], 100)]
    found = score_agreement(anna, ben, reviewers=NAMES)
    assert [row["recording"] for row in found["recordings"]] == ["b"]
    assert found["read_by_one"] == {"anna": ["a"], "ben": ["c"]}
    assert found["events"]["n_events"] == {"anna": 1, "ben": 1}


def test_nothing_marked_is_undefined_and_says_why():
    found = scored([], [])
    assert found["samples"]["kappa"] is found["events"]["positive_agreement"] is None
    assert found["differences"]["onset_s"] is None
    for name in ("samples.kappa", "events.positive_agreement", "differences", "samples.positive_agreement"):
        assert found["reasons"][name]


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ([("a", [], 100)], [("b", [], 100)], "no recording was read by both"),
        ([("a", [], 100)], [("a", [], 90)], "not one recording"),
        ([("a", [], 100), ("a", [], 100)], [("a", [], 100)], "recording a is there twice"),
        ([("a", [(90, 120)], 100)], [("a", [], 100)], "recording a, anna: event .* not inside"),
    ],
)
def test_what_cannot_be_compared_is_refused(first, second, said):
    with pytest.raises(ValueError, match=said):
        score_agreement(*([ReadRecording(*one) for one in side] for side in (first, second)), reviewers=NAMES)


def test_two_readers_of_one_name_are_refused():
    with pytest.raises(ValueError, match="both are called 'anna'"):
        score_agreement([], [], reviewers=("anna", "anna"))
