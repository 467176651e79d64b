"""Evaluation: cross-validation by person, metrics that say when they are undefined, thresholds, run folders."""

from biot_bd.evaluation.crossval import RunFolderError, cross_validate
from biot_bd.evaluation.metrics import Metric, Score
from biot_bd.evaluation.result import Result
from biot_bd.evaluation.splits import FIXED_SPLITS, SPLITS, Fold, SplitError, make_folds
from biot_bd.evaluation.thresholds import THRESHOLD_RULES, Threshold, choose_threshold

__all__ = [
    "FIXED_SPLITS",
    "SPLITS",
    "THRESHOLD_RULES",
    "Fold",
    "Metric",
    "Result",
    "RunFolderError",
    "Score",
    "SplitError",
    "Threshold",
    "choose_threshold",
    "cross_validate",
    "make_folds",
]
