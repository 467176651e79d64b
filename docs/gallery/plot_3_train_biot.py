"""
Train BIOT with a split by subject
==================================

``BIOTClassifier`` is a classifier of scikit-learn. ``Windows`` know their subjects, so what stops
the training is measured on subjects that do not train. The data are generated, the model is tiny:
nothing here is a result.
"""

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
from sklearn.pipeline import make_pipeline

from biot_bd import BIOTClassifier, MontageMapper, PercentileScaler, load_dataset, load_pipeline, prepare, save_pipeline

folder = Path(tempfile.mkdtemp())
recordings = load_dataset("demo", folder / "recordings", n_subjects=4, recordings=2, minutes=4)
windows = prepare(recordings, folder / "windows", montage="biot-16")

# %%
# One subject is kept for a look at the end; of the others, a quarter validates.
held_out = windows[windows.groups == "demo/04"]
training = windows[windows.groups != "demo/04"]
classifier = BIOTClassifier(
    criterion="focal",
    max_epochs=8,
    batch_size=32,
    lr=3e-3,
    random_state=0,
    verbose=0,
    module__embed_dim=32,
    module__num_heads=4,
    module__num_layers=1,
)
pipeline = make_pipeline(MontageMapper("biot-16"), PercentileScaler(), classifier)
pipeline.fit(training, training.y)

# %%
# The history is skorch's; validation scores are of subjects that do not train.
history = pipeline[-1].history
figure, axis = plt.subplots(figsize=(6, 3.2), layout="constrained")
axis.plot(history[:, "epoch"], history[:, "train_loss"], label="training subjects")
axis.plot(history[:, "epoch"], history[:, "valid_loss"], label="validation subjects")
axis.set(xlabel="epoch", ylabel="focal loss")
axis.legend()
plt.show()

# %%
# Save, and load
# --------------
# A folder of ``config.json`` and safetensors: no pickle. The loaded pipeline gives the same
# probabilities.
save_pipeline(pipeline, folder / "model")
loaded = load_pipeline(folder / "model")
probabilities = loaded.predict_proba(held_out)[:, 1]
print(probabilities.shape, (probabilities == pipeline.predict_proba(held_out)[:, 1]).all())

# %%
figure, axis = plt.subplots(figsize=(8, 2.6), layout="constrained")
recording = held_out.seizures["recording"].iloc[0]
one = (held_out.metadata["recording"] == recording).to_numpy()
axis.plot(held_out.metadata["start_s"][one] + 5, probabilities[one])
for row in held_out.seizures.query("recording == @recording").itertuples():
    axis.axvspan(row.onset_s, row.offset_s, color="#D55E00", alpha=0.25)
axis.set(xlabel="time (s)", ylabel="probability of a seizure", ylim=(0, 1))
plt.show()
