"""
Pretrain without labels, then fine-tune, and see whether it helped
==================================================================

Labels are rare, recordings are not. A small BIOT learns from windows without labels by filling in
what was hidden; then classifiers start from it and from nothing, and are compared on other
subjects. Everything is generated and tiny: the numbers say how to do it, not what pretraining is
worth.
"""

# %%
# Two groups of subjects
# ----------------------
# Four give windows without labels, four others are for training and testing. A model that was
# pretrained on a subject must not be tested on it, though no label was seen; whoever tries is
# refused.
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.pipeline import make_pipeline

from biot_bd import BIOTClassifier, MontageMapper, PercentileScaler, Pretrainer, load_dataset, prepare
from biot_bd.evaluation import compare_regimes
from biot_bd.exceptions import ContaminationError
from biot_bd.pretraining import save_pretraining
from biot_bd.report import write_comparison

work = Path(tempfile.mkdtemp())
recordings = load_dataset("demo", work / "recordings", n_subjects=8, recordings=2, minutes=4)
windows = prepare(recordings, work / "windows")
first = np.isin(windows.groups, ["demo/01", "demo/02", "demo/03", "demo/04"])
unlabelled, labelled = windows[first], windows[~first]
print(len(unlabelled), "windows to learn from,", len(labelled), "of other subjects")

# %%
# Pretrain
# --------
# ``masked-spectrum`` hides spectra of seconds and asks for them. On the command line: ``biot-bd
# pretrain STORE -o pretrained``.
size = {"embed_dim": 32, "num_heads": 4, "num_layers": 1}
model_size = {f"module__{name}": value for name, value in size.items()}
net = Pretrainer("biot", "masked-spectrum", **model_size, max_epochs=8, lr=1e-3, verbose=0, random_state=0)
pretraining = make_pipeline(MontageMapper("biot-16"), PercentileScaler(), net).fit(unlabelled)
save_pretraining(pretraining, work / "pretrained")
history = pretraining[-1].history
figure, axis = plt.subplots(figsize=(6, 2.8), layout="constrained")
axis.plot(history[:, "epoch"], history[:, "train_loss"], label="subjects that train")
axis.plot(history[:, "epoch"], history[:, "valid_loss"], label="subjects that validate")
axis.set(xlabel="epoch", ylabel="error of what was hidden")
axis.legend()
plt.show()

# %%
# The model remembers whom it has seen
# ------------------------------------


def pipeline(**settings):
    classifier = BIOTClassifier(
        max_epochs=8, batch_size=32, lr=3e-3, criterion="focal", random_state=0, verbose=0, **settings
    )
    return make_pipeline(MontageMapper("biot-16"), PercentileScaler(), classifier)


regimes = {
    "scratch": pipeline(**model_size),
    "linear-probe": pipeline(pretrained=str(work / "pretrained"), finetune="linear-probe"),
    "full": pipeline(pretrained=str(work / "pretrained"), finetune="full"),
}
try:
    compare_regimes(windows, regimes, work / "refused", progress=False)
except ContaminationError as error:
    print(str(error)[:200], "...")

# %%
# Fine-tune and compare
# ---------------------
# All regimes get the same folds and seeds. The simplest stands first: differences are later minus
# earlier.
result = compare_regimes(labelled, regimes, work / "study", cv="subject-loo", progress=False, title="Did it help?")
print(result)

# %%
table = result.table.query("average == 'macro' and metric == 'average_precision'").set_index("regime")
table = table[["value", "low", "high"]].astype(float)
figure, axis = plt.subplots(figsize=(6, 2.2), layout="constrained")
distance = [table["value"] - table["low"], table["high"] - table["value"]]
axis.errorbar(table["value"], table.index, xerr=distance, fmt="o")
axis.set(xlabel="AUC-PR, mean over subjects with its interval", xlim=(0, 1.03))
axis.invert_yaxis()
plt.show()

# %%
# Paired differences over subjects say more than two intervals beside each other. With four
# subjects no small p-value exists.
result.tests.query("metric == 'average_precision'")

# %%
# The same as a page, with curves and per-subject values:
page = write_comparison(result)
print(page.relative_to(work))
