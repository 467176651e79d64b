"""Faults of files, disks and processes: each row of docs/reliability.md."""

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import mne
import numpy as np
import pytest
from deploy_files import BIPOLAR, REFERENTIAL, write_edf

from biot_bd.deploy import Detector
from biot_bd.deploy.recording_files import find_items
from biot_bd.deploy.results import Outputs, detect_items, write_events
from biot_bd.exceptions import DetectionError
from biot_bd.io.recordings import open_recording

RUN = "import sys; from biot_bd.cli import main; sys.exit(main(sys.argv[1:]))"
# Dies at the moment between a whole temporary file and its name, of the second event file.
DIES = """
import os, signal
replace, count = os.replace, [0]
def dying(a, b):
    if str(b).endswith(".tsv"):
        count[0] += 1
        if count[0] == 2:
            os.kill(os.getpid(), signal.SIGKILL)
    replace(a, b)
os.replace = dying
"""


# Kills a worker process of a pool that opens a recording called deadly.
KILLS_WORKERS = """
import os, signal, sys
def hook(event, arguments):
    if event == "open" and str(arguments[0]).endswith("deadly.edf") and "loky" in " ".join(sys.orig_argv):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
"""


@pytest.fixture(scope="module")
def detector(model):
    return Detector.load(model)


@pytest.fixture
def path(tmp_path):
    return write_edf(tmp_path / "in" / "x.edf", seconds=40)


def damaged(path, start, text):
    content = bytearray(path.read_bytes())
    content[start : start + len(text)] = text
    path.write_bytes(content)
    return path


def test_truncated_edf(detector, path):
    whole = detector.detect(path)
    content = path.read_bytes()
    record = 2 * 256 * len(BIPOLAR)
    header = len(content) - 40 * record
    path.write_bytes(content[: header + 25 * record + 777])
    found = detector.detect(path)
    assert found.duration_s == 25
    assert any("cut short: the header declares 40 records, the file holds 25" in note for note in found.notes)
    # Windows that lie apart from the cut are as they were.
    np.testing.assert_allclose(found.probabilities[:2], whole.probabilities[:2], atol=1e-3)
    path.write_bytes(content[: header + 3 * record])
    with pytest.raises(DetectionError, match="lasts 3 s"):
        detector.detect(path)
    for size in (header, header - 300, 100):
        path.write_bytes(content[:size])
        with pytest.raises(DetectionError, match=r"holds no samples|header is not that of") as caught:
            detector.detect(path)
        assert str(path) in str(caught.value)


def test_zero_bytes(detector, path):
    path.write_bytes(b"")
    with pytest.raises(DetectionError, match=r"x\.edf: the file is empty \(0 bytes\)"):
        detector.detect(path)


@pytest.mark.parametrize("size", [b"256     ", b"9999999 ", b"many    ", b"-1      "])
def test_wrong_header_size(detector, path, size):
    damaged(path, 184, size)
    with pytest.raises(DetectionError, match=r"x\.edf: the header is not that of an EDF"):
        detector.detect(path)


def test_random_bytes_in_the_header_are_an_error_or_a_result(detector, path, tmp_path):
    rng = np.random.default_rng(0)
    content = path.read_bytes()
    for trial in range(60):
        other = tmp_path / f"{trial}.edf"
        changed = bytearray(content)
        for place in rng.integers(0, 256 * 17, 3):
            changed[place] = rng.integers(32, 127)
        other.write_bytes(changed)
        ((_, result),) = detector.detect_many([other])  # nothing but a DetectionError may come of it
        assert str(other) in str(result) if isinstance(result, DetectionError) else np.isfinite(result.duration_s)
        other.unlink()


def test_nan_and_flat_channels(detector, tmp_path):
    flat = write_edf(tmp_path / "flat.edf", seconds=30, flat=["F7-T7", "P4-O2"])
    found = detector.detect(flat)
    assert np.isfinite(found.probabilities).all()
    assert any("F7-T7 (5 windows), P4-O2 (5 windows)" in note for note in found.notes)
    raw = mne.io.read_raw(flat, preload=True, verbose="error")
    raw._data[2, 256 * 5 : 256 * 7] = np.nan
    raw._data[[1, 15]] = np.nan
    marked = detector.detect(raw)
    assert np.isfinite(marked.probabilities).all()
    assert any("T7-P7 (2 windows)" in note for note in marked.notes)
    # Absent is absent, flat or NaN; the line that bridges the two seconds rings a little beyond them.
    np.testing.assert_allclose(marked.probabilities[2:], found.probabilities[2:], atol=1e-3)


