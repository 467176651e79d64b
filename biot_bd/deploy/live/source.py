"""What a live source gives: chunks of samples with their times, and notices."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biot_bd.anonymous import without_quotes
from biot_bd.io.segments import Segment


@dataclass(frozen=True)
class Chunk:
    """Samples that came together; none where nothing came for a while.

    Parameters
    ----------
    x : ndarray, shape (len(needed), n)
        In microvolts; NaN throughout for a channel that the source does not have now.
    sfreq : float
        Rate in Hz.
    times_s : ndarray, shape (n,), optional
        When each sample was taken, in seconds on the source's clock.  Without them no sample is
        missing.
    received_s : float, optional
        When the chunk came, on a clock of this machine that never jumps.
    begins : Segment, optional
        The stretch of a recording without a gap that begins with its first sample; what comes until
        the next one belongs to it.

    See Also
    --------
    LiveSource : Yields them.

    Examples
    --------
    >>> import numpy as np
    >>> Chunk(np.zeros((16, 64), np.float32), sfreq=256.0).times_s is None
    True
    """

    x: NDArray[np.float32]
    sfreq: float
    times_s: NDArray[np.float64] | None = None
    received_s: float | None = None
    begins: Segment | None = None


@dataclass(frozen=True)
class Notice:
    """Something that a reader of the log should know.

    Becomes a line of this type with these fields.

    Parameters
    ----------
    type : str
        Of the line, e.g. ``"connection"``.
    fields : dict
        Its fields.

    See Also
    --------
    LiveSource : Yields them among its chunks.

    Examples
    --------
    >>> Notice("connection", {"state": "lost"}).type
    'connection'
    """

    type: str
    fields: dict[str, Any] = field(default_factory=dict)


class LiveSource(ABC):
    """Where a live signal comes from.

    Attributes
    ----------
    where : str
        Name for messages.
    ch_names : sequence of str
        As the source names them.
    sfreq : float
        Rate in Hz.
    start_time : datetime.datetime or None
        Of the first sample.
    notes : list of str
        What a reader of the results should know.
    unusable : mapping of str to str
        Channels that are never used, and why; empty where the source cannot tell.

    See Also
    --------
    biot_bd.deploy.live.LiveDetector : Takes its chunks.

    Examples
    --------
    >>> import numpy as np
    >>> class Silence(LiveSource):
    ...     where, ch_names, sfreq, lag_s = "nothing", ["Fz", "Cz"], 100.0, None
    ...
    ...     def chunks(self, needed):
    ...         while not self.stopped:
    ...             yield Chunk(np.zeros((len(needed), 50), np.float32), self.sfreq)
    ...
    ...     def close(self):
    ...         pass
    >>> source = Silence()
    >>> next(iter(source.chunks(["Cz"]))).x.shape
    (1, 50)
    """

    where: str
    ch_names: list[str]
    sfreq: float
    start_time: datetime | None = None
    notes: Sequence[str] = ()
    unusable: Mapping[str, str] = MappingProxyType({})

    def __init__(self) -> None:
        self._stop = threading.Event()

    @abstractmethod
    def chunks(self, needed: Sequence[str]) -> Iterator[Chunk | Notice]:
        """Yield what comes of these channels until the signal ends or :meth:`stop` was called."""

    @property
    @abstractmethod
    def lag_s(self) -> float | None:
        """Seconds of signal that have come and were not yet yielded.

        None where that says nothing.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of files and connections."""

    @property
    def stopped(self) -> bool:
        """Whether :meth:`stop` was called."""
        return self._stop.is_set()

    def leave_out_names(self) -> None:
        """Take its name, its date and what notes quote from a file away, before it is used."""
        self.where, self.start_time = "recording-0001", None
        self.notes = [without_quotes(note) for note in self.notes]

    def stop(self) -> None:
        """End :meth:`chunks` soon; may be called from a signal handler."""
        self._stop.set()
