"""The readers under test, each with a small valid file."""

import math
import sys
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from checkpoint_files import encoder_of, tiny
from deploy_targets import TARGETS as OF_DEPLOYMENT
from folder_targets import TARGETS as OF_FOLDERS
from fuzz_frame import Target, damage_bytes, damage_header, damage_text
from fuzz_recordings import RECORDINGS

from biot_bd.datasets.chbmit_summary import read_summary
from biot_bd.events import Event, read_event_file, write_event_file
from biot_bd.models import load_checkpoint, save_checkpoint

EVENTS = [Event(3.0, 5.0, 0.5), Event(7.0, 8.0, 0.75)]
SUMMARY = """Data Sampling Rate: 256 Hz
*****

Channels in EDF Files:
*****
Channel 1: FP1-F7
Channel 2: F7-T7

File Name: chb01_01.edf
File Start Time: 11:42:54
File End Time: 12:42:54
Number of Seizures in File: 1
Seizure Start Time: 10 seconds
Seizure End Time: 20 seconds
"""


def make_events(name):
    return lambda folder: write_event_file(folder / name, EVENTS, 10.0, start=datetime(2020, 3, 2, 10, 11, 12))


def read_events(path):
    file = read_event_file(path, format="mne" if path.suffix in (".csv", ".txt") else None)
    numbers = [v for e in file.events for v in e if v is not None] + [file.duration_s or 0.0]
    if not all(map(math.isfinite, numbers)):
        raise AssertionError(f"not finite: {file}")


def make_annotations(name):
    import mne

    def make(folder):
        mne.Annotations([3.0, 7.0], [2.0, 1.0], ["sz", "sz"]).save(folder / name, overwrite=True, verbose="error")
        return folder / name

    return make


def make_summary(folder):
    (folder / "chb01-summary.txt").write_text(SUMMARY)
    return folder / "chb01-summary.txt"


def make_checkpoint(name):
    def make(folder):
        if name.endswith(".ckpt"):
            torch.save(encoder_of(tiny()), folder / name)
            return folder / name
        found = Path(save_checkpoint(tiny(), folder / name, ["my-set/01"]))
        return next(found.glob("*.safetensors")) if found.is_dir() else found

    return make


def read_checkpoint(path):
    load_checkpoint(path)


TARGETS = [
    *RECORDINGS,
    Target("tsv", make_events("x_events.tsv"), damage_text, read_events),
    Target("csv_bi", make_events("x.csv_bi"), damage_text, read_events),
    Target("summary", make_summary, damage_text, read_summary),
    Target("edf-annotations", make_events("x.edf"), damage_header, read_events),
    Target("mne-fif", make_annotations("x_annot.fif"), damage_bytes, read_events),
    Target("mne-csv", make_annotations("x-annot.csv"), damage_text, read_events),
    Target("mne-txt", make_annotations("x-annot.txt"), damage_text, read_events),
    Target("ckpt", make_checkpoint("x.ckpt"), damage_bytes, read_checkpoint),
    *OF_FOLDERS,
    *OF_DEPLOYMENT,
]