def test_a_file_of_one_second(detector, tmp_path):
    path = write_edf(tmp_path / "short.edf", seconds=1)
    with pytest.raises(DetectionError, match=r"short\.edf: lasts 1 s \(256 samples\), shorter than a window of 10 s"):
        detector.detect(path)


def test_a_file_of_100_hz(detector, tmp_path):
    found = detector.detect(write_edf(tmp_path / "slow.edf", ch_names=REFERENTIAL, seconds=33, sfreq=100))
    assert (found.sfreq, found.duration_s, len(found.start_s)) == (100, 33, 6)
    assert found.gaps == []


def test_duplicated_channels(detector, tmp_path):
    names = [*BIPOLAR, "T8-P8"]
    found = detector.detect(write_edf(tmp_path / "twice.edf", ch_names=names, seconds=20))
    assert found.channels["T8-P8"] == "T8-P8-0"
    assert "T8-P8-0, T8-P8-1 have one name; the first was used" in found.notes


def test_a_file_in_place_of_a_folder(model, path, tmp_path):
    (outcome,) = detect_items(find_items([path / "sub-01"]), model, {}, Outputs(tmp_path / "out"))
    assert outcome.error == f"{path / 'sub-01'}: cannot be opened (Not a directory)"
    (tmp_path / "taken").write_text("a file")
    (outcome,) = detect_items(find_items([path]), model, {}, Outputs(tmp_path / "taken"))
    assert outcome.error.startswith(f"{path}: its results cannot be written")
    assert (tmp_path / "taken").read_text() == "a file"


def test_what_cannot_be_read_is_not_said_to_be_unwritable(model, path, tmp_path, monkeypatch):
    def fails(self, source):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Detector, "detect", fails)
    (outcome,) = detect_items(find_items([path]), model, {}, Outputs(tmp_path / "out"))
    assert outcome.error == f"{path}: OSError: [Errno 5] Input/output error"


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), ValueError("two\nlines")])
def test_times_that_cannot_be_read_are_one_line_that_names_the_recording(model, path, tmp_path, monkeypatch, error):
    header = tmp_path / "bv.vhdr"
    raw = mne.io.read_raw_edf(path, verbose="error")
    mne.export.export_raw(header, raw, verbose="error")

    def fails(self):
        raise error

    monkeypatch.setattr(Path, "read_bytes", fails)  # as the markers are read for their dates
    with pytest.raises(DetectionError) as caught:
        open_recording(header)
    assert (
        str(caught.value)
        == f"{header}: its times cannot be read ({type(error).__name__}: {' '.join(str(error).split())})"
    )


def test_unreadable_folder(model):
    # Everyone may look into this one, other than into pytest's folders.
    base = Path(tempfile.mkdtemp())
    base.chmod(0o755)
    try:
        write_edf(base / "a" / "good.edf", seconds=20)
        write_edf(base / "secret" / "x.edf", seconds=20)
        (base / "secret").chmod(0)
        told = as_nobody(lambda: "\n".join(_opened(item.path) for item in find_items([base])))
        assert told.splitlines() == ["good.edf opens", f"{base / 'secret'}: cannot be opened (Permission denied)"]
        told = as_nobody(lambda: "\n".join(_opened(item.path) for item in find_items([base / "secret"])))
        assert told == f"{base / 'secret'}: cannot be opened (Permission denied)"
    finally:
        (base / "secret").chmod(0o755)
        shutil.rmtree(base)


def _opened(path):
    try:
        open_recording(path)
    except DetectionError as error:
        return str(error)
    return f"{path.name} opens"


