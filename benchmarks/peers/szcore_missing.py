"""szcore-evaluation: a result that is missing counts as "nothing found", and says so nowhere.

Ten recordings with one seizure each. One detector finds all; another does as well on nine and
stops on the tenth without a file.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from szcore_evaluation.evaluate import evaluate_dataset

HEADER = "onset\tduration\teventType\tconfidence\tchannels\tdateTime\trecordingDuration\n"
ROW = "600.0\t60.0\tsz\tn/a\tn/a\t2016-11-06 13:43:04\t3600.0\n"


def write(folder: Path, runs: range) -> Path:
    """Write one table a recording."""
    place = folder / "sub-01" / "ses-01" / "eeg"
    place.mkdir(parents=True)
    for run in runs:
        (place / f"sub-01_ses-01_task-szMonitoring_run-{run:02d}_events.tsv").write_text(HEADER + ROW)
    return folder


def measure() -> dict[str, float]:
    """Return event F1 of a detector with all, nine and no result files."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        reference = write(folder / "reference", range(10))
        found = {}
        for n in (10, 9, 0):
            result = write(folder / f"results-{n}", range(n))
            scores = evaluate_dataset(reference, result, folder / f"{n}.json")
            found[f"event F1 with {n} of 10 files"] = round(float(scores["event_results"]["f1"]), 3)
    return found
