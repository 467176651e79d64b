"""biot_bd: seizure detection with foundation models, from raw EEG to an honest score.

The public names below are imported on first use, so ``import biot_bd`` stays cheap.
"""

from importlib import import_module
from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

from biot_bd._compat import install_torchaudio_guard as _install_torchaudio_guard

_install_torchaudio_guard()

__version__ = _version("biot-bd")

if TYPE_CHECKING:
    from biot_bd.datasets import adapt_dataset, load_dataset
    from biot_bd.deploy import Detection, Detector
    from biot_bd.evaluation import PersonSplit, cross_validate
    from biot_bd.losses import FocalLoss
    from biot_bd.models.attention.record import record_attention
    from biot_bd.models.biot import BIOT
    from biot_bd.models.checkpoints.provenance import ContaminationError
    from biot_bd.signals import BandPass, MontageMapper, Notch, PercentileScaler, Resampler
    from biot_bd.training import BIOTClassifier, load_pipeline, load_scorer, save_pipeline
    from biot_bd.windows import Windows, prepare

_WHERE = {
    "adapt_dataset": "biot_bd.datasets",
    "load_dataset": "biot_bd.datasets",
    "Detection": "biot_bd.deploy",
    "Detector": "biot_bd.deploy",
    "PersonSplit": "biot_bd.evaluation",
    "cross_validate": "biot_bd.evaluation",
    "FocalLoss": "biot_bd.losses",
    "record_attention": "biot_bd.models.attention.record",
    "BIOT": "biot_bd.models.biot",
    "ContaminationError": "biot_bd.models.checkpoints.provenance",
    "BandPass": "biot_bd.signals",
    "MontageMapper": "biot_bd.signals",
    "Notch": "biot_bd.signals",
    "PercentileScaler": "biot_bd.signals",
    "Resampler": "biot_bd.signals",
    "BIOTClassifier": "biot_bd.training",
    "load_pipeline": "biot_bd.training",
    "load_scorer": "biot_bd.training",
    "save_pipeline": "biot_bd.training",
    "Windows": "biot_bd.windows",
    "prepare": "biot_bd.windows",
}

__all__ = [
    "BIOT",
    "BIOTClassifier",
    "BandPass",
    "ContaminationError",
    "Detection",
    "Detector",
    "FocalLoss",
    "MontageMapper",
    "Notch",
    "PercentileScaler",
    "PersonSplit",
    "Resampler",
    "Windows",
    "__version__",
    "adapt_dataset",
    "cross_validate",
    "load_dataset",
    "load_pipeline",
    "load_scorer",
    "prepare",
    "record_attention",
    "save_pipeline",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'biot_bd' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_WHERE])
