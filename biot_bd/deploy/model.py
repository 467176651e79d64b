"""The model of a detector: windows in microvolts in, probabilities of a seizure out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from biot_bd import registry
from biot_bd.deploy.signal_chain import WindowBatch
from biot_bd.signals.info import SignalInfo
from biot_bd.signals.montages import Montage, montage_of, parse_name

PRECISIONS = ("auto", "fp32", "bf16", "fp16")


class Scorer(Protocol):
    """What a detector needs of a model.

    Attributes
    ----------
    montage : Montage
        Channels of the windows.
    sfreq, window_s : float
        Rate in Hz and length in seconds.
    threshold : float
        Of window probabilities, chosen with the model.
    """

    montage: Montage
    sfreq: float
    window_s: float
    threshold: float

    def score(self, batch: WindowBatch) -> NDArray[np.float64]:
        """Return the probability of each window ``(n,)``, NaN where no channel is usable."""
        ...


class ModelScorer:
    """Signal steps and a fitted classifier as the model of a detector.

    Parameters
    ----------
    steps : sequence of WindowTransformer
        From windows of the montage in microvolts to what the classifier takes.
    classifier : object
        Fitted, of two classes: ``predict_proba``, ``classes_``, ``threshold_``, ``input_info_``.
        Seizure is its ``positive_label_``; without one label 1, else the last class.
    record : dict, optional
        What is known of the model.

    Raises
    ------
    ValueError
        The model does not say its channels and rate, has other steps than signal steps, or more
        than two classes.
    """

    def __init__(self, steps: Sequence[Any], classifier: Any, record: dict[str, Any] | None = None) -> None:
        self.classifier = classifier
        self.steps = _signal_steps([step for step in steps if step not in (None, "passthrough")])
        classes = getattr(self.classifier, "classes_", None)
        if classes is None or len(classes) != 2:
            raise ValueError(f"a detector needs a model of two classes, background and seizure; found {classes!r}")
        labels = np.asarray(classes).tolist()
        seizure = getattr(self.classifier, "positive_label_", 1 if 1 in labels else labels[-1])
        self._seizure_column = labels.index(seizure)
        known: Any = getattr(self.classifier, "input_info_", None)
        self.montage = _montage_of(self.steps, getattr(known, "ch_names", None))
        sfreq = getattr(known, "sfreq", None)
        if sfreq is None:
            raise ValueError(
                "the model does not say its sampling rate: it was fitted on bare arrays; fit it on prepared windows"
            )
        self.sfreq = float(sfreq)
        self.n_times = int(known.n_times)
        self.window_s = self.n_times / self.sfreq
        self.threshold = float(getattr(self.classifier, "threshold_", None) or 0.5)
        self.record = record or {}
        self.precision = "fp32"
        self._info = SignalInfo(self.montage.ch_names, self.sfreq, self.n_times, "uV")

    def set_precision(self, precision: str, n_windows: int) -> list[str]:
        """Choose the precision of the model; returns what a reader should know of the choice.

        Parameters
        ----------
        precision : {"auto", "fp32", "bf16", "fp16"}
            ``"auto"``: the fastest on this machine that moves no probability by 0.01.
        n_windows : int
            Windows of a batch in use.

        Raises
        ------
        ValueError
            No such precision, or one other than fp32 for a model that has no choice.
        """
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, found {precision!r}")
        # The network of a BIOTClassifier, or of what scores in its place.
        module: Any = getattr(self.classifier, "module_", getattr(self.classifier, "module", None))
        if precision == "fp32" or (precision == "auto" and not hasattr(module, "inference_plan")):
            self.precision = "fp32"
            return []
        from biot_bd.models.inference_plan import measure_inference_plan

        try:
            plan, report = measure_inference_plan(module, n_windows, precision=precision)
        except TypeError as error:
            raise ValueError(f"precision={precision!r}: {error}") from error
        module.inference_plan = plan
        self.precision = plan.precision
        if precision not in ("auto", plan.precision):
            return [f"computed in {plan.precision} instead of {precision}: {report['reason']}"]
        return [] if plan.precision == "fp32" else [f"computed in {plan.precision}"]

    def score(self, batch: WindowBatch) -> NDArray[np.float64]:
        """Return the probability of each window ``(n,)``, NaN where no channel is usable."""
        x, present, info = batch.x, batch.present, self._info
        for step in self.steps:
            made = step.output_info(info)
            if not step.is_identity(info):
                x, present = step.apply(x, present, info)
            info = made
        usable = present.any(axis=1)
        out = np.full(len(batch), np.nan)
        if usable.any():
            out[usable] = self.classifier.predict_proba(x[usable])[:, self._seizure_column]
        return out


def load_model(folder: str | os.PathLike[str], engine: str = "torch") -> ModelScorer:
    """Load a folder of :func:`biot_bd.save_pipeline` as the model of a detector.

    Parameters
    ----------
    folder : path
        The saved model.
    engine : str
        Registered name of what computes it.

    Raises
    ------
    FileNotFoundError
        No saved model is there.
    ValueError
        It is damaged, or cannot be a detector.
    biot_bd.exceptions.UnknownNameError
        No engine has this name.
    """
    load = registry.engines[engine]
    try:
        found = load(Path(folder))
        return ModelScorer(found.steps, found.classifier, found.record_)
    except ValueError as error:
        raise type(error)(str(error) if str(folder) in str(error) else f"{folder}: {error}") from error
    except TypeError as error:  # what a step was given is of a kind that it does not take
        raise ValueError(f"{folder}: damaged ({error})") from error


def _signal_steps(steps: Sequence[Any]) -> list[Any]:
    """Return steps as a detector runs them; without any, nothing of scikit-learn is imported."""
    if not steps:
        return []
    from sklearn.base import clone

    from biot_bd.signals.base import WindowTransformer
    from biot_bd.signals.scaler import PercentileScaler

    for step in steps:
        if not isinstance(step, WindowTransformer):
            raise ValueError(f"{type(step).__name__} is no signal step, so a detector cannot run this model on windows")
    # A window without signal is no fault of the model's: channels that cannot be scaled are absent.
    return [clone(step).set_params(on_bad="drop") if isinstance(step, PercentileScaler) else step for step in steps]


def _montage_of(steps: Sequence[Any], ch_names: tuple[str, ...] | None) -> Montage:
    if steps:
        from biot_bd.signals.mapper import MontageMapper

        mapper = next((step for step in steps if isinstance(step, MontageMapper)), None)
        if mapper is not None:
            return mapper.resolve()
    if ch_names is None:
        raise ValueError(
            "the model does not say its channels: it was fitted on bare arrays; fit it on prepared windows"
        )
    return montage_of_channels(ch_names)


def montage_of_channels(ch_names: Sequence[str]) -> Montage:
    """Return the registered montage of these channels, else one of their own.

    Parameters
    ----------
    ch_names : sequence of str
        Channels that a model sees, in order.

    Returns
    -------
    Montage
    """
    if (found := montage_of(ch_names)) is not None:
        return found
    bipolar = all(parsed is not None and parsed.bipolar for parsed in map(parse_name, ch_names))
    return Montage("of the model", tuple(ch_names), "bipolar" if bipolar else "referential")
