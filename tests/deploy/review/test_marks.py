"""Marks of a reviewer: what they say, and that files on disk say the same."""

import json

import pytest
from epilepsy2bids.annotations import Annotations, SeizureType
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd.deploy.review import Mark, Review, find_reviews, read_review, review_paths, save_review
from biot_bd.deploy.review.marks import seizure_types
from biot_bd.deploy.review.review_files import check_reviewer, mend_tables
from biot_bd.events import read_event_file
from biot_bd.exceptions import ReviewConflictError, ReviewError

DETECTIONS = ((10.0, 30.0), (60.0, 75.5), (200.0, 260.0))
DURATION_S = 600.0


def review(**changed):
    return Review("anna", "night/rec01", DURATION_S, detections=DETECTIONS, **changed)


def decided(kind, detected):
    moved = (detected[0] + 1, detected[1] + 2) if kind == "moved" else detected
    return Mark(kind, *moved, detected=detected)


times = st.integers(0, 59_000).map(lambda hundredths: hundredths / 100)
added = st.builds(
    lambda onset, length, kind: Mark("added", onset, onset + length, type=kind),
    times,
    st.integers(1, 1000).map(lambda hundredths: hundredths / 100),
    st.sampled_from(list(seizure_types())),
)
edits = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["confirmed", "rejected", "moved", "undo"]), st.sampled_from(DETECTIONS)),
        st.tuples(st.just("add"), added),
    ),
    max_size=12,
)


@settings(max_examples=10, deadline=None)
@given(edits=edits, remark=st.text(st.characters(categories=["L", "N", "P"]), max_size=20))
def test_any_sequence_of_edits_reads_back_equal_and_the_table_is_what_the_marks_say(edits, remark, tmp_path_factory):
    results = tmp_path_factory.mktemp("results")
    now = review()
    for kind, what in edits:
        marks = [mark for mark in now.marks if kind == "add" or mark.detected != what]
        if kind == "add":
            marks.append(what)
        elif kind != "undo":
            marks.append(Mark(**{**decided(kind, what).as_dict(), "detected": what, "remark": remark}))
        now = now.revised(marks)
        saved = read_review(save_review(results, now))
        assert (saved.marks, saved.events, saved.detections) == (now.marks, now.events, now.detections)
        assert saved.revision == now.revision + 1
        now = saved
    sidecar, table = review_paths(results, "anna", "night/rec01")
    if not edits:
        assert not table.exists()
        return
    # Every hundredth of a second, counted without joining intervals.
    wanted = {
        at
        for mark in now.marks
        if mark.kind != "rejected"
        for at in range(round(mark.onset_s * 100), round(mark.offset_s * 100))
    }
    told = Annotations.loadTsv(str(table))
    found = [(round(a * 100), round(b * 100)) for a, b in told.getEvents()]
    assert {at for a, b in found for at in range(a, b)} == wanted
    assert sum(b - a for a, b in found) == len(wanted)
    assert {row["recordingDuration"] for row in told.events} == {DURATION_S}
    ours = [time for event in read_event_file(table).events for time in (event.onset_s, event.offset_s)]
    assert ours == pytest.approx([time for event in now.events for time in event[:2]])
    assert json.loads(sidecar.read_text())["marks"] == [mark.as_dict() for mark in now.marks]


def test_types_are_those_of_szcore():
    assert set(seizure_types()) == set(SeizureType.__members__)


