"""
Explain a decision, and ask whether to believe it
=================================================

What did the model look at when it said "seizure", and is the picture true of it? The model is the
demonstration that comes with the package. No picture here is evidence about a patient; each is
about a model.
"""

# %%
# A window to explain
# -------------------
# ``biot-bd explain demo night.edf -o explained --at-s 125`` explains the window around a second, by
# several methods, beside controls that know no model.
import json
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

from biot_bd import load_dataset
from biot_bd.cli import main

work = Path(tempfile.mkdtemp())
recordings = load_dataset("demo", work / "recordings", n_subjects=1, recordings=1, minutes=5, seed=11)
raw = recordings.datasets[0].raw
onset = float(raw.annotations[0]["onset"])
status = main(
    ["explain", "demo", str(raw.filenames[0]), "-o", str(work / "explained"), "--at-s", f"{onset + 6:.0f}"]
    + ["--probe", "token-ig", "--probe", "channel-occlusion", "--probe", "energy"]
)
print("status", status)

# %%
# The page ``explained/explain.html`` has all of it in words for those who read EEG. Its pictures
# lie beside it.
pictures = sorted((work / "explained").rglob("*.png"))
print([path.relative_to(work / "explained").as_posix() for path in pictures])


def show(name):
    """Draw a picture of the page."""
    (path,) = [path for path in pictures if name in path.name][:1]
    image = plt.imread(path)
    figure = plt.figure(figsize=(9, 9 * image.shape[0] / image.shape[1]))
    axis = figure.add_axes((0, 0, 1, 1))
    axis.imshow(image)
    axis.axis("off")
    plt.show()


# %%
# Where the evidence is
# ---------------------
# Integrated gradients from the mean token: orange speaks for a seizure, blue against it.
show("token-ig-traces")

# %%
# And a control
# -------------
# ``energy`` asks no model: it shows how loud each second of each channel is. Seizures are loud, so
# it lights up on them as well. A picture that only resembles this one shows the signal and no
# decision.
show("energy-traces")

# %%
# Is it true?
# -----------
# Tests decide, not looks: planted evidence, deletion, random weights. ``--evaluate`` runs them, and
# a probe that fails is marked in every picture that it makes. They take a minute, so only what the
# page knows already is shown here.
facts = json.loads((work / "explained" / "explain.json").read_text())
print(sorted(facts))
