"""Where a class can be found by everybody: the address that a saved pipeline names, and those of former versions.

An address is ``package:Class`` for the shortest package that shows the class: ``biot_bd:BIOTClassifier``,
``biot_bd.training:FixedSubjects``, ``torch.optim:AdamW``, ``sklearn.preprocessing:StandardScaler``.  Files may move behind
it; whoever renames a public class adds a line to :data:`FORMER`.
"""

from __future__ import annotations

import sys
from importlib import import_module

from biot_bd.exceptions import SavedPipelineError

OURS = "biot_bd"

FORMER = {
    "biot_bd.deploy.detector:Detection": "biot_bd:Detection",
    "biot_bd.deploy.live.signal:Chunk": "biot_bd.deploy.live:Chunk",
    "biot_bd.deploy.live.signal:Notice": "biot_bd.deploy.live:Notice",
    "biot_bd.evaluation.event_files:EventFile": "biot_bd.events:EventFile",
    "biot_bd.evaluation.event_persons:ScoredRecording": "biot_bd.events:ScoredRecording",
    "biot_bd.evaluation.event_scoring:ScoringParameters": "biot_bd.events:ScoringParameters",
    "biot_bd.evaluation.event_types:RecordingScores": "biot_bd.events:RecordingScores",
    "biot_bd.evaluation.events:EventDetector": "biot_bd:EventDetector",
    "biot_bd.evaluation.metrics:Metric": "biot_bd.evaluation:Metric",
    "biot_bd.evaluation.metrics:Score": "biot_bd.evaluation:Score",
    "biot_bd.evaluation.paired:PairedTest": "biot_bd.evaluation:PairedTest",
    "biot_bd.evaluation.person_split:PersonSplit": "biot_bd:SubjectSplit",
    "biot_bd.evaluation.protocols:Protocol": "biot_bd.evaluation:Protocol",
    "biot_bd.evaluation.recalibration:RecalibratedClassifier": "biot_bd.evaluation:RecalibratedClassifier",
    "biot_bd.evaluation.recalibration:Recalibration": "biot_bd.evaluation:Recalibration",
    "biot_bd.evaluation.regimes:StudyResult": "biot_bd.evaluation:StudyResult",
    "biot_bd.evaluation.result:Result": "biot_bd:Result",
    "biot_bd.evaluation.splits:Fold": "biot_bd.evaluation:Fold",
    "biot_bd.evaluation.thresholds:Threshold": "biot_bd.evaluation:Threshold",
    "biot_bd.losses:FocalLoss": "biot_bd:FocalLoss",
    "biot_bd.models._recorder:AttentionRecord": "biot_bd.models:AttentionRecord",
    "biot_bd.models._recorder:AttentionTrace": "biot_bd.models:AttentionTrace",
    "biot_bd.models.biot:BIOT": "biot_bd:BIOT",
    "biot_bd.models.encoder:BIOTEncoder": "biot_bd.models:BIOTEncoder",
    "biot_bd.models.encoder:TokenLayout": "biot_bd.models:TokenLayout",
    "biot_bd.models.load_report:LoadReport": "biot_bd.models:LoadReport",
    "biot_bd.models.provenance:Provenance": "biot_bd.models:Provenance",
    "biot_bd.models.provenance:Seen": "biot_bd.models:Seen",
    "biot_bd.probes.attention:AttentionProbe": "biot_bd:AttentionProbe",
    "biot_bd.probes.attention:QKAttentionProbe": "biot_bd.probes:QKAttentionProbe",
    "biot_bd.probes.base:Explanation": "biot_bd.probes:Explanation",
    "biot_bd.probes.base:Probe": "biot_bd.probes:Probe",
    "biot_bd.signals.base:SignalInfo": "biot_bd.signals:SignalInfo",
    "biot_bd.signals.base:WindowTransformer": "biot_bd.signals:WindowTransformer",
    "biot_bd.signals.features:BandPower": "biot_bd.signals:BandPower",
    "biot_bd.signals.features:FillAbsent": "biot_bd.signals:FillAbsent",
    "biot_bd.signals.features:LineLength": "biot_bd.signals:LineLength",
    "biot_bd.signals.filters:BandPass": "biot_bd:BandPass",
    "biot_bd.signals.filters:Notch": "biot_bd:Notch",
    "biot_bd.signals.mapper:MontageMapper": "biot_bd:MontageMapper",
    "biot_bd.signals.montages:Montage": "biot_bd.signals:Montage",
    "biot_bd.signals.resampler:Resampler": "biot_bd:Resampler",
    "biot_bd.signals.scaler:PercentileScaler": "biot_bd:PercentileScaler",
    "biot_bd.training.classifier:BIOTClassifier": "biot_bd:BIOTClassifier",
    "biot_bd.training.ema:EMA": "biot_bd.training.finetuning:EMA",
    "biot_bd.training.finetune:Full": "biot_bd.training.finetuning:Full",
    "biot_bd.training.finetune:Gradual": "biot_bd.training.finetuning:Gradual",
    "biot_bd.training.finetune:LinearProbe": "biot_bd.training.finetuning:LinearProbe",
    "biot_bd.training.finetune:TwoStage": "biot_bd.training.finetuning:TwoStage",
    "biot_bd.training.lora:LoRA": "biot_bd.training.finetuning:LoRA",
    "biot_bd.training.mixup:LabelSmoothing": "biot_bd.training.finetuning:LabelSmoothing",
    "biot_bd.training.mixup:Mixup": "biot_bd.training.finetuning:Mixup",
    "biot_bd.training.rules:Rate": "biot_bd.training.finetuning:Rate",
    "biot_bd.training.rules:Rule": "biot_bd.training.finetuning:FinetuneOption",
    "biot_bd.training.rules:Schedule": "biot_bd.training.finetuning:Schedule",
    "biot_bd.training.rules:Strategy": "biot_bd.training.finetuning:Strategy",
    "biot_bd.training.sampling:BackgroundSubsample": "biot_bd.training:BackgroundSubsample",
    "biot_bd.training.sampling:ClassBalanced": "biot_bd.training:ClassBalanced",
    "biot_bd.training.sampling:PersonBalanced": "biot_bd.training:SubjectBalanced",
    "biot_bd.training.schedules:Cosine": "biot_bd.training.finetuning:Cosine",
    "biot_bd.training.schedules:Discriminative": "biot_bd.training.finetuning:Discriminative",
    "biot_bd.training.schedules:LayerDecay": "biot_bd.training.finetuning:LayerDecay",
    "biot_bd.training.schedules:NoDecay": "biot_bd.training.finetuning:NoDecay",
    "biot_bd.training.schedules:WarmUp": "biot_bd.training.finetuning:WarmUp",
    "biot_bd.training.scores:EarlyStopping": "biot_bd.training:EarlyStopping",
    "biot_bd.training.scores:EpochScores": "biot_bd.training:EpochScores",
    "biot_bd.training.splits:FixedPersons": "biot_bd.training:FixedSubjects",
    "biot_bd.training.splits:PersonValidSplit": "biot_bd.training:SubjectValidSplit",
    "biot_bd.training.tensorboard:TensorBoardLogger": "biot_bd.training:TensorBoardLogger",
    "biot_bd.windows.labels:BiotOfficial": "biot_bd.windows:BiotOfficial",
    "biot_bd.windows.labels:Overlap": "biot_bd:Overlap",
}
"""Addresses that format 1 wrote (the module that defined a class), and today's public ones."""

