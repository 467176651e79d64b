"""Labels from a folder of their own: reviews, and tables of anybody."""

import json
import tempfile

import mne
import numpy as np
import pytest
from edf_files import write_edf
from epilepsy2bids.annotations import Annotations
from hypothesis import given, settings
from hypothesis import strategies as st
from reviewed_files import write_review

from biot_bd.datasets import load_dataset
from biot_bd.datasets.recordings import seizures_of
from biot_bd.deploy.review import read_review
from biot_bd.events import write_event_file
from biot_bd.exceptions import EmptyDatasetError, RecordingError
from biot_bd.io import recording_digest

DURATION_S = 20.0


def digest_of(path):
    return recording_digest(mne.io.read_raw_edf(path, verbose="error"))


@pytest.fixture
def clinic(tmp_path):
    """Recordings with other labels beside them, and results with reviews of two of the three."""
    root, results = tmp_path / "clinic", tmp_path / "results"
    for name in ("p1/a", "p1/sub_eeg", "p2/b"):
        path = write_edf(root / f"{name}.edf", seed=len(name))
        write_event_file(path.with_name(f"{path.stem}_events.tsv"), [(1, 2)], DURATION_S)
    marks = [
        ("confirmed", 3.0, 6.0, [3.0, 6.0]),
        ("rejected", 8.0, 9.0, [8.0, 9.0]),
        ("moved", 11.5, 14.25, [11.0, 14.0]),
    ]
    write_review(results, "anna", "p1/a", marks, DURATION_S, digest=digest_of(root / "p1/a.edf"))
    write_review(results, "anna", "p1/sub", [], DURATION_S, digest=digest_of(root / "p1/sub_eeg.edf"))
    return root, results


def loaded(root, events, **options):
    dataset = load_dataset("recordings-folder", root, events=events, **options)
    return dataset, {part.description["recording"]: seizures_of(part.raw) for part in dataset.datasets}


@pytest.mark.filterwarnings("ignore:recordings-folder")
def test_reviews_alone_are_the_labels(clinic):
    root, results = clinic
    dataset, seizures = loaded(root, results / "reviews" / "anna")
    assert seizures == {"p1__a": [(3.0, 6.0), (11.5, 14.25)], "p1__sub_eeg": []}
    assert {part.description["labels_from"] for part in dataset.datasets} == {"review by anna"}
    outcomes = dataset.outcomes.set_index("recording")
    assert outcomes["detail"]["p1__a"] == "labels: review by anna"
    assert outcomes["outcome"]["p2__b"] == "unlisted"
    assert "no event table in the folder of events" in outcomes["detail"]["p2__b"]
    assert [part.description["subject"] for part in dataset.datasets] == ["clinic/p1", "clinic/p1"]


def test_the_table_reads_back_by_another_reader(clinic):
    table = clinic[1] / "reviews/anna/p1/a_events.tsv"
    found = Annotations.loadTsv(str(table)).getEvents()
    assert [tuple(map(float, event)) for event in found] == [(3.0, 6.0), (11.5, 14.25)]


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    return write_edf(tmp_path_factory.mktemp("marks") / "clinic" / "p1" / "a.edf")


spans = st.tuples(st.floats(0, 19.9), st.floats(0.011, 6)).map(lambda one: (one[0], min(one[0] + one[1], DURATION_S)))


@settings(max_examples=25, deadline=None)
@given(spans=st.lists(spans, max_size=8), touching=st.booleans())
def test_whatever_a_reviewer_marks_becomes_the_labels(recording, spans, touching):
    if touching:  # one begins where another ends
        spans = [span for a, b in spans for span in ((a, (a + b) / 2), ((a + b) / 2, b))]
    marks = [("added", a, b, None) for a, b in spans if round(b, 2) > round(a, 2)]
    with tempfile.TemporaryDirectory() as results:
        table = write_review(results, "anna", "p1/a", marks, DURATION_S, digest=digest_of(recording))
        said = read_review(table.with_name("a_review.json")).events
        _, seizures = loaded(recording.parents[1], f"{results}/reviews/anna")
    expected = [(event.onset_s, event.offset_s) for event in said]
    np.testing.assert_allclose(np.reshape(seizures["p1__a"], (-1, 2)), np.reshape(expected, (-1, 2)), atol=0.006)


@pytest.mark.filterwarnings("ignore:recordings-folder")
def test_what_was_not_read_whole_is_unknown_unless_told(clinic):
    root, results = clinic
    marks = [("added", 4.0, 6.0, None)]
    write_review(results, "anna", "p2/b", marks, DURATION_S, digest=digest_of(root / "p2/b.edf"), read_whole=False)
    dataset, seizures = loaded(root, results / "reviews" / "anna")
    assert "p2__b" not in seizures
    assert "not read whole" in dataset.outcomes.set_index("recording")["detail"]["p2__b"]
    dataset, seizures = loaded(root, results / "reviews" / "anna", partly_read=True)
    assert seizures["p2__b"] == [(4.0, 6.0)]
    assert "seizures may be missing" in dataset.outcomes.set_index("recording")["detail"]["p2__b"]


