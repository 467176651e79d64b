#!/usr/bin/env bash
# MNE 1.13.2 (edfio 0.4.18 writes the file): an EDF in which the EEG has a lower rate than another channel.
#
# Behaviour: a slice of the EEG that is read lazily (preload=False) and does not begin on the border of a data record
# holds other samples than the same slice of the preloaded file: the waves stand up to seconds from their true place.
# Nothing is warned of. Slices that begin on a record border are right, and so is a file with one rate.
#
# What one would guess: preload is a question of memory, so lazy and preloaded reading give the same numbers;
# channels that the user did not pick (an ECG at 500 Hz beside EEG at 200 Hz) cannot change those that were picked.
#
# Why it matters: detectors and window cutters read long recordings lazily. Labels and signals no longer belong
# together, and every clinical system that records ECG or EMG faster than EEG writes such files.
#
# Source: seen by running it; MNE resamples each block of such channels by itself while it reads.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet mne==1.13.2 edfio==0.4.18 numpy==2.4.6 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
cd "$folder"
cat > run.py <<'PY'
import edfio, mne, numpy as np

mne.set_log_level("ERROR")
seconds, rate = 1200, 200
t = np.arange(seconds * rate) / rate
eeg = sum(200 * np.exp(-(((t - k) / 0.05) ** 2)) for k in range(5, seconds, 10))  # a wave at 5, 15, 25, ... s
ecg = 100 * np.sin(2 * np.pi * 1.2 * np.arange(seconds * 500) / 500)


def signal(x, hz, name):
    return edfio.EdfSignal(x, hz, label=name, physical_dimension="uV", physical_range=(-3200, 3200))


def displacement_s(path, first_s):
    """Largest distance of the wave from its place, in slices of 10 s that begin at first_s, first_s + 10, ..."""
    raw = mne.io.read_raw_edf(path, preload=False)
    hz, worst = raw.info["sfreq"], 0.0
    for start_s in range(first_s, seconds - 10, 10):
        x = raw.get_data(picks=["F7"], start=int(start_s * hz), stop=int((start_s + 10) * hz))[0]
        worst = max(worst, abs(np.abs(x).argmax() / hz - (5 - first_s) % 10))
    return worst


edfio.Edf([signal(eeg, rate, "F7")], data_record_duration=10).write("one.edf")
edfio.Edf([signal(eeg, rate, "F7"), signal(ecg, 500, "ECG")], data_record_duration=10).write("two.edf")
for name in ("one.edf", "two.edf"):
    for first_s in (0, 2):
        border = "on record borders" if first_s == 0 else "2 s behind them"
        print(f"{name}, slices {border}: off by {'more' if displacement_s(name, first_s) > 0.1 else 'less'} than 0.1 s")
x = mne.io.read_raw_edf("two.edf", preload=True).get_data(picks=["F7"], start=1000, stop=6000)[0]
print(f"two.edf preloaded, 2 s to 12 s: the wave of 5 s stands at {2 + np.abs(x[:4000]).argmax() / 500:.1f} s")
PY
"$folder/venv/bin/python" run.py | tee found
diff - found <<'SEEN'
one.edf, slices on record borders: off by less than 0.1 s
one.edf, slices 2 s behind them: off by less than 0.1 s
two.edf, slices on record borders: off by less than 0.1 s
two.edf, slices 2 s behind them: off by more than 0.1 s
two.edf preloaded, 2 s to 12 s: the wave of 5 s stands at 5.0 s
SEEN
