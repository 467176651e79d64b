"""The paradigm of seizure detection for MOABB: background or seizure, one decision a window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from moabb.datasets.base import BaseDataset
from moabb.paradigms.base import BaseParadigm
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, balanced_accuracy_score, make_scorer, roc_auc_score

from biot_bd.evaluation.moabb_bridge.seizure_windows import EVENTS


def _defined(y: NDArray[Any]) -> bool:
    return len(np.unique(y)) == 2


def average_precision(y: NDArray[Any], score: NDArray[Any]) -> float:
    """Return the area under the precision-recall curve; NaN where a class is absent."""
    return float(average_precision_score(y, score)) if _defined(y) else float("nan")


def roc_auc(y: NDArray[Any], score: NDArray[Any]) -> float:
    """Return the area under the ROC curve; NaN where a class is absent."""
    return float(roc_auc_score(y, score)) if _defined(y) else float("nan")


def balanced_accuracy(y: NDArray[Any], decided: NDArray[Any]) -> float:
    """Return the mean recall of both classes; NaN where a class is absent."""
    return float(balanced_accuracy_score(y, decided)) if _defined(y) else float("nan")


SCORERS = {
    "average_precision": make_scorer(average_precision, response_method=("decision_function", "predict_proba")),
    "roc_auc": make_scorer(roc_auc, response_method=("decision_function", "predict_proba")),
    "balanced_accuracy": make_scorer(balanced_accuracy),
}
"""Scorers by name.

scikit-learn's own give 0 for the average precision of a subject without seizures, which would
count as a bad score.
"""


class SeizureDetection(BaseParadigm):  # type: ignore[misc]  # MOABB has no types
    """Background against seizure, scored by window.

    Parameters
    ----------
    scorer : sequence of str
        Out of ``"average_precision"``, ``"roc_auc"`` and ``"balanced_accuracy"`` (of the pipeline's
        own ``predict``).  The first is MOABB's ``score``, each has a column ``score_<name>``.

    Raises
    ------
    ValueError
        No scorer, or an unknown one.

    See Also
    --------
    SeizureWindows : The data sets that it takes.

    Notes
    -----
    A subject without seizures has no score: NaN, which MOABB's statistics refuse.  Signals are
    those of the windows; MOABB filters and resamples nothing, which belongs into ``prepare`` or
    the pipeline.

    Examples
    --------
    >>> from biot_bd.evaluation import SeizureDetection
    >>> list(SeizureDetection(["roc_auc"]).scoring)
    ['roc_auc']
    """

    def __init__(self, scorer: Sequence[str] = ("average_precision", "roc_auc", "balanced_accuracy")) -> None:
        names = [scorer] if isinstance(scorer, str) else list(scorer)
        if not names or (unknown := [name for name in names if name not in SCORERS]):
            found = ", ".join(map(repr, unknown)) if names else "none"
            raise ValueError(f"scorer: expected some of {', '.join(SCORERS)}, found {found}")
        super().__init__(filters=[(None, None)], events=list(EVENTS), scorer={name: SCORERS[name] for name in names})

    @property
    def datasets(self) -> list[BaseDataset]:
        """None of its own; an evaluation is told ``datasets=[SeizureWindows(windows)]``."""
        return []

    @property
    def scoring(self) -> dict[str, Any]:
        """Scorers by name, as MOABB and scikit-learn take them."""
        return dict(self.scorer)

    def is_valid(self, dataset: BaseDataset) -> bool:
        """Return whether a data set has windows of background and seizure."""
        return bool(dataset.paradigm == "seizure" and set(EVENTS) <= set(dataset.event_id))

    def used_events(self, dataset: BaseDataset) -> dict[str, int]:
        """Return the codes of background and seizure in a data set."""
        return {name: dataset.event_id[name] for name in EVENTS}
