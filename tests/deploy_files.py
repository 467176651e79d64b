"""Small EDF files of the electrodes that a detector needs."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path

import edfio
import numpy as np

from biot_bd.signals.montages import BIOT_16

ELECTRODES = "Fp1 F3 C3 P3 O1 F7 T3 T5 Fz Cz Pz Fp2 F4 C4 P4 O2 F8 T4 T6".split()
BIPOLAR = tuple(name.upper() for name in BIOT_16.ch_names)
REFERENTIAL = tuple(f"EEG {electrode}-REF" for electrode in ELECTRODES)


def write_edf(
    path: Path,
    ch_names: Sequence[str] = BIPOLAR,
    seconds: float = 30,
    sfreq: int = 256,
    seed: int = 0,
    flat: Sequence[str] = (),
    loud: tuple[float, float] | None = None,
) -> Path:
    """Write noise of 30 uV; channels in ``flat`` are constant, between two seconds ``loud`` it is tenfold."""
    rng = np.random.default_rng(seed)
    n_times = round(seconds * sfreq)
    level = np.full(n_times, 30.0)
    if loud is not None:
        level[int(loud[0] * sfreq) : int(loud[1] * sfreq)] = 300
    path.parent.mkdir(parents=True, exist_ok=True)
    edfio.Edf(
        [
            edfio.EdfSignal(
                np.full(n_times, 5.0) if name in flat else np.clip(rng.normal(0, 1, n_times) * level, -799, 799),
                sfreq,
                label=name,
                physical_dimension="uV",
                physical_range=(-800, 800),
                digital_range=(-16384, 16384),
            )
            for name in ch_names
        ],
        recording=edfio.Recording(startdate=datetime.date(2010, 5, 4)),
        starttime=datetime.time(12, 30, 15),
        data_record_duration=1 if seconds == int(seconds) else 0.5,
    ).write(path)
    return path
