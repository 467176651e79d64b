"""Numbers for names: who keeps which, and what a key table is."""

import json
import stat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd.anonymous import (
    Numbers,
    check_key,
    is_anonymous,
    is_published,
    numbered_subjects,
    read_numbers,
    write_key,
    write_numbers,
)


@pytest.mark.parametrize("name", ["chb-mit/01", "siena/00", "tusz/aaaaaajy", "eegmmidb/001", "helsinki/12", "demo/01"])
def test_pseudonyms_of_publishers_stay(name):
    assert is_published(name)
    assert numbered_subjects([name]) == {name: name}


@pytest.mark.parametrize(
    "name", ["chb-mit/smith", "tusz/johansen", "siena/Rossi", "clinic/01", "01", "chb-mit/01/smith", "x/chb-mit/01"]
)
def test_other_names_become_numbers_whatever_they_resemble(name):
    assert not is_published(name)
    (number,) = numbered_subjects([name]).values()
    assert is_anonymous(number)
    assert number.endswith("/subject-001")


def test_two_folders_never_share_a_name():
    first, second = Numbers(), Numbers()
    (a,), (b,) = first.names_of([("clinic/a", "0a")]), second.names_of([("clinic/a", "0a")])
    assert a.recording == b.recording == "recording-0001"
    assert a.subject != b.subject


recordings = st.lists(st.integers(0, 30), unique=True, min_size=1, max_size=12)


# Of each subject the first recording is always there, so that it tells whose the others are.
calls = st.lists(st.dictionaries(st.integers(0, 6), st.sets(st.integers(1, 3)), min_size=1), min_size=1, max_size=4)


@settings(max_examples=50)
@given(calls)
def test_numbers_stay_whatever_comes_and_goes(calls):
    numbers, known = Numbers(), {}
    for place, subjects in enumerate(calls):
        call = [(subject, run) for subject, runs in subjects.items() for run in (0, *runs)]
        # The name of a subject differs from call to call: nothing but the content counts.
        rows = [(f"name {subject} of {place}", f"digest {subject} {run}") for subject, run in call]
        for number, one in zip(call, numbers.names_of(rows), strict=True):
            assert known.setdefault(number, one) == one
        numbers = Numbers.from_dict(json.loads(json.dumps(numbers.as_dict())))
    assert len({one.recording for one in known.values()}) == len(known)
    assert "name" not in json.dumps([list(vars(one).values()) for one in known.values()])


@settings(max_examples=50)
@given(recordings, st.randoms())
def test_a_call_in_another_order_gives_the_same_numbers(call, random):
    numbers = Numbers()
    rows = [(f"name {number // 3}", f"digest {number}") for number in call]
    before = dict(zip(rows, numbers.names_of(rows), strict=True))
    random.shuffle(rows)
    assert dict(zip(rows, numbers.names_of(rows), strict=True)) == before


def test_recordings_that_nothing_tells_apart_keep_their_place_among_themselves():
    numbers = Numbers()
    rows = [("a", None), ("a", "0a"), ("b", None)]
    assert numbers.names_of(rows) == numbers.names_of(rows)


def test_subjects_that_were_joined_since_are_refused_and_not_mixed():
    numbers = Numbers()
    numbers.names_of([("a", "0a"), ("b", "0b")])
    with pytest.raises(ValueError, match="two numbers"):
        numbers.names_of([("a", "0a"), ("a", "0b")])


def test_a_recording_that_changed_hands_is_refused_and_not_mixed():
    numbers = Numbers()
    numbers.names_of([("a", "0a"), ("a", "0b")])
    with pytest.raises(ValueError, match="two numbers"):
        numbers.names_of([("a", "0a"), ("b", "0b")])


def test_a_key_tells_that_recordings_that_came_one_by_one_are_of_one_subject():
    alone, keyed = Numbers(), Numbers()
    subjects = {}
    for rows in ([("a", "0a")], [("a", "0b")]):
        alone.names_of(rows)
        subjects |= {"a": keyed.names_of(rows, subjects)[0].subject}
    both = [("a", "0a"), ("a", "0b")]
    with pytest.raises(ValueError, match="--key"):
        alone.names_of(both)
    assert len({one.subject for one in keyed.names_of(both)}) == 1


def test_a_damaged_file_of_numbers_is_named(tmp_path):
    write_numbers(tmp_path, Numbers()).write_text('{"format": "biot_bd anonymous recordings", "version": 2}')
    with pytest.raises(ValueError, match=r"anonymous\.json"):
        read_numbers(tmp_path)


def test_names_in_a_file_of_numbers_are_refused(tmp_path):
    facts = {
        "namespace": "anonymous-00000000",
        "recordings": [{"recording": "r", "subject": "clinic/smith", "content": None}],
    }
    with pytest.raises(ValueError, match="expected recording"):
        Numbers.from_dict(facts)


ROW = {
    "recording": "recording-0001",
    "subject": "anonymous-00000000/subject-001",
    "name": "n",
    "subject_name": "s",
    "file": "f",
}


def test_only_the_owner_reads_a_key_and_rows_are_added(tmp_path):
    path = write_key(tmp_path / "key.tsv", [ROW])
    write_key(path, [ROW, {**ROW, "recording": "recording-0002"}])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [line.split("\t")[0] for line in path.read_text().splitlines()] == [
        "recording",
        "recording-0001",
        "recording-0002",
    ]


def test_a_key_lies_outside_of_what_names_nobody_and_replaces_no_other_file(tmp_path):
    with pytest.raises(ValueError, match="who is who"):
        check_key(tmp_path / "out" / "deep" / "key.tsv", tmp_path / "out")
    (tmp_path / "mine.txt").write_text("dear diary\n")
    with pytest.raises(ValueError, match="not replaced"):
        write_key(tmp_path / "mine.txt", [ROW])
    assert (tmp_path / "mine.txt").read_text() == "dear diary\n"
