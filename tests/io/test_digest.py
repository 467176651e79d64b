"""A recording is told by labels, rates and samples: not by patient, date, file, records or format of EDF."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import edfio
import mne
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd.io import digest as digests
from biot_bd.io import open_recording, recording_digest

LABELS = ("Fp1", "Fp2", "ECG")
RATES = (100, 100, 200)
SECONDS = 12
WHOLE = "92fc6e19b56deec3070efa4df0ee365c"  # of the original
PATIENT, START = slice(8, 168), slice(168, 184)


def digital(seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(-900, 900, rate * SECONDS).astype(np.int16) for rate in RATES]


def write(path, samples, labels=LABELS, rates=RATES, bdf=False, range_=(-1000, 1000), **options):
    kind, signal = (edfio.Bdf, edfio.BdfSignal) if bdf else (edfio.Edf, edfio.EdfSignal)
    signals = [
        signal.from_digital(
            x, rate, label=label, physical_dimension="uV", physical_range=(-500, 500), digital_range=range_
        )
        for x, label, rate in zip(samples, labels, rates, strict=True)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    kind(signals, **options).write(path)
    return path


def of(path):
    return recording_digest(open_recording(path).raw)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return write(tmp_path_factory.mktemp("digest") / "recordings" / "P01" / "a.edf", digital())


@pytest.fixture
def parts(monkeypatch):
    """Let a recording of this size be told by parts, as those of more than four million samples are."""
    monkeypatch.setattr(digests, "WHOLE_SAMPLES", 1000)
    monkeypatch.setattr(digests, "PART_SAMPLES", 64)


def test_it_stays_the_same_for_good(original):
    # Models hold it, salted: another value would make recordings unknown to those that saw them.
    assert of(original) == WHOLE


header_text = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=160, max_size=160)
start_text = st.tuples(
    st.integers(1, 28), st.integers(1, 12), st.integers(0, 99), st.integers(0, 23), st.integers(0, 59)
).map(lambda t: f"{t[0]:02d}.{t[1]:02d}.{t[2]:02d}{t[3]:02d}.{t[4]:02d}.00")


@settings(max_examples=15, deadline=None)
@given(patient=header_text, start=start_text)
def test_patient_and_date_never_matter(original, patient, start):
    with TemporaryDirectory() as folder:
        copy = Path(folder) / "x.edf"
        data = bytearray(original.read_bytes())
        data[PATIENT], data[START] = patient.encode("ascii"), start.encode("ascii")
        copy.write_bytes(data)
        assert of(copy) == of(original)


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_one_changed_sample_does(original, data):
    channel = data.draw(st.integers(0, 2))
    position = data.draw(st.integers(0, RATES[channel] * SECONDS - 1))
    samples = digital()
    samples[channel][position] += data.draw(st.sampled_from((-1, 1, 57)))
    with TemporaryDirectory() as folder:
        assert of(write(Path(folder) / "x.edf", samples)) != of(original)


def test_names_and_rates_of_channels_do(original, tmp_path):
    x = digital()
    assert of(write(tmp_path / "name.edf", x, labels=("Fp1", "Fp2", "EMG"))) != of(original)
    assert of(write(tmp_path / "rate.edf", x, rates=(50, 50, 100))) != of(original)
    assert of(write(tmp_path / "order.edf", [x[1], x[0], x[2]])) != of(original)


def resaved(folder):
    """Write the same samples as other programs would: by name, the file."""
    x = digital()
    marks = [edfio.EdfAnnotation(2, 3, "sz")]
    return {
        "EDF+ with annotations": write(folder / "plus.edf", x, annotations=marks),
        "records of 4 s": write(folder / "long.edf", x, data_record_duration=4),
        "one record": write(folder / "one.edf", x, data_record_duration=SECONDS),
        "BDF": write(folder / "wide.bdf", [each.astype(np.int32) for each in x], bdf=True),
        "another range": write(folder / "range.edf", x, range_=(-2000, 2000)),
    }


def test_how_edf_was_saved_does_not_matter(original, tmp_path):
    shutil.copy(original, tmp_path / "copy.edf")
    for how, path in {**resaved(tmp_path), "a copy": tmp_path / "copy.edf"}.items():
        assert of(path) == of(original), how


def test_a_long_recording_is_told_by_parts(original, tmp_path, parts):
    assert of(original) != WHOLE
    for how, path in resaved(tmp_path).items():
        assert of(path) == of(original), how
    for position in (0, 100 * SECONDS - 1):
        changed = digital()
        changed[0][position] += 1
        assert of(write(tmp_path / "changed.edf", changed)) != of(original)
    assert of(write(tmp_path / "other.edf", digital(seed=1))) != of(original)


def test_what_of_a_file_is_read_does_not_matter(original):
    raw = open_recording(original).raw
    raw.pick(["Fp2"]).rename_channels({"Fp2": "mine"}).crop(2, 7)
    assert recording_digest(raw) == of(original)
    assert recording_digest(raw.load_data(verbose="error")) == of(original)


def test_24_bits_count(tmp_path):
    wide = [each.astype(np.int32) * 300 for each in digital()]
    first = of(write(tmp_path / "a.bdf", wide, bdf=True, range_=(-400000, 400000)))
    wide[2][17] += 2**17
    assert of(write(tmp_path / "b.bdf", wide, bdf=True, range_=(-400000, 400000))) != first


def test_other_formats_are_told_by_what_is_read(tmp_path):
    x = np.random.default_rng(0).normal(0, 3e-5, (2, 500))
    raw = mne.io.RawArray(x, mne.create_info(["Fp1", "Fp2"], 100.0, "eeg"), verbose="error")
    raw.save(tmp_path / "a_raw.fif", verbose="error")
    anonymous = raw.copy().set_meas_date(1e8)
    anonymous.info["subject_info"] = {"his_id": "P01"}
    anonymous.anonymize(verbose="error").save(tmp_path / "b_raw.fif", verbose="error")
    found = {of(tmp_path / "a_raw.fif"), of(tmp_path / "b_raw.fif"), recording_digest(raw)}
    assert len(found) == 1
    x[1, 250] += 1e-6
    assert recording_digest(mne.io.RawArray(x, raw.info, verbose="error")) not in found


def test_what_moves_nowhere_tells_nothing(tmp_path):
    flat = [np.full(rate * SECONDS, 7, np.int16) for rate in RATES]
    assert of(write(tmp_path / "flat.edf", flat)) is None
    flat[1][500] = 8
    assert of(write(tmp_path / "a_step.edf", flat)) is not None


def test_samples_in_memory_outlive_their_file(original, tmp_path):
    copy = Path(shutil.copy(original, tmp_path / "gone.edf"))
    raw = open_recording(copy).raw.load_data(verbose="error")
    copy.unlink()
    assert recording_digest(raw) is not None
