"""What biot_bd raises: every error of its own, each with the built-in kind that callers already catch.

``except biot_bd.BiotBdError`` catches them all; messages name the file, subject or channel, what was expected, what was
found, and what to do.
"""


class BiotBdError(Exception):
    """Base of all errors of biot_bd."""


class DownloadError(BiotBdError, RuntimeError):
    """A file could not be downloaded; what is there of it stays, and the next call goes on."""


class ChecksumError(DownloadError):
    """A downloaded file has not the published SHA-256; it was deleted."""


class RecordingError(BiotBdError, ValueError):
    """A recording cannot be used as its source describes it.

    Parameters
    ----------
    outcome : str
        The word for it in ``dataset.outcomes``, e.g. ``"unreadable"``.
    message : str
        Names the file, what was expected, what was found.
    """

    def __init__(self, outcome: str, message: str) -> None:
        super().__init__(message)
        self.outcome = outcome


class PreparationError(BiotBdError, ValueError):
    """A recording cannot be prepared; the message names it and says what to do."""


class TooShortError(BiotBdError, ValueError):
    """A recording is shorter than a window."""


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
    """

    def __init__(self, message: str, channels: tuple[str, ...] = (), electrodes: tuple[str, ...] = ()) -> None:
        super().__init__(message, channels, electrodes)
        self.channels, self.electrodes = channels, electrodes

    def __str__(self) -> str:
        return str(self.args[0])


class CheckpointError(BiotBdError, ValueError):
    """A file cannot be read as weights of BIOT, or does not fit; the message names it in one line."""


class HubError(BiotBdError, OSError):
    """A checkpoint cannot be fetched; the message says why, and where to get the file by hand."""


class ContaminationError(BiotBdError, ValueError):
    """A checkpoint saw subjects that shall test it, or nobody can say that it did not."""


class MissingExtraError(BiotBdError, ImportError):
    """A package of an extra is not installed; the message names the extra."""


class SavedPipelineError(BiotBdError, ValueError):
    """A pipeline cannot be saved as plain data, or a saved one is damaged; the message says which step or file."""


class ParameterGroupError(BiotBdError, ValueError):
    """A model cannot be split into a head and blocks."""


class SplitError(BiotBdError, ValueError):
    """A split that cannot be made, or that would put one subject on two sides."""


class ProtocolError(BiotBdError, ValueError):
    """Windows, a pipeline or parameters that are not what the protocol says; the message names the difference."""


class RunFolderError(BiotBdError, ValueError):
    """The run folder holds another study, is no run folder, or is being written by another process."""


class MixedTableError(BiotBdError, ValueError):
    """Results that cannot stand in one table: other label rules, data, splits or protocols."""


class MissingPredictionError(BiotBdError, FileNotFoundError):
    """An annotated recording has no file of predictions; it is not taken for one without detections."""


class StoreError(BiotBdError, RuntimeError):
    """The prepared windows of a run cannot be shown; the message says why."""


class DetectionError(BiotBdError, ValueError):
    """A recording cannot be used; the message names it, what is wrong, and what to do."""


class LostStreamError(BiotBdError, RuntimeError):
    """A live stream ended without being asked to, and did not come back in time."""


class PluginError(BiotBdError, RuntimeError):
    """A plugin broke the rules: a duplicate name, an unusable object, an unknown hook."""


class UnknownNameError(BiotBdError, KeyError):
    """No such name in a registry; the message lists the names that exist and the plugins that failed."""

    def __str__(self) -> str:  # KeyError would show the repr of the message
        return str(self.args[0]) if self.args else ""


class ConformanceError(BiotBdError, AssertionError):
    """An object breaks a contract of biot_bd; the message says which, what was expected and what was found."""