@pytest.mark.filterwarnings("ignore:recordings-folder")
def test_a_review_of_another_recording_is_refused(clinic):
    root, results = clinic
    write_edf(root / "p1" / "a.edf", seed=99)
    with pytest.raises(RecordingError, match=r"a_events\.tsv: the review by anna is of another recording"):
        loaded(root, results / "reviews" / "anna")
    dataset, seizures = loaded(root, results / "reviews" / "anna", on_error="skip")
    assert list(seizures) == ["p1__sub_eeg"]
    assert dataset.outcomes.set_index("recording")["outcome"]["p1__a"] == "bad-annotation"


@pytest.mark.filterwarnings("ignore:recordings-folder")
def test_a_renamed_folder_is_found_by_name_and_a_lost_recording_is_listed(clinic):
    root, results = clinic
    (root / "p1").rename(root / "p1-moved")
    write_review(results, "anna", "p9/gone", [], DURATION_S)
    dataset, seizures = loaded(root, results / "reviews" / "anna")
    assert seizures["p1-moved__a"] == [(3.0, 6.0), (11.5, 14.25)]
    row = dataset.outcomes.set_index("recording").loc["p9__gone"]
    assert row["outcome"] == "missing-file"
    assert "no recording of this name" in row["detail"]


@pytest.mark.filterwarnings("ignore:recordings-folder")
def test_without_sidecar_a_table_counts_as_it_stands(clinic, tmp_path):
    root, _ = clinic
    write_event_file(tmp_path / "mine" / "p2" / "b_events.tsv", [(5, 9)], DURATION_S)
    dataset, seizures = loaded(root, tmp_path / "mine")
    assert seizures == {"p2__b": [(5.0, 9.0)]}
    assert dataset.datasets[0].description["labels_from"] == "event table"


def test_detections_are_no_labels(clinic, tmp_path):
    root, _ = clinic
    write_event_file(tmp_path / "found" / "p1" / "a_events.tsv", [(5, 9)], DURATION_S)
    (tmp_path / "found" / "p1" / "a_detection.json").write_text("{}")
    with pytest.raises(ValueError, match=r"is what a detector found, no label; reviews of it lie in .*reviews/NAME"):
        loaded(root, tmp_path / "found")


def test_two_reviewers_are_not_mixed(clinic):
    root, results = clinic
    write_review(results, "ben", "p1/a", [], DURATION_S)
    with pytest.raises(ValueError, match="holds reviews of anna, ben; name the folder of one of them"):
        loaded(root, results / "reviews")


@pytest.mark.filterwarnings("ignore:recordings-folder")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: f | {"version": 2}, "version 2, this biot_bd reads version 1"),
        (lambda f: f | {"format": "other"}, "not a review of biot-bd"),
        (lambda f: f | {"read_whole": "yes"}, "read_whole: expected true or false, found 'yes'"),
        (lambda f: f | {"marks": f["marks"][:1]}, "has 2 seizures, its marks in a_review.json say 1"),
        (lambda f: {key: f[key] for key in f if key != "digest"}, "digest is missing"),
    ],
)
def test_a_damaged_sidecar_is_one_line(clinic, change, said):
    root, results = clinic
    path = results / "reviews/anna/p1/a_review.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(RecordingError) as error:
        loaded(root, results / "reviews" / "anna")
    assert said in str(error.value)
    assert "a_review.json" in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"unlisted": "background"}, "exclude each other"),
        ({"events": None, "partly_read": True}, "partly_read=True is said of reviews"),
        ({"partly_read": "yes"}, "partly_read='yes': expected True or False"),
        ({"events": 3}, "events=3: expected a folder"),
    ],
)
def test_options_that_contradict_each_other(clinic, options, said):
    root, results = clinic
    with pytest.raises(ValueError, match=said):
        load_dataset("recordings-folder", root, **{"events": results / "reviews" / "anna", **options})


def test_no_folder_and_an_empty_one(clinic, tmp_path):
    root, _ = clinic
    with pytest.raises(FileNotFoundError, match="no such folder"):
        loaded(root, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no event table"):
        loaded(root, tmp_path / "empty")
    write_event_file(tmp_path / "other" / "z_events.tsv", [], DURATION_S)
    with pytest.raises(EmptyDatasetError, match="none of 3 recordings has labels in events="):
        loaded(root, tmp_path / "other")


@pytest.mark.filterwarnings("ignore:recordings-folder")
def test_generated_recordings_stay_generated_whoever_labels_them(tmp_path):
    load_dataset("demo", tmp_path / "demo", n_subjects=1, recordings=2, minutes=1)
    write_review(tmp_path / "results", "anna", "demo01/demo01_01", [("added", 10, 20, None)], 60.0)
    dataset, seizures = loaded(tmp_path / "demo", tmp_path / "results" / "reviews" / "anna")
    assert dataset.generated
    assert seizures == {"demo01__demo01_01": [(10.0, 20.0)]}
