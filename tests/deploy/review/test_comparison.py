"""Reviewers of one folder of results, compared; the table that is printed of it."""

import json

import pytest
from reviewed_files import write_review

from biot_bd.commands._agreement import show_agreement
from biot_bd.deploy.review import compare_reviewers, write_agreement
from biot_bd.exceptions import ReviewError

HOUR_S = 3600.0


def add(results, reviewer, recording, *events, **options):
    marks = [("added", *event, None) for event in events]
    write_review(results, reviewer, recording, marks, HOUR_S, **options)


@pytest.fixture
def results(tmp_path):
    add(tmp_path, "anna", "p1/a", (100, 130), (300, 340), digest="d")
    add(tmp_path, "anna", "p1/b")
    add(tmp_path, "anna", "p1/c", read_whole=False)
    add(tmp_path, "ben.with-a-very-long-name", "p1/a", (104, 131), digest="d")
    add(tmp_path, "ben.with-a-very-long-name", "p1/c", (7, 9))
    return tmp_path


def test_only_what_both_read_whole_is_compared(results):
    found = compare_reviewers(results)
    (pair,) = found["pairs"]
    assert [row["recording"] for row in pair["recordings"]] == ["p1/a"]
    assert pair["events"]["n_only"] == {"anna": 1, "ben.with-a-very-long-name": 0}
    assert pair["samples"]["both_s"] == 26
    assert found["not_read_whole"] == {"anna": ["p1/c"], "ben.with-a-very-long-name": []}


def test_every_pair_of_three(results):
    add(results, "carl", "p1/b")
    found = compare_reviewers(results)
    assert [pair["reviewers"] for pair in found["pairs"]] == [["anna", "ben.with-a-very-long-name"], ["anna", "carl"]]
    assert found["without_common"] == [["ben.with-a-very-long-name", "carl"]]


def test_what_is_written_is_what_was_found(results):
    found = write_agreement(results)
    assert json.loads((results / "reviews/agreement.json").read_text()) == {
        "format": "biot_bd agreement",
        "version": 1,
        **found,
    }
    assert compare_reviewers(results) == found  # the file is taken for no review


def test_the_table_fits_a_console(results, capsys):
    show_agreement(results)
    out = capsys.readouterr().out
    table = out[: out.index("onset,")]
    assert max(map(len, table.splitlines())) <= 80
    assert "anna and ben.with-a-very-long-name: 1 recording that both read whole, 1 h" in out
    assert "onset, ben.with-a-very-long-name minus anna: median +4.00 s, +4.00 to +4.00 s (1 matched event)" in out
    assert "not read whole by anna, left out: p1/c" in out
    show_agreement(results, json=True)
    assert json.loads(capsys.readouterr().out)["reviewers"] == ["anna", "ben.with-a-very-long-name"]


def test_what_cannot_be_compared_is_refused(tmp_path):
    with pytest.raises(ReviewError, match="agreement needs reviews of two, found none"):
        compare_reviewers(tmp_path)
    add(tmp_path, "anna", "a", digest="one")
    with pytest.raises(ReviewError, match="found only those of anna"):
        compare_reviewers(tmp_path)
    add(tmp_path, "ben", "b", digest="other")
    with pytest.raises(ReviewError, match="no recording was read whole by two of anna, ben"):
        compare_reviewers(tmp_path)
    add(tmp_path, "ben", "a", digest="other")
    with pytest.raises(ReviewError, match="a: anna and ben reviewed different recordings of this name"):
        compare_reviewers(tmp_path)
