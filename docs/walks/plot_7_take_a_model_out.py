"""
Take a model out: export, prove, run without torch
==================================================

A trained model becomes one graph for a faster engine. It is kept only if its probabilities are the
model's, and it proves that again wherever it is loaded. The model is the demonstration that comes
with the package.
"""

# %%
# Export
# ------
# ``biot-bd export demo -o exported --format onnx``. What is printed are the gates: probabilities on
# ordinary and odd windows, in every slot of a batch, beside a loud neighbour.
import json
import tempfile
import timeit
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from biot_bd import Detector, load_dataset
from biot_bd.cli import main
from biot_bd.deploy.demo_model import shipped

work = Path(tempfile.mkdtemp())
status = main(["export", "demo", "-o", str(work / "exported"), "--format", "onnx"])
print("status", status)
sorted(path.name for path in (work / "exported").iterdir())

# %%
# The manifest
# ------------
# ``artifact.json`` says what goes in and what comes out, where it comes from, which gates it
# passed, and a checksum of every file.
facts = json.loads((work / "exported" / "artifact.json").read_text())
for name, value in facts["input"].items():
    print(name, value)

# %%
# The same events
# ---------------
recordings = load_dataset("demo", work / "recordings", n_subjects=1, recordings=1, minutes=5, seed=11)
edf = recordings.datasets[0].raw.filenames[0]
found, seconds = {}, {}
for name, folder, engine in (("torch", shipped(), "torch"), ("onnxruntime", work / "exported", "onnx")):
    detector = Detector.load(folder, engine=engine)
    found[name] = detector.detect(edf)
    seconds[name] = min(timeit.repeat(partial(detector.detect, edf), number=1, repeat=5))  # the engine has started
difference = np.abs(found["torch"].probabilities - found["onnxruntime"].probabilities).max()
print(f"largest difference of a probability: {difference:.1e}")
for name, detection in found.items():
    print(name, [(event.onset_s, event.offset_s) for event in detection.events])

# %%
# A model this small gains little by another engine; :doc:`/speed` has what BIOT at full size gains.
figure, axes = plt.subplots(1, 2, figsize=(8, 2.6), layout="constrained", width_ratios=(3, 1))
for name, style in (("torch", "-"), ("onnxruntime", "--")):
    axes[0].plot(found[name].start_s, found[name].probabilities, style, label=name)
axes[0].set(xlabel="start of the window (s)", ylabel="probability", ylim=(0, 1))
axes[0].legend()
axes[1].bar(list(seconds), list(seconds.values()), color=["#1f3b57", "#E69F00"])
axes[1].set(ylabel="seconds for 5 minutes of EEG")
plt.show()

# %%
# Elsewhere
# ---------
# Copy the folder as a whole. In an environment without torch, ``pip install -r
# requirements/runtime.txt onnxruntime`` and ``pip install --no-deps .`` are enough for ``biot-bd
# detect exported recordings/ -o results``.
