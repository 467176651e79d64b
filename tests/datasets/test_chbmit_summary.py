"""Summaries of CHB-MIT: the 24 official ones, odd ones, broken ones."""

import re
from pathlib import Path

import pytest
from edf_files import HEADER, entry
from hypothesis import given
from hypothesis import strategies as st

from biot_bd.datasets.chbmit import read_summary
from biot_bd.datasets.chbmit_summary import _Parser


@pytest.fixture(scope="module")
def summaries(shared):
    paths = sorted((shared / "data" / "chbmit-annotations").glob("chb*-summary.txt"))
    return {path.name[:5]: (path, read_summary(path)) for path in paths}


def test_all_24_parse_with_the_known_totals(summaries):
    assert len(summaries) == 24
    assert sum(len(records) for _, records in summaries.values()) == 676
    assert sum(len(r.seizures) for _, records in summaries.values() for r in records) == 198


def test_agrees_with_counts_by_regular_expression(summaries):
    for path, records in summaries.values():
        text = path.read_text()
        assert [r.file for r in records] == re.findall(r"File Name:\s*(\S+)", text)
        assert [len(r.seizures) for r in records] == [int(n) for n in re.findall(r"Seizures in File:\s*(\d+)", text)]
        times = [int(n) for n in re.findall(r"(?:Start|End) Time:\s*(\d+) seconds", text)]
        assert [second for r in records for seizure in r.seizures for second in seizure] == times


def test_agrees_with_the_published_seizure_files(summaries, shared):
    """PhysioNet keeps a file ``x.edf.seizures`` beside each EDF with seizures: an independent truth."""
    listed = (shared / "data" / "chbmit-annotations" / "SHA256SUMS.txt").read_text().split()
    found = {r.file for _, records in summaries.values() for r in records if r.seizures}
    assert found == {name.rpartition("/")[2].removesuffix(".seizures") for name in listed if name.endswith(".seizures")}


def test_seizures_lie_inside_their_files(summaries):
    for _, records in summaries.values():
        for r in records:
            assert all(0 <= on < off for on, off in r.seizures)
            if r.end_s is not None:
                assert 0 < r.end_s - r.start_s < 5 * 3600
                assert all(off <= r.end_s - r.start_s for _, off in r.seizures)


def test_irregular_names_and_numbered_seizures(summaries):
    files = {r.file: r for _, records in summaries.values() for r in records}
    assert files["chb02_16+.edf"].seizures == [(2972, 3053)]
    assert files["chb17a_03.edf"].seizures == [(2282, 2372)]
    assert files["chb01_03.edf"].seizures == [(2996, 3036)]
    assert len(files["chb06_04.edf"].seizures) == 2


def test_channels_follow_the_blocks(summaries):
    files = {r.file: r for _, records in summaries.values() for r in records}
    assert files["chb12_06.edf"].ch_names[:5] == ("FP1-F7", "F7-T7", "T7-P7", "P7-O1", "-")
    assert files["chb12_27.edf"].ch_names[0] == "F7-CS2"
    assert files["chb12_28.edf"].ch_names[0] == "F7"
    assert files["chb12_28.edf"].ch_names[8] == "01"
    assert files["chb12_32.edf"].ch_names[-1] == "LOC-ROC"
    assert len(files["chb01_01.edf"].ch_names) == 23
    assert files["chb01_01.edf"].ch_names.count("T8-P8") == 2


def test_times(summaries):
    chb04 = {r.file: r for r in summaries["chb04"][1]}
    assert chb04["chb04_02.edf"].start_s == 22 * 3600 + 2 * 60 + 15
    assert chb04["chb04_02.edf"].end_s - chb04["chb04_02.edf"].start_s == 4 * 3600  # written as 26:02:15
    assert all(r.start_s is None and r.end_s is None for r in summaries["chb24"][1])


def test_a_midnight_within_a_file(tmp_path):
    path = tmp_path / "chb01-summary.txt"
    times = "File Start Time: 23:30:00\nFile End Time: 0:30:00\nNumber"
    path.write_text(HEADER + entry("chb01_01.edf").replace("Number", times))
    record = read_summary(path)[0]
    assert record.end_s - record.start_s == 3600


def test_chb24_has_16_seizures_and_lacks_ten_files(summaries, shared):
    records = summaries["chb24"][1]
    assert sum(len(r.seizures) for r in records) == 16
    listed = {p.rpartition("/")[2] for p in (shared / "data/chbmit-annotations/RECORDS").read_text().split()}
    absent = {p for p in listed if p.startswith("chb24")} - {r.file for r in records}
    assert sorted(name[6:8] for name in absent) == "02 05 08 10 12 16 18 19 20 22".split()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no 'File Name:'"),
        (HEADER, "no 'File Name:'"),
        (entry("chb01_01.edf"), "before the sampling rate"),
        (HEADER + "Number of Seizures in File: 0\nFile End Time: 1:00:00\n", "before the first 'File Name:'"),
        (HEADER + "File Name: chb01_01.edf\n", "chb01_01.edf: number of seizures is not given"),
        (HEADER + entry("a.edf") + "File Name: b.edf\n", "b.edf: number of seizures is not given"),
        (HEADER + entry("a.edf", [(1, 2)]).replace("File: 1", "File: 2"), "is 2, but 1 are listed"),
        (HEADER + entry("a.edf", [(1, 2)]).replace("Seizure End", "Seizure Start"), "two seizure starts"),
        (HEADER + entry("a.edf", [(1, 2)]).replace("Seizure Start", "Seizure End"), "an end|end without a start"),
        (
            HEADER + entry("a.edf", [(1, 2)]).replace("1 seconds", "one seconds"),
            "line 11: expected a number of seconds",
        ),
        (
            HEADER + entry("a.edf", [(1, 2)]).replace("1 seconds", "9" * 400 + " seconds"),
            "a number of seconds, found '9999",
        ),
        (HEADER + entry("a.edf").replace("File: 0", "File: " + "9" * 400), "a number, found '9999"),
        (HEADER.replace("256", "0"), "a sampling rate above 0 Hz, found '0 Hz'"),
        (HEADER.replace("256", "9" * 400), "a number of Hz, found '9999"),
        (HEADER + entry("a.edf") + entry("a.edf"), "a.edf is listed twice"),
        (HEADER + entry("../a.edf"), "not a plain file name"),
        (HEADER + entry("a.edf") + "File Start Time: noon\n", "hh:mm:ss"),
        (HEADER + entry("a.edf") + "Colour: red\n", "unknown entry 'Colour'"),
        (HEADER + entry("a.edf") + "what is this\n", "expected 'name: value'"),
    ],
)
def test_faults_name_the_file_and_the_line(tmp_path, text, message):
    path = tmp_path / "chb01-summary.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_summary(path)
    assert re.match(rf"{re.escape(str(path))}, line \d+:", str(caught.value))


def test_binary_is_refused(tmp_path):
    path = tmp_path / "chb01-summary.txt"
    path.write_bytes(b"\xff\xfe\x00Data")
    with pytest.raises(ValueError, match="not a text file"):
        read_summary(path)


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 300)), max_size=4), min_size=1, max_size=5),
    st.booleans(),
)
def test_what_is_written_is_read(lengths, numbered):
    seizures = [[(on, on + length) for on, length in file] for file in lengths]
    text = HEADER + "".join(entry(f"chb01_{i:02d}.edf", s, numbered) for i, s in enumerate(seizures))
    assert [r.seizures for r in _Parser(Path("s.txt")).parse(text)] == seizures
