"""The model that is exported, as the detector would run it in torch and float32."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from biot_bd.exceptions import ExportError
from biot_bd.models.checkpoints.pipeline_folder import classifier_spec, steps_of
from biot_bd.models.inference_plan import PrecisionPlan
from biot_bd.signals.base import SignalInfo
from biot_bd.signals.mapper import MontageMapper
from biot_bd.signals.montages import montage_of
from biot_bd.signals.scaler import PercentileScaler
from biot_bd.training._validation import uncompiled
from biot_bd.training.persistence.readers import read_description
from biot_bd.training.persistence.scorer import load_scorer


@dataclass(frozen=True)
class ExportSource:
    """A saved pipeline, read for export.

    Parameters
    ----------
    folder : Path
        Where it was saved.
    steps : tuple of transformers
        Behind the montage, in front of the classifier; channels that cannot be scaled are absent,
        as in a detector.
    classifier : object
        With ``predict_proba``.
    module : torch.nn.Module
        Its network.
    mapper : MontageMapper or None
        The first step, where it is one.
    outputs : ndarray, shape (n_classes,)
        Labels in the order of the network's outputs.
    info : SignalInfo
        The windows that the graph takes: the montage's channels in microvolts.
    scale : str or None
        How the steps scale them.
    description : dict
        What ``pipeline.json`` holds.

    See Also
    --------
    read_source : Makes one.
    """

    folder: Path
    steps: tuple[Any, ...]
    classifier: Any
    module: nn.Module
    mapper: MontageMapper | None
    outputs: NDArray[Any]
    info: SignalInfo
    scale: str | None
    description: dict[str, Any]

    @property
    def spec(self) -> dict[str, Any]:
        """What the description says of the classifier."""
        return classifier_spec(self.description)

    @property
    def model(self) -> str:
        """Registered name of the network, else the name of its class; of a composite its parts."""
        pipeline = self.description["pipeline"]
        return _named(pipeline) or type(self.module).__name__

    @property
    def n_chans(self) -> int:
        """Channels of a window."""
        return self.info.n_chans

    @property
    def n_times(self) -> int:
        """Samples of a window."""
        return self.info.n_times

    @property
    def takes_absent_channels(self) -> bool:
        """Whether windows may lack channels."""
        return bool(getattr(self.module, "accepts_absent_channels", False))

    @property
    def montage(self) -> str | None:
        """Registered name of the montage, None where it is none of them."""
        found = montage_of(self.info.ch_names)
        return None if found is None else found.name

    def subjects(self, part: str) -> tuple[str, ...]:
        """Return the subjects of a part, ``"train"`` or ``"valid"``, as the classifier says; who
        validated a composite stands in the record of its training.
        """
        found = self.spec.get("fitted", {}).get(f"{part}_subjects")
        if not found and self.spec.get("kind") != "classifier":
            found = ((self.description.get("record") or {}).get("subjects") or {}).get(part)
        return tuple(found or ())

    def probabilities(self, x: NDArray[np.float32], present: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Compute probabilities in torch and float32, by the pipeline's own steps and network.

        Parameters
        ----------
        x : ndarray, shape (n, n_chans, n_times)
            Microvolts; what stands in absent channels does not matter.
        present : ndarray of bool, shape (n, n_chans)

        Returns
        -------
        ndarray of float32, shape (n, n_classes)
            In the order of the sorted labels; NaN where no channel is usable.
        """
        x, info = np.where(present[..., None], x, np.float32(np.nan)), self.info
        for step in self.steps:
            made = step.output_info(info)
            x, present = step.apply(x, present, info)
            info = made
        usable = present.any(axis=1)
        out = np.full((len(x), len(self.outputs)), np.nan, np.float32)
        if usable.any():
            out[usable] = self.classifier.predict_proba(x[usable])
        return out


def read_source(folder: str | os.PathLike[str]) -> ExportSource:
    """Read a saved pipeline for export.

    Parameters
    ----------
    folder : path
        Written by :func:`biot_bd.save_pipeline`.

    Returns
    -------
    ExportSource

    Raises
    ------
    FileNotFoundError
        There is no saved pipeline.
    ExportError
        The model does not say its channels or rate, or was fitted on signals that its steps do not
        make of microvolts.
    """
    folder = Path(folder)
    scorer = load_scorer(folder)
    classifier = scorer.classifier
    module = uncompiled(classifier.module_ if hasattr(classifier, "module_") else classifier.module)
    facts = getattr(classifier, "facts_", None)
    _compute_in_float32(classifier, module)
    steps = tuple(_dropping(step) for step in scorer.steps)
    mapper = steps[0] if steps and isinstance(steps[0], MontageMapper) else None
    known = scorer.input_info_
    ch_names: Sequence[str] | None = known.ch_names if mapper is None else mapper.resolve().ch_names
    if ch_names is None or known.sfreq is None:
        raise ExportError(
            f"{folder}: the model does not say its channels and rate: it was fitted on bare arrays; fit it on prepared windows"
        )
    info = SignalInfo(tuple(ch_names), known.sfreq, known.n_times, "uV")
    steps = steps[mapper is not None :]
    made = info
    for step in steps:
        made = step.output_info(made)
    if known.unit == "scaled" and made.unit is not None:
        raise ExportError(
            f"{folder}: was fitted on signals that were scaled ({known.scale or 'nobody says how'}) before they came to its "
            "pipeline; put the scaler into the pipeline and fit again"
        )
    outputs = np.asarray(classifier.outputs if facts is None else facts.classes)
    return ExportSource(folder, steps, classifier, module, mapper, outputs, info, made.scale, read_description(folder))


def _named(spec: Mapping[str, Any]) -> str | None:
    """Return what a described model is called, None where its network has no name."""
    *before, last = steps_of(spec)
    if last["kind"] == "ensemble":
        member = _named(last["members"][0])
        return None if member is None else f"{len(last['members'])} x {member}"
    inner = before[-1] if last["kind"] == "probe" else last
    named = inner.get("params", {}).get("module")
    if isinstance(named, dict) and "$registered" in named:
        named = named["$registered"][1]
    if not isinstance(named, str):
        return None
    if last["kind"] != "probe":
        return named
    cls = last["class"]
    probe = cls["$registered"][1] if "$registered" in cls else str(cls.get("$class")).rpartition(":")[2]
    return f"{named}, {probe} probe"


def _dropping(step: Any) -> Any:
    """Return a step that leaves out channels that it cannot scale, as a detector has it."""
    from sklearn.base import clone

    return clone(step).set_params(on_bad="drop") if isinstance(step, PercentileScaler) else step


def _compute_in_float32(classifier: Any, module: Any) -> None:
    """Make the reference a float32 one, whatever precision the model predicts in."""
    plan = PrecisionPlan("fp32", getattr(getattr(module, "inference_plan", None), "micro_batch", None))
    if hasattr(module, "inference_plan"):
        module.inference_plan = plan
    if hasattr(classifier, "facts_"):
        classifier.facts_ = replace(classifier.facts_, inference_plan=plan)
