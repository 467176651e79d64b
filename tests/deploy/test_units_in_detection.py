"""Units in headers, and numbers that are in another unit: alike in prepare, detect and doctor."""

import mne
import numpy as np
import pandas as pd
import pybv
import pytest
import scipy.io
from braindecode.datasets import BaseConcatDataset, RawDataset
from hypothesis import given, settings
from hypothesis import strategies as st
from unit_files import write_units

from biot_bd import prepare
from biot_bd.datasets import inspect_folder
from biot_bd.deploy import Detector
from biot_bd.deploy.live.replay import FileSource
from biot_bd.deploy.live.runner import make_live, run
from biot_bd.events.detector import EventDetector
from biot_bd.exceptions import DetectionError, PreparationError
from biot_bd.io import open_recording
from biot_bd.io.unusable import read_otherwise
from biot_bd.signals.montages import BIOT_16
from biot_bd.windows.preparation import recording as preparation
from biot_bd.windows.store import read_manifest

ELECTRODES = [*"Fp1 F3 C3 P3 O1 F7 T3 T5 Fz Cz Pz Fp2 F4 C4 P4 O2 F8 T4 T6".split()]
OLD_NAMES = {"T7": "T3", "T8": "T4", "P7": "T5", "P8": "T6"}
PAIRS = [[OLD_NAMES.get(e, e) for e in pair] for pair in BIOT_16.pairs]
RATE, SECONDS = 200, 30
UV = (b"uV", 1.0)


class Seen:
    """A model that keeps what it is shown."""

    montage, sfreq, window_s, threshold, precision = BIOT_16, 200.0, 10.0, 0.5, None

    def __init__(self):
        self.x = []

    def score(self, batch):
        self.x.append(batch.x.copy())
        return np.where(batch.present.any(axis=1), 0.1, np.nan)


def detect(source):
    """Return what a model is shown, and the result."""
    events = EventDetector(window_s=10, smoothing_s=0, causal=False, target=None)
    detector = Detector(Seen(), events, stride_s=5, on_missing="drop")
    found = detector.detect(source)
    return np.concatenate(detector.scorer.x), found


def store_of(path, folder, **options):
    raw = open_recording(path).raw
    data = BaseConcatDataset([RawDataset(raw, pd.Series({"subject": "a", "recording": "r"}))])
    windows = prepare(data, folder, on_missing="drop", **options)
    return windows.read(np.arange(len(windows))), read_manifest(folder)


def noise(scale=30.0):
    return np.random.default_rng(0).normal(0, scale, (19, SECONDS * RATE))


kinds = st.sampled_from(
    [UV, UV, UV, (b"UV", 1.0), (b"\xc2\xb5V", 1.0), (b"mV", 1e3), (b"V", 1e6), (b"nV", 1e-3), (b".V", 1.0), (b"mv", 1e3),
     (b"", 1.0), (b"mmHg", None), (b"", 1e3)]
)  # fmt: skip


@settings(max_examples=8, deadline=None)
@given(st.lists(kinds, min_size=19, max_size=19))
def test_any_units_give_what_microvolts_give_or_absent_channels(tmp_path_factory, units):
    folder, x = tmp_path_factory.mktemp("units"), noise()
    lost = {name for name, (text, uv) in zip(ELECTRODES, units, strict=True) if uv is None or (text, uv) == (b"", 1e3)}
    path = write_units(folder / "a.edf", ELECTRODES, x, RATE, [(text, uv or 1.0) for text, uv in units])
    there = np.array([not lost & set(pair) for pair in PAIRS])
    if not there.any():
        with pytest.raises(DetectionError, match="cannot be used"):
            detect(path)
        return
    plain, _ = detect(write_units(folder / "plain.edf", ELECTRODES, x, RATE, [UV] * 19))
    shown, found = detect(path)
    stored, manifest = store_of(path, folder / "store")
    for seen in (shown, stored):
        np.testing.assert_array_equal(~np.isnan(seen).any(axis=2), np.broadcast_to(there, seen.shape[:2]))
        # A range in volts has few digits in a header: 0.6 per mille of 120 uV.
        np.testing.assert_allclose(seen[:, there], plain[:, there], atol=0.6)
    needed = lost & {electrode for pair in PAIRS for electrode in pair}
    for notes in (found.notes, manifest["notes"]):
        told = "\n".join(notes)
        assert ("cannot be used" in told) == bool(needed)
        assert all(name in told for name in needed)


