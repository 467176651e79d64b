"""Every cohort's layout, channel by channel: what a model is given is what was written under that name."""

from __future__ import annotations

import mne
import numpy as np
import pytest
from braindecode.models.labram import LABRAM_CHANNEL_ORDER
from cohort_files import ELECTRODES, own_signal, write_cohort_edf
from epilepsy2bids.eeg import Eeg

from biot_bd import load_dataset, prepare
from biot_bd.exceptions import ContractError
from biot_bd.probes import check_slots, open_model
from biot_bd.signals.montages import BIOT_16

pytestmark = pytest.mark.usefixtures("one_thread")
SECONDS, SFREQ = 20, 200  # the store's rate, so that samples can be compared one by one
CHBMIT = (  # as PhysioNet's files have them
    "FP1-F7 F7-T7 T7-P7 P7-O1 FP1-F3 F3-C3 C3-P3 P3-O1 FP2-F4 F4-C4 C4-P4 P4-O2 FP2-F8 F8-T8 T8-P8 P8-O2 FZ-CZ CZ-PZ "
    "P7-T7 T7-FT9 FT9-FT10 FT10-T8"
).split()
OLD = {"T7": "T3", "T8": "T4", "P7": "T5", "P8": "T6"}
TUSZ_TABLE = "# duration = 20.0 secs\nchannel,start_time,stop_time,label,confidence\nTERM,0.0,20.0,bckg,1.0\n"


def edf(path, names, labels=None):
    """Write each channel's own signal, under ``labels`` where they are others."""
    signals = [own_signal(name, SECONDS * SFREQ) for name in names]
    return write_cohort_edf(path, labels or names, seconds=SECONDS, sfreq=SFREQ, signals=signals, start="12.00.00")


def bids(root, title, names):
    stem = root / "sub-01" / "ses-01" / "eeg" / "sub-01_ses-01_task-szMonitoring_run-00"
    edf(stem.with_name(f"{stem.name}_eeg.edf"), names)
    stem.with_name(f"{stem.name}_events.tsv").write_text("onset\tduration\teventType\n5\t5\tsz\n")
    (root / "participants.tsv").write_text("participant_id\nsub-01\n")
    (root / "dataset_description.json").write_text(f'{{"Name": "{title}"}}')


def chbmit(root, names):
    edf(root / "chb01" / "chb01_01.edf", names)
    (root / "chb01" / "chb01-summary.txt").write_text(
        "Data Sampling Rate: 256 Hz\nChannel 1: FP1-F7\n\nFile Name: chb01_01.edf\nNumber of Seizures in File: 0\n"
    )


def siena(root, names):
    edf(root / "PN00" / "PN00-1.edf", names)
    (root / "PN00" / "Seizures-list-PN00.txt").write_text(
        "File name: PN00-1.edf\nRegistration start time: 12.00.00\nRegistration end time: 12.00.20\n"
        "Seizure start time: 12.00.05\nSeizure end time: 12.00.10\n"
    )


def helsinki(root, names):
    edf(root / "eeg1.edf", names)
    for expert in "ABC":
        (root / f"annotations_2017_{expert}.csv").write_text("1\n" + "0\n" * SECONDS)


def tusz(root, names, labels=None, montage="01_tcp_ar"):
    path = root / "edf" / "train" / "aaaaaaac" / "s001_2003" / montage / "aaaaaaac_s001_t000.edf"
    edf(path, names, labels).with_suffix(".csv_bi").write_text(TUSZ_TABLE)


def shuffled(names, seed=3):
    return [str(name) for name in np.random.default_rng(seed).permutation(names)]


PN16 = "Fp1 F3 C3 P3 O1 F7 T5 Fc1 Fc5 F9 Fz Pz F4 C4 P4 O2 F8 T4 T6 F10 FP2 T3 CZ".split()
AR = [f"EEG {name.upper()}-REF" for name in ELECTRODES] + ["EEG A1-REF", "EEG EKG1-REF", "IBI"]
LE = [name.replace("-REF", "-LE") for name in AR[:-1]]
# By cohort: data set, how it is written, its channels, and how it writes an electrode.
LAYOUTS = {
    "chb-mit, PhysioNet's order": ("chb-mit", chbmit, CHBMIT, None),
    "chb-mit, BIDS order": ("chb-mit-bids", lambda root, names: bids(root, "CHB-MIT", names), list(Eeg.BIPOLAR_DBANANA), None),
    "siena, BIDS order": ("siena", lambda root, names: bids(root, "Siena", names), list(Eeg.ELECTRODES_10_20), "{}"),
    "siena, PN16": ("siena-physionet", siena, [f"EEG {name}" for name in PN16] + ["EKG EKG", "1", "61", "A"], "EEG {}"),
    "helsinki": ("helsinki-neonatal", helsinki, [f"EEG {name}-Ref" for name in ELECTRODES] + ["ECG EKG"], "EEG {}-Ref"),
    "tusz, 01_tcp_ar": ("tusz", tusz, AR, "EEG {}-REF"),
    "tusz, 01_tcp_ar shuffled": ("tusz", tusz, shuffled(AR), "EEG {}-REF"),
    "tusz, 02_tcp_le": ("tusz", lambda root, names: tusz(root, names, montage="02_tcp_le"), shuffled(LE, 4), "EEG {}-LE"),
}  # fmt: skip


def true_uv(channel, names, pattern):
    """What ``channel`` is by the signals that were written, worked out by hand."""
    by_name = {name.upper(): own_signal(name, SECONDS * SFREQ) for name in names}
    if pattern is None:
        found = by_name.get(channel.upper())
        if found is not None:
            return found
        # epilepsy2bids writes derivations with the old names, too.
        plus, minus = (OLD.get(side, side) for side in channel.split("-"))
        return by_name[f"{plus}-{minus}".upper()]
    sides = [OLD.get(side, side) for side in channel.split("-")]
    sides = [by_name.get(pattern.format(side).upper()) for side in sides]
    return sides[0] - sides[1] if len(sides) == 2 else sides[0]


