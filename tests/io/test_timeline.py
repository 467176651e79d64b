"""The time line of recordings: files of each format with pauses that the test put there."""

import contextlib
import datetime as dt
import struct
import time
import tracemalloc

import edfio
import mne
import numpy as np
import pybv
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd.exceptions import RecordingError
from biot_bd.io.edf import open_edf
from biot_bd.io.edf_times import edf_timeline
from biot_bd.io.segments import Segment, TimeLine, annotations_of
from biot_bd.io.timeline import timeline_of

START = dt.datetime(2020, 3, 2, 10, 11, 12, tzinfo=dt.UTC)
MIB = 2**20


def field(value, width):
    return str(value).encode().ljust(width)


def write_edf(
    path, stamps, spr=64, *, kind="EDF+D", record_s=1, bdf=False, status=None, date="02.03.20", clock="10.11.12", **more
):
    """Write an EDF or BDF of one channel (and a status channel); ``stamps`` are the bytes of each record's annotations."""
    labels = ["Fp1", *(["Status"] if status is not None else []), *([f"{kind[:3]} Annotations"] if stamps else [])]
    n = len(stamps) if stamps else more["n"]
    width = 3 if bdf else 2
    counts = [spr] * (1 + (status is not None)) + ([60 // width] if stamps else [])
    head = (b"\xffBIOSEMI" if bdf else field(0, 8)) + field("X X X X", 80)
    head += field(more.get("recording", "Startdate X X X X"), 80) + field(date, 8) + field(clock, 8)
    head += field(256 * (len(labels) + 1), 8) + field(kind, 44) + field(more.get("declared", n), 8) + field(record_s, 8)
    head += field(len(labels), 4)
    fields = [
        (labels, 16),
        ("", 80),
        ("uV", 8),
        (-100, 8),
        (100, 8),
        (-32768, 8),
        (32767, 8),
        ("", 80),
        (counts, 8),
        ("", 32),
    ]
    for values, size in fields:
        head += b"".join(field(values[i] if isinstance(values, list) else values, size) for i in range(len(labels)))
    with path.open("wb") as file:
        file.write(head)
        for i in range(n):
            file.write(bytes(width * spr))
            if status is not None:
                file.write(b"".join(int(v).to_bytes(3, "little") for v in status[i * spr : (i + 1) * spr]))
            if stamps:
                file.write(stamps[i].ljust(60, b"\0"))
    return path


def tal(onset_s):
    return f"{onset_s:+.6f}".encode() + b"\x14\x14\0"


def tals(onsets):
    return [tal(onset) for onset in onsets]


def starts(line):
    return [segment.start_s for segment in line.segments]


def firsts(line):
    return [segment.first_sample for segment in line.segments]


# EDF+


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=6),
    gaps=st.lists(st.floats(0.1, 1e5), min_size=5, max_size=5),
    kind=st.sampled_from(["EDF+C", "EDF+D", "BDF+D"]),
    record_s=st.sampled_from([1, 0.5, 4]),
    begin_s=st.sampled_from([0.0, 0.5, 3600.25]),
)
def test_gaps_of_stamped_records_are_found_within_a_sample(tmp_path_factory, lengths, gaps, kind, record_s, begin_s):
    path = tmp_path_factory.mktemp("edf") / f"gaps.{kind[:3].lower()}"
    onsets, truth, at_s, n = [], [], begin_s, 0
    for i, length in enumerate(lengths):
        at_s += gaps[i - 1] if i else 0.0
        truth.append((n * 64, at_s - begin_s))
        onsets += [at_s + k * record_s for k in range(length)]
        at_s, n = at_s + length * record_s, n + length
    line = timeline_of(write_edf(path, tals(onsets), kind=kind, record_s=record_s, bdf=kind.startswith("B")))
    sample_s = record_s / 64
    assert firsts(line) == [first for first, _ in truth]
    assert np.allclose(starts(line), [start for _, start in truth], atol=sample_s)
    assert [s.n_samples for s in line.segments] == [64 * length for length in lengths]
    assert [s.duration_s for s in line.segments] == [length * record_s for length in lengths]
    assert line.start_time == START + dt.timedelta(seconds=begin_s)
    assert len(line.gaps) == len(lengths) - 1
    assert not any(segment.spliced for segment in line.segments)


