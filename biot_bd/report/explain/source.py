"""Which model is looked into: a saved one, or that of a fold of a run."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

from biot_bd.evaluation.data import other_windows
from biot_bd.models.checkpoints.pipeline_folder import classifier_spec, description_file
from biot_bd.report.run_folder import Run, read_run
from biot_bd.runs import read_json
from biot_bd.training import read_record
from biot_bd.windows import Windows


@dataclass(frozen=True)
class Source:
    """The model that is looked into.

    Parameters
    ----------
    folder : Path
        Of the saved pipeline.
    text : str
        Where it comes from, in words.
    subjects : tuple of str or None
        Subjects whose windows it may explain (the test subjects of its fold); None for all.
    threshold : float or None
        Threshold stored with it.
    scored : bool
        Whether it was scored on subjects that it never saw.
    not_a_result : str or None
        Why those scores say nothing.
    generated : bool
        Whether it was trained on generated recordings.
    """

    folder: Path
    text: str
    subjects: tuple[str, ...] | None
    threshold: float | None
    scored: bool = True
    not_a_result: str | None = None
    generated: bool = False

    @property
    def weights_sha256(self) -> str | None:
        """Checksum of its weights, as its description says."""
        file = description_file(self.folder)
        described = {} if file is None else classifier_spec(read_json(file))
        return (described.get("weights") or {}).get("sha256")


def choose_fold(
    model: Path, windows: Windows | None, *, fold: int | None = None, recording: str | None = None
) -> Source:
    """Find the model in a saved pipeline or a run folder.

    Parameters
    ----------
    model : Path
        Folder that ``save_pipeline`` wrote, or a run folder.
    windows : Windows or None
        To look up the subject of ``recording``; None for a recording that is no part of a store.
    fold : int, optional
        Fold of a run; by default the first that tests the subject of ``recording``, or the first of
        all.
    recording : str, optional
        Recording of the window in question.

    Raises
    ------
    FileNotFoundError
        Neither a saved model nor a finished run.
    ValueError
        No such fold, no fold that tests the subject, or the fold holds no saved model.
    """
    if description_file(model) is not None:
        if fold is not None:
            raise ValueError(f"{model} is a saved model, not a run: it has no fold {fold}")
        record = read_record(model) or {}
        return Source(
            model,
            f"saved model {model}",
            None,
            (record.get("threshold") or {}).get("value"),
            scored=bool(record.get("scores")),
            not_a_result=record.get("not_a_result"),
            generated=bool((record.get("data") or {}).get("generated")),
        )
    if not (model / "run.json").is_file():
        raise FileNotFoundError(f"{model}: neither a saved model (pipeline.json) nor a run folder (run.json)")
    run = read_run(model)
    if windows is not None and (other := other_windows(run.data, windows)) is not None:
        warnings.warn(f"{model}: {other}", stacklevel=2)
    return _of_run(run, windows, fold, recording)


def _of_run(run: Run, windows: Windows | None, fold: int | None, recording: str | None) -> Source:
    if fold is not None:
        found = run.fold(fold)
        if found is None:
            raise ValueError(f"{run.folder}: no fold {fold}; there are {', '.join(str(f.number) for f in run.folds)}")
    elif recording is not None and windows is not None:
        subject = subject_of(windows, recording)
        found = next((one for one in run.folds if subject in one.facts["test"]), None)
        if found is None:
            raise ValueError(f"{run.folder}: no fold tests subject {subject}; choose one with --fold")
    elif run.folds:
        found = run.folds[0]
    else:
        raise ValueError(f"{run.folder}: the run has no finished fold")
    if found.model is None:
        raise ValueError(f"{run.folder}: fold {found.number} holds no saved model ({found.facts.get('model_reason')})")
    return Source(
        found.model,
        f"fold {found.number} of {run.folder}",
        None if windows is None else tuple(found.facts["test"]),
        found.facts["threshold"]["value"],
        not_a_result=run.run.get("not_a_result"),
        generated=run.generated,
    )


def subject_of(windows: Windows, recording: str) -> str:
    """Return whose a recording of a store is.

    Raises
    ------
    ValueError
        The store holds no window of it.
    """
    metadata = windows.metadata
    subjects = metadata.loc[metadata["recording"] == recording, "subject"].unique()
    if not len(subjects):
        known = sorted(metadata["recording"].unique())
        more = "..." if len(known) > 8 else ""
        raise ValueError(f"no windows of recording {recording!r}; there are {', '.join(known[:8])}{more}")
    return str(subjects[0])
