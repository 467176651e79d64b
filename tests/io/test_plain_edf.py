"""Plain EDF files opened without MNE against the same files opened by MNE: one truth, the same words."""

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd.exceptions import DetectionError
from biot_bd.io import open_recording, read_blocks
from biot_bd.io.plain_edf import read_plain_edf
from biot_bd.io.segments import annotations_of

RECORDS = 12


def facts(recording):
    """Return all that is told of a recording, and its samples by rate and of each channel alone."""
    told = {name: getattr(recording, name) for name in ("ch_names", "bads", "sfreq", "duration_s", "timeline")}
    told |= {"notes": recording.notes, "unusable": recording.unusable, "where": recording.where}
    told |= {"units": recording.unit_notes(recording.ch_names), "digest": recording.digest()}
    for names in ([name] for name in recording.ch_names[:6]):
        told |= samples(recording, names)
    return told | samples(recording, recording.ch_names)


def samples(recording, names):
    try:
        reader, line = recording.reader(names)
        x = np.concatenate(
            [np.empty((len(names), 0), np.float32), *read_blocks(recording, names, reader=reader)], axis=1
        )
    except DetectionError as error:
        return {tuple(names): str(error)}
    return {tuple(names): (x.tobytes(), x.shape, reader.sfreq, reader.n_samples, line)}


def outcome(path):
    try:
        return facts(open_recording(path))
    except DetectionError as error:
        return str(error)


def by_mne(path):
    with patch("biot_bd.io.recordings.read_plain_edf", return_value=None):
        return outcome(path)


def test_real_files_are_told_and_read_as_by_mne(shared):
    folders = [folder for folder in sorted((shared / "data").iterdir()) if folder.name != "edf-oddities"]
    odd = sorted((shared / "data/edf-oddities").glob("*.[eE][dD][fF]"))
    paths = [*odd, *(path for folder in folders for path in sorted(folder.glob("**/*.edf"))[:2])]
    for path in paths:
        assert outcome(path) == by_mne(path), path
    plain = [path for path in paths if not isinstance(outcome(path), str) and read_plain_edf(path)]
    assert len(plain) >= len(odd), plain


FIELDS = {
    "label": 16,
    "transducer": 80,
    "unit": 8,
    "low": 8,
    "high": 8,
    "lowest": 8,
    "highest": 8,
    "filter": 80,
    "n": 8,
}
USUAL = {"unit": b"uV", "low": b"-3200", "high": b"3200", "lowest": b"-32768", "highest": b"32767", "n": b"32"}
ODD = {
    "label": [b"Fp1", b"Fp2", b"Fp1-0", b"Status", b"TRIGGER", b"auto", b"", b"F\xfc1", b"EDF Annotations", b"\x1cFp1"],
    "transducer": [b"AgAgCl", b"\xff"],
    "unit": [b"mV", b"", b"\xb5V", b"\xc2\xb5V", b"?V", b"mv", b"V", b"mmHg", b"uV\0", b"nV"],
    "low": [b"-3200.5", b"0", b"3200", b"4000", b"-1e3", b"-3200,5", b"x", b"-inf", b" 1_0"],
    "high": [b"-3200", b"1e30", b"+3200.", b"", b"10"],
    "lowest": [b"0", b"32767", b"-2048", b"-32768\0"],
    "highest": [b"-32768", b"2047", b"0.5", b"32768"],
    "filter": [b"HP:0.1Hz LP:75Hz N:50Hz", b"HP:DC", b"HP:x LP:y", b"HP:90 LP:1", b"\xe9"],
    "n": [b"64", b"16", b"0", b"1"],
}
HEAD = {
    "patient": [
        b"X X X X",
        b"MCH-0234567 F 02-MAY-1951 Haagse_Harry",
        b"X X X X a=b=c",
        b"X X X X weight=70",
        b"p\xe9",
        b"",
    ],
    "recording": [b"Startdate 02-MAR-2020 X X X", b"Startdate 31-DEC-1800 X X X", b"Startdate X X X X", b"EEG"],
    "start": [b"02.03.2010.11.12", b"31.02.2010.11.12", b"02.03.2024.00.00", b"xx.xx.yy10.11.12", b"02.03.85        "],
    "kind": [b"EDF+C", b"EDF+D", b""],
    "declared": [b"12", b"11", b"13", b"-1"],
    "record_s": [b"1", b"0.5", b"0", b"1.000"],
}
TEXTS = [
    b"+3\x152\x14sz\x14\0", b"+3\x152\x14sz@@Fp1\x14\0", b"+99\x141\x14late\x14\0", b"-5\x14early\x14\0", b"+11.5\x155\x14long\x14\0",
    b"+4\x14boundary\x14\0", b"+4\x14\xff\x14\0", b"+4\x14\xc3\xa9\x14\0", b"+5,5\x14sz\x14\0", b"+4\x151\x14BAD_ACQ_SKIP\x14\0",
    b"+4\x14a\nb\x14\0", b"+99999999999999\x14far\x14\0",
]  # fmt: skip