@pytest.mark.parametrize("kind", ["EDF+C", "EDF+D"])
def test_a_raw_of_the_file_has_the_same_time_line_also_when_it_was_cropped_or_resampled(tmp_path, kind):
    onsets = [i if i < 60 else i + 3600 for i in range(120)]
    path = write_edf(tmp_path / "gap.edf", tals(onsets), kind=kind)
    raw = mne.io.read_raw_edf(path, verbose="error")
    assert timeline_of(raw) == timeline_of(path)
    cropped = timeline_of(raw.copy().crop(30, 99, include_tmax=False))
    assert [(s.first_sample, s.n_samples, s.start_s) for s in cropped.segments] == [(0, 1920, 0), (1920, 2496, 3630)]
    assert cropped.start_time == START + dt.timedelta(seconds=30)
    assert cropped.first_sample == 1920
    later = timeline_of(raw.copy().crop(70, None))
    assert starts(later) == [0.0]
    assert later.start_time == START + dt.timedelta(seconds=3670)
    slower = timeline_of(raw.copy().load_data().resample(32, verbose="error"))
    assert [(s.first_sample, s.n_samples, s.start_s) for s in slower.segments] == [(0, 1920, 0), (1920, 1920, 3660)]


def test_what_edfio_writes_has_no_gap(tmp_path):
    signal = edfio.EdfSignal(np.zeros(64 * 20), 64, label="Fp1", physical_range=(-1, 1))
    seizure = edfio.EdfAnnotation(5, 3, "sz")
    start = dt.time(10, 11, 12, 500000)
    edf = edfio.Edf(
        [signal], starttime=start, annotations=[seizure], recording=edfio.Recording(startdate=dt.date(2020, 3, 2))
    )
    edf.write(tmp_path / "edfio.edf")
    line = timeline_of(tmp_path / "edfio.edf")
    assert line.is_continuous
    assert line.start_time == START + dt.timedelta(seconds=0.5)
    assert line.notes == ()


@settings(max_examples=40, deadline=None)
@given(
    jitter=st.lists(st.floats(-0.02, 0.02), min_size=60, max_size=60),
    ppm=st.integers(-200, 200),
    gap_s=st.sampled_from([0.0, 2.0, 5000.0]),
)
def test_jitter_of_20_ms_and_a_clock_of_200_ppm_are_no_gap(tmp_path_factory, jitter, ppm, gap_s):
    path = tmp_path_factory.mktemp("jitter") / "jitter.edf"
    onsets = [i * (1 + ppm * 1e-6) + shift + (gap_s if i >= 30 else 0) for i, shift in enumerate(jitter)]
    line = timeline_of(write_edf(path, tals(onsets)))
    assert firsts(line) == ([0, 30 * 64] if gap_s else [0])
    assert line.segments[-1].start_s == pytest.approx(30 + gap_s if gap_s else 0, abs=0.06)


def test_a_clock_that_runs_off_moves_times_and_says_so(tmp_path):
    path = write_edf(tmp_path / "drift.edf", tals(np.arange(2000) * (1 + 100e-6)), spr=8)
    line = timeline_of(path)
    assert firsts(line) == [0]
    assert line.time_of(1000 * 8) == pytest.approx(1000.1, abs=1e-3)
    assert line.sample_of(1000.1) == 8000
    assert "clock and its samples differ by up to 0.2 s" in line.notes[0]


def test_rounded_durations_of_records_are_no_gap(tmp_path):
    path = write_edf(tmp_path / "third.edf", tals(np.arange(900) / 3), spr=8, record_s="0.333333")
    assert firsts(timeline_of(path)) == [0]


def test_records_out_of_order_are_refused_in_edf_d_and_noted_in_edf_c(tmp_path):
    onsets = [0, 1, 2, 30, 31, 5, 6]
    with pytest.raises(
        RecordingError, match=r"d.edf: is EDF\+D, and its records are out of order: stamp 6 says 5 s, expected 32 s"
    ):
        timeline_of(write_edf(tmp_path / "d.edf", tals(onsets)))
    line = timeline_of(write_edf(tmp_path / "c.edf", tals(onsets), kind="EDF+C"))
    assert line.is_continuous
    assert "not used: stamp 6" in line.notes[0]
    still = timeline_of(write_edf(tmp_path / "still.edf", tals([0] * 9), kind="EDF+C"))
    assert still.is_continuous
    assert "not used" in still.notes[0]