def test_a_unit_that_was_concluded_is_told_everywhere(tmp_path):
    path = write_units(tmp_path / "edf" / "a.edf", ELECTRODES, noise(), RATE, [(b"", 1.0), (b"?V", 1.0), *[UV] * 17])
    _, found = detect(path)
    _, manifest = store_of(path, tmp_path / "store")
    (facts,) = inspect_folder(tmp_path / "edf", "recordings-folder", options={"unlisted": "background"})
    for notes in (found.notes, manifest["notes"], facts.recordings[0].notes):
        assert any(note.endswith("unit '' read as uV, by the range: Fp1") for note in notes)
        assert any(note.endswith("unit '?V' read as uV, by the range: F3") for note in notes)


def test_labels_that_are_withheld_are_told_by_prepare(tmp_path):
    names = [*(f"EEG {name}-Ref" for name in ELECTRODES), *(f"C{i}" for i in range(1, 13))]
    x = np.concatenate([noise(), noise()[:12]])
    path = write_units(tmp_path / "edf" / "a.edf", names, x, RATE, [UV] * 31)
    _, found = detect(path)
    _, manifest = store_of(path, tmp_path / "store")
    (facts,) = inspect_folder(tmp_path / "edf", "recordings-folder", options={"unlisted": "background"})
    for notes in (found.notes, manifest["notes"], facts.recordings[0].notes):
        assert any("C1 to C12" in note for note in notes)


def replay(path, on_missing="drop"):
    """Return what a replay of a file at full speed ends with."""
    events = EventDetector(window_s=10, smoothing_s=0, causal=True, target=None)
    source = FileSource(path, speed=float("inf"), chunk_s=5)
    return run(source, make_live(Detector(Seen(), events, stride_s=5, on_missing=on_missing), source)).result.detection


def test_a_replay_leaves_out_what_detect_leaves_out(tmp_path):
    path = write_units(tmp_path / "a.edf", ELECTRODES, noise(), RATE, [(b"mmHg", 1.0), (b"", 1.0), *[UV] * 17])
    found, replayed = detect(path)[1], replay(path)
    assert replayed.channels == found.channels
    for notes in (found.notes, replayed.notes):
        assert "cannot be used: Fp1: unit 'mmHg' is not known" in notes
        assert "unit '' read as uV, by the range: F3" in notes


def test_a_replay_says_why_channels_are_missing_as_detect_does(tmp_path):
    path = write_units(tmp_path / "a.edf", ELECTRODES, noise(), RATE, [(b"mmHg", 1.0)] * 19)
    with pytest.raises(DetectionError, match="unit 'mmHg' is not known") as said:
        detect(path)
    with pytest.raises(DetectionError) as replayed:
        replay(path)
    assert str(replayed.value) == str(said.value)


@pytest.mark.parametrize("factor", [1e6, 1e-6])
def test_a_replay_of_numbers_in_another_unit_ends_with_the_reason(tmp_path, factor):
    notes = replay(write_fif(tmp_path, noise() * 1e-6 * factor)).notes
    assert any("another unit than they are read in" in note for note in notes)
    assert not any("no EEG (is its unit right?" in note for note in notes)


@pytest.mark.parametrize("unit", [b"UV", b"", b"mmHg"])
def test_a_store_of_what_was_read_otherwise_is_made_anew(tmp_path, monkeypatch, unit):
    path = write_units(tmp_path / "a.edf", ELECTRODES, noise(), RATE, [(unit, 1.0), *[UV] * 18])
    now, _ = store_of(path, tmp_path / "now")
    with monkeypatch.context() as before:  # as it was when nobody judged units
        before.setattr(preparation, "_unit_identity", lambda *args: {})
        before.setattr("biot_bd.windows.preparation.montage_signals.unusable_channels", lambda raw: {})
        before.setattr("biot_bd.windows.preparation.recording.unusable_channels", lambda raw: {})
        raw = mne.io.read_raw_edf(path, verbose="error")
        data = BaseConcatDataset([RawDataset(raw, pd.Series({"subject": "a", "recording": "r"}))])
        prepare(data, tmp_path / "store", on_missing="drop")
    again, _ = store_of(path, tmp_path / "store")
    np.testing.assert_array_equal(again, now)


