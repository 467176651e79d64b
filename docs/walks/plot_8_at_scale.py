"""
Several processors, the same numbers
====================================

Folds and candidates need nothing of each other, so they are computed side by side: in processes,
on GPUs, on a cluster. What is computed where changes no score, and what was computed before a kill
is not computed again. Here with two processes on generated recordings.
"""

# %%
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from biot_bd import cross_validate, load_dataset, prepare
from biot_bd.evaluation import baseline, search, workers

work = Path(tempfile.mkdtemp())
recordings = load_dataset("demo", work / "recordings", n_subjects=4, recordings=2, minutes=6)
windows = prepare(recordings, work / "windows")
pipeline = baseline("line-length", windows)

# %%
# One after another, and side by side
# -----------------------------------
# ``workers`` is a block around the call; on the command line it is ``--jobs 2``. ``"slurm"`` and
# ``"dask"`` stand in the same place.
results = {}
for kind, settings in {"sequential": {}, "loky": {"n_workers": 2}}.items():
    with workers(kind, **settings):
        results[kind] = cross_validate(pipeline, windows, folder=work / kind, cv="subject-loo", progress=False)
scores = [result.table["roc_auc"].astype(float).to_numpy() for result in results.values()]
print("equal to the last digit:", np.array_equal(*scores))

# %%
# Stopped, and gone on
# --------------------
# A run folder keeps what is finished. The same call reads it, computes what is missing, and gives
# the same result; so nothing is lost by Ctrl-C, a full queue or a power failure.
begun = time.perf_counter()
again = cross_validate(pipeline, windows, folder=work / "loky", cv="subject-loo", progress=False)
print(f"the same table: {again.table.equals(results['loky'].table)}, after {time.perf_counter() - begun:.1f} s")

# %%
# Parameters chosen inside each fold
# ----------------------------------
# More candidates are more fits that need nothing of each other. Each is chosen by subjects of its
# fold, so that scores are of subjects that no choice has seen.
with workers("loky", n_workers=2):
    found = search(
        pipeline,
        {"logisticregression__C": [0.01, 0.1, 1.0, 10.0]},
        windows,
        inner_cv="subject-kfold-2",
        folder=work / "search",
        progress=False,
    )
print(found)

# %%
figure, axis = plt.subplots(figsize=(6, 2.4), layout="constrained")
axis.plot(scores[0], results["loky"].table.index, "o", markersize=9, label="one after another")
axis.plot(scores[1], results["loky"].table.index, ".", label="two processes")
axis.set(xlabel="AUROC of each subject", xlim=(0, 1.03))
axis.legend()
plt.show()
