"""Score windows with a saved pipeline, without what only training needs.

:func:`biot_bd.load_pipeline` gives back an estimator that can be fitted on, which takes skorch and
braindecode: four seconds of imports.  A scorer has the same probabilities in half the time.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from biot_bd.exceptions import SavedPipelineError
from biot_bd.json_values import DAMAGE
from biot_bd.models.biot_scoring import ScoringBIOT
from biot_bd.models.checkpoints.layouts import fill_module
from biot_bd.models.checkpoints.pipeline_folder import steps_of, weights_file
from biot_bd.models.inference_plan import measure_inference_plan
from biot_bd.models.own_modes import own_modes
from biot_bd.training._validation import resolve_device
from biot_bd.training.fitted_facts import FittedFacts
from biot_bd.training.input_data import InputInfo, SignalData
from biot_bd.training.labels import decide, positive_label, sorted_columns
from biot_bd.training.persistence.bounded_build import bounded_build
from biot_bd.training.persistence.readers import damaged_model, read_description
from biot_bd.training.persistence.sizes import check_sizes
from biot_bd.training.persistence.values import from_json, load_transformer

_CLASSIFIER = {"$class": "biot_bd:BIOTClassifier"}
_BIOT = ("biot", {"$registered": ["models", "biot"]})
_SIZES = ("embed_dim", "num_heads", "num_layers", "sfreq", "hop_length", "n_times", "channel_ids", "n_channel_tokens")
# What a classifier must say (or not mention) for its network to be a plain forward pass in float32.
_PLAIN = {"precision": "fp32", "compile": False}
PRECISIONS = ("auto", "fp32", "bf16", "fp16")


class Scorer:
    """A saved pipeline that gives probabilities; made by :func:`load_scorer`.

    Parameters
    ----------
    steps : list of transformers
        What happens to windows before the model.
    classifier : object
        With ``predict_proba``: a network without braindecode, or a :class:`BIOTClassifier`.
    record : dict
        The record that ``save_pipeline`` was given.

    Attributes
    ----------
    classes_ : ndarray, shape (n_classes,)
        Sorted labels, in the order of the columns of :meth:`predict_proba`.
    positive_label_ : label or None
        The positive one of two classes.
    threshold_ : float or None
        Probability from which :meth:`predict` says the positive class; None: the most probable one.
    input_info_ : InputInfo
        What the classifier was fitted on, behind the transformers.
    record_ : dict
        The record.
    without_braindecode : bool
        Whether the network is a plain one, for which neither braindecode nor skorch was imported.

    See Also
    --------
    load_scorer : Makes one.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd import BIOTClassifier, load_scorer, save_pipeline
    >>> x = np.random.default_rng(0).normal(size=(8, 2, 200)).astype("float32")
    >>> net = BIOTClassifier(
    ...     "shallow", max_epochs=1, train_split=None, device="cpu", random_state=0
    ... )
    >>> scorer = load_scorer(
    ...     save_pipeline(net.fit(x, [0, 1] * 4), "model", record={"data": "noise"})
    ... )
    >>> scorer.classes_.tolist(), scorer.threshold_, scorer.input_info_.n_times, scorer.record_
    ([0, 1], None, 200, {'data': 'noise'})
    >>> bool((scorer.predict(x) == net.predict(x)).all())
    True
    """

    def __init__(self, steps: list[Any], classifier: Any, record: dict[str, Any]) -> None:
        self.steps = steps
        self.classifier = classifier
        self.classes_: NDArray[Any] = classifier.classes_
        self.positive_label_: Any = classifier.positive_label_
        self.threshold_: float | None = classifier.threshold_
        self.input_info_: InputInfo = classifier.input_info_
        self.record_ = record
        self.without_braindecode = isinstance(classifier, _Network)

    def predict_proba(self, X: Any) -> NDArray[np.float32]:
        """Return probabilities, float32 (n, n_classes), as the pipeline's ``predict_proba`` does.

        Parameters
        ----------
        X : Windows, ndarray (n, n_chans, n_times) or mne.Epochs
            Like what the pipeline was fitted on.

        Raises
        ------
        ValueError
            Other channels, rate, length or unit than in ``fit``, or samples that are not finite.
        """
        for step in self.steps:
            X = step.transform(X)
        return self.classifier.predict_proba(X)

    def set_precision(self, precision: str | None, batch_size: int) -> tuple[str, list[str]]:
        """Choose in which precision the network computes.

        Parameters
        ----------
        precision : {"auto", "fp32", "bf16", "fp16"} or None
            None: fp32. ``"auto"``: the fastest on this machine that moves no probability by 0.01.
        batch_size : int
            Windows of a batch in use.

        Returns
        -------
        precision : str
            What was chosen.
        notes : list of str
            What a reader should know of it.

        Raises
        ------
        ValueError
            No such precision, or one other than fp32 for a network that has no choice.
        """
        precision = "fp32" if precision is None else precision
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, found {precision!r}")
        # The network of a BIOTClassifier, or of what scores in its place.
        module: Any = getattr(self.classifier, "module_", getattr(self.classifier, "module", None))
        if precision == "fp32" or (precision == "auto" and not hasattr(module, "inference_plan")):
            _in_fp32(self.classifier, module)
            return "fp32", []
        try:
            plan, report = measure_inference_plan(module, batch_size, precision=precision)
        except TypeError as error:
            raise ValueError(f"precision={precision!r}: {error}") from error
        module.inference_plan = plan
        if precision not in ("auto", plan.precision):
            return plan.precision, [f"computed in {plan.precision} instead of {precision}: {report['reason']}"]
        return plan.precision, [] if plan.precision == "fp32" else [f"computed in {plan.precision}"]

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the label of each window, as the pipeline's ``predict`` does."""
        return decide(self.predict_proba(X), self.classes_, self.positive_label_, self.threshold_)


