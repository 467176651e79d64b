"""Evaluation: cross-validation by person, metrics that say when they are undefined, thresholds, run folders."""

from biot_bd.evaluation.baselines import BASELINES, baseline
from biot_bd.evaluation.crossval import RunFolderError, cross_validate
from biot_bd.evaluation.metrics import Metric, Score
from biot_bd.evaluation.person_split import PersonSplit
from biot_bd.evaluation.protocols import PROTOCOLS, Protocol, ProtocolError
from biot_bd.evaluation.regimes import StudyResult, compare_regimes
from biot_bd.evaluation.result import Result
from biot_bd.evaluation.splits import FIXED_SPLITS, SPLITS, Fold, SplitError, make_folds
from biot_bd.evaluation.study import MixedTableError, compare_table, run_protocol
from biot_bd.evaluation.thresholds import THRESHOLD_RULES, Threshold, choose_threshold

__all__ = [
    "BASELINES",
    "FIXED_SPLITS",
    "PROTOCOLS",
    "SPLITS",
    "THRESHOLD_RULES",
    "Fold",
    "Metric",
    "MixedTableError",
    "PersonSplit",
    "Protocol",
    "ProtocolError",
    "Result",
    "RunFolderError",
    "Score",
    "SplitError",
    "StudyResult",
    "Threshold",
    "baseline",
    "choose_threshold",
    "compare_regimes",
    "compare_table",
    "cross_validate",
    "make_folds",
    "run_protocol",
]
