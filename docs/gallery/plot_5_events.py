"""
From probabilities to events, and how a clinic scores them
==========================================================

Windows are not what a clinic counts. It asks which seizures were found, how late, and how often the
alarm rang for nothing. The curve below is made up, so that each step can be seen.
"""

# %%
# A curve of probabilities
# ------------------------
# An hour with windows of 10 s every 5 s, two seizures, of which the model sees one well and one
# late, and a false alarm.
import matplotlib.pyplot as plt
import numpy as np

from biot_bd import EventDetector
from biot_bd.events import score_events

duration_s = 3600
start_s = np.arange(0, duration_s - 9, 5.0)
rng = np.random.default_rng(0)
probabilities = rng.beta(1, 12, len(start_s))
reference = [(600, 680), (2400, 2460)]
for onset_s, offset_s in [(605, 690), (2425, 2470), (3005, 3030)]:
    inside = (start_s + 5 >= onset_s) & (start_s + 5 <= offset_s)
    probabilities[inside] = rng.uniform(0.6, 0.95, inside.sum())

# %%
# Events
# ------
# The curve is smoothed over 10 s; an event begins at the threshold and ends where the curve falls
# below a part of it; short events are dropped, near ones merged.
detector = EventDetector(threshold=0.5, release_fraction=0.6, smoothing_s=10, min_duration_s=10, merge_gap_s=30)
events = detector.predict(probabilities, start_s, duration_s)
for event in events:
    print(f"{event.onset_s:.0f} to {event.offset_s:.0f} s, confidence {event.confidence:.2f}")

# %%
times_s, curve = detector.curve(probabilities, start_s, duration_s)
figure, axis = plt.subplots(figsize=(8, 2.8), layout="constrained")
axis.plot(times_s, curve, linewidth=0.8, label="smoothed curve")
axis.axhline(0.5, color="#767676", linewidth=0.8, linestyle="--")
for number, (onset_s, offset_s) in enumerate(reference):
    axis.axvspan(onset_s, offset_s, color="#D55E00", alpha=0.3, label="seizure" if number == 0 else None)
for number, event in enumerate(events):
    axis.plot(
        [event.onset_s, event.offset_s], [1.02, 1.02], color="#0072B2", linewidth=4, label=None if number else "event"
    )
axis.set(xlabel="time (s)", ylabel="probability", ylim=(0, 1.08))
axis.legend(loc="upper left", fontsize=8)
plt.show()

# %%
# Scores
# ------
# By ``timescoring``, with SzCORE's parameters: any overlap is a hit, with 30 s of tolerance before
# a seizure and 60 s behind it.
scores = score_events(reference, [(event.onset_s, event.offset_s) for event in events], duration_s=duration_s)
for name in ("sensitivity", "precision", "f1", "fa_per_24h", "latency_s"):
    print(f"{name}: {scores[name]}")

# %%
# A threshold for a wanted number of false alarms is chosen on validation recordings, never on those
# that are scored: see ``EventDetector.fit`` and the page on events.