def test_records_without_a_stamp(tmp_path):
    stamps = tals(range(6))
    stamps[3] = b"+5\x15" + b"2\x14no stamp\x14\0"
    with pytest.raises(RecordingError, match=r"record 4 does not say when it begins"):
        timeline_of(write_edf(tmp_path / "d.edf", stamps))
    assert timeline_of(write_edf(tmp_path / "c.edf", stamps, kind="EDF+C")).is_continuous
    assert timeline_of(write_edf(tmp_path / "none.edf", [b""] * 6, kind="EDF+C")).is_continuous
    odd = [b"+.\x14\x14\0", b"+1.2.3\x14\x14\0", b"-\x14\x14\0", b"+3\x14\x14\0", b"12\x14\x14\0", b"+nan\x14\x14\0"]
    assert firsts(timeline_of(write_edf(tmp_path / "odd.edf", odd, kind="EDF+C"))) == [0]


def test_a_plain_edf_is_continuous_whatever_stands_in_it(tmp_path):
    line = timeline_of(write_edf(tmp_path / "plain.edf", [], kind="", n=7))
    assert line.is_continuous
    assert (line.n_samples, line.sfreq, line.start_time) == (7 * 64, 64.0, START)


def test_bytes_behind_the_declared_records_are_not_looked_at(tmp_path):
    path = write_edf(tmp_path / "more.edf", tals([0, 1, 2, 900]), declared=3)
    assert timeline_of(path).n_samples == 3 * 64
    path = write_edf(tmp_path / "unknown.edf", tals([0, 1, 2, 900]), declared=-1)
    assert starts(timeline_of(path)) == [0.0, 900.0]


@pytest.mark.parametrize(
    ("date", "clock", "recording", "expected"),
    [
        ("02.03.20", "10.11.12", "Startdate 02-MAR-2020 X X X", START),
        ("02.03.20", "10:11:12", "", START),
        ("02-03-20", "10.11.12", "", START),
        ("2/3/20", "9.1.2", "", START.replace(hour=9, minute=1, second=2)),
        ("02.03.yy", "10.11.12", "Startdate 02-MAR-2090 X X X", START.replace(year=2090)),
        ("02.03.85", "10.11.12", "", START.replace(year=1985)),
        ("02.03.84", "10.11.12", "", START.replace(year=2084)),
        ("02.03.84", "10.11.12", "Startdate 02-mar-1984 X X X", START.replace(year=1984)),
        ("02.03.20", "10.11.12", "Startdate 05-MAY-1999 X X X", START),
        ("00.00.00", "00.00.00", "Startdate X X X X", None),
        ("XX.XX.XX", "XX.XX.XX", "", None),
        ("31.04.21", "10.11.12", "", None),
        ("02.03.20", "24.00.00", "", None),
        ("02.03.yy", "10.11.12", "", None),
        ("", "", "", None),
    ],
)
def test_the_start_is_right_or_absent_with_a_note(tmp_path, date, clock, recording, expected):
    path = write_edf(tmp_path / "d.edf", [], kind="", n=5, date=date, clock=clock, recording=recording)
    line = timeline_of(path)
    assert line.start_time == expected
    assert (line.notes == ()) == (expected is not None)


@pytest.mark.parametrize("record_s", ["nan", "inf", "-1", "0", "1,0", ""])
def test_a_duration_of_records_that_is_none_is_one_line(tmp_path, record_s):
    path = write_edf(tmp_path / "d.edf", tals(range(5)), record_s=record_s)
    with pytest.raises(RecordingError, match=r"d\.edf: the header is not that of an EDF or BDF file"):
        timeline_of(path)


