"""Recordings are read by what their bytes say; whatever fails is one line that names the file."""

import contextlib
import os
import socket
import warnings
from pathlib import Path

import mne
import numpy as np
import pytest
from deploy_files import save_edf
from gap_files import plugged
from hypothesis import given, settings
from hypothesis import strategies as st
from mne.io._read_raw import _get_supported

from biot_bd import registry
from biot_bd.exceptions import DetectionError, RecordingError
from biot_bd.io.readers import Reader, find_reader, open_raw, readers_of
from biot_bd.io.recordings import open_recording
from biot_bd.testing import check_reader

NAMES = ("Fp1", "F7", "T3")
SFREQ = 64


def write_bdf(path, x, sfreq=SFREQ):
    """Write whole seconds as a BDF of 24 bits, by hand, 0.03125 uV a step."""
    n = len(x)
    columns = (
        (16, NAMES), (80, [""] * n), (8, ["uV"] * n), (8, ["-262144"] * n), (8, ["262143.9"] * n),
        (8, ["-8388608"] * n), (8, ["8388607"] * n), (80, [""] * n), (8, [str(sfreq)] * n), (32, [""] * n),
    )  # fmt: skip
    n_records = x.shape[1] // sfreq
    head = b"\xffBIOSEMI" + b" " * 160 + b"02.03.2010.11.12" + str(256 * (n + 1)).ljust(8).encode() + b"24BIT".ljust(44)
    head += str(n_records).ljust(8).encode() + b"1".ljust(8) + str(n).ljust(4).encode()
    head += b"".join(str(v).ljust(width).encode() for width, values in columns for v in values)
    digital = np.rint((x + 262144) / (524287.9 / 16777215) - 8388608).astype("<i4")
    records = digital.reshape(n, n_records, sfreq).transpose(1, 0, 2).reshape(-1, 1).view(np.uint8).reshape(-1, 4)
    path.write_bytes(head + np.ascontiguousarray(records[:, :3]).tobytes())
    return path


@pytest.fixture
def signal():
    return np.random.default_rng(0).normal(0, 30, (3, 20 * SFREQ))


@pytest.mark.parametrize("ending", [".edf", ".bdf", ".EDF", ".Bdf", ".rec", ""])
@pytest.mark.parametrize("content", ["edf", "bdf"])
def test_edf_and_bdf_are_told_by_the_first_byte_whatever_the_ending(tmp_path, signal, ending, content):
    path = tmp_path / f"night{ending}"
    if content == "edf":
        save_edf(tmp_path / "x.edf", NAMES, signal, SFREQ).rename(path)
    else:
        write_bdf(path, signal)
    raw, _ = open_raw(path)
    assert raw.ch_names == list(NAMES)
    np.testing.assert_allclose(raw.get_data() * 1e6, signal, atol=0.05)  # EDF: a step is some 0.03 uV
    np.testing.assert_array_equal(open_recording(path).raw.get_data(), raw.get_data())


def test_every_ending_of_mne_has_a_reader():
    assert {ending for ending in _get_supported() if not readers_of(f"x{ending}")} == set()


def test_nihon_kohden_and_brainvision_share_an_ending(tmp_path, signal):
    raw = mne.io.RawArray(signal * 1e-6, mne.create_info(list(NAMES), SFREQ, "eeg"))
    mne.export.export_raw(tmp_path / "a.vhdr", raw, verbose="ERROR")
    assert find_reader(tmp_path / "a.vhdr") is registry.readers["brainvision"]
    with pytest.raises(RecordingError, match=r"a\.eeg: holds samples of a BrainVision recording .* give the \.vhdr"):
        open_raw(tmp_path / "a.eeg")
    # A system that no plugin of this repository claims.
    (tmp_path / "b.EEG").write_bytes(b"EEG-2100  V01.00" + bytes(1000))
    assert find_reader(tmp_path / "b.EEG") is registry.readers["nihon-kohden"]


def test_cnt_and_dat_are_told_by_their_first_bytes(tmp_path):
    for name, head, reader in (
        ("a.cnt", b"RIFF\0\0\0\0CNT ", "ant"),
        ("b.cnt", b"Version 3.0\0", "neuroscan"),
        ("c.dat", b"BCI2000V= 1.1 HeaderLen= 100", "bci2000"),
        ("d.dat", b"\1\2\3\4", "curry-parts"),
    ):
        (tmp_path / name).write_bytes(head)
        assert find_reader(tmp_path / name) is registry.readers[reader]


