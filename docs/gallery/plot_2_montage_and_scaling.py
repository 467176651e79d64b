"""
Montages and scaling
====================

The steps of a pipeline work on arrays, on ``mne.Epochs`` and on ``Windows``, and give the same
numbers. Here: from electrodes to the bipolar channels of BIOT, and from microvolts to its scale.
The signals are generated.
"""

# %%
# Windows of 19 electrodes
# ------------------------
# Each has an offset that all electrodes share, as a poor reference gives; bipolar channels do not
# see it.
import matplotlib.pyplot as plt
import numpy as np

from biot_bd import MontageMapper, PercentileScaler
from biot_bd.registry import montages
from biot_bd.signals import plan_montage

electrodes = "Fp1 Fp2 F7 F3 Fz F4 F8 T3 C3 Cz C4 T4 T5 P3 Pz P4 T6 O1 O2".split()
sfreq, n_times = 200.0, 2000
rng = np.random.default_rng(0)
time_s = np.arange(n_times) / sfreq
x = rng.normal(0, 20, (6, len(electrodes), n_times)) + 60 * np.sin(2 * np.pi * time_s)

# %%
# What becomes of them
# --------------------
# Old names (T3, T5) and new ones (T7, P7) are the same electrodes.
plan = plan_montage(montages["biot-16"], electrodes)
for channel in plan.channels[:4]:
    print(channel.name, "=", " ".join(f"{w:+g} {electrodes[i]}" for w, i in zip(channel.weights, channel.sources)))

# %%
# Mapping and scaling
# -------------------
# ``PercentileScaler`` divides each channel of each window by the 95th percentile of its absolute
# value, so a window needs nothing of other windows, and no subject anything of another.
mapper = MontageMapper("biot-16", ch_names=electrodes)
mapped = mapper.fit_transform(x)
scaled = PercentileScaler(95).fit_transform(mapped)
print("microvolts:", mapped.shape, "95th percentiles", np.percentile(np.abs(mapped[0, :3]), 95, axis=-1).round(1))
print("scaled:    ", scaled.shape, "95th percentiles", np.percentile(np.abs(scaled[0, :3]), 95, axis=-1).round(1))

# %%
figure, axes = plt.subplots(3, 1, figsize=(8, 5), sharex=True, layout="constrained")
for axis, values, label in zip(
    axes, (x[0, 2], mapped[0, 1], scaled[0, 1]), ("F7 against the reference (µV)", "F7-T7 (µV)", "F7-T7, scaled")
):
    axis.plot(time_s, values, linewidth=0.6)
    axis.set_ylabel(label, fontsize=8)
axes[-1].set_xlabel("time (s)")
plt.show()

# %%
# An electrode that is missing
# ----------------------------
# By default that is an error which names it. ``on_missing="drop"`` makes the channels that need it
# absent: NaN throughout, never zeros. BIOT masks them exactly.
kept = [i for i, name in enumerate(electrodes) if name != "T4"]
without = [electrodes[i] for i in kept]
try:
    MontageMapper("biot-16", ch_names=without).fit_transform(x[:, kept])
except ValueError as error:
    print(error)

# %%
dropped = MontageMapper("biot-16", ch_names=without, on_missing="drop").fit_transform(x[:, kept])
absent = np.isnan(dropped[0]).all(axis=-1)
print([channel.name for channel, gone in zip(plan.channels, absent) if gone])
