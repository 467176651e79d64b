"""NeuroAtlas: rows of CHB-MIT in BIDS are named by a list in another order than the file's.

A recording is made in which each bipolar channel holds a sine of a frequency of its own, converted
as the published BIDS edition was (epilepsy2bids), and read by the benchmark's own data set. The
frequency of a row says which channel it really is.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
from edfio import Edf, EdfSignal
from epilepsy2bids.eeg import Eeg
from neuroatlas.extensions.datasets.dataio.chbmit_bids import CHBMITBIDSDataset
from neuroatlas.extensions.models.backbones.biot import _biot_slot_plan

SFREQ, SECONDS = 256, 60
MODERN = {"T3": "T7", "T4": "T8", "T5": "P7", "T6": "P8"}
SOURCE = tuple("-".join(MODERN.get(end, end) for end in name.split("-")).upper() for name in Eeg.BIPOLAR_DBANANA)
"""Names as in CHB-MIT."""


def made_bids(folder: Path) -> None:
    """Write one converted recording; channel number n holds a sine of 3 + n Hz."""
    times_s = np.arange(SECONDS * SFREQ) / SFREQ
    sines = [
        EdfSignal(
            50 * np.sin(2 * np.pi * (3 + n) * times_s),
            SFREQ,
            label=name,
            physical_dimension="uV",
            physical_range=(-100, 100),
        )
        for n, name in enumerate(SOURCE)
    ]
    Edf(sines).write(folder / "source.edf")
    eeg = Eeg.loadEdf(str(folder / "source.edf"), Eeg.Montage.BIPOLAR, Eeg.BIPOLAR_DBANANA)
    eeg.standardize(SFREQ, Eeg.BIPOLAR_DBANANA, "bipolar")
    stem = folder / "bids" / "sub-01" / "ses-01" / "eeg" / "sub-01_ses-01_task-szMonitoring_run-00"
    eeg.saveEdf(f"{stem}_eeg.edf")
    about = {"SamplingFrequency": SFREQ, "EEGChannelCount": len(SOURCE), "RecordingDuration": SECONDS}
    Path(f"{stem}_eeg.json").write_text(json.dumps(about))
    Path(f"{stem}_events.tsv").write_text("onset\tduration\teventType\n0\t60\tbckg\n")


def true_name(row: np.ndarray) -> str:
    """Return the channel whose sine a row holds."""
    spectrum = np.abs(np.fft.rfft(row * np.hanning(len(row))))
    return SOURCE[round(np.fft.rfftfreq(len(row), 1 / SFREQ)[spectrum.argmax()]) - 3]


def measure() -> dict[str, object]:
    """Count rows under a name that is theirs, and what BIOT's 16 places are then given."""
    with tempfile.TemporaryDirectory() as name:
        made_bids(Path(name))
        item = CHBMITBIDSDataset(str(Path(name) / "bids"), window_s=10.0)[0]
    said = ["-".join(MODERN.get(end, end) for end in label.split("-")) for label in item["meta"]["channels"]]
    true = [true_name(row) for row in item["eeg"].numpy()]
    plan, *_ = _biot_slot_plan(item["meta"]["channels"])
    empty = sum(place[0] == "pad" for place in plan)
    return {
        "rows": len(said),
        "rows under their own name": sum(a == b for a, b in zip(said, true, strict=True)),
        "for example": f"the row called {said[0]} is {true[0]}",
        "BIOT's 16 places: zeros": empty,
        "BIOT's 16 places: filled by name": len(plan) - empty,
    }