def test_the_type_of_a_seizure_reaches_the_table(tmp_path):
    save_review(tmp_path, review(marks=(Mark("added", 1, 2, type="sz_foc_ia"), Mark("added", 5, 9, type="sz_gen"))))
    told = Annotations.loadTsv(str(review_paths(tmp_path, "anna", "night/rec01")[1]))
    assert [row["eventType"].value for row in told.events] == ["sz_foc_ia", "sz_gen"]
    joined = review(marks=(Mark("added", 1, 6, type="sz_foc_ia"), Mark("added", 5, 9, type="sz_gen"))).events
    assert joined == [(1.0, 9.0, "sz")]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mark("maybe", 1, 2), "one of confirmed"),
        (lambda: Mark("added", 2, 2.001), "ends after its onset"),
        (lambda: Mark("added", float("nan"), 2), "finite"),
        (lambda: Mark("added", -1, 2), "from 0 s on"),
        (lambda: Mark("added", 1, 2, detected=(1, 2)), "unless it is 'added'"),
        (lambda: Mark("confirmed", 1, 2), "unless it is 'added'"),
        (lambda: Mark("confirmed", 1, 3, detected=(1, 2)), "times of its detection"),
        (lambda: Mark("added", 1, 2, type="bckg"), "no seizure type 'bckg'"),
        (lambda: Mark("added", 1, 2, remark="a\nb"), "one line"),
        (lambda: Mark("added", 1, 2, time="2026-01-01T00:00:00"), "time zone"),
        (lambda: review(marks=(Mark("added", 590, 601),)), "not inside the recording of 600 s"),
        (lambda: review(marks=(decided("confirmed", DETECTIONS[0]),) * 2), "two marks"),
        (lambda: review(read_whole=True), "3 detections are undecided"),
        (lambda: review().revised([decided("rejected", (1.0, 2.0))]), "nothing was detected from 1 to 2 s"),
    ],
)
def test_what_a_mark_cannot_say_is_an_error(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_detections_of_another_run_leave_the_marks_and_what_is_new_is_undecided():
    whole = review().revised([decided("confirmed", one) for one in DETECTIONS], read_whole=True)
    again = whole.detected_again([DETECTIONS[0], (400.0, 410.0)])
    assert again.marks == whole.marks
    assert (again.undecided, again.read_whole) == ([(400.0, 410.0)], False)
    assert whole.detected_again(DETECTIONS[:1]).read_whole
    assert again.revised(again.marks[:2]).events == whole.events[:2]


def test_who_saves_on_what_is_no_longer_there_is_told_and_nothing_is_lost(tmp_path):
    first = read_review(save_review(tmp_path, review()))
    theirs = save_review(tmp_path, first.revised([Mark("added", 1, 2)]))
    with pytest.raises(ReviewConflictError, match=r"revision 2, not 1"):
        save_review(tmp_path, first.revised([Mark("added", 3, 4)]))
    assert read_review(theirs).events == [(1.0, 2.0, "sz")]


def test_a_table_that_is_older_than_its_marks_is_written_again(tmp_path):
    save_review(tmp_path, review())
    _, table = review_paths(tmp_path, "anna", "night/rec01")
    older = table.read_text()
    save_review(tmp_path, review(revision=1, marks=(Mark("added", 1, 2),)))
    newer = table.read_text()
    assert mend_tables(tmp_path, "anna") == []
    table.write_text(older)
    assert mend_tables(tmp_path, "anna") == [table]
    assert table.read_text() == newer
    assert mend_tables(tmp_path, "berta") == []


@pytest.mark.parametrize(
    "name", ["", "../up", "a/b", "a\\b", ".hidden", "con", "NUL.txt", "dot.", "ü", "x" * 65, "a b"]
)
def test_a_reviewer_is_a_name_that_every_disk_takes(name, tmp_path):
    with pytest.raises(ReviewError, match="reviewer"):
        check_reviewer(name)
    with pytest.raises(ReviewError, match="reviewer"):
        save_review(tmp_path, Review(name, "rec01", 10.0))
    assert list(tmp_path.iterdir()) == []


def test_reviewers_whose_names_differ_in_case_alone_are_not_two(tmp_path):
    save_review(tmp_path, review())
    with pytest.raises(ReviewError, match="there are reviews of 'anna'"):
        check_reviewer("Anna", tmp_path)
    assert check_reviewer("anna", tmp_path) == "anna"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda facts: facts.update(version=2), "version 2 of a review"),
        (lambda facts: facts.update(format="other"), "no review of biot_bd"),
        (lambda facts: facts.pop("marks"), "marks is missing"),
        (lambda facts: facts["marks"][0].update(kind="maybe"), "one of confirmed"),
        (lambda facts: facts["marks"][0].update(onset_s="soon"), "expected a number, found 'soon'"),
        (lambda facts: facts.update(start_time="noon"), "damaged"),
        (lambda facts: facts["detections"].append([1]), "damaged"),
    ],
)
def test_a_damaged_review_is_one_line_that_names_it(tmp_path, change, message):
    path = save_review(tmp_path, review(marks=(Mark("added", 1, 2),)))
    facts = json.loads(path.read_text())
    change(facts)
    path.write_text(json.dumps(facts))
    with pytest.raises(ReviewError, match=message) as error:
        find_reviews(tmp_path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
