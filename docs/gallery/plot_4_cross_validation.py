"""
Cross-validation by subject, and intervals of its scores
========================================================

Every fold tests subjects that took no part in training, early stopping or the choice of a
threshold. Intervals are over subjects, because windows of one subject resemble each other. The data
are generated: these are no clinical results.
"""

# %%
# Line length with logistic regression
# ------------------------------------
# A baseline by one word; any classifier of scikit-learn and any ``BIOTClassifier`` goes the same
# way.
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

from biot_bd import cross_validate, load_dataset, prepare
from biot_bd.evaluation import assess, baseline, paired_test

folder = Path(tempfile.mkdtemp())
recordings = load_dataset("demo", folder / "recordings", n_subjects=4, recordings=2, minutes=4)
windows = prepare(recordings, folder / "windows", montage="biot-16")

line_length = cross_validate(baseline("line-length", windows), windows, cv="subject-loo", progress=False)
line_length.table

# %%
# AUC-PR stands beside the prevalence, which is what guessing gives.
line_length.table[["prevalence", "average_precision", "roc_auc"]]

# %%
# Intervals
# ---------
# Subjects are drawn with replacement, and within each of them recordings. From few subjects an
# interval is too narrow, which outputs say.
found = assess(line_length, n_resamples=499)["windows"]["macro"]
for name in ("average_precision", "roc_auc"):
    print(f"{name}: {found[name]['value']:.3f} ({found[name]['low']:.3f} to {found[name]['high']:.3f})")

# %%
figure, axis = plt.subplots(figsize=(6, 2.8), layout="constrained")
table = line_length.table
axis.plot(table["average_precision"].astype(float), table.index, "o", label="a subject")
axis.plot(table["prevalence"].astype(float), table.index, "|", color="#767676", markersize=14, label="guessing")
axis.axvline(found["average_precision"]["value"], color="#D55E00", label="mean, with its interval")
axis.axvspan(found["average_precision"]["low"], found["average_precision"]["high"], color="#D55E00", alpha=0.15)
axis.set(xlabel="AUC-PR", xlim=(0, 1.02))
axis.legend(loc="center left", fontsize=8)
plt.show()

# %%
# Two models on the same subjects
# -------------------------------
# The folds of the first study are used again. With four subjects no small p-value exists, and the
# test says which is the smallest.
band_power = cross_validate(baseline("spectral-power", windows), windows, splits_from=line_length, progress=False)
scores = [result.table["roc_auc"].astype(float) for result in (line_length, band_power)]
paired_test(*scores)
