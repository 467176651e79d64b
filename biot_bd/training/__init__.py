"""Training: the classifier, inner splits by person, restart points, TensorBoard, saving."""

from biot_bd.training.classifier import BIOTClassifier
from biot_bd.training.persistence import load_pipeline, read_record, save_pipeline
from biot_bd.training.sampling import BackgroundSubsample, ClassBalanced, PersonBalanced
from biot_bd.training.scores import EarlyStopping, EpochScores
from biot_bd.training.splits import FixedPersons, PersonValidSplit
from biot_bd.training.tensorboard import TensorBoardLogger, log_test_metrics

__all__ = [
    "BIOTClassifier",
    "BackgroundSubsample",
    "ClassBalanced",
    "EarlyStopping",
    "EpochScores",
    "FixedPersons",
    "PersonBalanced",
    "PersonValidSplit",
    "TensorBoardLogger",
    "load_pipeline",
    "log_test_metrics",
    "read_record",
    "save_pipeline",
]
