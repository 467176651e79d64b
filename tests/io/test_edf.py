"""The header against edfio's and MNE's, and against files with headers that are wrong."""

import datetime as dt

import edfio
import mne
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd.exceptions import RecordingError
from biot_bd.io import open_edf, read_edf_header


@pytest.fixture
def path(tmp_path):
    """Return a file of four records of a second, two signals of other rates and one of annotations."""
    rng = np.random.default_rng(0)
    signals = [
        edfio.EdfSignal(
            rng.normal(0, 30, 4 * rate), rate, label=label, physical_dimension=unit, physical_range=(-200, 200)
        )
        for rate, label, unit in ((256, "EEG Fp1-REF", "uV"), (64, "ECG", "mV"))
    ]
    found = tmp_path / "x.edf"
    edfio.Edf(signals, annotations=[edfio.EdfAnnotation(1, 2, "sz")], data_record_duration=1).write(found)
    return found


def test_the_header_says_what_edfio_says(path):
    header, truth = read_edf_header(path), edfio.read_edf(path)
    assert header.labels[:2] == tuple(truth.labels)
    assert header.samples[:2] == tuple(s.samples_per_data_record for s in truth.signals)
    assert header.field("unit")[:2] == [s.physical_dimension for s in truth.signals]
    assert [float(x) for x in header.field("physical_max")[:2]] == [s.physical_max for s in truth.signals]
    assert [int(x) for x in header.field("digital_min")[:2]] == [s.digital_min for s in truth.signals]
    assert (header.declared, header.present, header.record_s) == (truth.num_data_records, 4, 1.0)
    assert (header.kind, header.sample_bytes, header.n_bytes) == ("EDF+C", 2, truth.bytes_in_header_record)
    assert header.cut_short is None


def test_a_cut_file_says_how_many_records_are_missing(path):
    record = 2 * sum(read_edf_header(path).samples)
    path.write_bytes(path.read_bytes()[: -record - 1])
    assert read_edf_header(path).cut_short == "the header declares 4 records, the file holds 2"
    with pytest.raises(RecordingError, match=r"x\.edf: incomplete: the header declares 4 records, the file holds 2"):
        open_edf(path)
    assert open_edf(path, allow_truncated=True).n_times == 2 * 256


@pytest.mark.parametrize("value", ["-inf", "nan", "1e999", "1e35"])
@pytest.mark.parametrize(("name", "at"), [("physical_min", 104), ("physical_max", 112), ("digital_max", 128)])
def test_a_range_without_end_is_told_with_its_channel_and_never_read_as_nan(path, name, at, value):
    data = bytearray(path.read_bytes())
    place = 256 + 3 * at + 8  # of the second of three signals
    data[place : place + 8] = value.encode().ljust(8)
    path.write_bytes(data)
    with pytest.raises(RecordingError, match=rf"^.*x\.edf: channel 'ECG' has {name} '{value}'; expected a finite"):
        open_edf(path)


@pytest.mark.parametrize("damage", ["short", "length", "signals", "samples"])
def test_a_header_that_is_none_is_told_by_the_files_name(path, damage):
    data = bytearray(path.read_bytes())
    if damage == "short":
        data = data[:300]
    elif damage == "length":
        data[184:192] = b"9999    "
    elif damage == "signals":
        data[252:256] = b"two "
    else:
        data[256 + 216 * 3 : 256 + 216 * 3 + 8] = b"many    "
    path.write_bytes(bytes(data))
    with pytest.raises(RecordingError, match=r"x\.edf: the header is not that of an EDF or BDF file") as caught:
        read_edf_header(path)
    assert caught.value.outcome == "unreadable"


@settings(max_examples=10, deadline=None)
@given(n=st.integers(256, 256 * 3 - 1))
def test_a_file_that_ends_within_its_header_says_where(tmp_path_factory, plain, n):
    path = tmp_path_factory.mktemp("short") / "x.edf"
    whole = plain[0].read_bytes()
    length = 256 * (1 + int(whole[252:256]))
    path.write_bytes(whole[: min(n, length - 1)])
    told = rf"x\.edf: .*the file ends after {min(n, length - 1)} bytes of a header of {length}\)"
    with pytest.raises(RecordingError, match=told):
        read_edf_header(path)


@pytest.mark.parametrize("n", ["-1", "0", "-99"])
def test_numbers_of_signals_that_are_none_are_told_before_anything_is_read(tmp_path, plain, n):
    path = tmp_path / "x.edf"
    whole = plain[0].read_bytes()
    path.write_bytes(whole[:252] + n.encode().ljust(4) + whole[256:])
    with pytest.raises(RecordingError, match=f"it declares {n} signals"):
        read_edf_header(path)


