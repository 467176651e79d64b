"""A fitted classifier taken apart: steps, classifier, network, and what its outputs stand for."""

from __future__ import annotations

from typing import Any

from torch import nn

from biot_bd.training import BIOTClassifier
from biot_bd.training._validation import uncompiled
from biot_bd.training.persistence.networks import as_network


def parts_of(model: Any) -> tuple[list[Any], BIOTClassifier]:
    """Return the steps before a classifier, those that do something, and the classifier; a
    composite becomes one network.

    Parameters
    ----------
    model : Pipeline or BIOTClassifier
        Pipelines may be nested.

    Raises
    ------
    ValueError
        It does not end in a BIOTClassifier, nor in what can be made one.
    """
    steps, last = as_network(model)
    if not isinstance(last, BIOTClassifier):
        raise ValueError(f"expected a BIOTClassifier, or a pipeline that ends in one, found {type(last).__name__}")
    return steps, last


def network_of(classifier: BIOTClassifier) -> nn.Module:
    """Return the network of a fitted classifier, in eval mode.

    Raises
    ------
    ValueError
        It was not fitted.
    """
    module = getattr(classifier, "module_", None)
    if not isinstance(module, nn.Module):
        raise ValueError("the classifier holds no network: fit it, or load a saved one")
    return uncompiled(module).eval()


def output_of(classifier: BIOTClassifier, label: Any) -> int:
    """Return which output of the network stands for a label.

    Raises
    ------
    ValueError
        None does.
    """
    labels = classifier.facts_.classes.tolist()
    if label not in labels:
        raise ValueError(f"the model knows no class {label!r}; it knows {', '.join(map(repr, labels))}")
    return labels.index(label)
