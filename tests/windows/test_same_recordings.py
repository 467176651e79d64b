"""Stores that are joined: one name for two children, two names for one, and recordings that share a name."""

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from two_clinics import anonymous_copy, prepared, write_clinic

from biot_bd import Windows, load_dataset
from biot_bd.exceptions import SubjectLeakError
from biot_bd.windows.same_recordings import check_recordings_apart, namespace_note, shared_recordings


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("joined")


@pytest.fixture(scope="module")
def ours(place):
    return prepared(write_clinic(place / "a" / "recordings", ("P01", "P02")), place / "ours")


@pytest.fixture(scope="module")
def theirs(place):
    return write_clinic(place / "b" / "recordings", ("P01", "P02"), seed=1)


def test_two_hospitals_with_the_same_names_of_all_are_not_merged(ours, theirs, place):
    with pytest.raises(ValueError, match=r"two recordings are called 'P01__rec1' of recordings/P01.*namespace="):
        Windows.concat([ours, prepared(theirs, place / "merged")])


def test_one_name_for_two_children_is_told(ours, place):
    other = write_clinic(place / "c" / "recordings", ("P01", "P03"), seed=2, name="rec9")
    with pytest.warns(UserWarning, match=r"^recordings/P01: the same names .* namespace="):
        joined = Windows.concat([ours, prepared(other, place / "doubt")])
    assert sorted(set(joined.groups)) == ["recordings/P01", "recordings/P02", "recordings/P03"]


def test_namespaces_tell_subjects_and_recordings_apart(ours, theirs, place):
    other = prepared(theirs, place / "named", namespace="clinic-b")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        joined = Windows.concat([ours, other])
    assert joined.recordings[["recording", "subject"]].to_numpy().tolist() == [
        ["recordings__P01__rec1", "recordings/P01"],
        ["recordings__P02__rec1", "recordings/P02"],
        ["clinic-b__P01__rec1", "clinic-b/P01"],
        ["clinic-b__P02__rec1", "clinic-b/P02"],
    ]
    assert joined.seizures["recording"].tolist() == joined.recordings["recording"].tolist()
    assert set(joined.metadata["recording"]) == set(joined.recordings["recording"])
    np.testing.assert_array_equal(np.asarray(joined), np.concatenate([np.asarray(ours), np.asarray(other)]))
    assert ours.recordings["recording"].tolist() == ["P01__rec1", "P02__rec1"]
    assert joined[:3].recordings["subject"].tolist() == ["recordings/P01"]


def test_the_same_recordings_prepared_twice_join_as_before(ours, place):
    again = prepared(place / "a" / "recordings", place / "again")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(Windows.concat([ours[:6], again[6:]])) == len(ours)


def test_a_recording_under_two_subjects_is_refused_where_both_are_there(ours, place):
    copy = anonymous_copy(place / "a" / "recordings", place / "d" / "study", rename=lambda s: "kid" + s[-1])
    hidden = prepared(copy, place / "hidden")
    with pytest.raises(SubjectLeakError, match=r"'P01__rec1' of recordings/P01 and 'kid1__visit' of study/kid1"):
        Windows.concat([ours, hidden])
    joined = Windows.concat([ours.query("subject == 'recordings/P01'"), hidden.query("subject == 'study/kid2'")])
    assert set(joined.groups) == {"recordings/P01", "study/kid2"}


rows = st.lists(
    st.tuples(st.sampled_from("uvw"), st.sampled_from(["a/1", "a/2", "b/1"]), st.sampled_from([None, "x", "y"])),
    max_size=6,
)


@settings(max_examples=50, deadline=None)
@given(rows=rows)
def test_what_is_shared_is_what_two_subjects_have(rows):
    table = pd.DataFrame(rows, columns=["recording", "subject", "digest"], dtype=object)
    subjects = {d: {s for _, s, digest in rows if digest == d} for _, _, d in rows if d is not None}
    shared = any(len(found) > 1 for found in subjects.values())
    assert (shared_recordings(table) is not None) == shared
    if shared:
        with pytest.raises(SubjectLeakError):
            check_recordings_apart(table)
    else:
        check_recordings_apart(table)


def test_the_name_of_a_folder_is_said_to_be_one(ours, theirs, place):
    assert namespace_note(ours.recordings).startswith("subjects are named after the folder recordings (recordings/P01")
    assert namespace_note(prepared(theirs, place / "given", namespace="clinic-b").recordings) is None


def test_loaders_that_name_their_subjects_take_no_namespace(tmp_path, theirs):
    dataset = load_dataset("recordings-folder", theirs, namespace="clinic-b")
    assert {part.description["subject"] for part in dataset.datasets} == {"clinic-b/P01", "clinic-b/P02"}
    with pytest.raises(TypeError, match="data set 'chb-mit' has no option namespace"):
        load_dataset("chb-mit", tmp_path, namespace="mine")