def test_recordings_without_faults_keep_their_fingerprint(tmp_path, monkeypatch):
    path = write_units(tmp_path / "a.edf", ELECTRODES, noise(), RATE, [UV, (b"mV", 1e3), *[UV] * 17])
    _, manifest = store_of(path, tmp_path / "store")
    monkeypatch.setattr(preparation, "_unit_identity", lambda *args: {})
    _, before = store_of(path, tmp_path / "before")
    assert before["recordings"][0]["fingerprint"] == manifest["recordings"][0]["fingerprint"]
    assert before["fingerprint"] == manifest["fingerprint"]


# Other formats ------------------------------------------------------------------------------------


def write_brainvision(folder, x_uv, unit, uv=1.0, others=True):
    """Write a BrainVision recording whose first channel, or all, has that unit; None leaves it out."""
    folder.mkdir()
    pybv.write_brainvision(
        data=x_uv * 1e-6, sfreq=RATE, ch_names=ELECTRODES, fname_base="rec", folder_out=str(folder), unit="µV", resolution=0.1
    )  # fmt: skip
    header = (folder / "rec.vhdr").read_text(encoding="utf-8")
    for i, name in enumerate(ELECTRODES if others else ELECTRODES[:1], 1):
        told = "" if unit is None else f",{unit}"
        header = header.replace(f"Ch{i}={name},,0.1,µV", f"Ch{i}={name},,{0.1 / uv:.10f}{told}")
    (folder / "rec.vhdr").write_text(header, encoding="utf-8")
    return folder / "rec.vhdr"


VOLTAGES = [(None, 1), ("", 1), ("µV", 1), ("uV", 1), ("UV", 1), ("uv", 1), ("μV", 1), ("mV", 1e3), ("V", 1e6), ("nV", 1e-3), ("NV", 1e-3)]  # fmt: skip


@pytest.mark.parametrize(("unit", "uv"), VOLTAGES)
@pytest.mark.parametrize("others", [True, False])
def test_brainvision_in_any_voltage_however_it_is_spelled(tmp_path, unit, uv, others):
    path = write_brainvision(tmp_path / "bv", noise(), unit, uv, others)
    shown, found = detect(path)
    plain, _ = detect(write_brainvision(tmp_path / "plain", noise(), "µV"))
    np.testing.assert_allclose(shown, plain, rtol=1e-4, atol=1e-4)
    assert not any("cannot be used" in note for note in found.notes)
    known = ("µV", "uV", "mV", "V", "nV", "", None)
    assert bool(read_otherwise(open_recording(path).raw)) == (unit not in known)


@pytest.mark.parametrize("unit", ["C", "n/a", "mv", "%", "µS", "furlong"])
def test_brainvision_in_what_is_no_voltage(tmp_path, unit):
    path = write_brainvision(tmp_path / "bv", noise(), unit, others=False)
    shown, found = detect(path)
    stored, manifest = store_of(path, tmp_path / "store")
    there = np.array(["Fp1" not in pair for pair in PAIRS])
    for seen, notes in ((shown, found.notes), (stored, manifest["notes"])):
        np.testing.assert_array_equal(~np.isnan(seen).any(axis=2), np.broadcast_to(there, seen.shape[:2]))
        assert any("cannot be used: Fp1: its unit" in note for note in notes)


def raw_of(x_volts, names=ELECTRODES):
    return mne.io.RawArray(x_volts, mne.create_info(list(names), RATE, "eeg"), verbose="error")


def write_fif(folder, x_volts, change=None):
    raw = raw_of(x_volts)
    if change is not None:
        with raw.info._unlock():
            change(raw.info["chs"])
    raw.save(folder / "rec_raw.fif", verbose="error", overwrite=True)
    return folder / "rec_raw.fif"


def write_eeglab(folder, x_uv):
    eeg = {
        "setname": "x", "nbchan": 19, "trials": 1, "pnts": x_uv.shape[1], "srate": float(RATE), "xmin": 0.0,
        "xmax": (x_uv.shape[1] - 1) / RATE, "data": x_uv, "event": [], "icawinv": [], "icasphere": [], "icaweights": [],
        "icaact": [], "epoch": [], "times": [], "ref": "common", "filename": "rec.set", "urevent": [], "history": "",
        "chanlocs": np.array([(name,) for name in ELECTRODES], dtype=[("labels", object)]),
    }  # fmt: skip
    scipy.io.savemat(folder / "rec.set", {"EEG": eeg}, appendmat=False)
    return folder / "rec.set"


