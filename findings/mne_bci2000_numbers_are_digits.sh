#!/usr/bin/env bash
# MNE 1.13.2: its new reader of BCI2000 recordings, mne.io.read_raw_bci2k (a file of the format is written below).
#
# Behaviour: the digits of the file are handed out as volts. Gain and offset of each channel, which the file names
# (SourceChGain in microvolts a digit, SourceChOffset in digits), are not applied, and names of electrodes
# (ChannelNames) are replaced by EEG1, EEG2, ... Nothing is warned of. A wave of 50 uV at 0.1 uV a digit is 500 V.
#
# What one would guess: MNE's readers give volts and the names of the file, as those of EDF, BrainVision and FIF do;
# gains in the header are the reader's task.
#
# Why it matters: whatever is scaled by its own size (percentiles, z-scores) hides it, so a model runs and its results
# look sound, while channels with gains of their own are weighted wrongly, derivations between two such channels are
# wrong, and thresholds in microvolts mean nothing. Electrodes can only be given by position.
#
# Source: seen by running it; the format: BCI2000 wiki, "Technical Reference: BCI2000 File Format" and
# "User Reference: Calibration" (calibrated value = (digit - SourceChOffset) * SourceChGain, in microvolts).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet mne==1.13.2 numpy==2.4.6 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
cd "$folder"
cat > run.py <<'PY'
import warnings
from pathlib import Path

import mne
import numpy as np

warnings.simplefilter("error")
rate = 256
t = np.arange(4 * rate) / rate
wave_uv = 50 * np.sin(2 * np.pi * 3 * t)
gains, offsets = (0.1, 0.5), (0, 200)  # both channels hold the same wave
digits = np.stack([np.round(wave_uv / g) + o for g, o in zip(gains, offsets)], axis=1).astype("<i2")
rows = b"".join(row.tobytes() + b"\0" for row in digits)
body = (
    "[ State Vector Definition ]\r\nRunning 1 0 0 0\r\n[ Parameter Definition ]\r\n"
    "Source int SourceCh= 2 16 1 %\r\n"
    f"Source int SamplingRate= {rate}Hz 256Hz 1 %\r\n"
    f"Source floatlist SourceChOffset= 2 {offsets[0]} {offsets[1]} 0 % %\r\n"
    f"Source floatlist SourceChGain= 2 {gains[0]}muV {gains[1]}muV 0.033muV % %\r\n"
    "Source stringlist ChannelNames= 2 C3 C4\r\n\r\n"
)
first = "BCI2000V= 1.1 HeaderLen= {:5d} SourceCh= 2 StatevectorLen= 1 DataFormat= int16\r\n"
length = len(first.format(0)) + len(body)
Path("x.dat").write_bytes((first.format(length) + body).encode() + rows)

raw = mne.io.read_raw_bci2k("x.dat", preload=True, verbose="error")
print("names:", raw.ch_names, "in the file: C3, C4")
for name, x, gain, offset in zip(raw.ch_names, raw.get_data(), gains, offsets):
    right_uv = (x - offset) * gain
    print(f"{name}: from {x.min():g} to {x.max():g} V; (digit - offset) * gain: {right_uv.min():.0f} to {right_uv.max():.0f} uV")
PY
"$folder/venv/bin/python" run.py | tee found
diff - found <<'SEEN'
names: ['EEG1', 'EEG2'] in the file: C3, C4
EEG1: from -500 to 500 V; (digit - offset) * gain: -50 to 50 uV
EEG2: from 100 to 300 V; (digit - offset) * gain: -50 to 50 uV
SEEN
