"""
From recordings to labelled windows
===================================

``prepare`` reads recordings once and writes a memory-mapped store. Which window counts as a seizure
is decided by a label rule: an object that can be exchanged without touching the signals. The
recordings are generated.
"""

# %%
# Two recordings of two subjects
# ------------------------------
# Any data set gives the same: lazy recordings, and an outcome for each one that the source
# mentions.
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

from biot_bd import load_dataset, prepare

folder = Path(tempfile.mkdtemp())
recordings = load_dataset("demo", folder / "recordings", n_subjects=2, recordings=2, minutes=4)
recordings.outcomes

# %%
# Windows of 10 s every 5 s, harmonised to the montage of BIOT and to 200 Hz.
windows = prepare(recordings, folder / "windows", montage="biot-16", window_s=10, stride_s=5)
windows.summary()

# %%
# Two label rules
# ---------------
# ``overlap``, the default: positive from 5 s of seizure on. ``biot-official`` is the published
# rule, errors included: it repeats windows around a seizure, and calls windows wholly inside one
# background. It is here for comparison only, and fixes window, stride and resampling. (Rules that
# do not are exchanged by
# ``windows.relabel(rule)``.)
official = prepare(recordings, folder / "official", labels="biot-official", resample="fft-window")
for name, labelled in {"overlap": windows, "biot-official": official}.items():
    print(f"{name:14} {len(labelled)} windows, {labelled.y.sum()} of them positive")

# %%
# The windows of one recording with a seizure, by their start: filled where the rule calls them a
# seizure.
seizure = windows.seizures.iloc[0]
figure, axis = plt.subplots(figsize=(8, 2.6), layout="constrained")
axis.axvspan(seizure["onset_s"], seizure["offset_s"], color="#D55E00", alpha=0.25, label="seizure")
for row, labelled in enumerate((windows, official)):
    table = labelled.metadata.query("recording == @seizure.recording")
    near = table[table["start_s"].between(seizure["onset_s"] - 40, seizure["offset_s"] + 30)]
    for positive, face in ((1, "#0072B2"), (0, "none")):
        chosen = near[near["label"] == positive]
        axis.scatter(chosen["start_s"] + 5, [row] * len(chosen), facecolor=face, edgecolor="#0072B2", s=30)
axis.set(xlabel="middle of the window (s)", yticks=[0, 1], yticklabels=["overlap", "biot-official"], ylim=(-0.6, 1.6))
axis.legend(loc="upper left")
plt.show()

# %%
# How much of each window lies inside a seizure stands in the table, whatever the rule.
windows.metadata.query("0 < seizure_fraction < 1").head()