WRITERS = {"fif": lambda folder, x_uv: write_fif(folder, x_uv * 1e-6), "eeglab": write_eeglab}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("factor", [1e6, 1e-6, 1e9])
def test_numbers_in_another_unit_are_refused(tmp_path, kind, factor):
    path = WRITERS[kind](tmp_path, noise() * factor)
    with pytest.raises(DetectionError, match=r"rec.*16 of 16 channels swing by more than 1 V or by less than 0.001 uV"):
        detect(path)
    with pytest.raises(PreparationError, match="another unit than they are read in") as refused:
        store_of(path, tmp_path / "store")
    (facts,) = inspect_folder(tmp_path, "recordings-folder", options={"unlisted": "background"}, samples=True)
    (one,) = facts.recordings
    assert (one.outcome, facts.stops_prepare, one.format.lower()) == ("failed", True, kind)
    assert one.detail == f"recording {one.recording}: {str(refused.value).removeprefix('recording r: ')}"


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize(("factor", "said"), [(1e3, "more than 10 mV"), (1e-3, "less than 0.1 uV")])
def test_numbers_that_may_be_in_another_unit_are_noted(tmp_path, kind, factor, said):
    path = WRITERS[kind](tmp_path, noise() * factor)
    _, found = detect(path)
    _, manifest = store_of(path, tmp_path / "store")
    (facts,) = inspect_folder(tmp_path, "recordings-folder", options={"unlisted": "background"}, samples=True)
    for notes in (found.notes, manifest["notes"], facts.recordings[0].notes):
        assert any(said in note for note in notes)


def test_one_electrode_in_another_unit_is_noted_by_name(tmp_path):
    x = noise()
    x[ELECTRODES.index("C4")] *= 1e6
    path = write_fif(tmp_path, x * 1e-6)
    _, found = detect(path)
    _, manifest = store_of(path, tmp_path / "store")
    for notes in (found.notes, manifest["notes"]):
        assert [note for note in notes if "more than 10 mV" in note and note.endswith(": F4-C4, C4-P4")]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda chs: chs[0].update(unit_mul=-6), "its unit is 1e-6 V, which MNE reads as V"),
        (lambda chs: chs[0].update(unit=-1), "its unit is not volts"),
    ],
)
def test_fif_that_says_another_unit(tmp_path, change, reason):
    path = write_fif(tmp_path, noise() * 1e-6, change)
    assert reason in open_recording(path).unusable["Fp1"]
    shown, found = detect(path)
    assert np.isnan(shown[:, [0, 8]]).all()
    assert any("cannot be used: Fp1" in note for note in found.notes)


# What is strange and still EEG.
def swung(x):
    x[:] += np.random.default_rng(1).uniform(-20_000, 20_000, (19, 1))


def drifting(x):
    x[:] += np.linspace(0, 5_000, x.shape[1]) * np.random.default_rng(1).uniform(-1, 1, (19, 1))


def saturated(x):
    x[:] = 3_200 * np.sign(np.sin(2 * np.pi * 0.7 * np.arange(x.shape[1]) / RATE + np.arange(19)[:, None]))


def glitch(x):
    x[:, 1000] = 1e9


def quiet(x):
    x *= 0.5 / 30


def dead(x):
    x[3] = 0
    x[4] = 5e6


@pytest.mark.parametrize("change", [swung, drifting, saturated, glitch, quiet, dead])
def test_what_is_strange_and_still_eeg_is_never_refused(tmp_path, change):
    x = noise()
    change(x)
    path = write_fif(tmp_path, x * 1e-6)
    _, found = detect(path)
    _, manifest = store_of(path, tmp_path / "store")
    assert np.isfinite(found.probabilities).all()
    assert not any("no EEG (" in note for note in [*found.notes, *manifest["notes"]])


@settings(max_examples=25, deadline=None)
@given(st.floats(-3, 3), st.floats(-9, 9))
def test_any_amplitude_is_judged_by_the_same_rule(level, power):
    """Amplitudes of EEG pass, a million times as much or as little never does."""
    x = np.random.default_rng(0).normal(0, 10 ** (1 + level / 3), (19, SECONDS * RATE)) * 10**power * 1e-6
    typical_uv = 10 ** (1 + level / 3 + power)
    refused = False
    notes = []
    try:
        notes = detect(raw_of(x))[1].notes
    except DetectionError:
        refused = True
    told = any("no EEG (" in note for note in notes)
    if 0.2 <= typical_uv <= 5e3:
        assert not refused
        assert not told
    if typical_uv < 2e-4 or typical_uv > 3e6:
        assert refused
    if 0.003 < typical_uv < 0.02 or 3e4 < typical_uv < 3e5:
        assert told
