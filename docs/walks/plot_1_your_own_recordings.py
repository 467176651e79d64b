"""
From a folder of EDFs to scores and a report
============================================

A folder of EDF files with a table of seizures beside each is all that is needed. At the end there
are a score for each subject, a report to read, and a model. The recordings here are generated, so
the numbers say nothing about seizures of people.
"""

# %%
# The folder
# ----------
# One EDF a recording, and beside it a table of the same name with its seizures, here as SzCORE and
# BIDS have it: tabs between columns, times in seconds. A recording without seizures has a table
# with one row ``bckg``; one without a table is left out, because nobody knows what is in it.
import shutil
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
from sklearn.pipeline import make_pipeline

from biot_bd import BIOTClassifier, MontageMapper, PercentileScaler, cross_validate, fit_all, load_dataset, prepare
from biot_bd.cli import main
from biot_bd.events import Event, write_event_file
from biot_bd.report import write_report

work = Path(tempfile.mkdtemp())
folder = work / "recordings"
folder.mkdir()
made = load_dataset("demo", work / "made", n_subjects=4, recordings=2, minutes=6)
for part in made.datasets:
    about, raw = part.description, part.raw
    name = "p{}_night{}".format(*about["recording"].removeprefix("demo").split("_"))
    shutil.copy(raw.filenames[0], folder / f"{name}.edf")
    seizures = [
        Event(note["onset"], note["onset"] + note["duration"])
        for note in raw.annotations
        if note["description"] == "sz"
    ]
    write_event_file(folder / f"{name}.tsv", seizures, duration_s=raw.n_times / raw.info["sfreq"])
sorted(path.name for path in folder.iterdir())[:4]

# %%
print((folder / "p01_night01.tsv").read_text())

# %%
# Look before you compute
# -----------------------
# ``biot-bd doctor recordings-folder recordings`` says what a folder holds and what would be left
# out, and ends with the next command. (``main([...])`` is the command line from within Python.)
# The subject is the unit of everything that follows; a regular expression whose group is the
# subject tells it from a name, so that two nights of one subject never stand on two sides of a
# split.
main(["doctor", "recordings-folder", str(folder), "--option", "subject=(p[0-9]+)_"])

# %%
# Windows
# -------
# ``prepare`` reads each recording once: derivations, sampling rate, labels. What it writes is
# mapped into memory, so a cohort need not fit there. The same on the command line: ``biot-bd
# prepare recordings-folder recordings -o windows --option 'subject=(p[0-9]+)_'``.
recordings = load_dataset("recordings-folder", folder, subject=r"(p\d+)_", namespace="clinic")
windows = prepare(recordings, work / "windows")
windows.summary()

# %%
# A window with a seizure, channel by channel.
seizure = int(windows.y.argmax())
x = windows.read([seizure])[0]
figure, axis = plt.subplots(figsize=(8, 4), layout="constrained")
for row in range(len(x)):
    axis.plot(x[row] / 200 - row, linewidth=0.6, color="#1f3b57")
axis.set(yticks=[-row for row in range(len(windows.ch_names))], yticklabels=windows.ch_names, xlabel="sample at 200 Hz")
axis.tick_params(labelsize=7)
plt.show()

# %%
# Train and score
# ---------------
# Every subject is tested once by a model that was trained on others, whose threshold was chosen on
# others still. A small BIOT, because this page is made on a processor: without the last line it is
# that of the paper.
classifier = BIOTClassifier(
    criterion="focal",
    max_epochs=15,
    batch_size=32,
    lr=3e-3,
    random_state=0,
    verbose=0,
    **{"module__embed_dim": 32, "module__num_heads": 4, "module__num_layers": 1},
)
model = make_pipeline(MontageMapper("biot-16"), PercentileScaler(), classifier)
result = cross_validate(model, windows, folder=work / "run", cv="subject-loo", progress=False)
print(result)

# %%
# ``always-on`` is an alarm from beginning to end: what a detector has to beat. SzCORE's scorer
# splits it at 300 s, so each of these recordings of 360 s has a piece that may be a false alarm. In
# one below 300 s it stays one event that meets the seizure, with an F1 of 1 and no false alarm:
# event scores of excerpts that short tell no detectors apart.
#
# With four subjects each interval is wide, and says so. AUC-PR stands beside the share of seizure
# windows, which is what guessing gives.
table = result.table[["prevalence", "average_precision", "roc_auc"]].astype(float)
figure, axis = plt.subplots(figsize=(6, 2.4), layout="constrained")
axis.plot(table["average_precision"], table.index, "o", label="AUC-PR")
axis.plot(table["prevalence"], table.index, "|", markersize=14, color="#767676", label="guessing")
axis.set(xlim=(0, 1.03))
axis.legend()
plt.show()

# %%
# The report
# ----------
# One file that needs no network: scores with intervals, curves, events, every recording. ``biot-bd
# cv windows -o run`` writes it by itself.
page = write_report(work / "run")
print(page.relative_to(work), f"{page.stat().st_size / 1e6:.1f} MB")

# %%
# The model to keep
# -----------------
# One model of all subjects, for ``biot-bd detect model night.edf -o results --html``. It remembers
# whom it has seen, so nobody can test it on them by mistake.
record = fit_all(model, windows, work / "model")
record["subjects"]
