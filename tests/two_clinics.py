"""Two clinics with small recordings, copies under other names, and a tiny model of one of them."""

from pathlib import Path

from edf_files import write_edf

from biot_bd import BIOTClassifier, load_dataset, prepare
from biot_bd.evaluation import fit_all

EDF = "FP1-F7 F7-T7 T7-P7 P7-O1 FP2-F8 F8-T8 T8-P8 P8-O2 FP1-F3 F3-C3 C3-P3 P3-O1 FP2-F4 F4-C4 C4-P4 P4-O2".split()


def write_clinic(root, subjects=("P01", "P02", "P03"), seed=0, name="rec1"):
    """Write 30 s of noise a subject, with a seizure from 10 to 20 s."""
    for number, subject in enumerate(subjects):
        path = root / subject / f"{name}.edf"
        write_edf(path, EDF, seconds=30, sfreq=100, seed=100 * seed + number, annotations=[(10, 10, "sz")])
    return root


def anonymous_copy(source, root, rename=lambda subject: subject, name="visit"):
    """Copy recordings to other folders and files, with other patients and another day in their headers."""
    for path in sorted(Path(source).glob("*/*.edf")):
        data = bytearray(path.read_bytes())
        data[8:168], data[168:184] = b"X X X X".ljust(80) + b"Startdate X X X X".ljust(80), b"01.01.8500.00.00"
        copy = root / rename(path.parent.name) / f"{name}.edf"
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(data)
    return root


def prepared(root, folder, **options):
    """Prepare a clinic's folder in 5 s windows."""
    recordings = load_dataset("recordings-folder", root, **options)
    return prepare(recordings, folder, sfreq=100, window_s=5, stride_s=5)


def tiny(**params):
    """Return a classifier that is fitted in no time."""
    small = {"module__embed_dim": 8, "module__num_heads": 2, "module__num_layers": 1, "module__hop_length": 100}
    return BIOTClassifier(**{"max_epochs": 1, "device": "cpu", "verbose": 0, "random_state": 0, **small, **params})


def save_model(windows, folder, **params):
    """Fit on all subjects and save."""
    fit_all(tiny(**params), windows, folder, validation_fraction=0.34)
    return folder
