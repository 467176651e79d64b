"""Callbacks of a pipeline that folds cannot each have for themselves."""

from __future__ import annotations

from typing import Any

from skorch import NeuralNet

from biot_bd.exceptions import ContaminationError
from biot_bd.training import BIOTClassifier
from biot_bd.training.private_paths import hides_paths, names_paths, reads_elsewhere


def check_callbacks(pipeline: Any, *, several: bool, allow_contaminated: bool = False) -> None:
    """Look at the callbacks of all nets in a pipeline, before anything is fitted.

    Parameters
    ----------
    pipeline : estimator
    several : bool
        Whether folds run at once.
    allow_contaminated : bool
        Whether weights of unknown subjects may be loaded.

    Raises
    ------
    ValueError
        Folds that run at once would write the same files.
    ContaminationError
        A ``LoadInitState`` would start every fold from weights whose subjects nobody knows.
    """
    for net in (pipeline, *pipeline.get_params(deep=True).values()):
        if not isinstance(net, NeuralNet) or net.callbacks in (None, "disable"):
            continue
        callbacks = [one[1] if isinstance(one, (tuple, list)) else one for one in net.callbacks]
        if reads_elsewhere(callbacks) and not allow_contaminated:
            raise ContaminationError(
                "callback LoadInitState loads weights, and nobody knows which subjects they saw; start from them with "
                "pretrained=, or set allow_contaminated=True"
            )
        if not several:
            continue
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
