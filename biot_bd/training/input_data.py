"""What ``BIOTClassifier`` reads: arrays, ``mne.Epochs`` or ``Windows``, as one kind of data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biot_bd.signals.base import (
    SignalInfo,
    check_whole_epochs,
    check_windows,
    describe_channels,
    is_epochs,
    present_channels,
)
from biot_bd.signals.subject_array import SubjectArray
from biot_bd.windows import Windows
from biot_bd.windows.stored_signals import StoredSignals
from biot_bd.windows.torch_dataset import PackedDataset, WindowsDataset

CHECKED_AT_ONCE = 1024


@dataclass(frozen=True)
class InputInfo:
    """What is known of the signals that a classifier was given.

    Attributes
    ----------
    n_chans, n_times : int
        Shape of a window.
    ch_names : tuple of str or None
        None where the data carry none (arrays).
    sfreq : float or None
        In Hz, None where the data carry none (arrays).
    unit : str
        ``"uV"``, ``"scaled"`` or, for arrays, ``"unknown"``.
    scale : str or None
        How scaled signals were scaled, e.g. ``"percentile-95"``; None where nobody says.
    """

    n_chans: int
    n_times: int
    ch_names: tuple[str, ...] | None
    sfreq: float | None
    unit: str
    scale: str | None = None

    def check_same(self, other: InputInfo) -> None:
        """Raise where ``other`` (new data) is known to differ from what the model was fitted on.

        Raises
        ------
        ValueError
            Other number of channels or samples, channel names, sampling rate, unit or scale.
        """
        for name, what in (("n_chans", "channels a window"), ("n_times", "samples a window"), ("sfreq", "Hz")):
            expected, found = getattr(self, name), getattr(other, name)
            if expected is not None and found is not None and expected != found:
                raise ValueError(
                    f"the classifier was fitted on {expected} {what}, found {found}; prepare the data alike"
                )
        if self.ch_names and other.ch_names and self.ch_names != other.ch_names:
            raise ValueError(
                f"the classifier was fitted on the channels {', '.join(self.ch_names)}; found {', '.join(other.ch_names)}; "
                "put a MontageMapper in front of it"
            )
        if "unknown" not in (self.unit, other.unit) and self.unit != other.unit:
            raise ValueError(
                f"the classifier was fitted on signals in {self.unit!r}, found {other.unit!r}; "
                "put the same transformers in front of it"
            )
        if self.scale and other.scale and self.scale != other.scale:
            raise ValueError(
                f"the classifier was fitted on signals scaled to {self.scale}, found {other.scale}; put the same scaler in front of it"
            )

    def as_dict(self) -> dict[str, Any]:
        """Return the facts as JSON holds them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> InputInfo:
        """Make it again from :meth:`as_dict`."""
        names = facts["ch_names"]
        return cls(**{**facts, "ch_names": None if names is None else tuple(names)})


