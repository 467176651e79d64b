"""A prepared store of as many windows as wanted, without recordings: all of them share one signal.

It has the layout of CHB-MIT (24 subjects, windows of 10 s, a seizure in every third recording or
so) and the oldest format, which the baseline reads too.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.lib.format import open_memmap

from _bench import BIOT_16

N_SUBJECTS = 24
WINDOW_S, SFREQ = 10.0, 200.0
N_TIMES = round(WINDOW_S * SFREQ)
WINDOWS_A_RECORDING = 475
"""326,000 windows of 10 s are then 686 recordings of some 80 min, as CHB-MIT has."""
STEP_UV = 0.025


def write_store(folder: Path, n_windows: int, *, stride_s: float = WINDOW_S, signal_s: float | None = None) -> Path:
    """Write a store of ``n_windows`` windows.

    Parameters
    ----------
    folder : Path
        Where; made anew.
    n_windows : int
    stride_s : float
        Distance of the windows' starts in a recording; below 10 s they overlap.
    signal_s : float, optional
        Length of the one signal that all recordings are pieces of; by default that of a recording.
    """
    n_recordings = max(N_SUBJECTS, round(n_windows / WINDOWS_A_RECORDING))
    counts = np.full(n_recordings, n_windows // n_recordings)
    counts[: n_windows - counts.sum()] += 1
    hop = round(stride_s * SFREQ)
    longest = int(counts.max() - 1) * hop + N_TIMES
    n_samples = longest if signal_s is None else max(longest, round(signal_s * SFREQ))
    (folder / "signals").mkdir(parents=True)
    _write_signal(folder / "signals" / "shared.npy", n_samples)
    entries, frames = [], []
    for number, n in enumerate(counts.tolist()):
        # Pieces of the one signal, spread over it.
        first = round((n_samples - longest) * number / max(n_recordings - 1, 1))
        entry, frame = _recording(number, n, hop, first, n_samples)
        entries.append(entry)
        frames.append(frame)
    table = pd.concat(frames, ignore_index=True)
    for name in ("recording", "person", "kind"):
        table[name] = table[name].astype("category")
    table.to_parquet(folder / "windows.parquet", index=False)
    rng = np.random.default_rng(1)
    np.save(folder / "percentiles.npy", (60 + 20 * rng.random((len(table), len(BIOT_16)))).astype(np.float32))
    manifest = {
        "format": "biot_bd windows",
        "version": 1,
        "ch_names": list(BIOT_16),
        "sfreq": SFREQ,
        "resample": "fft-segment",
        "generated": True,
        "dtype": "int16",
        "failures": [],
        "recordings": entries,
        "table": {
            "label_rule": "overlap",
            "label_parameters": {},
            "window_s": WINDOW_S,
            "stride_s": stride_s,
            "n_times": N_TIMES,
            "on_bad": "drop",
            "fingerprint": f"{n_windows:016d}",
        },
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def _write_signal(path: Path, n_samples: int) -> None:
    """Write noise of the amplitude of EEG, block by block."""
    rng = np.random.default_rng(0)
    signal = open_memmap(path, "w+", np.int16, (len(BIOT_16), n_samples))
    noise = np.rint(rng.normal(0, 40 / STEP_UV, 2**20)).astype(np.int16)
    for row in signal:
        for start in range(0, n_samples, len(noise)):
            piece = row[start : start + len(noise)]
            piece[:] = np.roll(noise, int(rng.integers(len(noise))))[: len(piece)]
    signal.flush()


def _recording(number: int, n: int, hop: int, first: int, n_samples: int) -> tuple[dict[str, object], pd.DataFrame]:
    """Return a recording's entry in the manifest and its rows of the table.

    A recording that does not begin where the signal does says so by its windows' samples, which
    nobody compares with its times.
    """
    subject, name = f"bench/{number % N_SUBJECTS + 1:02d}", f"rec{number:04d}"
    start_s = np.arange(n) * hop / SFREQ
    has_seizure = number < N_SUBJECTS or number % 4 == 0
    middle = start_s[n // 2]
    events = [[float(middle), float(middle + 65)]] if has_seizure else []
    overlap = np.zeros(n)
    for onset, offset in events:
        overlap += np.clip(np.minimum(offset, start_s + WINDOW_S) - np.maximum(onset, start_s), 0, None) / WINDOW_S
    frame = pd.DataFrame(
        {
            "recording": name,
            "person": subject,
            "start_s": start_s,
            "stop_s": start_s + WINDOW_S,
            "seizure_fraction": overlap,
            "label": (overlap > 0).astype(np.int64),
            "start_sample": first + np.arange(n) * hop,
            "n_samples": N_TIMES,
            "kind": "grid",
        }
    )
    entry = {
        "recording": name,
        "person": subject,
        "source": f"{name}.edf",
        "source_sfreq": SFREQ,
        "source_n_samples": round(float(start_s[-1] + WINDOW_S) * SFREQ),
        "file": "signals/shared.npy",
        "dtype": "int16",
        "dtype_reason": None,
        "steps_uv": [STEP_UV] * len(BIOT_16),
        "sfreq": SFREQ,
        "n_samples": n_samples,
        "present": [True] * len(BIOT_16),
        "events": events,
        "flat": [[] for _ in BIOT_16],
        "not_finite": [[] for _ in BIOT_16],
        "fingerprint": f"shared-{n_samples}",
        "outcome": "prepared",
    }
    return entry, frame