_PACKAGES = ("torch.optim", "torch.nn", "braindecode.models", "braindecode.augmentation", "skorch.callbacks")
_PUBLIC_BELOW = ("torch.optim.lr_scheduler", "torch.optim.swa_utils")


def public_address(cls: type) -> str | None:
    """Return the address of a class, or None where no package shows it.

    Parameters
    ----------
    cls : type
        Of biot_bd (public is what a package's list of names holds) or of another package (public is what a module
        without an underscore holds).
    """
    name, parts = cls.__qualname__, cls.__module__.split(".")
    for number in range(1, len(parts) + 1):
        module = ".".join(parts[:number])
        if shows(module, name) and getattr(sys.modules.get(module), name, None) is cls:
            return f"{module}:{name}"
    return None


def shows(module: str, name: str) -> bool:
    """Return whether a module may be the public place of a name; of others than biot_bd it is not imported to tell."""
    if not name.isidentifier() or any(part.startswith("_") for part in (name, *module.split("."))):
        return False
    if module.partition(".")[0] != OURS:
        return True
    try:  # only packages with a list of names count, and those import nothing by themselves
        found = import_module(module) if module == OURS or module.startswith(f"{OURS}.") else None
    except ImportError:
        return False
    return hasattr(found, "__path__") and name in getattr(found, "__all__", ())


def today(former: str) -> str:
    """Return the public address of what format 1 named by the module that defines it.

    Raises
    ------
    SavedPipelineError
        It was never a part of a pipeline.
    """
    module, _, name = former.partition(":")
    if module == OURS or module.startswith(f"{OURS}."):
        if former not in FORMER:
            raise SavedPipelineError(
                f"the saved pipeline names {former!r}, which may not be loaded: it is no public class that a pipeline is made of"
            )
        return FORMER[former]
    if module.startswith("sklearn."):
        parts = module.split(".")
        return f"{'.'.join(parts[: next((n for n, part in enumerate(parts) if part[0] == '_'), None)])}:{name}"
    if module in _PUBLIC_BELOW:
        return former
    return next((f"{root}:{name}" for root in _PACKAGES if f"{module}.".startswith(f"{root}.")), former)
