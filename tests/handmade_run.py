"""A run folder by the contract of docs/architecture.md, written by hand, and a store that fits it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

METRICS = ("average_precision", "roc_auc")
HOSTILE = "<script>alert('x')</script>"
CH_NAMES = tuple(
    "FP1-F7 F7-T7 T7-P7 P7-O1 FP2-F8 F8-T8 T8-P8 P8-O2 FP1-F3 F3-C3 C3-P3 P3-O1 FP2-F4 F4-C4 C4-P4 P4-O2".split()
)


def predictions(subjects: dict[str, str], n: int = 24, without_seizures: str = "") -> pd.DataFrame:
    """One recording a subject (subject -> recording), seizure windows 8 to 13; one fold tests one subject."""
    rng = np.random.default_rng(7)
    parts = []
    for fold, (subject, recording) in enumerate(subjects.items()):
        y = np.zeros(n, dtype=int)
        if subject != without_seizures:
            y[8:14] = 1
        proba = np.clip(0.15 + 0.5 * y + rng.normal(0, 0.22, n), 0.01, 0.99)
        start = 5.0 * np.arange(n)
        parts.append(
            pd.DataFrame(
                {
                    "fold": fold,
                    "part": "test",
                    "window": n * fold + np.arange(n),
                    "recording": recording,
                    "subject": subject,
                    "start_s": start,
                    "stop_s": start + 10,
                    "y_true": y,
                    "proba": proba,
                    "threshold": 0.4 + 0.05 * fold,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def scores(table: pd.DataFrame) -> dict[str, Any]:
    """Score a table with scikit-learn, undefined metrics as null with the reason."""
    y, proba = table["y_true"], table["proba"]
    out: dict[str, Any] = {}
    for name, function in zip(METRICS, (average_precision_score, roc_auc_score), strict=True):
        if y.nunique() == 2:
            out[name] = {"value": float(function(y, proba)), "reason": None}
        else:
            out[name] = {"value": None, "reason": "no seizure windows"}
    out |= {"n_windows": len(table), "n_seizure_windows": int(y.sum()), "prevalence": float(y.mean())}
    return out


@dataclass
class HandMade:
    """A run folder written by hand."""

    folder: Path
    run: dict[str, Any]
    metrics: dict[str, Any]
    table: pd.DataFrame

    def rewrite(self) -> HandMade:
        """Write the run's own files again after a change."""
        (self.folder / "run.json").write_text(json.dumps(self.run))
        (self.folder / "metrics.json").write_text(json.dumps(self.metrics))
        self.table.to_parquet(self.folder / "predictions.parquet", index=False)
        return self


def write_run(
    folder: Path, subjects: dict[str, str], *, without_seizures: str = "", data: dict[str, Any] | None = None
) -> HandMade:
    """Write a run folder; ``data`` changes the ``data`` entry of run.json."""
    table = predictions(subjects, without_seizures=without_seizures)
    by_subject = {subject: scores(part) for subject, part in table.groupby("subject")}
    pooled = scores(table)
    macro = {}
    for name in METRICS:
        values = [entry[name]["value"] for entry in by_subject.values() if entry[name]["value"] is not None]
        macro[name] = {"value": float(np.mean(values)), "n_subjects": len(values), "reason": None}
    metrics = {
        "scoring": list(METRICS),
        "folds": [],
        "subjects": by_subject,
        "macro": macro,
        "pooled": {name: pooled[name] for name in METRICS},
        "prevalence": pooled["prevalence"],
    }
    names = list(subjects)
    for fold, subject in enumerate(names):
        valid = names[(fold + 1) % len(names)]
        part = table[table["fold"] == fold]
        place = folder / "folds" / f"{fold:02d}"
        place.mkdir(parents=True)
        facts = {
            "fold": fold,
            "train": [name for name in names if name not in (subject, valid)],
            "valid": [valid],
            "test": [subject],
            "seed": fold,
            "notes": [],
            "threshold": {"value": float(part["threshold"].iloc[0]), "rule": "balanced-accuracy", "reason": None},
            "n_epochs": 3,
            "scores": {"pooled": scores(part), "subjects": {subject: scores(part)}},
            "wall_s": 12.3,
            "model": None,
            "model_reason": "made by hand",
        }
        history = [
            {"epoch": e, "train_loss": 1 / e, "valid_loss": 1.1 / e, "valid_average_precision": 0.2 * e}
            for e in (1, 2, 3)
        ]
        (place / "fold.json").write_text(json.dumps(facts))
        (place / "history.json").write_text(json.dumps(history))
    run = {
        "kind": "cross-validation",
        "state": "finished",
        "title": None,
        "notes": ["a remark of the study"],
        "not_a_result": None,
        "fingerprint": "0123456789abcdef",
        "started": "2026-11-21T10:00:00+00:00",
        "finished": "2026-11-21T10:05:00+00:00",
        "parameters": {"cv": "subject-loo", "threshold": "balanced-accuracy", "random_state": 5},
        "seed": 5,
        "data": {
            "kind": "Windows",
            "fingerprint": "fedcba9876543210",
            "folder": str(folder / "no-such-store"),
            "label_rule": "overlap",
            "generated": False,
            "n_windows": len(table),
            "n_seizure_windows": int(table["y_true"].sum()),
            "hours": 0.1,
            "ch_names": list(CH_NAMES),
            "sfreq": 200.0,
            "subjects": {
                p: {"n_windows": e["n_windows"], "n_seizure_windows": e["n_seizure_windows"]}
                for p, e in by_subject.items()
            },
            **(data or {}),
        },
        "splits": [],
        "pipeline": "Pipeline(steps=[('biotclassifier', BIOTClassifier())])",
        "environment": {"python": "3.11", "system": "Linux", "processors": 2, "packages": {"biot-bd": "0.1.0"}},
    }
    return HandMade(folder, run, metrics, table).rewrite()


