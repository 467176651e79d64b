"""Predict the test part and write the table that Kaggle takes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from biot_bd import load_dataset, prepare
from biot_bd.runs import atomic_path
from biot_bd_hms.layout import CLASSES, LABELLED_S, VOTES, read_table
from biot_bd_hms.votes import HMSMiddle


def submission(
    pipeline: Any,
    root: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    store: str | os.PathLike[str] | None = None,
    prepare_options: Mapping[str, Any] | None = None,
    absent: str = "raise",
) -> pd.DataFrame:
    """Write ``submission.csv``: a row for each recording of the test part.

    Parameters
    ----------
    pipeline : fitted classifier
        Of windows whose labels are 0 to 5, e.g. what ``load_pipeline`` returns; its windows are as
        long as those of its ``fit``.
    root : path-like
        Folder with ``test.csv`` and ``test_eegs``.
    out : path-like
        The file, written atomically.
    store : path-like, optional
        Where windows are prepared; a temporary folder by default.
    prepare_options : mapping, optional
        What the training windows were prepared with (``montage``, ``sfreq``, ``on_bad``, ...).
    absent : {"raise", "uniform"}
        A recording that no window can be made of raises, or gets one sixth for each class.

    Returns
    -------
    pandas.DataFrame
        ``eeg_id`` and a probability a class, rows in the order of ``sample_submission.csv`` where
        there is one, each summing to 1.

    Raises
    ------
    ValueError
        The pipeline has other classes, a recording has no window, or the two tables name other
        recordings.

    See Also
    --------
    biot_bd_hms.kl_metric.kl_divergence : How such a table is scored.
    """
    if absent not in ("raise", "uniform"):
        raise ValueError(f"absent must be 'raise' or 'uniform', got {absent!r}")
    labels = [int(label) for label in pipeline.classes_]
    if sorted(labels) != list(range(len(CLASSES))):
        raise ValueError(
            f"the pipeline has the classes {labels}, expected 0 to {len(CLASSES) - 1}: {', '.join(CLASSES)}"
        )
    root = Path(root)
    wanted = _wanted(root)
    dataset = load_dataset("hms", root, part="test", on_error="raise" if absent == "raise" else "skip")
    with tempfile.TemporaryDirectory() if store is None else nullcontext(str(store)) as folder:
        rule = HMSMiddle(window_s=_window_s(pipeline))
        windows = prepare(dataset, Path(folder) / "test", labels=rule, **dict(prepare_options or {}))
        proba = np.zeros((len(windows), len(CLASSES)))
        proba[:, labels] = pipeline.predict_proba(windows)
        names = windows.metadata["recording"].astype(str).to_numpy()
    proba /= proba.sum(axis=1, keepdims=True)  # float32 rows sum to 1 within rounding
    found = {int(name.removeprefix("hms-")): row for name, row in zip(names, proba, strict=True)}
    missing = [eeg_id for eeg_id in wanted if eeg_id not in found]
    if missing and absent == "raise":
        raise ValueError(
            f"{root}: no window of {len(missing)} of {len(wanted)} recordings, e.g. {missing[0]}; see its outcome in "
            "load_dataset('hms', root, part='test').outcomes, or take absent='uniform'"
        )
    uniform = np.full(len(CLASSES), 1 / len(CLASSES))
    table = pd.DataFrame([found.get(eeg_id, uniform) for eeg_id in wanted], columns=list(VOTES))
    table.insert(0, "eeg_id", wanted)
    with atomic_path(Path(out)) as temporary:
        table.to_csv(temporary, index=False)
    return table


def _wanted(root: Path) -> list[int]:
    """Return the recordings to predict, in the order of the sample where there is one."""
    listed = read_table(root, "test")["eeg_id"].tolist()
    sample = root / "sample_submission.csv"
    if not sample.is_file():
        return listed
    found = pd.read_csv(sample)
    columns = ["eeg_id", *VOTES]
    if found.columns.tolist() != columns:
        raise ValueError(f"{sample}: expected the columns {', '.join(columns)}, found {', '.join(found.columns)}")
    if set(found["eeg_id"]) != set(listed):
        raise ValueError(f"{sample} and {root / 'test.csv'} name other recordings; take both from one download")
    return [int(eeg_id) for eeg_id in found["eeg_id"]]


def _window_s(pipeline: Any) -> float:
    """Return the length of the windows of a pipeline's ``fit``; 10 s where it does not say."""
    info = getattr(getattr(pipeline, "steps", [(None, pipeline)])[-1][1], "input_info_", None)
    return LABELLED_S if info is None or info.sfreq is None else info.n_times / info.sfreq
