#!/usr/bin/env bash
# MNE 1.13.2: read_raw_nicolet on a block of EPILEPSIAE (.head and .data) whose start_ts has a fraction of a second.
#
# Behaviour: meas_date has whole seconds; the fraction is dropped without a warning. Two blocks of which the second begins
# 0.9 s after the first one's end look as if they followed each other at once, and every label by the clock is up to a
# second early. A start_ts without a fraction, and an empty line in the head, raise ValueError.
#
# What one would guess: meas_date is the start of the file to the microsecond, as for EDF+ and BrainVision, since the
# header writes milliseconds, and MNE's reader parses the digits behind the point (it takes "900" for 900 microseconds,
# and then keeps seconds alone).
#
# Why it matters: seizures of EPILEPSIAE are listed by the clock, and a recording is many blocks with pauses between
# them, whose lengths follow from these dates alone.
#
# Source: seen by running it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet mne==1.13.2 numpy==2.4.6 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
cd "$folder"
cat > run.py <<'PY'
from pathlib import Path

import mne
import numpy as np

mne.set_log_level("ERROR")


def block(name, start, empty_line=""):
    """Write a block of 10 s; return MNE's start, or the error."""
    np.zeros((2560, 2), "<i2").tofile(f"{name}.data")
    Path(f"{name}.head").write_text(
        f"start_ts={start}\nnum_samples=2560\nsample_freq=256\nconversion_factor=0.25\nnum_channels=2\n"
        f"elec_names=[FP1,F7]\n{empty_line}pat_id=1\nadm_id=1\nrec_id=1\nduration_in_sec=10\nsample_bytes=2\n"
    )
    try:
        return mne.io.read_raw_nicolet(f"{name}.data", ch_type="eeg").info["meas_date"]
    except ValueError as error:
        return f"ValueError: {error}"


first, second = block("a", "2008-11-03 12:00:00.000"), block("b", "2008-11-03 12:00:10.900")
print(f"pause between the blocks: {(second - first).total_seconds() - 10:g} s, by their headers 0.9 s")
print("without a fraction:", block("c", "2008-11-03 12:00:10"))
print("with an empty line:", block("d", "2008-11-03 12:00:10.900", "\n"))
PY
"$folder/venv/bin/python" run.py | tee found
diff - found <<'SEEN'
pause between the blocks: 0 s, by their headers 0.9 s
without a fraction: ValueError: not enough values to unpack (expected 2, got 1)
with an empty line: ValueError: not enough values to unpack (expected 2, got 1)
SEEN
