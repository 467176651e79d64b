"""Recordings that a model saw, in a form that tells nothing to those who have not the recordings."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd.models.checkpoints.provenance import Provenance
from biot_bd.models.checkpoints.seen_recordings import SeenRecordings

digests = st.text("0123456789abcdef", min_size=32, max_size=32)
listed = st.lists(st.tuples(st.sampled_from(["a/1", "a/2", "b/1"]), digests), max_size=6)


@settings(max_examples=30, deadline=None)
@given(first=listed, second=listed, other=digests)
def test_what_was_seen_is_found_and_nothing_else_is_told(first, second, other):
    one = Provenance("one").extended([s for s, _ in first], recordings=first)
    both = one.extended([s for s, _ in second], source="both", recordings=second)
    text = json.dumps(both.to_dict())
    read = Provenance.from_dict(json.loads(text))
    assert read == both
    for digest in {d for _, d in [*first, *second]}:
        assert read.saw_recording(digest) == sorted({s for s, d in [*first, *second] if d == digest})
        assert digest not in text
    assert read.saw_recording(other) == sorted({s for s, d in [*first, *second] if d == other})


def test_two_records_of_the_same_recordings_share_nothing():
    recordings = [("clinic/01", "0a" * 16), ("clinic/02", "0b" * 16)]
    one, two = SeenRecordings.of(recordings), SeenRecordings.of(recordings)
    published = [{digest for _, of_subject in seen.subjects for digest in of_subject} for seen in (one, two)]
    assert one.salt != two.salt
    assert not published[0] & published[1]
    assert len(published[0]) == 2


def test_going_on_with_the_same_recordings_adds_nothing():
    first = Provenance("m").extended(["a/1"], recordings=[("a/1", "0a" * 16)])
    assert first.extended(["a/1"], recordings=[("a/1", "0a" * 16)]) == first
    assert first.joined(first) == first


def test_whether_names_alone_can_hide_something():
    seen = [("a/1", "0a" * 16)]
    assert Provenance("m").extended(["a/1"], recordings=seen).tells_recordings
    assert not Provenance("m").extended(["a/1", "a/2"], recordings=seen).tells_recordings
    assert not Provenance("m").extended(["a/1"]).tells_recordings
    assert not Provenance("m", (), known=False).tells_recordings


def test_records_without_recordings_are_as_before():
    assert "recordings" not in Provenance("m").extended(["a/1"]).to_dict()


@pytest.mark.parametrize(
    "recordings",
    [{}, [1], [{"salt": "s"}], [{"salt": 1, "subjects": {}}], [{"salt": "s", "subjects": {"a/1": ["x", 2]}}]],
)
def test_damaged_records_are_told(recordings):
    with pytest.raises(ValueError, match=r"^mine: .*recordings"):
        Provenance.from_dict({"trained_on": [], "recordings": recordings}, "mine")