class _Network:
    """A BIOT with the facts of the classifier that it was trained by."""

    def __init__(self, module: torch.nn.Module, facts: FittedFacts, batch_size: int, device: str) -> None:
        self.module = module.to(device)
        self.outputs, self.classes_ = facts.classes, np.sort(facts.classes)
        self.positive_label_ = positive_label(facts.classes)
        self.threshold_, self.input_info_ = facts.threshold, facts.input_info
        self.batch_size = batch_size
        self.device = device

    def predict_proba(self, X: Any) -> NDArray[np.float32]:
        proba = np.empty((len(X), len(self.classes_)), dtype=np.float32)
        if len(proba) == 0:
            return proba
        data = SignalData(X)
        self.input_info_.check_same(data.info)
        size = self.batch_size if self.batch_size > 0 else len(data)
        with torch.inference_mode(), own_modes(self.device):
            for start in range(0, len(data), size):
                rows = np.arange(start, min(start + size, len(data)))
                logits = self.module(torch.from_numpy(data.read(rows)).to(self.device))
                proba[rows] = torch.softmax(logits.float(), dim=1).cpu().numpy()
        return sorted_columns(proba, self.outputs)


def _in_fp32(classifier: Any, module: Any) -> None:
    """Leave another precision, in which a classifier was told to predict when it was trained."""
    if hasattr(module, "inference_plan"):
        module.inference_plan = replace(module.inference_plan, precision="fp32")
    if getattr(classifier, "precision", "fp32") != "fp32" and hasattr(classifier, "facts_"):
        classifier.precision = "fp32"
        classifier._take_plans(replace(classifier.facts_.inference_plan, precision="fp32"))
        report = classifier.facts_.precision_report | {"wanted": classifier._wanted()}
        classifier._learn(precision_report=report)  # else it would choose anew before it predicts