def as_nobody(call):
    """Return what ``call`` returns in a process that permission bits bind; they do not bind root."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setuid(65534)
            os.write(writing, call().encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    return told


def start(*arguments, before="", environment=None, **options):
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", before + RUN, "detect", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})},
        **options,
    )


def finish(process):
    out, err = process.communicate(timeout=300)
    return process.returncode, out, [line for line in err.splitlines() if line.startswith("failed")]


def tables(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in sorted(folder.rglob("*_events.tsv"))
        if path.name[0] != "."
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("recordings")
    for number in range(4):
        write_edf(root / f"sub-{number:02d}" / "eeg" / f"sub-{number:02d}_eeg.edf", seconds=30 + number, seed=number)
    return root


@pytest.fixture(scope="module")
def expected(folder, model, tmp_path_factory):
    out = tmp_path_factory.mktemp("expected")
    outcomes = list(detect_items(find_items([folder]), model, {"threshold": 0.3}, Outputs(out)))
    assert [outcome.error for outcome in outcomes] == [None] * 4
    return tables(out)


def test_full_disk(folder, model, tmp_path):
    out = tmp_path / "out"
    name = "sub-01/eeg/sub-01_events.tsv"
    (out / name).parent.mkdir(parents=True)
    (out / name).write_text("an older result")
    process = start(model, folder, "-o", out, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64)))
    status, _, failed = finish(process)
    assert status == 1
    assert len(failed) == 4
    assert all("its results cannot be written" in line and "File too large" in line for line in failed)
    assert [p for p in out.rglob("*") if p.is_file()] == [out / name]
    assert (out / name).read_text() == "an older result"


@pytest.mark.slow
def test_killed_process(folder, model, expected, tmp_path):
    out = tmp_path / "out"
    process = start(model, folder, "-o", out, "--threshold", "0.3", before=DIES)
    process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL
    left = tables(out)
    assert left == {key: value for key, value in expected.items() if key.parts[0] == "sub-00"}
    (orphan,) = [p for p in out.rglob(".*") if p.is_file()]
    hours_ago = time.time() - 7200
    os.utime(orphan, (hours_ago, hours_ago))
    first = (out / "sub-00/eeg/sub-00_events.tsv").stat().st_mtime_ns
    status, _, failed = finish(start(model, folder, "-o", out, "--threshold", "0.3", "--resume"))
    assert (status, failed) == (0, [])
    assert tables(out) == expected
    assert (out / "sub-00/eeg/sub-00_events.tsv").stat().st_mtime_ns == first
    assert [p for p in out.rglob(".*") if p.is_file()] == []


@pytest.mark.slow
def test_two_detectors_on_one_folder(folder, model, expected, tmp_path):
    out = tmp_path / "out"
    both = [start(model, folder, "-o", out, "--threshold", "0.3") for _ in range(2)]
    assert [finish(process)[::2] for process in both] == [(0, []), (0, [])]
    assert tables(out) == expected
    assert [p for p in out.rglob(".*") if p.is_file()] == []


@pytest.mark.slow
def test_one_bad_recording_stops_no_other_in_several_processes(folder, model, expected, tmp_path):
    items = find_items([folder])
    bad = tmp_path / "bad.edf"
    bad.write_bytes(b"")
    items.insert(1, find_items([bad])[0])
    outcomes = list(detect_items(items, model, {"threshold": 0.3}, Outputs(tmp_path / "out"), n_jobs=2))
    assert [outcome.item for outcome in outcomes] == items
    assert [outcome.error is None for outcome in outcomes] == [True, False, True, True, True]
    assert tables(tmp_path / "out") == expected


@pytest.mark.slow
def test_a_killed_worker_is_one_line_for_what_it_left(folder, model, expected, tmp_path):
    source = shutil.copytree(folder, tmp_path / "in")
    write_edf(source / "sub-02" / "eeg" / "deadly.edf", seconds=20)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(KILLS_WORKERS)
    site = os.pathsep.join([str(tmp_path / "site"), *filter(None, [os.environ.get("PYTHONPATH")])])
    arguments = (model, source, "-o", tmp_path / "out", "--threshold", "0.3")
    status, _, failed = finish(start(*arguments, "--jobs", "2", environment={"PYTHONPATH": site}))
    assert status == 1
    assert any("deadly.edf: a worker process ended" in line for line in failed)
    left = tables(tmp_path / "out")
    assert left.items() <= expected.items()
    assert len(left) + len(failed) >= 5
    (source / "sub-02" / "eeg" / "deadly.edf").unlink()
    assert finish(start(*arguments, "--resume"))[0] == 0
    assert tables(tmp_path / "out") == expected


def test_a_write_that_fails_leaves_the_old_table(detector, path, tmp_path, monkeypatch):
    detection = detector.detect(path)
    out = write_events(tmp_path / "x.tsv", detection, "tsv")
    before = out.read_bytes()

    def full(self, text, **options):
        with self.open("w") as out:
            out.write(text[: len(text) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        write_events(out, detection, "tsv")
    assert out.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["x.tsv"]
