"""The model of a detector: windows in microvolts in, probabilities of a seizure out."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from biot_bd import registry
from biot_bd.deploy.signal_chain import WindowBatch
from biot_bd.exceptions import MissingExtraError, PluginError
from biot_bd.signals.info import SignalInfo
from biot_bd.signals.montages import Montage, montage_of, parse_name

Model = TypeVar("Model")


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


class WindowModel:
    """Signal steps and a fitted classifier: probabilities of windows of a montage.

    Parameters
    ----------
    steps : sequence of WindowTransformer
        From windows of the montage in microvolts to what the classifier takes.
    classifier : object
        Fitted: ``predict_proba``, ``classes_``, ``input_info_``.

    Raises
    ------
    ValueError
        The model does not say its channels and rate, or has other steps than signal steps.

    See Also
    --------
    ModelScorer : The model of a detector, of two classes.
    """

    def __init__(self, steps: Sequence[Any], classifier: Any) -> None:
        self.classifier = classifier
        self.steps = _signal_steps([step for step in steps if step not in (None, "passthrough")])
        classes = getattr(classifier, "classes_", None)
        self.classes = None if classes is None else np.asarray(classes).tolist()
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
        self._info = SignalInfo(self.montage.ch_names, self.sfreq, self.n_times, "uV")

    def probabilities(self, batch: WindowBatch) -> NDArray[np.float64]:
        """Return the probability of each class ``(n, n_classes)``, NaN where no channel is
        usable.
        """
        x, present, info = batch.x, batch.present, self._info
        for step in self.steps:
            made = step.output_info(info)
            if not step.is_identity(info):
                x, present = step.apply(x, present, info)
            info = made
        usable = present.any(axis=1)
        out = np.full((len(batch), len(self.classes or ())), np.nan)
        if usable.any():
            out[usable] = self.classifier.predict_proba(x[usable])
        return out


class ModelScorer(WindowModel):
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
    engine : str
        What computes it.
    choose_precision : callable, optional
        ``(precision, batch_size) -> (precision, notes)`` of the engine.

    Raises
    ------
    ValueError
        The model does not say its channels and rate, has other steps than signal steps, or more
        than two classes.
    """

    def __init__(
        self,
        steps: Sequence[Any],
        classifier: Any,
        record: dict[str, Any] | None = None,
        *,
        engine: str = "torch",
        choose_precision: Callable[[str | None, int], tuple[str, list[str]]] | None = None,
    ) -> None:
        self.engine, self._choose_precision = engine, choose_precision
        classes = getattr(classifier, "classes_", None)
        if classes is None or len(classes) != 2:
            raise ValueError(f"a detector needs a model of two classes, background and seizure; found {classes!r}")
        labels = np.asarray(classes).tolist()
        seizure = getattr(classifier, "positive_label_", 1 if 1 in labels else labels[-1])
        self._seizure_column = labels.index(seizure)
        super().__init__(steps, classifier)
        self.threshold = float(getattr(self.classifier, "threshold_", None) or 0.5)
        self.record = record or {}
        self.precision = "fp32"

    def set_precision(self, precision: str | None, batch_size: int) -> list[str]:
        """Choose the precision of the model; returns what a reader should know of the choice.

        Parameters
        ----------
        precision : str or None
            One that its engine knows; None: the model's own; ``"auto"``: the engine's choice on
            this machine.
        batch_size : int
            Windows of a batch in use.

        Raises
        ------
        ValueError
            The engine has no such precision, or no choice at all.
        """
        if self._choose_precision is not None:
            self.precision, notes = self._choose_precision(precision, batch_size)
            return notes
        if precision not in (None, "auto", "fp32"):
            raise ValueError(f"precision={precision!r}: the engine {self.engine} computes in fp32 only")
        return []

    def score(self, batch: WindowBatch) -> NDArray[np.float64]:
        """Return the probability of each window ``(n,)``, NaN where no channel is usable."""
        return self.probabilities(batch)[:, self._seizure_column]


def load_model(folder: str | os.PathLike[str], engine: str = "auto") -> ModelScorer:
    """Load a saved or exported model as the model of a detector.

    Parameters
    ----------
    folder : path
        Of :func:`biot_bd.save_pipeline` or :func:`biot_bd.export_model`.
    engine : str
        Registered name of what computes it; ``"auto"``: what the folder is made for.

    Raises
    ------
    FileNotFoundError
        No model is there.
    ValueError
        It is damaged, or cannot be a detector.
    biot_bd.exceptions.UnknownNameError
        No engine has this name.
    biot_bd.exceptions.MissingExtraError
        A package is missing that the engine needs.
    """
    engine = engine_of(folder) if engine == "auto" else engine

    def scorer(found: Any) -> ModelScorer:
        choose_precision = getattr(found, "set_precision", None)
        return ModelScorer(
            found.steps, found.classifier, found.record_, engine=engine, choose_precision=choose_precision
        )

    return load_by(engine, folder, scorer)


def load_by(engine: str, folder: str | os.PathLike[str], build: Callable[[Any], Model]) -> Model:
    """Load a folder by an engine and build something of what it gives.

    Parameters
    ----------
    engine : str
        Registered name.
    folder : path
        A saved or exported model.
    build : callable
        Gets what the engine loaded: ``steps``, ``classifier``, ``record_``.

    Raises
    ------
    FileNotFoundError, ValueError
        As :func:`load_model`.
    biot_bd.exceptions.UnknownNameError, biot_bd.exceptions.MissingExtraError
        As :func:`load_model`.
    """
    load = _engine(engine, folder)
    try:
        return build(load(Path(folder)))
    except ValueError as error:
        raise type(error)(str(error) if str(folder) in str(error) else f"{folder}: {error}") from error
    except TypeError as error:  # what a step was given is of a kind that it does not take
        raise ValueError(f"{folder}: damaged ({error})") from error


def engine_of(folder: str | os.PathLike[str]) -> str:
    """Return the engine that a folder is made for.

    Parameters
    ----------
    folder : path
        A saved or exported model.

    Returns
    -------
    str
        The format of an exported model; else ``"torch"``.
    """
    from biot_bd.export.artifact import read_facts
    from biot_bd.models.checkpoints.pipeline_folder import is_exported

    return read_facts(folder).facts["graph"]["format"] if is_exported(Path(folder)) else "torch"


def _engine(engine: str, folder: str | os.PathLike[str]) -> Callable[[Path], Any]:
    try:
        return registry.engines[engine]
    except (ImportError, PluginError) as error:
        missing = _missing_package(error)
        if missing is None:
            raise
        raise MissingExtraError(
            f"{folder}: the engine {engine} needs {missing}, which is not installed here; install it, or export the model "
            "where it is (`biot-bd export`) and give the exported folder"
        ) from error


def _missing_package(error: BaseException | None) -> str | None:
    """Return the package whose absence is behind an error."""
    while error is not None and not isinstance(error, ModuleNotFoundError):
        error = error.__cause__
    return None if error is None or error.name is None else error.name.partition(".")[0]


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