def load_scorer(folder: str | os.PathLike[str]) -> Scorer:
    """Load what :func:`biot_bd.save_pipeline` saved, to score windows and nothing else.

    Transformers and BIOT in a plain :class:`BIOTClassifier` load without braindecode and skorch;
    everything else (another module, a subclass, a compiled one, a precision other than fp32, a
    probe behind an embedder, an ensemble) goes through :func:`biot_bd.load_pipeline`; a composite
    becomes one network there.

    Parameters
    ----------
    folder : path
        The folder.

    Returns
    -------
    Scorer
        With the probabilities of the pipeline.

    Raises
    ------
    FileNotFoundError
        There is no saved pipeline.
    SavedPipelineError
        A file is damaged or missing, or names a class that may not be loaded.
    biot_bd.exceptions.UnknownNameError
        A plugin that the pipeline needs is not installed.

    See Also
    --------
    load_pipeline : An estimator that can be fitted on.
    save_pipeline : Writes the folder.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd import BIOTClassifier, load_scorer, save_pipeline
    >>> x = np.random.default_rng(0).normal(size=(8, 2, 400)).astype("float32")
    >>> size = {"module__embed_dim": 16, "module__num_heads": 2, "module__num_layers": 1}
    >>> net = BIOTClassifier(
    ...     "biot", max_epochs=1, train_split=None, device="cpu", random_state=0, **size
    ... )
    >>> scorer = load_scorer(save_pipeline(net.fit(x, [0, 1] * 4), "model"))
    >>> scorer.predict_proba(x).shape, scorer.without_braindecode
    ((8, 2), True)
    """
    folder = Path(folder)
    description = read_description(folder)
    try:
        specs = steps_of(description["pipeline"])
        if not _is_plain(specs[-1]):
            return _whole(folder)
        steps = [load_transformer(spec) for spec in specs[:-1]]
        return Scorer(steps, _load_network(specs[-1], folder), description.get("record") or {})
    except DAMAGE as error:
        if isinstance(error, SavedPipelineError):
            raise damaged_model(folder, error) from error
        return _whole(folder)  # it reads more, or says what is damaged


def _is_plain(spec: Mapping[str, Any]) -> bool:
    """Return whether a step is a BIOTClassifier whose network can be built without it."""
    if spec["kind"] != "classifier" or spec["class"] != _CLASSIFIER or spec["params"]["module"] not in _BIOT:
        return False
    if any(spec["params"].get(name, value) != value for name, value in _PLAIN.items()):
        return False
    config = spec["fitted"].get("module_config")
    if not config or any(config.get(key) is None for key in _SIZES):
        return False
    return config["n_times"] >= int(config["sfreq"]) and config["hop_length"] <= config["sfreq"]


def _load_network(spec: Mapping[str, Any], folder: Path) -> _Network:
    path = weights_file(folder, spec)
    check_sizes(spec, path)
    params, facts = spec["params"], FittedFacts.from_dict(spec["fitted"])
    sizes = {key: spec["fitted"]["module_config"][key] for key in _SIZES}
    options = {"activation": from_json(params["module__activation"])} if "module__activation" in params else {}
    with bounded_build(folder, path):
        class_token = bool(spec["fitted"]["module_config"].get("class_token"))
        module = ScoringBIOT(**sizes, n_outputs=len(facts.classes), class_token=class_token, **options)
    fill_module(module, path)
    # The micro-batch that the classifier found to be fastest, where it has measured one.
    at_once = facts.inference_plan.micro_batch or int(params["batch_size"])
    return _Network(module, facts, at_once, str(resolve_device(params["device"])))


def _whole(folder: Path) -> Scorer:
    """Load the whole estimator: training's imports, and every kind of module."""
    from biot_bd.training.persistence.networks import as_network
    from biot_bd.training.persistence.pipelines import load_pipeline

    pipeline = load_pipeline(folder)
    return Scorer(*as_network(pipeline), pipeline.record_)
