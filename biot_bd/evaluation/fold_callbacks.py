"""Callbacks of a pipeline that folds cannot each have for themselves."""

from __future__ import annotations

from typing import Any

from skorch import NeuralNet

from biot_bd.training import BIOTClassifier
from biot_bd.training.private_paths import hides_paths, names_paths


def check_callbacks(pipeline: Any) -> None:
    """Look at the callbacks of all nets in a pipeline whose folds will run at once.

    Parameters
    ----------
    pipeline : estimator

    Raises
    ------
    ValueError
        Folds that run at once would write the same files.
    """
    for net in (pipeline, *pipeline.get_params(deep=True).values()):
        if not isinstance(net, NeuralNet) or net.callbacks in (None, "disable"):
            continue
        callbacks = [one[1] if isinstance(one, (tuple, list)) else one for one in net.callbacks]
        for callback in callbacks:
            if hides_paths(callback):
                raise ValueError(
                    f"callback {type(callback).__name__} writes files, and none of its attributes says where, so folds "
                    "that run at once may write the same one; give it the path as a parameter, or set n_jobs=1"
                )
            if not isinstance(net, BIOTClassifier) and names_paths(callback):
                raise ValueError(
                    f"callback {type(callback).__name__} of {type(net).__name__} names a path that all folds would write; "
                    "only BIOTClassifier gives each fold its own: use it, or set n_jobs=1"
                )