def edf_bytes(head, signals, texts, starts, rest=b""):
    """Return a file of some signals, the last of them annotations where there are starts."""
    if starts is not None:
        signals = [*signals, USUAL | {"label": b"EDF Annotations", "n": b"40"}]
    usual = {name: values[0] for name, values in HEAD.items()} | head
    out = b"0".ljust(8) + usual["patient"].ljust(80) + usual["recording"].ljust(80) + usual["start"]
    out += str(256 * (len(signals) + 1)).encode().ljust(8) + usual["kind"].ljust(44) + usual["declared"].ljust(8)
    out += usual["record_s"].ljust(8) + str(len(signals)).encode().ljust(4)
    for name, width in FIELDS.items():
        out += b"".join((USUAL | signal).get(name, b"").ljust(width)[:width] for signal in signals)
    out += b" " * 32 * len(signals)
    rng = np.random.default_rng(0)
    for i in range(RECORDS):
        for signal in signals[: None if starts is None else -1]:
            out += rng.integers(-900, 900, int((USUAL | signal)["n"])).astype("<i2").tobytes()
        if starts is not None:
            tal = f"{starts[i]:+g}".encode() + b"\x14\x14\0" + (b"".join(texts) if i == 3 else b"")
            out += tal[:80].ljust(80, b"\0")
    return out + rest


signal_of = st.lists(st.sampled_from(sorted(ODD)), max_size=2).flatmap(
    lambda names: st.fixed_dictionaries({name: st.sampled_from(ODD[name]) for name in names})
)
head_of = st.lists(st.sampled_from(sorted(HEAD)), max_size=2).flatmap(
    lambda names: st.fixed_dictionaries({name: st.sampled_from(HEAD[name]) for name in names})
)
starts_of = st.sampled_from([None, range(RECORDS), [*range(6), *range(36, 42)], [s + 0.25 for s in range(RECORDS)]])


ODD_FILES = {
    "head": head_of,
    "odd": st.lists(signal_of, min_size=1, max_size=3),
    "texts": st.lists(st.sampled_from(TEXTS), max_size=2),
    "starts": starts_of,
    "rest": st.sampled_from([b"", b"", b"rest"]),
}


def check_odd(folder, head, odd, texts, starts, rest):
    path = folder / "x.edf"
    signals = [{"label": f"F{i + 3}".encode()} | signal for i, signal in enumerate(odd)]
    path.write_bytes(edf_bytes(head, signals, texts, starts, rest))
    assert outcome(path) == by_mne(path)


@settings(max_examples=40, deadline=None)
@given(**ODD_FILES)
def test_whatever_is_odd_is_told_and_read_as_by_mne(tmp_path_factory, **odd):
    check_odd(tmp_path_factory.mktemp("odd"), **odd)


@pytest.mark.slow
@settings(max_examples=2000, deadline=None)
@given(**ODD_FILES)
def test_many_odd_files_are_told_and_read_as_by_mne(tmp_path_factory, **odd):
    check_odd(tmp_path_factory.mktemp("odd"), **odd)


@pytest.mark.parametrize(
    ("head", "odd"),
    [
        ({"patient": b"X X X X weight=70"}, {}),
        ({"start": b"xx.xx.yy10.11.12"}, {}),
        ({"declared": b"11"}, {}),
        ({}, {"label": b"Status"}),
        ({}, {"label": b"F\xfc1"}),
        ({}, {"high": b"-3200"}),
        ({}, {"low": b"-3200,5"}),
    ],
)
def test_what_is_doubtful_is_left_to_mne(tmp_path, head, odd):
    path = tmp_path / "x.edf"
    path.write_bytes(edf_bytes({}, [{"label": b"F3"}], [], None))
    assert read_plain_edf(path).header.channels == (("F3", 0),)
    path.write_bytes(edf_bytes(head, [{"label": b"F3"} | odd], [], None))
    assert read_plain_edf(path) is None


def test_mne_opens_a_plain_file_where_it_is_asked_for(tmp_path):
    path = tmp_path / "x.edf"
    path.write_bytes(edf_bytes({}, [{"label": b"F3"}], TEXTS[:1], range(RECORDS)))
    recording = open_recording(path)
    (row,) = annotations_of(recording.raw)
    assert row == (3.0, 2.0, "sz")
    assert recording.raw is recording.raw
    recording.close()
