"""Evaluation: cross-validation by person, metrics that say when they are undefined, thresholds, run folders."""

from biot_bd.evaluation.baselines import BASELINES, baseline
from biot_bd.evaluation.crossval import RunFolderError, cross_validate
from biot_bd.evaluation.event_files import EventFile, read_event_file, write_event_file
from biot_bd.evaluation.event_folders import MissingPredictionError, score_folders
from biot_bd.evaluation.event_persons import ScoredRecording, score_persons
from biot_bd.evaluation.event_scoring import ScoringParameters, score_events, score_samples
from biot_bd.evaluation.event_stream import Alarm, EventStream
from biot_bd.evaluation.events import (
    Event,
    EventDetector,
    RecordingScores,
    load_event_detector,
    save_event_detector,
)
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
    "Alarm",
    "Event",
    "EventDetector",
    "EventFile",
    "EventStream",
    "Fold",
    "Metric",
    "MissingPredictionError",
    "MixedTableError",
    "PersonSplit",
    "Protocol",
    "ProtocolError",
    "RecordingScores",
    "Result",
    "RunFolderError",
    "Score",
    "ScoredRecording",
    "ScoringParameters",
    "SplitError",
    "StudyResult",
    "Threshold",
    "baseline",
    "choose_threshold",
    "compare_regimes",
    "compare_table",
    "cross_validate",
    "load_event_detector",
    "make_folds",
    "read_event_file",
    "run_protocol",
    "save_event_detector",
    "score_events",
    "score_folders",
    "score_persons",
    "score_samples",
    "write_event_file",
]