SUBJECTS = {"site/01": "rec01", "site/02": "rec02", "site/03": "rec03"}


@pytest.fixture
def hand_made(tmp_path: Path) -> HandMade:
    """Three subjects, the third without seizures; no models, no store."""
    return write_run(tmp_path / "run", SUBJECTS, without_seizures="site/03")


EVENTS = {
    "rec01": ("site/01", [(42.0, 70.0)], [(48.0, 75.0, 0.9)]),
    "rec02": ("site/02", [(42.0, 70.0)], []),
    "rec03": ("site/03", [], [(90.0, 104.0, 0.7)]),
}
"""Recording -> subject, annotated seizures, detected events: a hit, a miss, a false alarm."""


def add_events(run: HandMade) -> HandMade:
    """Add what ``cross_validate`` stores about events: scores, detections, operating points and curves."""
    from biot_bd.events.detector import EventDetector, RecordingScores
    from biot_bd.events.subject_scores import ScoredRecording, score_subjects

    scored = [ScoredRecording(name, subject, truth, said, 125.0) for name, (subject, truth, said) in EVENTS.items()]
    recordings = [
        RecordingScores(str(name), EVENTS[str(name)][0], part["proba"], part["start_s"], 125.0, EVENTS[str(name)][1])
        for name, part in run.table.groupby("recording")
    ]
    points = []
    for fold in range(3):
        detector = EventDetector(smoothing_s=0.0, grid={}).fit(recordings[:2])
        path = run.folder / "folds" / f"{fold:02d}" / "fold.json"
        facts = json.loads(path.read_text())
        facts["events"] = {"detector": detector.as_dict()}
        path.write_text(json.dumps(facts))
        chosen = ("threshold", "smoothing_s", "release_fraction", "min_duration_s", "merge_gap_s", "reason")
        fitted = facts["events"]["detector"]["fitted"]
        points.append(
            {
                "fold": fold,
                "target": "f1",
                "target_fa_per_24h": None,
                "target_sensitivity": None,
                **{name: fitted[f"{name}_"] for name in chosen},
                "validation": fitted["validation_"],
                "chosen_on": facts["events"]["detector"]["chosen_on"],
            }
        )
    run.metrics["events"] = {
        **score_subjects(scored),
        "coverage": 1.0,
        "without_windows": [],
        "detections": [
            {"recording": name, "subject": subject, "onset_s": a, "offset_s": b, "confidence": c}
            for name, (subject, _, said) in EVENTS.items()
            for a, b, c in said
        ],
        "operating_points": points,
        "curve": fitted["operating_curve_"],
    }
    return run.rewrite()


@pytest.fixture
def with_events(hand_made: HandMade) -> HandMade:
    """The hand-made run with event scores."""
    return add_events(hand_made)


def raw_of(subject: str, seed: int, seizure: bool) -> mne.io.BaseRaw:
    """125 s of noise in CHB-MIT's bipolar channels, with a seizure from 42 to 70 s."""
    rng = np.random.default_rng(seed)
    raw = mne.io.RawArray(
        rng.normal(0, 20e-6, (len(CH_NAMES), 125 * 200)),
        mne.create_info(list(CH_NAMES), 200.0, "eeg"),
        verbose="error",
    )
    if seizure:
        raw._data[:, 42 * 200 : 70 * 200] += 80e-6 * np.sin(2 * np.pi * 3 * np.arange(28 * 200) / 200)
        raw.set_annotations(mne.Annotations([42.0], [28.0], ["sz"]))
    return raw


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Prepared windows of the three subjects of SUBJECTS, in uV."""
    from braindecode.datasets import BaseConcatDataset, RawDataset

    from biot_bd.windows import prepare

    parts = []
    for seed, (subject, recording) in enumerate(SUBJECTS.items()):
        raw = raw_of(subject, seed, seizure=subject != "site/03")
        description = {"subject": subject, "session": "1", "run": "1", "recording": recording}
        parts.append(RawDataset(raw, description))
    return prepare(BaseConcatDataset(parts), tmp_path_factory.mktemp("store") / "windows")


@pytest.fixture(scope="session")
def real_run(store: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of a tiny BIOT, cross-validated on ``store``."""
    from sklearn.pipeline import make_pipeline

    from biot_bd import BIOTClassifier, MontageMapper, PercentileScaler
    from biot_bd.evaluation import cross_validate

    classifier = BIOTClassifier(
        max_epochs=1,
        batch_size=16,
        module__embed_dim=16,
        module__num_heads=2,
        module__num_layers=3,
        optimizer__weight_decay=0.0,
    )
    folder = tmp_path_factory.mktemp("real") / "run"
    pipeline = make_pipeline(MontageMapper("biot-16"), PercentileScaler(), classifier)
    cross_validate(pipeline, store, folder=folder, threshold=0.05, progress=False)
    return folder