def test_epilepsiae_needs_its_head(tmp_path):
    counts = np.arange(2 * 256, dtype="<i2").reshape(256, 2) - 256
    (tmp_path / "100_0001.data").write_bytes(counts.tobytes())
    with pytest.raises(RecordingError, match=r"100_0001\.head does not lie beside it; copy both"):
        open_raw(tmp_path / "100_0001.data")
    (tmp_path / "100_0001.head").write_text(
        "start_ts=2008-11-03 12:28:32.000000\nnum_samples=256\nsample_freq=256\nconversion_factor=0.5\nnum_channels=2\n"
        "elec_names=[FP1,F7]\npat_id=1\nadm_id=2\nrec_id=3\nduration_in_sec=1\nsample_bytes=2\n"
    )
    raw, _ = open_raw(tmp_path / "100_0001.data")
    np.testing.assert_allclose(raw.get_data() * 1e6, counts.T * 0.5, rtol=1e-12)


# What is no recording ---------------------------------------------------------------------------------------------------


def make_pipe(path):
    os.mkfifo(path)


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def make_loop(path):
    path.symlink_to(path.name)


def make_annex(path):
    path.symlink_to("../.git/annex/objects/x1/y2/MD5E-s9--0.edf/MD5E-s9--0.edf")


NO_FILES = {
    "pipe": (make_pipe, "is a named pipe; expected a file"),
    "socket": (make_socket, "is a socket; expected a file"),
    "loop": (make_loop, "is a link that leads back to itself"),
    "annex": (make_annex, "git-annex has not fetched; fetch it by `git annex get`"),
    "dangling": (lambda p: p.symlink_to("gone.edf"), r"is a link to gone.edf, which cannot be opened"),
    "device": (lambda p: p.symlink_to("/dev/zero"), "is a device; expected a file"),
    "absent": (lambda p: None, "cannot be opened \\(No such file"),
    "folder": (Path.mkdir, "is a folder; a recording ending in .edf is a file"),
    "empty": (Path.touch, "the file is empty"),
    "pointer": (lambda p: p.write_text("/annex/objects/MD5E-s9--0.edf\n"), "pointer to a file that was not fetched"),
    "lfs": (lambda p: p.write_text("version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"),
}


@pytest.mark.parametrize("kind", NO_FILES)
def test_what_is_no_regular_file_is_one_line_at_once(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    make, message = NO_FILES[kind]
    path = Path("x.edf")
    make(path)
    for opener, kind_of_error in ((open_raw, RecordingError), (open_recording, DetectionError)):
        with pytest.raises(kind_of_error, match=message) as caught:
            opener(path)
        assert "x.edf" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_unknown_endings_say_so(tmp_path):
    (tmp_path / "notes.docx").write_bytes(b"PK\3\4")
    with pytest.raises(RecordingError, match=r"no reader for files ending in '\.docx'"):
        open_raw(tmp_path / "notes.docx")
    with pytest.raises(RecordingError, match="is a folder; expected a recording"):
        open_raw(tmp_path)


ENDINGS = sorted(
    {e for r in registry.readers.values() if not r.folder for e in r.endings} - {".bin", ".mat", ".txt", ".snirf"}
)


def outcome(path):
    """Return ``"read"``, or what the error says; any other exception is a failure."""
    try:
        open_raw(path)
    except RecordingError as error:
        return str(error)
    return "read"


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(ENDINGS),
    st.sampled_from(
        [b"", b"0       ", b"\xffBIOSEMI", b"EEG-1100C V01.00", b"GDF 2.20", b"RIFF", b"MATLAB 5.0 MAT-file"]
    ),
    st.binary(max_size=2000),
)
def test_any_bytes_under_any_ending_are_a_recording_or_one_named_line(tmp_path_factory, ending, start, rest):
    path = tmp_path_factory.mktemp("bytes", numbered=True) / f"x{ending}"
    path.write_bytes(start + rest)
    path.with_suffix(".head").write_bytes(rest)
    said = outcome(path)
    assert said == "read" or (f"x{ending}" in said and "\n" not in said)


# Notes ------------------------------------------------------------------------------------------------------------------


def test_warnings_of_mne_are_notes_and_nothing_is_printed(tmp_path, signal):
    path = save_edf(tmp_path / "a.edf", NAMES, signal, SFREQ)
    data = bytearray(path.read_bytes())
    data[88:176] = b" " * 80 + b"99.99.99"
    path.write_bytes(bytes(data))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, notes = open_raw(path)
    assert notes == ["the header's start '99.99.99', '12.30.15' is no date and time"]


def test_equal_limits_are_named(tmp_path, signal):
    path = save_edf(tmp_path / "a.edf", NAMES, signal, SFREQ)
    data = bytearray(path.read_bytes())
    n = int(data[252:256])
    at = 256 + n * (16 + 80 + 8) + 8  # physical minimum and maximum of the second channel
    data[at : at + 8] = b"0".ljust(8)
    data[at + 8 * n : at + 8 * n + 8] = b"0".ljust(8)
    path.write_bytes(bytes(data))
    assert open_raw(path)[1] == ["physical minimum and maximum are equal: F7"]


# Plugins ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def plug():
    """Add readers by hand and take them away again."""
    with contextlib.ExitStack() as added:
        yield lambda name, reader: added.enter_context(plugged({name: reader}))


def claims_abc(head):
    return head.startswith(b"ABC")


def read_abc(path):
    """Numbers behind the three letters, at 100 Hz."""
    values = np.array([list(path.read_bytes()[3:])], float)
    return mne.io.RawArray(values * 1e-6, mne.create_info(["Cz"], 100, "eeg"), verbose="ERROR")


def test_a_plugin_goes_before_mne_only_where_its_probe_says_yes(tmp_path, plug, signal):
    plug("abc", Reader((".edf", ".abc"), claims_abc, read_abc))
    (tmp_path / "x.edf").write_bytes(b"ABC\1\2\3")
    np.testing.assert_allclose(open_raw(tmp_path / "x.edf")[0].get_data() * 1e6, [[1, 2, 3]])
    assert type(open_raw(save_edf(tmp_path / "y.edf", NAMES, signal, SFREQ))[0]).__name__ == "RawEDF"
    (tmp_path / "z.abc").write_bytes(b"no")
    with pytest.raises(RecordingError, match=r"z\.abc: its first bytes are not those of abc, found b'no'"):
        open_raw(tmp_path / "z.abc")


def test_two_claims_are_an_error_that_names_both(tmp_path, plug):
    plug("abc", Reader((".abc",), claims_abc, read_abc))
    plug("other", Reader((".abc",), claims_abc, read_abc))
    (tmp_path / "x.abc").write_bytes(b"ABC\1")
    with pytest.raises(RecordingError, match="'abc' of plugin 'plugin-abc', 'other' of plugin 'plugin-other'"):
        open_raw(tmp_path / "x.abc")


def fail(path):
    raise KeyError("two\nlines")


def leave(path):
    raise SystemExit("converter: no\nsuch block")


def broken_probe(head):
    raise IndexError("out of range")


@pytest.mark.parametrize(
    ("reader", "message"),
    [
        (Reader((".abc",), claims_abc, fail), r"cannot be read as EEG \(KeyError: 'two\\nlines'\)"),
        (Reader((".abc",), claims_abc, leave), r"\(SystemExit: converter: no such block\)"),
        (Reader((".abc",), claims_abc, lambda path: 7), "its reader returned int, no mne.io.BaseRaw"),
        (Reader((".abc",), broken_probe, read_abc), "the probe of reader 'abc' failed .IndexError: out of range"),
    ],
)
def test_whatever_a_reader_does_is_one_line(tmp_path, plug, reader, message):
    plug("abc", reader)
    (tmp_path / "x.abc").write_bytes(b"ABC\1")
    with pytest.raises(RecordingError, match=message) as caught:
        open_raw(tmp_path / "x.abc")
    assert "x.abc" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "parts",
    [
        ((".A",), None, fail),
        (("edf",), None, fail),
        ((), None, fail),
        ((".a",), None, fail, "probe"),
        ((".a",), None, fail, "all"),
    ],
)
def test_a_reader_that_cannot_work_is_refused_when_it_is_made(parts):
    with pytest.raises(ValueError, match=r"endings=|search="):
        Reader(*parts)


def test_check_reader_says_what_is_wrong(tmp_path):
    (tmp_path / "x.abc").write_bytes(b"ABC\1\2")
    with pytest.raises(AssertionError, match="has no probe"):
        check_reader(Reader((".abc",), None, read_abc))
    with pytest.raises(AssertionError, match="says yes to zeros"):
        check_reader(Reader((".abc",), any_zeros, read_abc))
    with pytest.raises(AssertionError, match="reads all samples when it opens"):
        check_reader(Reader((".abc",), claims_abc, read_abc), tmp_path / "x.abc")
    with pytest.raises(AssertionError, match="has none of its endings"):
        check_reader(Reader((".ab",), claims_abc, read_abc), tmp_path / "x.abc")


def any_zeros(head):
    return head.startswith(b"\0")
