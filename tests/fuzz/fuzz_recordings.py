"""Recordings under test: each format that tests can write, and the files that lie beside it."""

import math
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
from fuzz_frame import Target, damage_bytes, damage_header, damage_text
from gap_files import write_with_pause

from biot_bd.io import open_recording, read_blocks


def make_recording(kind: str, damaged: str = "") -> Callable[[Path], Path]:
    """Return a maker of a recording with a pause; ``damaged`` is the ending of the file that is hurt."""

    def make(folder):
        x_uv = 30 * np.random.default_rng(0).normal(size=(2, 800))
        made = write_with_pause(folder, kind, x_uv, ["FP1-F7", "F7-T7"], 400, 5)
        return made.with_suffix(damaged) if damaged else made

    return make


def read_recording(path: Path, *, holds_floats: bool = False) -> None:
    """Read all of it; raise where a number is none that the file does not hold."""
    recording = open_recording(path)
    if not (recording.sfreq > 0 and math.isfinite(recording.duration_s)):
        raise AssertionError(f"rate {recording.sfreq}, length {recording.duration_s}")
    for name in recording.raw.ch_names:
        for x in read_blocks(recording, [name], 0, 100_000):
            if not (holds_floats or np.isfinite(x).all()):
                raise AssertionError("NaN in what was read")


def read_floats(path: Path) -> None:
    """Read a file of floats: a NaN in it is a NaN (absent in the windows that it spoils)."""
    read_recording(path, holds_floats=True)


def read_beside(ending: str) -> Callable[[Path], None]:
    """Return a reader of the recording that a damaged file belongs to."""
    return lambda path: read_recording(path.with_suffix(ending), holds_floats=True)


def damage_late(rng: random.Random, data: bytes) -> bytes:
    """Damage bytes of a binary file, mostly those near its begin, where its structure is."""
    begin = min(len(data), 4096) if rng.random() < 0.7 else len(data)
    return damage_bytes(rng, data[:begin]) + data[begin:]


RECORDINGS = [
    Target("edf", make_recording("edf+d"), damage_header, read_recording),
    Target("bdf", make_recording("bdf+d"), damage_header, read_recording),
    Target("bdf-status", make_recording("bdf-status"), damage_header, read_recording),
    Target("vhdr", make_recording("brainvision"), damage_text, read_floats),
    Target("vmrk", make_recording("brainvision", ".vmrk"), damage_text, read_beside(".vhdr")),
    Target("brainvision-eeg", make_recording("brainvision", ".eeg"), damage_bytes, read_beside(".vhdr")),
    Target("lay", make_recording("persyst"), damage_text, read_recording),
    Target("persyst-dat", make_recording("persyst", ".dat"), damage_bytes, read_beside(".lay")),
    Target("eeglab", make_recording("eeglab"), damage_late, read_floats),
    Target("fif", make_recording("fif"), damage_late, read_floats),
]
