"""What biot_bd raises: its own errors, each of the built-in kind that callers already catch.

``except biot_bd.BiotBdError`` catches them all; messages name the file, subject or channel, what
was expected, what was found, and what to do.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any


class BiotBdError(Exception):
    """Base of all errors of biot_bd.

    Wrong values of parameters raise plain ``ValueError`` and ``TypeError``, as everywhere.

    See Also
    --------
    biot_bd.exceptions.SplitError : A split that would put one subject on two sides.
    biot_bd.exceptions.UnknownNameError : No such name in a registry.

    Examples
    --------
    >>> from biot_bd import BiotBdError, registry
    >>> try:
    ...     registry.losses["focl"]
    ... except BiotBdError as error:
    ...     print(error)
    no losses named 'focl'; there are: cross-entropy, ... did you mean 'focal'?

    Each is still an error of the built-in kind:

    >>> try:
    ...     registry.losses["focl"]
    ... except KeyError:
    ...     print("caught")
    caught
    """


class DownloadError(BiotBdError, RuntimeError):
    """A file could not be downloaded; what is there of it stays, and the next call goes on.

    See Also
    --------
    biot_bd.exceptions.ChecksumError : What came is not what was published.
    """


class ChecksumError(DownloadError):
    """A downloaded file has not the published SHA-256; it was deleted.

    See Also
    --------
    biot_bd.exceptions.DownloadError : Nothing, or not all, came.
    """


class RecordingError(BiotBdError, ValueError):
    """A recording cannot be used as its source describes it.

    Parameters
    ----------
    outcome : str
        The word for it in ``dataset.outcomes``, e.g. ``"unreadable"``.
    message : str
        Names the file, what was expected, what was found.

    See Also
    --------
    biot_bd.load_dataset : Raises it, or notes the outcome with ``on_error="skip"``.
    biot_bd.exceptions.PreparationError : A recording that was loaded cannot be prepared.
    """

    def __init__(self, outcome: str, message: str) -> None:
        super().__init__(message)
        self.outcome = outcome


class EmptyDatasetError(BiotBdError, ValueError):
    """A source mentions recordings, or none, and not one of them can be loaded.

    Parameters
    ----------
    message : str
        Names the source, the outcomes, what to do.
    outcomes : pandas.DataFrame, optional
        ``recording``, ``outcome``, ``detail``, as ``dataset.outcomes`` would be.

    See Also
    --------
    biot_bd.load_dataset : Raises it.
    biot_bd.datasets.inspect_folder : Tells what is there all the same.
    """

    def __init__(self, message: str, outcomes: Any = None) -> None:
        super().__init__(message)
        self.outcomes = outcomes


class PreparationError(BiotBdError, ValueError):
    """A recording cannot be prepared; the message names it and says what to do.

    See Also
    --------
    biot_bd.prepare : Raises it, or notes the recording with ``on_error="skip"``.
    """


class StoreInUseError(BiotBdError, ValueError):
    """Prepared windows would be replaced, though a run or a model was made from them.

    See Also
    --------
    biot_bd.prepare : Raises it; ``overwrite=True`` replaces them.
    """


class TooShortError(BiotBdError, ValueError):
    """A recording is shorter than a window.

    See Also
    --------
    biot_bd.prepare : Raises it, or leaves the recording out and says so.
    """


class MissingChannelsError(BiotBdError, ValueError):
    """A recording lacks electrodes that a montage needs.

    Parameters
    ----------
    message : str
        The whole message.
    channels : tuple of str
        Channels of the montage that cannot be made.
    electrodes : tuple of str
        Electrodes that are missing for them.

    See Also
    --------
    biot_bd.MontageMapper : Raises it with ``on_missing="raise"``.
    biot_bd.signals.plan_montage : Says what a montage lacks without raising.
    """

    def __init__(self, message: str, channels: tuple[str, ...] = (), electrodes: tuple[str, ...] = ()) -> None:
        super().__init__(message, channels, electrodes)
        self.channels, self.electrodes = channels, electrodes

    def __str__(self) -> str:
        return str(self.args[0])


class CheckpointError(BiotBdError, ValueError):
    """A file cannot be read as weights of BIOT, or does not fit; the message names it in one line.

    See Also
    --------
    biot_bd.models.load_checkpoint : Raises it.
    biot_bd.exceptions.HubError : The file could not be fetched.
    """


class ContractError(BiotBdError, ValueError):
    """Windows are not what a registered model expects; the message says what to put in front of it.

    See Also
    --------
    biot_bd.models.ModelContract : Raises it.
    biot_bd.BIOTClassifier : Raises it before training.
    """


class HubError(BiotBdError, OSError):
    """A checkpoint cannot be fetched; the message says why, and where to get the file by hand.

    See Also
    --------
    biot_bd.models.load_checkpoint : Raises it for a source on the Hub.
    biot_bd.exceptions.CheckpointError : The file is there, but cannot be used.
    """


class ContaminationError(BiotBdError, ValueError):
    """A checkpoint saw subjects that shall test it, or nobody can say that it did not.

    See Also
    --------
    biot_bd.cross_validate : Raises it before the first fit; ``allow_contaminated=True`` goes on.
    biot_bd.models.provenance_of : What a checkpoint saw.
    biot_bd.models.check_clean : Asks for certain subjects.
    """


class MissingExtraError(BiotBdError, ImportError):
    """A package of an extra is not installed; the message names the extra.

    See Also
    --------
    biot_bd.BIOTClassifier : Raises it for ``finetune="lora"`` without peft.
    """


class SavedPipelineError(BiotBdError, ValueError):
    """A pipeline cannot be saved as plain data, or a saved one is damaged; the message says which.

    See Also
    --------
    biot_bd.save_pipeline, biot_bd.load_pipeline : Raise it.
    """


class ExportError(BiotBdError, ValueError):
    """A model cannot be exported; the message says which part of it, and what to do.

    See Also
    --------
    biot_bd.export_model : Raises it.
    biot_bd.exceptions.ArtifactError : An exported model cannot be used.
    """


class ExportGateError(ExportError):
    """An exported model differs from its source by more than its precision may.

    Parameters
    ----------
    message : str
        The whole message.
    report : object
        The :class:`biot_bd.export.GateReport` with all checks; None where there is none.

    See Also
    --------
    biot_bd.export_model : Raises it, and writes nothing.
    biot_bd.export.check_export : Makes the report.
    """

    def __init__(self, message: str, report: Any = None) -> None:
        super().__init__(message, report)
        self.report = report

    def __str__(self) -> str:
        return str(self.args[0])


class ArtifactError(BiotBdError, ValueError):
    """An exported model is damaged, or does not compute here what it computed where it was made.

    See Also
    --------
    biot_bd.export.read_artifact : Raises it.
    biot_bd.Detector.load : Raises it.
    """


class ModelRegistryError(BiotBdError, ValueError):
    """A version of the model registry differs from what was registered, or breaks a rule.

    The message names the file, what was expected, what was found, and what to do.

    See Also
    --------
    biot_bd.deploy.Registry : Raises it.
    biot_bd.exceptions.VersionExistsError : The version is there already.
    """


class VersionExistsError(ModelRegistryError, FileExistsError):
    """A version of the model registry is there already; versions are never replaced.

    See Also
    --------
    biot_bd.deploy.Registry : Raises it.
    """


class EmbeddingCacheError(BiotBdError, ValueError):
    """Embeddings on disk are damaged; the message names the file and says how to be rid of it.

    See Also
    --------
    biot_bd.Embedder : Raises it.
    """


class ParameterGroupError(BiotBdError, ValueError):
    """A model cannot be split into a head and blocks.

    See Also
    --------
    biot_bd.BIOTClassifier : Raises it for a ``finetune`` that needs a head and blocks.
    """


class SplitError(BiotBdError, ValueError):
    """A split that cannot be made, or that would put one subject on two sides.

    See Also
    --------
    biot_bd.evaluation.make_folds, biot_bd.SubjectSplit : Raise it.
    """


class SubjectLeakError(SplitError):
    """Windows test a model that was trained on other windows of the same subject.

    Such a score says how well subjects are remembered.  Raised where a classifier is asked, and for
    splits inside meta-estimators before anything is fitted.

    See Also
    --------
    biot_bd.BIOTClassifier : Raises it, unless ``seen_subjects`` says otherwise.
    biot_bd.SubjectSplit : A splitter that keeps subjects apart.
    biot_bd.cross_validate : Raises it for a ``cv`` inside the pipeline.
    """


class ProtocolError(BiotBdError, ValueError):
    """Windows, pipeline or parameters are not what the protocol says.

    The message names the difference.

    See Also
    --------
    biot_bd.evaluation.run_protocol : Raises it before the first fit.
    biot_bd.evaluation.Protocol : What a protocol prescribes.
    """


class RunFolderError(BiotBdError, ValueError):
    """The run folder holds another study, is no run folder, or another process writes it.

    See Also
    --------
    biot_bd.cross_validate, biot_bd.fit_all : Raise it for their ``folder``.
    """


class LostWorkerError(BiotBdError, RuntimeError):
    """A worker process, or its machine, ended before its task; what is finished is kept.

    See Also
    --------
    biot_bd.evaluation.workers : Where tasks are computed.
    """


class SearchError(BiotBdError, RuntimeError):
    """Every candidate of a search failed; the message names the first and its error.

    See Also
    --------
    biot_bd.evaluation.search : Raises it.
    """


class MixedTableError(BiotBdError, ValueError):
    """Results that cannot stand in one table: other label rules, data, splits or protocols.

    See Also
    --------
    biot_bd.evaluation.compare_table : Raises it.
    """


class MissingPredictionError(BiotBdError, FileNotFoundError):
    """An annotated recording has no file of predictions; it does not count as free of detections.

    See Also
    --------
    biot_bd.events.score_folders : Raises it.
    """


class StoreError(BiotBdError, RuntimeError):
    """The prepared windows of a run cannot be shown; the message says why.

    See Also
    --------
    biot_bd.write_report : Leaves examples out and says why where the store cannot be shown.
    """


class DeviceMemoryError(BiotBdError, RuntimeError):
    """Windows do not fit into the memory of a device; the message says how much they need.

    See Also
    --------
    biot_bd.BIOTClassifier : Raises it with ``data_on_device=True``.
    """


class DetectionError(BiotBdError, ValueError):
    """A recording cannot be used; the message names it, what is wrong, and what to do.

    See Also
    --------
    biot_bd.Detector.detect : Raises it.
    """


class ShortRecordingError(DetectionError):
    """A recording is shorter than a window, so that nothing can be looked for in it.

    Parameters
    ----------
    message : str
        Names the recording, its length and that of a window.
    duration_s : float
        How long it is, in seconds, pauses included.
    start_time : datetime or None
        When it began.

    See Also
    --------
    biot_bd.Detector.detect : Raises it.
    """

    def __init__(self, message: str, duration_s: float, start_time: datetime | None = None) -> None:
        super().__init__(message)
        self.duration_s = duration_s
        self.start_time = start_time

    def __reduce__(self) -> tuple[Any, ...]:  # between processes
        return type(self), (str(self), self.duration_s, self.start_time)


class ReviewError(BiotBdError, ValueError):
    """A review, or what it is of, cannot be used; the message names the file and what to do.

    See Also
    --------
    biot_bd.deploy.review.read_review : Raises it.
    """


class ReviewConflictError(ReviewError):
    """A review was saved elsewhere since it was read, so that writing would lose marks.

    See Also
    --------
    biot_bd.deploy.review.save_review : Raises it.
    """


class LostStreamError(BiotBdError, RuntimeError):
    """A live stream ended without being asked to, and did not come back in time.

    See Also
    --------
    biot_bd.deploy.live.LiveSource : Its sources raise it.
    """


class PluginError(BiotBdError, RuntimeError):
    """A plugin broke the rules: a duplicate name, an unusable object, an unknown hook.

    See Also
    --------
    biot_bd.registry.add_plugin : Raises it.
    biot_bd.exceptions.UnknownNameError : A name that no plugin registered.
    """


class UnknownNameError(BiotBdError, KeyError, ValueError):
    """No such name in a registry; the message lists those that exist and plugins that failed.

    A ``ValueError`` too: names come from files and settings as other values do.

    See Also
    --------
    biot_bd.registry.Registry : Raises it.
    biot_bd.exceptions.PluginError : A plugin broke the rules.
    """

    def __str__(self) -> str:  # KeyError would show the repr of the message
        return str(self.args[0]) if self.args else ""


class ConformanceError(BiotBdError, AssertionError):
    """An object breaks a contract of biot_bd; the message says which, expected and found.

    See Also
    --------
    biot_bd.testing.check_loss : Raises it, as all checks do.
    """
