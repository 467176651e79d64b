"""
Review what was found, and choose another operating point
=========================================================

A detector proposes, a reader decides. The marks of a reader are tables like any others: for scores,
for the agreement of two readers, and for a threshold that fits this clinic. The model is the
demonstration that comes with the package, the recordings are generated, and so is the reader.
"""

# %%
# Detect
# ------
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from biot_bd import load_dataset
from biot_bd.cli import main
from biot_bd.deploy import read_detection
from biot_bd.deploy.review import Mark, Review, find_reviews, save_review
from biot_bd.events import ReadRecording, score_agreement

work = Path(tempfile.mkdtemp())
recordings = load_dataset("demo", work / "recordings", n_subjects=3, recordings=2, minutes=5, seed=11)
status = main(["detect", "demo", str(work / "recordings"), "-o", str(work / "results")])
records = sorted((work / "results").rglob("*_detection.json"))
print("status", status, "-", len(records), "recordings")

# %%
# Review
# ------
# ``biot-bd review results --reviewer anna`` opens a page with the EEG, where each detection is
# confirmed, moved or rejected by a key, and what was missed is added. Every mark is a file at once.
# The page cannot be shown here, so the marks are written by the function that it uses: Anna
# confirms what overlaps a seizure, rejects what does not, and adds what was missed.
truth = {
    part.description["recording"]: [(note["onset"], note["onset"] + note["duration"]) for note in part.raw.annotations]
    for part in recordings.datasets
}
for path in records:
    name = path.relative_to(work / "results").as_posix().removesuffix("_detection.json")
    record, seizures = read_detection(path), truth[Path(name).name]
    marks, seen = [], []
    for event in record.detection.events:
        found = (round(event.onset_s, 2), round(event.offset_s, 2))
        hits = [one for one in seizures if one[0] < found[1] and found[0] < one[1]]
        marks.append(Mark("confirmed" if hits else "rejected", *found, detected=found))
        seen += hits
    marks += [Mark("added", onset, offset) for onset, offset in seizures if (onset, offset) not in seen]
    detections = tuple(mark.detected for mark in marks if mark.detected)
    review = Review(
        "anna", name, record.detection.duration_s, detections=detections, marks=tuple(marks), read_whole=True
    )
    save_review(work / "results", review)
kinds = [mark.kind for review in find_reviews(work / "results")["anna"] for mark in review.marks]
pd.Series(kinds).value_counts()

# %%
# What Anna says is true lies beside the results, as SzCORE tables.
table = sorted((work / "results" / "reviews" / "anna").rglob("*_events.tsv"))[0]
print(table.relative_to(work / "results"), table.read_text(), sep="\n")

# %%
# Do two readers agree?
# ---------------------
# Ben marks the same seizures 3 s later.
anna = [
    ReadRecording(review.recording, [(e.onset_s, e.offset_s) for e in review.events], duration_s=review.duration_s)
    for review in find_reviews(work / "results")["anna"]
]
ben = [ReadRecording(one.recording, [(a + 3, b) for a, b in one.events], duration_s=one.duration_s) for one in anna]
agreement = score_agreement(anna, ben, reviewers=("anna", "ben"))
print("kappa of seconds", round(agreement["samples"]["kappa"], 3))

# %%
# Another operating point
# -----------------------
# ``tune`` trains nothing: it searches threshold and smoothing on what the reader said. Both columns
# are of the recordings that the new point was chosen on, so expect less elsewhere.
status = main(["tune", "demo", str(work / "results"), "--reviewer", "anna", "-o", str(work / "tuned")])
print("status", status)

# %%
# What it looked at: the probabilities of each recording, above what the reader says (orange).
names = [path.name.removesuffix("_detection.json") for path in records]
figure, axis = plt.subplots(figsize=(7, 3.8), layout="constrained")
for row, (name, path) in enumerate(zip(names, records, strict=True)):
    detection, floor = read_detection(path).detection, -1.2 * row
    axis.plot(detection.start_s, detection.probabilities + floor, color="#1f3b57", linewidth=1)
    for onset_s, offset_s in truth[name]:
        axis.plot([onset_s, offset_s], [floor - 0.06] * 2, color="#D55E00", linewidth=4)
axis.set(yticks=[-1.2 * row for row in range(len(names))], yticklabels=names, xlabel="start of the window (s)")
plt.show()