class SignalData:
    """Windows of any kind, read in batches and checked.

    Parameters
    ----------
    X : ndarray (n, n_chans, n_times), mne.Epochs or Windows
        Arrays in the unit that the model shall see (microvolts, or scaled); Epochs are turned from
        volts into microvolts; ``Windows`` stay lazy.  A channel that is NaN throughout is absent.

    Attributes
    ----------
    info : InputInfo
    present : ndarray of bool, shape (n, n_chans)
    groups : ndarray of object or None
        Subjects, where the data carry them.

    Raises
    ------
    TypeError
        Data of another kind.
    ValueError
        Wrong shape, samples that are not finite (the window is named), or windows without any
        channel.
    """

    def __init__(self, X: Any) -> None:
        self.windows: Any = None
        self.groups: NDArray[Any] | None = None
        if hasattr(X, "read") and hasattr(X, "present"):
            self._take_windows(X)
        elif is_epochs(X):
            self._take_array(X.get_data(units="uV"), tuple(X.ch_names), float(X.info["sfreq"]), "uV")
        else:
            self._take_array(_as_array(X), None, None, "unknown")
            self.groups = X.groups if isinstance(X, SubjectArray) else None
        if not self.present.any(axis=1).all():
            window = int(np.argmin(self.present.any(axis=1)))
            raise ValueError(f"window {window} has no channel that is present; leave such windows out")

    def _take_windows(self, X: Any) -> None:
        info = X.info
        self.windows, self.present, self.groups = X, np.asarray(X.present), np.asarray(X.groups, dtype=object)
        unit = "scaled" if info.unit is None else info.unit
        self.info = InputInfo(info.n_chans, info.n_times, info.ch_names, info.sfreq, unit, info.scale)

    def _take_array(self, x: NDArray[Any], ch_names: tuple[str, ...] | None, sfreq: float | None, unit: str) -> None:
        n, n_chans, n_times = x.shape
        self.windows, self.present = x, np.ones((n, n_chans), dtype=bool)
        self.info = InputInfo(n_chans, n_times, ch_names, sfreq, unit)
        for start in range(0, n, CHECKED_AT_ONCE):
            part = x[start : start + CHECKED_AT_ONCE]
            self.present[start : start + len(part)] = present = present_channels(part)
            self._check(part, present, np.arange(start, start + len(part)))

    def _check(self, x: NDArray[Any], present: NDArray[np.bool_], rows: NDArray[Any]) -> None:
        """Raise where a present channel is not finite.

        The message numbers windows as the caller does.
        """
        info = self.info
        try:
            check_windows(x, present, SignalInfo(info.ch_names, info.sfreq, info.n_times, None, info.n_chans))
        except ValueError:
            faulty = np.zeros((int(rows.max()) + 1, x.shape[1]), dtype=bool)
            faulty[rows] = ~np.isfinite(x).all(axis=-1) & present
            if not faulty.any():
                raise
            raise ValueError(
                f"samples that are not finite in {describe_channels(faulty, info.ch_names)}; leave these windows out, "
                "or make the channel NaN throughout where it is absent"
            ) from None

    def __len__(self) -> int:
        return len(self.present)

    def __getitem__(self, index: int) -> NDArray[np.float32]:
        return self.read(np.array([index]))[0]

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(n, n_chans, n_times)``."""
        return len(self.present), self.info.n_chans, self.info.n_times

    def read(self, rows: NDArray[np.int64], out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Return some windows, float32 ``(n, n_chans, n_times)``; absent channels are NaN.

        Parameters
        ----------
        rows : ndarray of int, shape (n,)
            Which ones.
        out : ndarray of float32, optional
            Where ``Windows`` write them.

        Raises
        ------
        ValueError
            A channel that is present has samples that are not finite.
        """
        if isinstance(self.windows, np.ndarray):
            return np.ascontiguousarray(self.windows[rows], dtype=np.float32)
        if not isinstance(self.windows, Windows):
            x = np.asarray(self.windows.read(rows), dtype=np.float32)
        else:
            x = self.windows.read(rows, out)
            if self.windows.always_finite:
                return x
        self._check(x, self.present[rows], rows)
        return x

    def read_packed(
        self, rows: NDArray[np.int64], out: NDArray[np.int16] | None = None
    ) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Return some windows as stored values and what to multiply them with.

        See ``Windows.read_packed``.
        """
        if isinstance(self.windows, Windows) and self.windows.always_finite:
            return self.windows.read_packed(rows, out)
        return self.read(rows), np.ones((len(rows), self.info.n_chans), np.float32)

    def stored_signals(self) -> StoredSignals | None:
        """Return the signals that ``Windows`` are cut from; None of others.

        See ``Windows.stored_signals``.
        """
        return self.windows.stored_signals() if isinstance(self.windows, Windows) else None

    def dataset(
        self, y: NDArray[np.int64] | None = None, packed: bool = False, soft: NDArray[Any] | None = None
    ) -> WindowsDataset:
        """Return a torch data set that reads whole batches.

        Parameters
        ----------
        y : ndarray of int, shape (n,), optional
            Targets; zeros by default.
        packed : bool
            Whether batches are to be multiplied on another device; see
            :class:`biot_bd.windows.torch_dataset.OnDevice`.
        soft : ndarray, shape (n, n_classes), optional
            What batches hold in the place of ``y``.
        """
        return (PackedDataset if packed else WindowsDataset)(self, y, soft)

    def digest(self) -> str:
        """Return a text that changes with the data."""
        from biot_bd.training.resume import array_digest  # it imports what trains; who only scores does without

        if isinstance(self.windows, np.ndarray):
            return array_digest(self.windows)
        table = self.windows.metadata
        columns = [array_digest(table[name].to_numpy()) for name in ("recording", "start_s", "stop_s")]
        return "-".join([str(self.windows.fingerprint), *columns, array_digest(self.present)])


def _instead(X: Any) -> str:
    """Say what to give in the place of data of another library."""
    packages = _packages(X)
    if "braindecode" in packages | _packages(getattr(X, "dataset", None)):
        return (
            "its windows are in volts unless somebody scaled them, which nobody can tell: make Windows of the recordings by "
            "biot_bd.prepare(dataset, folder), or give an array in microvolts with y and groups=subjects"
        )
    if packages & {"torch", "skorch"}:
        return (
            "give its windows as an array in microvolts, its labels as y and its subjects as groups, or biot_bd.Windows"
        )
    if isinstance(X, Mapping):
        return f"give the windows alone, X[{next(iter(X), 'name')!r}]"
    return "biot_bd.prepare makes Windows of recordings"


def _packages(X: Any) -> set[str]:
    return {cls.__module__.partition(".")[0] for cls in type(X).__mro__}


def _as_array(X: Any) -> NDArray[Any]:
    check_whole_epochs(X, "the classifier")
    of_braindecode = "braindecode" in _packages(getattr(X, "dataset", None))  # a SliceDataset, an array of volts
    if not isinstance(X, (np.ndarray, list, tuple)) and (of_braindecode or not hasattr(X, "__array__")):
        raise TypeError(
            f"expected an array (n, n_chans, n_times), mne.Epochs or biot_bd.Windows, found {type(X).__name__}; {_instead(X)}"
        )
    if np.ma.is_masked(X):
        window = int(np.argwhere(np.ma.getmaskarray(X))[0][0])
        raise ValueError(
            f"window {window} has masked samples; leave such windows out, or make a channel that is absent NaN throughout"
        )
    x = np.asarray(X)
    if x.ndim != 3 or 0 in x.shape[1:]:
        raise ValueError(f"expected windows of shape (n, n_chans, n_times), found shape {x.shape}")
    if x.dtype.kind not in "fiu":
        raise ValueError(f"expected real numbers, found dtype {x.dtype}")
    return x if x.dtype.kind == "f" else x.astype(np.float32)
