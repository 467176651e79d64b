"""
Find seizures with a model that is there
========================================

A small model comes with the package, trained on generated persons and a few public excerpts. It is
a demonstration, as every output of it says, and no use in a clinic; but everything that can be done
with a model of yours can be tried with it at once.
"""

# %%
# A recording
# -----------
# Generated, with a seizure. An EDF of yours will do as well, if it has electrodes of the 10-20
# system.
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from biot_bd import Detector, load_dataset
from biot_bd.cli import main
from biot_bd.deploy import curve_of
from biot_bd.deploy.demo_model import shipped

work = Path(tempfile.mkdtemp())
recordings = load_dataset("demo", work / "recordings", n_subjects=1, recordings=1, minutes=5, seed=11)
edf = Path(recordings.datasets[0].raw.filenames[0])
truth = [(note["onset"], note["onset"] + note["duration"]) for note in recordings.datasets[0].raw.annotations]
print(edf.name, "annotated:", [(round(onset), round(offset)) for onset, offset in truth])

# %%
# Events
# ------
# ``biot-bd detect demo night.edf -o results --html`` on the command line.
main(["detect", "demo", str(edf), "-o", str(work / "results"), "--html"])
sorted(path.relative_to(work).as_posix() for path in (work / "results").rglob("*") if path.is_file())

# %%
# The event file is SzCORE's: any tool that reads BIDS' events reads it.
(table,) = (work / "results").rglob("*_events.tsv")
pd.read_csv(table, sep="\t")

# %%
# What decided
# ------------
# The record beside it has the model, its operating point, and the probabilities of all windows.
detector = Detector.load(shipped())
found = detector.detect(edf)
figure, axis = plt.subplots(figsize=(8, 2.6), layout="constrained")
curve = curve_of(found)
axis.plot(curve.times_s, curve.drawn, color="#1f3b57", label="smoothed probability")
for number, (onset, offset) in enumerate(truth):
    axis.axvspan(onset, offset, color="#D55E00", alpha=0.25, label="annotated" if number == 0 else None)
for number, event in enumerate(found.events):
    axis.hlines(1.03, event.onset_s, event.offset_s, color="#0072B2", linewidth=4, label="" if number else "detected")
axis.set(xlabel="time (s)", ylim=(0, 1.08))
axis.legend(loc="upper left")
plt.show()

# %%
# What is to be known of it
# -------------------------
# Notes say what limits a result: data that are no real ones, channels that were missing, a
# recording that the model has seen.
for note in found.notes:
    print("-", note)
