"""Build a classifier once before anything is written, so that bad parameters are refused at the
door.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.base import clone
from torch import nn

from biot_bd.pretraining import BatchRandom, Pretrainer
from biot_bd.training import BIOTClassifier
from biot_bd.training._validation import class_weights
from biot_bd.training.fitted_facts import FittedFacts
from biot_bd.training.input_data import SignalData
from biot_bd.training.labels import encode_labels, output_labels
from biot_bd.training.net.processes import Processes
from biot_bd.training.resume import seeded

if TYPE_CHECKING:
    from biot_bd import Windows

PASSED_ON = (ValueError, OSError, ImportError, MemoryError)
"""Errors that speak for themselves."""


class _StandIn(nn.Module):
    """Takes the place of a model whose checkpoint is not to be read yet."""

    def __init__(self, n_chans: int, n_times: int, n_outputs: int) -> None:
        super().__init__()
        self.head = nn.Linear(n_chans, n_outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x.mean(dim=-1))


def try_classifier(classifier: BIOTClassifier, windows: Windows, given: Mapping[str, Any]) -> None:
    """Make module, loss, callbacks and optimizer once and run them on two windows of noise.

    Parameters
    ----------
    classifier : BIOTClassifier
        Not changed.  Of one that starts from a checkpoint the module is not built.
    windows : Windows
        Say the shapes; no signal is read.
    given : mapping
        What the user gave, for the message.

    Raises
    ------
    ValueError
        Nothing can be made of the parameters.
    """
    with trying("classifier", given):
        _try(classifier, windows)


def try_pretrainer(pretrainer: Pretrainer, windows: Windows, given: Mapping[str, Any]) -> None:
    """Make model and objectives once and ask them about two windows of noise.

    Parameters
    ----------
    pretrainer : Pretrainer
        Not changed.  Of one that starts from a checkpoint, or asks about labels, only the settings
        are looked at.
    windows : Windows
        Say the shapes; no signal is read.
    given : mapping
        What the user gave, for the message.

    Raises
    ------
    ValueError
        Nothing can be made of the parameters.
    """
    with trying("pretraining", given):
        net = clone(pretrainer)
        net._check_parameters()
        if net.pretrained is not None or net._supervised():
            return
        net.set_params(device="cpu", log_dir=None, restart_dir=None, verbose=0)
        net.input_info_ = info = SignalData(windows[:1]).info
        net._processes = Processes()
        net.initialize()
        with torch.no_grad():
            net.module_(torch.randn(2, info.n_chans, info.n_times), BatchRandom(0, n=2))


@contextmanager
def trying(what: str, given: Mapping[str, Any]) -> Iterator[None]:
    """Name what the user gave where something fails that does not speak for itself."""
    try:
        with seeded(0), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the fit says them again
            yield
    except PASSED_ON:
        raise
    except Exception as error:  # third-party constructors fail in any way
        if not given:
            raise
        listed = ", ".join(f"{name}={value!r}" for name, value in given.items())
        raise ValueError(
            f"no {what} can be made of {listed}: {type(error).__name__}: {error}; correct or leave out what is wrong"
        ) from error


def _try(classifier: BIOTClassifier, windows: Windows) -> None:
    net = clone(classifier)
    net._check_parameters()
    net.set_params(device="cpu", compile=False, log_dir=None, restart_dir=None, verbose=0)
    if net.pretrained is not None:
        params = {
            k: v for k, v in net.get_params(deep=False).items() if k.partition("__")[0] not in ("module", "finetune")
        }
        net = BIOTClassifier(_StandIn, **{**params, "pretrained": None})
    labels = np.asarray(windows.y)
    info = SignalData(windows[:1]).info
    classes = output_labels(net.classes, labels)
    y = encode_labels(labels, classes)
    counts = np.bincount(y, minlength=len(classes)).tolist()
    weights = class_weights(net.class_weight, classes, y, counts, net.classes)
    net.facts_ = FittedFacts(info, classes, class_weight=weights, class_counts=counts)
    net.initialize()
    with torch.no_grad():
        logits = net.module_(torch.randn(2, info.n_chans, info.n_times))
        net.get_loss(logits, torch.tensor([0, 1]))