def n_right(windows, names, pattern):
    """How many channels of the store are what was written, to a microvolt."""
    wanted = [true_uv(channel, names, pattern)[: windows.shape[2]] for channel in windows.ch_names]
    return int(sum(np.abs(row - true).max() < 1 for row, true in zip(windows[0], wanted, strict=True)))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Stores by layout and montage, made once."""
    made = {}

    def get(layout, montage="biot-16"):
        dataset, write, names, _ = LAYOUTS[layout]
        if (layout, None) not in made:
            root = tmp_path_factory.mktemp("layout")
            write(root, names)
            made[layout, None] = root
        if (layout, montage) not in made:
            recordings = load_dataset(dataset, made[layout, None])
            folder = tmp_path_factory.mktemp("store")
            made[layout, montage] = prepare(recordings, folder, montage=montage, stride_s=10, dtype="float32")
        return made[layout, montage]

    return get


@pytest.mark.parametrize("layout", LAYOUTS)
def test_16_of_16_slots_of_biot_hold_what_was_written(prepared, layout):
    windows, (_, _, names, pattern) = prepared(layout), LAYOUTS[layout]
    assert windows.ch_names == BIOT_16.ch_names
    assert n_right(windows, names, pattern) == 16
    report = check_slots(open_model("biot", windows), windows, n_windows=2)
    assert report.problems == ()
    assert [slot.holds for slot in report.slots] == list(BIOT_16.ch_names)
    assert all(slot.correlation > 0.999 for slot in report.slots)


@pytest.mark.parametrize("layout", ["chb-mit, BIDS order", "tusz, 01_tcp_ar shuffled"])
@pytest.mark.parametrize("model", ["cbramod", pytest.param("eegpt", marks=pytest.mark.slow)])
def test_models_that_take_any_channels_get_those_at_their_rate_and_scale(prepared, model, layout):
    windows = prepared(layout)
    report = check_slots(open_model(model, windows), windows, n_windows=2)
    assert report.problems == ()
    assert [slot.holds for slot in report.slots] == list(BIOT_16.ch_names)
    assert (report.sfreq, report.scale) == {"cbramod": (200.0, "uV/100"), "eegpt": (256.0, "uV/1000")}[model]


@pytest.mark.parametrize("layout", [name for name, layout in LAYOUTS.items() if layout[3]])
def test_labram_gets_19_electrodes_by_name_from_referential_cohorts(prepared, layout):
    windows, (_, _, names, pattern) = prepared(layout, "szcore-19"), LAYOUTS[layout]
    assert n_right(windows, names, pattern) == 19
    opened, given = open_model("labram", windows), []
    module = opened[-1].module_
    inner = module.forward_features
    module.forward_features = lambda x, input_chans, **options: (
        given.append(input_chans) or inner(x, input_chans=input_chans, **options)
    )
    report = check_slots(opened, windows, n_windows=2)
    assert report.problems == ()
    assert [slot.holds for slot in report.slots] == list(windows.ch_names)
    # The embedding of place 0 is the class token's.
    assert [LABRAM_CHANNEL_ORDER[i - 1].upper() for i in given[0][1:].tolist()] == [c.upper() for c in windows.ch_names]


def test_labram_refuses_derivations_that_it_does_not_know(prepared):
    windows = prepared("chb-mit, PhysioNet's order")
    for model in ("labram", "interpolated-labram", "interpolated-eegpt"):
        with pytest.raises(ContractError):
            open_model(model, windows)


@pytest.mark.parametrize("shift", [1, 7])
def test_a_file_with_permuted_labels_does_not_pass(tmp_path, shift):
    names = [f"EEG {name.upper()}-REF" for name in ELECTRODES]
    tusz(tmp_path / "tusz", names, labels=[*names[shift:], *names[:shift]])
    windows = prepare(load_dataset("tusz", tmp_path / "tusz"), tmp_path / "store", stride_s=10, dtype="float32")
    assert n_right(windows, names, "EEG {}-REF") == 0
    tusz(tmp_path / "sound", names)
    sound = prepare(load_dataset("tusz", tmp_path / "sound"), tmp_path / "sound-store", stride_s=10, dtype="float32")
    assert n_right(sound, names, "EEG {}-REF") == 16


def test_16_of_16_slots_on_the_real_excerpts_are_what_mne_reads_by_label(shared, tmp_path):
    root = shared / "data" / "chbmit-excerpts"
    recordings = load_dataset("chb-mit", root, subjects=["chb01"])
    windows = prepare(recordings, tmp_path / "store", resample="fft-window", stride_s=10, dtype="float32")
    first = windows.metadata.iloc[0]
    raw = mne.io.read_raw_edf(root / "chb01" / f"{first['recording']}.edf", verbose="error")
    start = round(first["start_s"] * raw.info["sfreq"])
    by_label = {name.upper().removesuffix("-0"): i for i, name in enumerate(raw.ch_names)}
    entry = next(e for e in windows.entries if e.recording == first["recording"])
    stored = np.load(windows.folder / entry.file, mmap_mode="r")
    assert entry.sfreq == raw.info["sfreq"]
    for i, channel in enumerate(windows.ch_names):
        wanted = raw[by_label[channel.upper()], start : start + 2560][0][0] * 1e6
        assert np.abs(stored[i, start : start + 2560] - wanted).max() < 0.01
    report = check_slots(open_model("biot", windows), windows, n_windows=3)
    assert report.problems == ()
    assert [slot.holds for slot in report.slots] == list(BIOT_16.ch_names)
