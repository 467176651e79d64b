"""Tables as spreadsheets, R and nurses write them: the events that stand there, or an error that names file and row."""

import csv

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd.events.files import read_event_file
from biot_bd.events.szcore import read_events
from biot_bd.events.tables import clock_time, number, read_table
from biot_bd.exceptions import RecordingError

HEAD = "onset\tduration\teventType\tconfidence\tchannels\tdateTime\trecordingDuration"
ROWS = [f"{onset}.00\t20.00\tsz\tn/a\tn/a\t2020-03-02 10:11:12\t600.00" for onset in (60, 200)]
SHORT = "eventType\tonset\tduration\trecordingDuration"


def text(*lines, end="\n", encoding="utf-8"):
    return end.join([*lines, ""]).encode(encoding)


READ = {
    "plain": text(HEAD, *ROWS),
    "crlf": text(HEAD, *ROWS, end="\r\n"),
    "cr": text(HEAD, *ROWS, end="\r"),
    "mark of utf-8": text(HEAD, *ROWS, encoding="utf-8-sig"),
    "utf-16": text(HEAD, *ROWS, encoding="utf-16"),
    "latin-1": text(HEAD + "\tcomment", *(row + "\tTürkei \x85 ja" for row in ROWS), encoding="latin1"),
    "no last newline": text(HEAD, *ROWS)[:-1],
    "blank lines": text(HEAD, "", ROWS[0], " ", ROWS[1], "", "\t"),
    "trailing tab in rows": text(HEAD, *(row + "\t" for row in ROWS)),
    "trailing tabs everywhere": text(HEAD + "\t\t", *(row + "\t\t" for row in ROWS)),
    "short rows": text(HEAD, *("\t".join(row.split("\t")[:3]) for row in ROWS)),
    "blanks around": text(HEAD, *(row.replace("\t", " \t ") for row in ROWS)),
    "comment": text("# made by hand", HEAD, *ROWS),
    "background without times": text(HEAD, *ROWS, "0\tn/a\tbckg\tn/a\tn/a\tn/a\t600.00", "n/a\tn/a\timpd\tn/a"),
    "reordered": text(SHORT, "sz\t60\t20\t600", "sz\t200\t20\t600"),
    "reordered with trailing tabs": text(SHORT, "sz\t60\t20\t600\t", "sz\t200\t20\t600\t"),
    "index": text("\t" + HEAD, "0\t" + ROWS[0], "1\t" + ROWS[1]),
    "column in front": text("stop\tonset\tduration\teventType", "80\t60\t20\tsz\t", "220\t200\t20\tsz\t"),
    "exponents": text("onset\tduration\teventType", "6e1\t2.0E+1\tsz", "+200.\t.2e2\tSeizure"),
    "lone quotes": text(HEAD + "\tnote", ROWS[0] + '\t"aura, then staring', ROWS[1] + '\t"late" or "'),
    "a quote to the end": text(HEAD + "\tnote", ROWS[0] + '\t"', ROWS[1] + "\tx"),
}


@pytest.mark.parametrize("case", READ)
def test_both_seizures_are_read(tmp_path, case):
    path = tmp_path / "x_events.tsv"
    path.write_bytes(READ[case])
    assert [(e.onset_s, e.offset_s) for e in read_event_file(path).events] == [(60, 80), (200, 220)]
    assert [(e.onset_s, e.duration_s) for e in read_events(path) if e.kind == "sz"] == [(60, 20), (200, 20)]


NAMED = {
    "decimal comma": (
        text(HEAD, ROWS[0], ROWS[1].replace("200.00", "200,00")),
        r"line 3: onset is '200,00', with a comma",
    ),
    "thousands": (text(HEAD, "1,060.00\t20.00\tsz"), r"line 2: onset is '1,060.00', which is no number"),
    "nan": (text(HEAD, "nan\t20\tsz"), r"line 2: onset is 'nan', which is not finite"),
    "inf": (text(HEAD, "60\t-inf\tsz"), r"line 2: duration is '-inf', which is not finite"),
    "overflow": (text(HEAD, "60\t1e400\tsz"), r"line 2: duration is '1e400', which is not finite"),
    "background of no end": (text(HEAD, ROWS[0], "0\tInfinity\tbckg"), r"line 3: duration is 'Infinity'"),
    "underscore": (text(HEAD, "6_0\t20\tsz"), r"line 2: onset is '6_0', which is no number"),
    "hex": (text(HEAD, "0x10\t20\tsz"), r"onset is '0x10'"),
    "seizure without a length": (text(HEAD, "60\tn/a\tsz"), r"line 2: duration is 'n/a'"),
    "row too long": (text(HEAD, ROWS[0], ROWS[1] + "\textra"), r"line 3: has 8 cells for 7 columns"),
    "names of rows": (text(HEAD, *(f"1\t{row}" for row in ROWS)), r"line 2: has 8 cells for 7 columns"),
    "quoted": (text('"' + HEAD.replace("\t", '"\t"') + '"'), r"has no column .*write it without quotation marks"),
    "trial_type": (
        text(HEAD.replace("eventType", "trial_type"), *ROWS),
        r"has no column eventType; expected onset, duration, eventType, found onset, duration, trial_type",
    ),
    "commas": (
        text(HEAD.replace("\t", ",")),
        "other characters stand between the cells than are expected, which are tabs",
    ),
    "eventType twice": (
        text(HEAD + "\teventType", *(row + "\tx" for row in ROWS)),
        "'eventType' stands there more than once",
    ),
    "length of n": (text(HEAD, ROWS[0].replace("600.00", "inf")), r"line 2: recordingDuration is 'inf'"),
    "two lengths": (text(HEAD, ROWS[0], ROWS[1].replace("600.00", "700")), "recordingDuration differs between rows"),
    "binary": (b"\0\5\x16\7" + b"\xb0" * 100, "is no text"),
    "empty": (b"", "the table is empty"),
    "only comments": (b"# nothing\n", "the table is empty"),
    "unknown type": (text(HEAD, ROWS[0].replace("sz", "go")), "line 2: unknown eventType 'go'"),
}


