"""Composite models as one network: a model with a probe for its head, members with their mean."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from torch import Tensor, nn

from biot_bd.exceptions import SavedPipelineError
from biot_bd.training._validation import uncompiled
from biot_bd.training.classifier.biot_classifier import BIOTClassifier
from biot_bd.training.persistence.description import described
from biot_bd.training.persistence.kinds import EMBEDDER, ENSEMBLE, PROBE, kind_of


class ProbedNetwork(nn.Module):
    """A model up to its embedding, and the head of a probe.

    Parameters
    ----------
    reader : torch.nn.Module
        Windows to embeddings; its ``module`` is the model.
    head : torch.nn.Module
        Embeddings to logits.
    """

    def __init__(self, reader: Any, head: nn.Module) -> None:
        super().__init__()
        self.reader, self.final_layer = reader, head
        self.accepts_absent_channels = bool(getattr(reader.module, "accepts_absent_channels", False))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, ``(n, n_classes)``."""
        out: Tensor = self.final_layer(self.reader(x))
        return out


class MeanNetwork(nn.Module):
    """Networks side by side; the softmax of what comes out is the mean of their probabilities.

    Parameters
    ----------
    members : sequence of torch.nn.Module
        From the same windows to logits of the same classes.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.final_layer = _LogMean(len(members))
        self.accepts_absent_channels = all(getattr(one, "accepts_absent_channels", False) for one in members)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, ``(n, n_classes)``; the last layer is given those of all members."""
        logits = torch.cat([member(x).flatten(1).float() for member in self.members], dim=1)
        out: Tensor = self.final_layer(logits)
        return out


class _LogMean(nn.Module):
    """The logarithm of the mean probability, of the logits of members one behind another."""

    def __init__(self, n_members: int) -> None:
        super().__init__()
        self.n_members = n_members

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        each = x.unflatten(1, (self.n_members, -1)).log_softmax(dim=2)
        return each.logsumexp(dim=1)


class EmbeddingClassifier:
    """An embedder and a probe that says no network, as one classifier.

    Parameters
    ----------
    embedder : estimator
        With ``transform`` and ``input_info_``.
    probe : classifier
        With ``predict_proba`` and ``classes_``.
    """

    def __init__(self, embedder: Any, probe: Any) -> None:
        self.embedder, self.probe = embedder, probe
        self.classes_: NDArray[Any] = np.asarray(probe.classes_)
        self.positive_label_ = getattr(probe, "positive_label_", None)
        self.threshold_: float | None = getattr(probe, "threshold_", None)
        self.input_info_ = embedder.input_info_

    def predict_proba(self, X: Any) -> NDArray[np.float32]:
        """Return probabilities, ``(n, n_classes)``."""
        return np.asarray(self.probe.predict_proba(self.embedder.transform(X)), np.float32)


def as_network(pipeline: Any) -> tuple[list[Any], Any]:
    """Take a fitted pipeline apart: signal steps, and what stands behind them as one classifier.

    Parameters
    ----------
    pipeline : estimator
        As :func:`biot_bd.save_pipeline` takes it.

    Returns
    -------
    steps : list of transformers
        Those that do something.
    classifier : BIOTClassifier or EmbeddingClassifier
        Of a composite a new one, whose ``module_`` is one network from windows to logits; an
        ``EmbeddingClassifier`` where its probe has no ``head``.

    Raises
    ------
    SavedPipelineError
        The members of an ensemble have other steps in front, or other classes.

    See Also
    --------
    biot_bd.load_scorer : Scores windows so.
    """
    steps: list[Any] = []
    last = pipeline
    while isinstance(last, Pipeline):
        steps += [step for _, step in last.steps[:-1] if kind_of(step) != "passthrough"]
        last = last.steps[-1][1]
    if kind_of(last) == PROBE and steps and kind_of(steps[-1]) == EMBEDDER:
        embedder = steps.pop()
        return steps, _probed(embedder, last)
    if kind_of(last) == ENSEMBLE:
        inner, classifier = _mean(last)
        return [*steps, *inner], classifier
    return steps, last


def network_pipeline(pipeline: Any) -> Any:
    """Return a fitted pipeline that ends in a classifier with one network.

    Parameters
    ----------
    pipeline : estimator
        A composite, or any other, which is returned as it is.

    Raises
    ------
    SavedPipelineError
        As :func:`as_network`.
    """
    last = pipeline
    while isinstance(last, Pipeline):
        last = last.steps[-1][1]
    if kind_of(last) not in (PROBE, ENSEMBLE):
        return pipeline
    steps, classifier = as_network(pipeline)
    named = [(f"step{number}", step) for number, step in enumerate(steps)]
    return Pipeline([*named, ("classifier", classifier)])


def _probed(embedder: Any, probe: Any) -> Any:
    if not callable(getattr(probe, "head", None)):
        return EmbeddingClassifier(embedder, probe)
    reader = copy.deepcopy(embedder.reader_)
    head = nn.Sequential(nn.Flatten(), probe.head()) if embedder.pooling == "mean" else probe.head()
    module = reader.module
    if embedder.pooling == "mean" and embedder.layer_ is None and callable(getattr(module, "token_stages", None)):
        module.final_layer = head  # what explains such a model finds all of it
    else:
        module = ProbedNetwork(reader, head)
    return _around(embedder.classifier_, module, probe)


def _mean(ensemble: Any) -> tuple[list[Any], Any]:
    parts = [as_network(member) for member in ensemble.members_]
    steps, first = parts[0]
    written = _steps_written(steps)
    for number, (others, classifier) in enumerate(parts):
        if not isinstance(classifier, BIOTClassifier):
            raise SavedPipelineError(
                f"member {number} ends in a probe without a network, so the members make no one model"
            )
        if _steps_written(others) != written:
            raise SavedPipelineError(
                f"member {number} has other steps in front of its model than member 0, so they cannot see the same windows; "
                "put the steps in front of the ensemble"
            )
        if classifier.facts_.classes.tolist() != first.facts_.classes.tolist():
            raise SavedPipelineError(f"member {number} has other classes than member 0; fit the ensemble again")
    modules = [copy.deepcopy(uncompiled(classifier.module_)) for _, classifier in parts]
    return steps, _around(first, MeanNetwork(modules), ensemble, first.facts_.classes)


def _steps_written(steps: Sequence[Any]) -> list[Any]:
    return [described(step, learnt=True) | {"name": ""} for step in steps]


def _around(net: BIOTClassifier, module: nn.Module, last: Any, outputs: NDArray[Any] | None = None) -> BIOTClassifier:
    """Return a copy of a classifier around another network, with what its last part learnt."""
    made = object.__new__(type(net))  # skorch pickles a net to copy it, which some modules refuse
    made.__dict__ = net.__dict__ | {"module_": module.eval().requires_grad_(False)}
    made.facts_ = replace(
        net.facts_,
        classes=np.asarray(last.classes_ if outputs is None else outputs),
        class_weight=None,
        class_counts=[],
        train_subjects=tuple(getattr(last, "train_subjects_", ())),
        valid_subjects=(),
        threshold=getattr(last, "threshold_", None),
        seen=None,
        weights=None,
        stale=None,
    )
    made._note_weights()
    return made
