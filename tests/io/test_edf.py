"""The header against edfio's and MNE's, and against files with headers that are wrong."""

import edfio
import mne
import numpy as np
import pytest

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


def test_a_gap_is_told_with_its_record(path):
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
    with pytest.raises(RecordingError, match=r"is EDF\+D with a gap: record 3 begins at 7 s, expected 2 s"):
        open_edf(path)