def test_records_out_of_order_are_told_with_their_number(path):
    data = bytearray(path.read_bytes())
    data[192:197] = b"EDF+D"
    header = read_edf_header(path)
    record, before = 2 * sum(header.samples), 2 * sum(header.samples[:2])
    path.write_bytes(bytes(data))
    assert isinstance(open_edf(path), mne.io.BaseRaw)
    place = header.n_bytes + 2 * record + before
    assert data[place : place + 3] == b"+2\x14"
    data[place : place + 3] = b"+7\x14"
    path.write_bytes(bytes(data))
    with pytest.raises(
        RecordingError, match=r"is EDF\+D, and its records are out of order: stamp 4 says 3 s, expected 8 s"
    ):
        open_edf(path)


def rewritten(path, start, text):
    data = bytearray(path.read_bytes())
    data[start : start + len(text)] = text
    path.write_bytes(bytes(data))
    return path


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Return a plain EDF file of five records of a second, and its samples in uV."""
    found, x = tmp_path_factory.mktemp("plain") / "x.edf", np.random.default_rng(1).normal(0, 30, 5 * 64)
    signal = edfio.EdfSignal(x, 64, label="Fp1", physical_dimension="uV", physical_range=(-200, 200))
    edfio.Edf([signal], data_record_duration=1).write(found)
    return found, edfio.read_edf(found).signals[0].data


@settings(max_examples=40, deadline=None)
@given(behind=st.binary(min_size=1, max_size=1000), declared=st.integers(1, 5))
def test_bytes_behind_the_declared_records_are_told_and_never_read(tmp_path_factory, plain, behind, declared):
    whole, truth = plain
    path = tmp_path_factory.mktemp("behind") / "x.edf"
    path.write_bytes(whole.read_bytes() + behind)
    rewritten(path, 236, str(declared).encode().ljust(8))
    notes = []
    raw = open_edf(path, notes=notes)
    assert np.allclose(raw.get_data()[0] * 1e6, truth[: declared * 64])
    surplus = len(behind) + (5 - declared) * 128
    said = f"{surplus} bytes behind the {declared} records are not of the recording by its header: not read"
    assert notes == [said]


@pytest.mark.parametrize(
    ("declared", "n", "said"), [("-1", 5, "does not say how many"), ("0", 5, "does not say how many")]
)
def test_a_count_that_was_never_written_is_told(tmp_path, plain, declared, n, said):
    path = tmp_path / "x.edf"
    path.write_bytes(plain[0].read_bytes())
    notes = []
    assert open_edf(rewritten(path, 236, declared.encode().ljust(8)), notes=notes).n_times == n * 64
    assert notes == [f"the header {said} records there are; {n} were found"]


def test_records_whose_stamps_go_on_are_read_whatever_the_header_counts(path):
    truth = open_edf(path).get_data()
    notes = []
    raw = open_edf(rewritten(path, 236, b"2       "), notes=notes)
    assert np.array_equal(raw.get_data(), truth)
    assert notes == ["the header declares 2 records; time stamps go on, and 4 were read"]


@pytest.mark.parametrize(
    ("date", "clock", "start"),
    [
        (b"02.03.20", b"24.00.00", None),
        (b"02.03.20", b"10.61.00", None),
        (b"31.04.21", b"10.11.12", None),
        (b"02-03-20", b"10:11:12", dt.datetime(2020, 3, 2, 10, 11, 12, tzinfo=dt.UTC)),
        (b"2/3/20  ", b"9.1.2   ", dt.datetime(2020, 3, 2, 9, 1, 2, tzinfo=dt.UTC)),
    ],
)
def test_a_start_is_right_or_absent_with_a_note_and_the_signal_is_read(tmp_path, plain, date, clock, start):
    path = tmp_path / "x.edf"
    path.write_bytes(plain[0].read_bytes())
    notes = []
    raw = open_edf(rewritten(rewritten(path, 88, b" " * 80), 168, date + clock), notes=notes)
    assert np.allclose(raw.get_data()[0] * 1e6, plain[1])
    assert raw.info["meas_date"] == start
    assert len(notes) == (start is None)
    assert isinstance(mne.io.edf.edf.datetime(2020, 1, 1), dt.datetime)  # MNE is left as it was


@pytest.mark.parametrize(("first_s", "stamps"), [(0.5, b"+%d.5"), (7200, b"+720%d")])
def test_a_recording_begins_when_its_first_record_does(path, first_s, stamps):
    whole = dt.datetime(2020, 3, 2, 10, 11, 12, tzinfo=dt.UTC)
    data, record = rewritten(path, 168, b"02.03.2010.11.12").read_bytes(), 2 * sum(read_edf_header(path).samples)
    at = read_edf_header(path).n_bytes + 2 * sum(read_edf_header(path).samples[:2])
    for k in range(4):
        stamp = (stamps % k + b"\x14\x14\0").ljust(record - 2 * (256 + 64), b"\0")
        data = data[: at + k * record] + stamp + data[at + k * record + len(stamp) :]
    path.write_bytes(data)
    assert open_edf(path).info["meas_date"] == whole + dt.timedelta(seconds=first_s)