@pytest.mark.parametrize("record_s", ["1e-308", "1e308", "1e-5", "99999999"])
def test_an_absurd_duration_of_records_allocates_nothing(tmp_path, record_s):
    path = write_edf(tmp_path / "d.edf", tals(range(5)), record_s=record_s)
    tracemalloc.start()
    with contextlib.suppress(RecordingError):
        timeline_of(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MIB


@pytest.mark.parametrize("at", [184, 236, 244, 252, 256 + 216 * 2, 256 + 216 * 2 + 8])
@pytest.mark.parametrize("text", ["-9999999", "99999999", "x", ""])
def test_damaged_headers_give_a_time_line_or_one_line(tmp_path, at, text):
    path = write_edf(tmp_path / "d.edf", tals(range(5)))
    data = bytearray(path.read_bytes())
    width = 4 if at == 252 else 8
    data[at : at + width] = text.encode()[:width].ljust(width)
    path.write_bytes(data)
    try:
        found = timeline_of(path).n_samples
    except RecordingError as error:
        found = str(error)
    assert str(path) in found if isinstance(found, str) else found <= 5 * 64


def test_a_day_of_records_takes_less_than_a_second(tmp_path):
    path = write_edf(tmp_path / "day.edf", tals(range(86400)), spr=1)
    begin = time.perf_counter()
    assert timeline_of(path).is_continuous
    assert time.perf_counter() - begin < 1


@pytest.mark.parametrize("kind", ["EDF+C", "EDF+D"])
def test_annotations_of_the_clock_are_set_where_they_were_recorded(tmp_path, kind):
    stamps = tals([i + 0.5 if i < 60 else i + 3600.5 for i in range(120)])
    stamps[10] += b"+10.5\x153\x14bckg\x14\0"
    stamps[85] += "+3685.5\x1520\x14sz für\x14\0+55.5\x153610\x14across\x14\0".encode()
    stamps[90] += b"+100.5\x1510\x14nothing there\x14\0"
    raw = open_edf(write_edf(tmp_path / "gap.edf", stamps, kind=kind))
    assert annotations_of(raw) == [
        (10.0, 3.0, "bckg"),
        (55.0, 10.0, "across"),
        (60.0, 0.0, "nothing there"),
        (85.0, 20.0, "sz für"),
    ]
    spans = [(onset, onset + duration) for onset, duration, _ in annotations_of(raw)]
    times = timeline_of(raw).clock_times(spans)
    assert times == [(10.0, 13.0), (55.0, 3665.0), (3660.0, 3660.0), (3685.0, 3705.0)]


# BioSemi


@settings(max_examples=20, deadline=None)
@given(at=st.lists(st.integers(100, 64 * 120 - 1), max_size=4, unique=True))
def test_biosemi_begins_a_new_epoch_after_a_pause(tmp_path_factory, at):
    status = np.full(64 * 120, 0x900000 | 7)  # CMS in range, Mk2, a trigger
    status[[0, *at]] |= 0x010000
    path = tmp_path_factory.mktemp("bdf") / "pause.bdf"
    line = timeline_of(write_edf(path, [], kind="24BIT", bdf=True, status=status, n=120))
    # One behind the other is one pulse of two samples.
    expected = [a for a in sorted(at) if a - 1 not in at]
    assert firsts(line) == [0, *expected]
    assert starts(line) == pytest.approx([a / 64 for a in [0, *expected]])
    assert [s.spliced for s in line.segments] == [False] + [True] * len(expected)
    assert bool(line.notes) == bool(expected)
    assert edf_timeline(path, samples=False).is_continuous


def test_a_status_bit_that_is_never_or_ever_set_is_no_pause(tmp_path):
    for value in (0, 0xFFFFFF):
        path = write_edf(tmp_path / "s.bdf", [], kind="24BIT", bdf=True, status=np.full(64 * 20, value), n=20)
        assert timeline_of(path).is_continuous
    path = write_edf(tmp_path / "s.bdf", [], kind="24BIT", bdf=True, status=np.arange(64 * 20) % 2 * 0x010000, n=20)
    line = timeline_of(path)
    assert len(line.segments) == 1
    assert "bit 16" in line.notes[0]


# BrainVision


def brainvision(folder, markers, seconds=120, sfreq=256, stem="rec"):
    pybv.write_brainvision(
        data=np.zeros((2, seconds * sfreq)),
        sfreq=sfreq,
        ch_names=["Fp1", "Fp2"],
        fname_base=stem,
        folder_out=str(folder),
        meas_date=START,
        unit="uV",
        overwrite=True,
    )
    path = folder / f"{stem}.vmrk"
    text = path.read_text()
    for number, (position, date) in enumerate(markers, 2):
        text += f"Mk{number}=New Segment,,{position + 1},1,0{',' + date if date else ''}\n"
    path.write_text(text)
    return folder / f"{stem}.vhdr"


@settings(max_examples=15, deadline=None)
@given(
    cuts=st.lists(st.integers(256, 256 * 100), min_size=1, max_size=4, unique=True),
    gaps=st.lists(st.floats(0.1, 2e5), min_size=4, max_size=4),
)
def test_brainvision_tells_of_pauses_by_new_segments(tmp_path_factory, cuts, gaps):
    truth, markers, shift_s = [0.0], [], 0.0
    for cut, gap in zip(sorted(cuts), gaps, strict=False):
        shift_s += gap
        truth.append(cut / 256 + shift_s)
        markers.append((cut, (START + dt.timedelta(seconds=truth[-1])).strftime("%Y%m%d%H%M%S%f")))
    path = brainvision(tmp_path_factory.mktemp("bv"), markers)
    for source in (path, mne.io.read_raw_brainvision(path, verbose="error")):
        line = timeline_of(source)
        assert firsts(line) == [0, *sorted(cuts)]
        assert np.allclose(starts(line), truth, atol=1 / 256)
        assert line.start_time == START


def test_a_new_segment_without_a_date_is_a_splice(tmp_path):
    line = timeline_of(brainvision(tmp_path, [(15360, ""), (20480, "20200302113000000000")]))
    assert [(s.first_sample, s.spliced) for s in line.segments] == [(0, False), (15360, True), (20480, False)]
    assert line.segments[2].start_s == 78 * 60 + 48  # its own date tells it
    assert line.notes[0] == "has a gap of 4648 s at 80 s"
    assert "is spliced at 60 s; how" in line.notes[1]


def test_a_brainvision_recording_without_pauses_has_one_segment(tmp_path):
    line = timeline_of(brainvision(tmp_path, []))
    assert line.is_continuous
    assert line.notes == ()
    assert timeline_of(brainvision(tmp_path, [(15360, "20200302101212000000")])).gaps == []


# FIF and what MNE holds


def raw_array(seconds, sfreq=100.0, start=START):
    raw = mne.io.RawArray(
        np.zeros((1, round(seconds * sfreq))), mne.create_info(["Fp1"], sfreq, "eeg"), verbose="error"
    )
    return raw.set_meas_date(start)


@pytest.mark.parametrize("crop", [0, 5])
@pytest.mark.parametrize("start", [START, None])
def test_spliced_fif(tmp_path, crop, start):
    parts = [raw_array(20, start=start).crop(crop, None), raw_array(8, start=start), raw_array(30, start=start)]
    whole = mne.concatenate_raws(parts, verbose="error")
    whole.save(tmp_path / "spliced_raw.fif", verbose="error")
    for source in (whole, tmp_path / "spliced_raw.fif"):
        line = timeline_of(source)
        edges = [0, 2000 - 100 * crop, 2800 - 100 * crop]
        assert firsts(line) == edges
        assert [s.spliced for s in line.segments] == [False, True, True]
        assert line.first_sample == 100 * crop
        assert line.start_time == (None if start is None else start + dt.timedelta(seconds=crop))


def test_samples_that_stand_for_a_pause_belong_to_no_segment(tmp_path):
    raw = raw_array(60)
    raw.set_annotations(mne.Annotations([20, 50], [5, 3], ["BAD_ACQ_SKIP"] * 2, orig_time=START))
    raw.save(tmp_path / "skips_raw.fif", verbose="error")
    for source in (raw, tmp_path / "skips_raw.fif"):
        line = timeline_of(source)
        found = [(s.first_sample, s.n_samples, s.start_s) for s in line.segments]
        assert found == [(0, 2000, 0), (2500, 2500, 25), (5300, 700, 53)]
        assert line.gaps == [(20.0, 25.0), (50.0, 53.0)]
        assert "2 gaps, together 8 s" in line.notes[0]


def test_pauses_as_mne_marks_them_in_mff_and_neuralynx():
    mff = raw_array(60)  # half a sample early, as its reader does
    mff.set_annotations(mne.Annotations([19.995], [5.0], ["BAD_ACQ_SKIP"]))
    assert [(s.first_sample, s.stop_sample) for s in timeline_of(mff).segments] == [(0, 2000), (2500, 6000)]
    whole = raw_array(30)
    whole.set_annotations(mne.Annotations([0, 25], [4, 5], ["BAD_ACQ_SKIP"] * 2))
    line = timeline_of(whole)
    assert [(s.first_sample, s.stop_sample, s.start_s) for s in line.segments] == [(400, 2500, 4.0)]


# EEGLAB


@pytest.mark.parametrize(("duration", "known"), [(20 * 256.0, True), (0.0, False), (np.nan, False)])
def test_eeglab_boundaries(tmp_path, duration, known):
    event = np.array(
        [("boundary", 65 * 256 + 0.5, duration), ("sz", 80 * 256 + 1, 256.0)],
        dtype=[("type", object), ("latency", float), ("duration", float)],
    )
    eeg = {
        "setname": "x", "nbchan": 2, "trials": 1, "pnts": 100 * 256, "srate": 256.0, "xmin": 0.0, "xmax": 100 - 1 / 256,
        "data": np.zeros((2, 100 * 256), np.float32), "chanlocs": np.array([("Fp1",), ("Fp2",)], dtype=[("labels", object)]),
        "event": event, "icawinv": [], "icasphere": [], "icaweights": [], "icaact": [], "epoch": [], "times": [],
        "ref": "common", "filename": "cut.set", "urevent": [], "history": "",
    }  # fmt: skip
    scipy.io.savemat(tmp_path / "cut.set", {"EEG": eeg}, appendmat=False)
    line = timeline_of(tmp_path / "cut.set")
    assert firsts(line) == [0, 65 * 256]
    assert starts(line) == [0.0, 85.0 if known else 65.0]
    assert line.segments[1].spliced == (not known)


# Persyst


def persyst(folder, times, seconds=120, sfreq=200, date="03/02/2020"):
    np.zeros((seconds * sfreq, 2), "<i2").tofile(folder / "rec.dat")
    lines = ["[FileInfo]", "File=rec.dat", "FileType=Interleaved", f"SamplingRate={sfreq}", "HeaderLength=0",
             "Calibration=1", "WaveformCount=2", "DataType=0", "[ChannelMap]", "Fp1-Ref=1", "Fp2-Ref=2", "[SampleTimes]",
             *(f"{at}={when:.6f}" for at, when in times), "[Patient]", "First=", "Last=", "Sex=", "Hand=", "ID=",
             "BirthDate=01/02/80", f"TestDate={date}", "TestTime=10:11:12", "[Comments]"]  # fmt: skip
    (folder / "rec.lay").write_text("\n".join(lines) + "\n")
    return folder / "rec.lay"


@settings(max_examples=15, deadline=None)
@given(gap_s=st.floats(0.2, 40000), at=st.integers(200, 23000), noon_s=st.floats(0, 86000))
def test_persyst_sample_times(tmp_path_factory, gap_s, at, noon_s):
    resumed = (noon_s + at / 200 + gap_s) % 86400  # past midnight its clock begins anew
    path = persyst(tmp_path_factory.mktemp("lay"), [(0, noon_s), (at, resumed)])
    for source in (path, mne.io.read_raw_persyst(path, verbose="error")):
        line = timeline_of(source)
        assert firsts(line) == [0, at]
        assert line.segments[1].start_s == pytest.approx(at / 200 + gap_s, abs=1 / 200)
        midnight = dt.datetime(2020, 3, 2, tzinfo=dt.UTC)
        assert line.start_time == pytest.approx(
            midnight + dt.timedelta(seconds=noon_s), abs=dt.timedelta(microseconds=2)
        )


def test_persyst_without_pauses_or_with_times_of_another_file(tmp_path):
    assert timeline_of(persyst(tmp_path, [(0, 36672.0), (12000, 36732.01)])).segments[0].n_samples == 24000
    assert timeline_of(persyst(tmp_path, [])).is_continuous
    clip = timeline_of(persyst(tmp_path, [(5000, 36672.0), (90000, 40000.0)]))
    assert clip.is_continuous
    assert "not used" in clip.notes[0]


# Nihon Kohden


def nihon_kohden(path, blocks, n_channels=2, sfreq=200):
    """Write an EEG-1100C file of one control block; ``blocks`` are (clock, seconds)."""
    version = b"EEG-1100C V01.00"
    data = bytearray(0x1800)
    data[0:16] = data[0x81:0x91] = version
    data[0x17FE] = 1
    data[0x91] = 1
    data[0x92:0x96] = struct.pack("<I", 0x400)
    data[0x400 + 17] = len(blocks)
    for i, (clock, seconds) in enumerate(blocks):
        data[0x400 + 18 + 20 * i : 0x400 + 22 + 20 * i] = struct.pack("<I", len(data))
        block = bytearray(0x27 + 10 * n_channels)
        numbers = (clock.year % 100, clock.month, clock.day, clock.hour, clock.minute, clock.second)
        block[0x14:0x1A] = bytes(int(str(number), 16) for number in numbers)
        block[0x1A:0x1C] = struct.pack("<H", 0xC000 | sfreq)
        block[0x1C:0x20] = struct.pack("<I", seconds * 10)
        block[0x26] = n_channels
        for channel in range(n_channels):
            block[0x27 + 10 * channel] = channel
        data += block + bytes(2 * (n_channels + 1) * sfreq * seconds)
    path.write_bytes(data)
    return path


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_nihon_kohden_blocks_have_their_own_clock(tmp_path):
    night = START.replace(hour=23, minute=59, second=30)
    blocks = [(night, 20), (night + dt.timedelta(seconds=3620), 10), (night + dt.timedelta(seconds=3630), 5)]
    path = nihon_kohden(tmp_path / "rec.EEG", blocks)
    line = timeline_of(path)
    assert [(s.first_sample, s.n_samples, s.start_s) for s in line.segments] == [
        (0, 4000, 0.0),
        (4000, 2000, 3620.0),
        (6000, 1000, 3630.0),
    ]
    assert line.gaps == [(20.0, 3620.0)]
    assert line.start_time == night


# The line itself


@settings(max_examples=60, deadline=None)
@given(
    parts=st.lists(st.tuples(st.integers(1, 500), st.floats(0.1, 1000)), min_size=1, max_size=6),
    data=st.data(),
)
def test_times_and_samples_are_each_others_inverse_in_every_crop_and_at_every_rate(parts, data):
    segments, first, at_s = [], 0, 0.0
    for n, gap_s in parts:
        segments.append(Segment(first, n, at_s, n / 50))
        first, at_s = first + n, at_s + n / 50 + gap_s
    line = TimeLine(tuple(segments), 50.0, first, START)
    samples = np.arange(first)
    assert (line.sample_of(line.time_of(samples)) == samples).all()
    truth = np.concatenate([s.start_s + np.arange(s.n_samples) / 50 for s in segments])
    assert np.allclose(line.time_of(samples), truth, atol=1e-9)
    a = data.draw(st.integers(0, first - 1))
    b = data.draw(st.integers(a + 1, first))
    cropped = line.crop(a, b)
    assert np.allclose(cropped.time_of(np.arange(b - a)), truth[a:b] - truth[a], atol=1e-6)
    assert sum(s.n_samples for s in cropped.segments) == cropped.n_samples == b - a
    double = line.at_rate(100.0)
    assert np.allclose(double.time_of(2 * samples), truth, atol=1e-9)
    for start_s, stop_s in line.gaps:
        assert line.sample_of((start_s + stop_s) / 2) == line.sample_of(stop_s)


def test_what_is_no_recording_is_one_line(tmp_path):
    path = tmp_path / "x.vhdr"
    path.write_text("nothing")
    with pytest.raises(RecordingError, match=r"x\.vhdr: cannot be read as EEG"):
        timeline_of(path)
