"""Pretrain into a folder: hold-out, record, restart, and the folder that is whole or not there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from biot_bd import runs
from biot_bd.exceptions import ContaminationError, SplitError
from biot_bd.models import provenance_of
from biot_bd.models.checkpoints.anonymous_model import anonymise_model
from biot_bd.models.checkpoints.pipeline_folder import CONFIG, WEIGHTS
from biot_bd.models.checkpoints.pretraining_folder import HISTORY, OBJECTIVES, PRETRAINING, read_pretraining
from biot_bd.models.checkpoints.provenance import SIDECAR_IN_FOLDER, untold_text
from biot_bd.pretraining.chosen_objectives import chosen_objectives
from biot_bd.pretraining.folder import check_pretraining_savable, save_pretraining
from biot_bd.pretraining.pretrainer import Pretrainer
from biot_bd.training.net.distributed import beside_the_main_process, processes_of
from biot_bd.training.pretrained import checkpoint_identity
from biot_bd.training.resume import describe
from biot_bd.training.work_folder import WorkFolder
from biot_bd.windows import Windows
from biot_bd.windows.store_users import forgotten_with, note_user

WORK = ".pretraining"


class PretrainingFolder(WorkFolder):
    """The folder that ``biot-bd pretrain`` makes a pretrained model in; see its base."""

    name = WORK
    what = "a pretrained model"

    def record(self) -> dict[str, Any] | None:
        """Return the record of the pretrained model in the folder; None where there is none."""
        return read_pretraining(self.folder)["record"] if (self.folder / PRETRAINING).is_file() else None

    def _found(self) -> dict[str, Any] | None:
        """Return the record of this very pretraining if it is finished; another one is no place to
        train into.
        """
        finished = None if (self.work / "study.json").is_file() else self.record()
        if finished is None:
            return super()._found()
        if finished.get("study") != self.study:
            raise FileExistsError(f"{self.folder} holds {self.what} already; name a new folder or delete it")
        return finished

    def publish(self) -> None:
        """Move the model, its curves and its record to their place."""
        self._publish((WEIGHTS, OBJECTIVES, CONFIG, HISTORY, SIDECAR_IN_FOLDER), PRETRAINING)


def pretrain(
    pipeline: Any,
    windows: Windows,
    folder: str | os.PathLike[str],
    *,
    hold_out: Sequence[str] = (),
    title: str | None = None,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """Pretrain on prepared windows and save the result.

    The same call goes on after a kill, and returns the record once all is done.

    Where a launcher started several processes, all make this call: they train together, and the
    first one writes.

    Parameters
    ----------
    pipeline : Pipeline or Pretrainer
        Not changed; transformers, then a :class:`biot_bd.Pretrainer`.
    windows : Windows
        Labels are not looked at.
    folder : path
        For the pretrained model, its curves and its record; ``.pretraining`` in it holds what an
        interrupted call goes on from.
    hold_out : sequence of str
        Subjects who neither train nor validate; what the objectives say of them is measured once,
        at the end.
    title : str, optional
        Stands above every output; names of model and objectives by default.
    notes : sequence of str
        Remarks for the record.

    Returns
    -------
    dict
        The record: ``title``, ``subjects``, ``n_epochs``, ``train``, ``valid`` and ``hold_out``
        (loss and whatever the objectives tell; None where there are no such subjects), ``data``,
        ``started_from``, ``notes``, ``study``.

    Raises
    ------
    TypeError
        No pipeline that ends in a Pretrainer, or other data than Windows.
    SplitError
        Held-out subjects are unknown, or nobody is left.
    ContaminationError
        What ``pretrained`` names saw a subject of the hold-out.
    RunFolderError, FileExistsError
        The folder is used by another process, or holds another result.
    SavedPipelineError
        A step could not be saved; nothing is trained then.

    See Also
    --------
    load_pretraining : Opens the result.
    save_pretraining : Saves what you trained yourself.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from sklearn.pipeline import make_pipeline
    >>> from biot_bd import PercentileScaler, Pretrainer, load_dataset, prepare
    >>> from biot_bd.pretraining import pretrain
    >>> sizes = {"module__embed_dim": 8, "module__num_heads": 2, "module__num_layers": 1}
    >>> net = Pretrainer(
    ...     "biot", "biot-contrastive", max_epochs=1, batch_size=4, random_state=0, **sizes
    ... )
    >>> with TemporaryDirectory() as folder:
    ...     demo = load_dataset("demo", folder + "/edf", n_subjects=3, recordings=1, minutes=1)
    ...     windows = prepare(demo, folder + "/windows", labels="none", stride_s=10)
    ...     record = pretrain(
    ...         make_pipeline(PercentileScaler(), net),
    ...         windows,
    ...         folder + "/run",
    ...         hold_out=["demo/03"],
    ...     )
    >>> record["subjects"]["hold_out"], record["n_epochs"]
    (['demo/03'], 1)
    """
    net = pipeline.steps[-1][1] if isinstance(pipeline, Pipeline) else pipeline
    if not isinstance(net, Pretrainer):
        raise TypeError(f"expected a pipeline that ends in a Pretrainer, found {type(net).__name__}")
    if not isinstance(windows, Windows):
        raise TypeError(
            f"pretrain takes Windows, found {type(windows).__name__}; fit the Pretrainer on arrays yourself"
        )
    if net.max_epochs == 0:
        raise ValueError("max_epochs=0: there would be nothing to save; train for one epoch or more")
    left_out = _left_out(windows, hold_out)
    if net.pretrained is not None and left_out:
        _check_unseen(net.pretrained, left_out)
    check_pretraining_savable(pipeline)
    name = title or title_of(net)
    place = PretrainingFolder(Path(folder), _study(pipeline, net, windows, left_out, [name, list(notes)]))

    def fitted() -> tuple[Any, Pretrainer]:
        estimator = clone(pipeline)
        last = estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator
        log = None if windows.anonymous else str(place.log)  # it names the machine and dates all
        last.set_params(log_dir=log, restart_dir=str(place.restart))
        out = np.isin(windows.groups, left_out)
        estimator.fit(windows[~out] if left_out else windows)
        return estimator, last

    processes = processes_of(net)
    if not processes.is_main:
        return beside_the_main_process(processes, fitted)
    with forgotten_with(windows, place.folder), place.opened() as finished:
        processes.agreed(finished)
        if finished is not None:
            return finished
        note_user(windows, place.folder)
        estimator, last = fitted()
        record = _record(estimator, last, windows, left_out, name, notes)
        record["study"] = place.study
        shutil.rmtree(place.model, ignore_errors=True)  # of a call that was killed here
        save_pretraining(estimator, place.model, record, generated=windows.generated)
        if windows.anonymous:
            anonymise_model(place.model, hashes=True)
        place.publish()
        processes.agreed(record)
        return record


def title_of(net: Pretrainer) -> str:
    """Return a title that names the model and its objectives.

    Parameters
    ----------
    net : Pretrainer
        Fitted or not.
    """
    model = net.module if isinstance(net.module, str) else getattr(net.module, "__name__", str(net.module))
    return f"{model}, pretrained by {' + '.join(one.name for one in chosen_objectives(net.objective, {}))}"


def _left_out(windows: Windows, hold_out: Sequence[str]) -> list[str]:
    if isinstance(hold_out, str):
        raise TypeError(f"hold_out is a list of subjects, found the text {hold_out!r}")
    left_out, present = sorted({str(subject) for subject in hold_out}), sorted(set(windows.groups))
    unknown = [subject for subject in left_out if subject not in present]
    if unknown:
        raise SplitError(f"hold_out: no windows of {', '.join(unknown)}; the windows are of {', '.join(present)}")
    if len(left_out) == len(present):
        raise SplitError(f"hold_out: all {len(present)} subjects are held out, so nobody is left to train on")
    return left_out


def _check_unseen(source: Any, left_out: list[str]) -> None:
    """Raise where a model that is trained on saw who is to be held out, or nobody knows."""
    provenance = provenance_of(source)
    seen = provenance.saw(left_out)
    if untold := provenance.cannot_tell(left_out, recordings_known=False):
        raise ContaminationError(f"hold_out: {untold_text(str(source), untold)}; start from another model")
    if seen or not provenance.known:
        what = f"saw {', '.join(seen)}" if seen else "says nothing of whom it saw"
        raise ContaminationError(
            f"hold_out: {source} {what}, so nothing measured on them would be of subjects apart; hold out others, or start "
            "from a model that is known not to have seen them"
        )


def _study(pipeline: Any, net: Pretrainer, windows: Windows, left_out: list[str], texts: list[Any]) -> str:
    """Return the fingerprint of all that decides the result."""
    start = None if net.pretrained is None else checkpoint_identity(net.pretrained)
    return runs.fingerprint(
        {
            "pipeline": describe(pipeline),
            "start": start,
            "data": windows.fingerprint,
            "hold_out": left_out,
            "texts": texts,
        }
    )


def _record(
    estimator: Any, net: Pretrainer, windows: Windows, left_out: list[str], title: str, notes: Sequence[str]
) -> dict[str, Any]:
    epoch = net.history[-1]
    sides = {
        side: {key.removeprefix(f"{side}_"): value for key, value in epoch.items() if _is_log(key, side, value)} or None
        for side in ("train", "valid")
    }
    measured = None
    if left_out:
        kept = windows[np.isin(windows.groups, left_out)]
        measured = net.evaluate(estimator[:-1].transform(kept) if isinstance(estimator, Pipeline) else kept)
    start = getattr(net, "pretrained_report_", None)
    record: dict[str, Any] = runs.to_jsonable(
        {
            "title": title,
            "notes": list(notes),
            "subjects": {"train": net.train_subjects_, "valid": net.valid_subjects_, "hold_out": left_out},
            "n_epochs": len(net.history),
            **sides,
            "hold_out": measured,
            "data": {
                "fingerprint": windows.fingerprint,
                "stores": [] if windows.anonymous else [str(table.store.resolve()) for table in windows.tables],
                "label_rule": windows.label_rule,
                "shape": list(windows.shape),
                "generated": windows.generated,
                **({"anonymous": True} if windows.anonymous else {}),
            },
            "started_from": None if start is None else start.to_dict(),
            "trained_on": net.provenance_.to_dict(),
        }
    )
    return record


def _is_log(key: str, side: str, value: Any) -> bool:
    """Return whether an entry of the history is a mean of an epoch."""
    counted = key.endswith(("_batch_count", "_best"))
    return key.startswith(f"{side}_") and isinstance(value, (int, float)) and not counted