@pytest.mark.parametrize("case", NAMED)
def test_what_is_wrong_is_named_with_file_and_row(tmp_path, case):
    data, message = NAMED[case]
    path = tmp_path / "x_events.tsv"
    path.write_bytes(data)
    with pytest.raises(RecordingError, match=message) as caught:
        read_event_file(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_table_that_is_only_a_header_is_said_to_be_one(tmp_path):
    path = tmp_path / "x_events.tsv"
    path.write_text(HEAD + "\n")
    file = read_event_file(path)
    assert (file.events, file.duration_s) == ([], None)
    assert file.notes == ("the table is only a header, no row says what was found",)


@pytest.mark.parametrize(
    ("written", "hour"),
    [
        ("2020-03-02 10:11:12", 10), ("2020-03-02T10:11:12.250", 10), ("2020-03-02 10:11:12+01:00", 10), ("2020-03-02T10:11:12Z", 10),
        ("02.03.2020 10:11:12", None), ("02/03/2020 10:11", None), ("2020-13-02 10:11:12", None), ("10:11:12", None), ("2020-03-02", None),
    ],
)  # fmt: skip
def test_a_start_is_read_as_the_standard_writes_it_or_noted(tmp_path, written, hour):
    path = tmp_path / "x_events.tsv"
    path.write_bytes(text(HEAD, ROWS[0].replace("2020-03-02 10:11:12", written)))
    file = read_event_file(path)
    if hour is None:
        assert file.start is None
        assert written in file.notes[0]
    else:
        assert (file.start.month, file.start.day, file.start.hour, file.start.tzinfo) == (3, 2, hour, None)
        assert file.notes == ()
    assert clock_time(written) == file.start


def test_csv_bi_knows_no_quotes_either_and_names_rows(tmp_path):
    path = tmp_path / "x.csv_bi"
    head = '# version = csv_v1.0.0\n# duration = 600.0000 secs\n# note = "\n\nchannel,start_time,stop_time,label,confidence\n'
    path.write_text(head + 'TERM,60.0,80.0,seiz,1.0\n"TERM,0,60,bckg,1.0,\nTERM,200.0,220.0,fnsz,0.5\n')
    file = read_event_file(path)
    assert ([tuple(event) for event in file.events], file.duration_s) == ([(60, 80, 1), (200, 220, 0.5)], 600)
    for row, message in (
        ("TERM,nan,80,seiz,1", "line 6: start_time is 'nan', which is not finite"),
        ("TERM,60,inf,bckg,1", "line 6: stop_time is 'inf', which is not finite"),
        ("TERM,60,80,what,1", "line 6: unknown label 'what'"),
        ("TERM,60", "line 6: unknown label ''"),
    ):
        path.write_text(head + row + "\n")
        with pytest.raises(ValueError, match=message) as caught:
            read_event_file(path)
        assert str(path) in str(caught.value)


NOTES = st.text(st.characters(blacklist_characters="\t\n\r\0", blacklist_categories=("Cs",)), max_size=12)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1e5), st.floats(0.01, 1e4), NOTES), max_size=6),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.integers(0, 3),
)
def test_any_note_in_any_row_leaves_every_event_where_it_is(tmp_path_factory, rows, end, encoding, tabs):
    path = tmp_path_factory.mktemp("t", numbered=True) / "x_events.tsv"
    more = "\t" * tabs
    lines = [f"note\tonset\tduration\teventType\tmore{more}"]
    lines += [f"{note}\t{onset!r}\t{length!r}\tsz\t{note}{more}" for onset, length, note in rows]
    path.write_bytes((end.join(lines) + end).encode(encoding))
    assert [(row.onset_s, row.duration_s) for row in read_events(path)] == [
        (onset, length) for onset, length, _ in rows
    ]
    if encoding == "utf-8" and end == "\n":
        truth = csv.DictReader(path.read_text("utf-8").split("\n"), delimiter="\t", quoting=csv.QUOTE_NONE)
        assert [row["onset"] for row in truth] == [repr(onset) for onset, *_ in rows]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_a_table_or_one_line_that_names_the_file(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("b", numbered=True) / "x.csv_bi"
    for ending in (".csv_bi", ".tsv"):
        path = path.with_suffix(ending)
        path.write_bytes(data if data[:1] != b"o" else HEAD.encode() + b"\n" + data)
        said = outcome(path)
        assert said == "read" or (path.name in said and "\n" not in said)


def outcome(path):
    try:
        read_event_file(path)
    except ValueError as error:
        return str(error)
    return "read"


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_finite_number_is_read_as_it_was_written(value):
    assert number(repr(value)) == value


def test_a_table_keeps_cells_comments_and_lines(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_text('# a\n\na\tb\n1\n"2"\t n/a \n')
    table = read_table(path, ["a"])
    assert table.columns == ("a", "b")
    assert table.comments == ("# a",)
    assert [(row.line, row["a"], row["b"], row.get("b")) for row in table.rows] == [
        (4, "1", "", None),
        (5, '"2"', "n/a", None),
    ]
