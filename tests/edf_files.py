"""Small EDF files for the tests of loaders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from deploy_files import save_edf

BIPOLAR = (
    "FP1-F7 F7-T7 T7-P7 P7-O1 FP1-F3 F3-C3 C3-P3 P3-O1 FP2-F4 F4-C4 C4-P4 P4-O2 FP2-F8 F8-T8 T8-P8 P8-O2 FZ-CZ CZ-PZ "
    "P7-T7 T7-FT9 FT9-FT10 FT10-T8 T8-P8"
).split()
HEADER = "Data Sampling Rate: 256 Hz\n*****\n\nChannels in EDF Files:\n*****\nChannel 1: FP1-F7\nChannel 2: F7-T7\n"


def write_edf(
    path: Path,
    ch_names: Sequence[str] = ("FP1-F7", "F7-T7"),
    seconds: float = 20,
    sfreq: int = 256,
    seed: int = 0,
    zero: Sequence[str] = (),
    annotations: Sequence[tuple[float, float, str]] | None = None,
) -> Path:
    """Write noise of 30 uV; channels in ``zero`` are exactly zero."""
    rng = np.random.default_rng(seed)
    n_times = round(seconds * sfreq)
    signals = [
        np.zeros(n_times) if name in zero else np.clip(rng.normal(0, 30, n_times), -799, 799) for name in ch_names
    ]
    return save_edf(path, ch_names, signals, sfreq, annotations)


def entry(file: str, seizures: Sequence[tuple[int, int]] = (), numbered: bool = False) -> str:
    """One file's entry of a summary."""
    lines = ["", f"File Name: {file}", f"Number of Seizures in File: {len(seizures)}"]
    for i, (onset, offset) in enumerate(seizures, start=1):
        word = f"Seizure {i}" if numbered else "Seizure"
        lines += [f"{word} Start Time: {onset} seconds", f"{word} End Time: {offset} seconds"]
    return "\n".join(lines) + "\n"


def write_case(root: Path, case: str, files: dict[str, Sequence[tuple[int, int]]], on_disk: Sequence[str]) -> None:
    """Write ``root/chbNN`` with a summary of ``files`` and EDF files ``on_disk`` (20 s each)."""
    (root / case).mkdir(parents=True, exist_ok=True)
    text = HEADER + "".join(entry(file, seizures) for file, seizures in files.items())
    (root / case / f"{case}-summary.txt").write_text(text)
    for seed, file in enumerate(on_disk):
        write_edf(root / case / file, seed=seed)
