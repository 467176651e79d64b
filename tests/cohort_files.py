"""Small EDF files in the layouts of published cohorts, each channel with a signal of its own."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path

import edfio
import numpy as np

ELECTRODES = "Fp1 F3 C3 P3 O1 F7 T3 T5 Fz Cz Pz Fp2 F4 C4 P4 O2 F8 T4 T6".split()


def own_signal(name: str, n_times: int, seed: int = 0) -> np.ndarray:
    """Noise of 30 uV that is the same wherever a channel of that name stands."""
    rng = np.random.default_rng([seed, *name.upper().encode()])
    return np.clip(rng.normal(0, 30, n_times), -790, 790)


def write_cohort_edf(
    path: Path,
    ch_names: Sequence[str],
    *,
    seconds: int = 40,
    sfreq: float = 128,
    start: str = "12.30.15",
    patient: str = "X X X X",
    signals: Sequence[np.ndarray] | None = None,
    rates: dict[str, int] | None = None,
    seed: int = 0,
) -> Path:
    """Write an EDF whose header begins at ``start`` and names ``patient``; ``rates`` in Hz by channel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    given = signals or [own_signal(name, int(seconds * (rates or {}).get(name, sfreq)), seed) for name in ch_names]
    made = [
        edfio.EdfSignal(
            signal,
            (rates or {}).get(name, sfreq),
            label=name,
            physical_dimension="uV",
            physical_range=(-800, 800),
            digital_range=(-32768, 32767),
        )
        for name, signal in zip(ch_names, given, strict=True)
    ]
    edf = edfio.Edf(made, data_record_duration=1, starttime=datetime.time(*map(int, start.split("."))))
    edf.write(path)
    patch_header(path, 8, patient.ljust(80))
    return path


def patch_header(path: Path, at: int, text: str) -> None:
    """Write over a part of a header."""
    with path.open("r+b") as file:
        file.seek(at)
        file.write(text.encode("ascii"))


def outcomes_of(dataset) -> dict[str, str]:
    return dict(zip(dataset.outcomes["recording"], dataset.outcomes["outcome"], strict=True))


def details_of(dataset) -> dict[str, str]:
    return dict(zip(dataset.outcomes["recording"], dataset.outcomes["detail"], strict=True))


def by_name(dataset) -> dict:
    return {part.description["recording"]: part for part in dataset.datasets}
