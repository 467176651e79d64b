"""
The detector on a live signal
=============================

A detector that runs beside a patient knows the past alone, gets its signal in pieces of any size,
and raises an alarm while the seizure lasts. A recording is replayed here as if it were live; the
model is the demonstration that comes with the package.
"""

# %%
# On the command line it is ``biot-bd stream demo night.edf --speed 10 --page``, and with ``--lsl
# NAME`` in the place of the file a Lab Streaming Layer stream.
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

from biot_bd import Detector, load_dataset
from biot_bd.deploy.demo_model import shipped
from biot_bd.deploy.live import Chunk, LiveDetector

work = Path(tempfile.mkdtemp())
recordings = load_dataset("demo", work / "recordings", n_subjects=1, recordings=1, minutes=5, seed=11)
raw = recordings.datasets[0].raw.load_data(verbose=False)
sfreq = raw.info["sfreq"]

# %%
# What happens is told line by line
# ---------------------------------
# ``causal=True`` is the chain of a live system: a short filter, windows that have ended, one
# decision a second. Every line is a dictionary; the command prints them as JSON.
lines = []
detector = Detector.load(shipped(), causal=True, stride_s=1)
live = LiveDetector(detector, raw.ch_names, sfreq=sfreq, emit=lines.append, decisions=True)
microvolts = raw.get_data(picks=list(live.needed)) * 1e6
for start in range(0, microvolts.shape[1], 64):  # a quarter of a second at a time
    live.push(Chunk(microvolts[:, start : start + 64], sfreq))
result = live.finish()
for line in lines:
    if line["type"] in ("alarm", "event"):
        print({name: value for name, value in line.items() if name != "at"})

# %%
# When was it known?
# ------------------
decisions = [line for line in lines if line["type"] == "decision"]
figure, axis = plt.subplots(figsize=(8, 2.8), layout="constrained")
axis.plot([line["time_s"] for line in decisions], [line["curve"] for line in decisions], color="#1f3b57")
for note in raw.annotations:
    axis.axvspan(note["onset"], note["onset"] + note["duration"], color="#D55E00", alpha=0.25)
for line in lines:
    if line["type"] == "alarm":
        axis.axvline(line["time_s"], color="#0072B2")
        axis.annotate("alarm", (line["time_s"], 1.02), color="#0072B2", annotation_clip=False)
axis.set(xlabel="time (s)", ylabel="smoothed probability", ylim=(0, 1))
plt.show()

# %%
# The same events as ``detect --causal``
# --------------------------------------
# Whatever the size of the pieces. So a night that was recorded says what a live system would have
# done.
offline = detector.detect(raw)
print([(event.onset_s, event.offset_s) for event in result.detection.events])
print([(event.onset_s, event.offset_s) for event in offline.events])
