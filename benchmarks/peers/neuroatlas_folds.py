"""NeuroAtlas: the folds behind its published Siena numbers share patients (as its file says)."""

from __future__ import annotations

import json

from _peer import installed_file


def measure() -> dict[str, int]:
    """Count pairs of a fold and a test patient, and those who also train or validate."""
    file = installed_file("neuroatlas-bench", "neuroatlas/configs/cohorts/siena/folds_paper_recordings.json")
    folds = json.loads(file.read_text())["folds"]
    pairs = shared = 0
    for fold in folds.values():
        patients = {side: {name.split("/")[0] for name in fold[side]} for side in ("train", "val", "test")}
        pairs += len(patients["test"])
        shared += len(patients["test"] & (patients["train"] | patients["val"]))
    return {"test patients, all folds": pairs, "of them also in training or validation": shared}
