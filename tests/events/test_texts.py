"""Texts of annotations: what is a seizure is told by whole words, and what is not clear is said."""

import mne
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd.events import seizure_kind
from biot_bd.events.files import from_annotations
from biot_bd.events.texts import Meaning, judge_annotations, meaning_of
from biot_bd.exceptions import RecordingError

SEIZURES = (
    "sz|SZ|Seizure|seiz|sz_foc_ia|sz_gen_m_tonicClonic|clinical seizure|EEG seizure|Seizure 2|Sz #3|sz1|Seizure no. 4"
    "|fnsz|gnsz|Seizure@@F7-T7|seizure left temporal|Focal seizure, impaired awareness|Seizure F7-T7|Seizure 12:00"
)
BEGINS = "Seizure onset|Seizure start|Sz start|SEIZURE BEGINS|begin of seizure|Seizure on|ictal onset|sz_onset"
ENDS = "Seizure end|Seizure off|Sz end|Seizure offset|end of seizure|Seizure stopped|ictal end"
OTHERS = (
    "seizure medication given|Seizure: none|No seizure|Seizure detection on|Seizure Detector: enabled|Seizure-free"
    "|Seizure button|seizure log reviewed|Szene|szintigraphy|XLSpike|seizures: 0|0 seizures|no clinical seizure today"
    "|without seizure|interictal|post-ictal|not a seizure||Anfall"
)
UNCLEAR = (
    "seizure?|SZ? no|Seizure, patient fell|seizin|siezure|seizure-like|possible seizure|sz_possible|Seizure, drug given"
    "|ictal|seizure start and end|no aura before seizure|Seizure\uff1f|seizure onset zone"
)
PLAIN = [
    "eyes",
    "open",
    "coughs",
    "Szene",
    "photic",
    "12",
    "F7",
    "-",
    "\u00e4\u00df",
    "seize",
    "button",
    "start",
    "no",
    "@",
]


@pytest.mark.parametrize(
    ("texts", "meaning"),
    [
        (SEIZURES, Meaning.SEIZURE),
        (BEGINS, Meaning.BEGIN),
        (ENDS, Meaning.END),
        (OTHERS, Meaning.OTHER),
        (UNCLEAR, Meaning.UNCLEAR),
    ],
)
def test_texts_are_judged_by_whole_words(texts, meaning):
    assert {text: meaning_of(text) for text in texts.split("|")} == dict.fromkeys(texts.split("|"), meaning)


def test_what_has_a_kind_begins_with_sz():
    assert [seizure_kind(text) for text in ("Sz_Foc", "EEG seizure", "Seizure onset", "Seizure end", "sz?")] == [
        "sz_Foc",
        "sz",
        "sz",
        None,
        None,
    ]


def test_own_words_stand_for_a_seizure_with_all_that_is_known_of_it():
    words = ["Anfall", "crise d'\u00e9pilepsie", "XL 7"]
    texts = [
        "ANFALL",
        "Anfall links",
        "Anfallsleiden",
        "Crise  d'\u00c9pilepsie onset",
        "xl 7",
        "XL 70",
        "no Anfall",
        "Anfall?",
    ]
    found = [meaning_of(text, words).value for text in texts]
    assert found == ["seizure", "unclear", "other", "begin", "seizure", "other", "other", "unclear"]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(PLAIN), max_size=3),
    st.lists(st.sampled_from(PLAIN), max_size=3),
    st.sampled_from(["Seizure", "SZ", "seiz"]),
)
def test_words_around_never_hide_a_seizure_and_never_make_one(before, after, word):
    around = " ".join([*before, *after])
    assert meaning_of(around) in (Meaning.OTHER, Meaning.UNCLEAR)
    text = " ".join([*before, word, *after])
    said = [w for w in before if any(map(str.isalpha, w))]  # signs and numbers are no words
    meaning, others = meaning_of(text), {w for w in (*before, *after) if w not in ("12", "F7", "-")}
    if not others:
        assert meaning is Meaning.SEIZURE, text
    elif others & {"eyes", "open", "coughs", "Szene", "photic", "seize", "\u00e4\u00df"}:
        # Unknown words: no seizure, and said, except where it begins by "no seizure".
        assert meaning is Meaning.UNCLEAR or said[:1] == ["no"], text
    assert meaning is not Meaning.END


def rows(*texts):
    return [(onset, onset + length, text) for onset, length, text in texts]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), min_size=1, max_size=6),
    st.sampled_from(BEGINS.split("|") + ["Seizure"]),
    st.sampled_from(ENDS.split("|")),
    st.sampled_from([0, 0.5]),
    st.randoms(),
)
def test_any_pairs_come_back_in_any_order(steps, begin, end, length, random):
    if begin == "Seizure":
        length = 0
    wanted, marks, at = [], [], 0
    for pause, lasts in steps:
        onset, offset = at + pause, at + pause + lasts
        wanted.append((onset, offset, "sz"))
        marks += rows((onset, length, begin), (offset, length, end))
        at = offset
    random.shuffle(marks)
    assert judge_annotations(marks, "x.edf").seizures == wanted
    lost = marks.pop()
    if (lost[2] == begin and begin != "Seizure") or (lost[2] == end and len(wanted) > 1):
        with pytest.raises(RecordingError, match=r"^x\.edf: the annotation '.*' at .*(has no end|no begin)"):
            judge_annotations(marks, "x.edf")


def test_channels_are_joined_where_they_overlap():
    found = judge_annotations(
        rows((60, 20, "Seizure@@Fp1"), (62, 20, "Seizure@@F7"), (82, 5, "sz_foc"), (100, 0, "Sz start@@F7"))
        + rows((103, 0, "Sz start@@T3"), (110, 0, "Sz end@@F7"), (120, 0, "Sz end@@T3")),
        "x.edf",
    )
    assert found == ([(60, 82, "sz"), (82, 87, "sz_foc"), (100, 120, "sz")], [])


def test_an_onset_with_a_length_is_a_seizure_and_its_end_may_be_marked_too():
    assert judge_annotations(rows((60, 20, "Seizure onset")), "x").seizures == [(60, 80, "sz")]
    assert judge_annotations(rows((60, 20, "Seizure"), (80, 0, "Seizure end")), "x").seizures == [(60, 80, "sz")]


def test_event_files_say_what_is_not_clear():
    annotations = mne.Annotations([5, 30, 90], [5, 5, 0], ["Seizure detection on", "seizure?", "Recording ends"])
    found = from_annotations(annotations)
    assert found.events == []
    assert found.duration_s == 90
    assert len(found.notes) == 1
    assert "'seizure?' (1 times, first at 30 s)" in found.notes[0]
