"""Where tokens come from: which channel, which stretch of time, in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Order = Literal["channel", "frame"]
ReadOut = Literal["mean", "class"]
Folded = Literal["channel", "frame"]


@dataclass(frozen=True, eq=False)
class TokenLayout:
    """Which channel and which stretch of time each token of a window stands for.

    Special tokens, such as a class token, come first; the others follow channel by channel, or
    frame by frame.  A module that mixes channels before its tokens has one "channel" of all.

    Parameters
    ----------
    ch_names : tuple of str
        Channels, in the order of the input.
    frame_start_s, frame_stop_s : array of float, shape (n_frames,)
        The stretch of signal that a frame covers, in seconds from the window's start; NaN where the
        sampling frequency is not known.
    order : {"channel", "frame"}
        ``"channel"``: token ``c * n_frames + f``, as in BIOT.  ``"frame"``: token ``f * n_chans +
        c``.
    special : tuple of str
        Names of the special tokens, in front of all others.
    readout : {"mean", "class"}
        What the head reads: the mean over tokens, or the first special token.

    Raises
    ------
    ValueError
        There is no channel or no frame, starts and stops do not fit, or a class read-out without a
        special token.

    See Also
    --------
    biot_bd.models.BIOT.token_layout : Gives that of a model.
    TokenMap : Values by channel and frame.

    Examples
    --------
    >>> from biot_bd.models import TokenLayout
    >>> layout = TokenLayout(("C3", "C4"), [0.0, 0.5, 1.0], [1.0, 1.5, 2.0])
    >>> layout.n_tokens, layout.channel.tolist(), layout.start_s.tolist()
    (6, [0, 0, 0, 1, 1, 1], [0.0, 0.5, 1.0, 0.0, 0.5, 1.0])
    """

    ch_names: tuple[str, ...]
    frame_start_s: Any
    frame_stop_s: Any
    order: Order = "channel"
    special: tuple[str, ...] = ()
    readout: ReadOut = "mean"

    def __post_init__(self) -> None:
        names, special = tuple(map(str, self.ch_names)), tuple(map(str, self.special))
        start = np.atleast_1d(np.asarray(self.frame_start_s, dtype=float))
        stop = np.atleast_1d(np.asarray(self.frame_stop_s, dtype=float))
        if not names or start.ndim != 1 or start.shape != stop.shape or not len(start):
            raise ValueError(
                f"a layout of tokens needs one channel or more, and as many frame starts as stops; got {len(names)} "
                f"channels, starts of shape {start.shape}, stops of shape {stop.shape}"
            )
        if not np.array_equal(np.isnan(start), np.isnan(stop)) or (stop <= start).any():
            raise ValueError("each frame of a layout must stop after it starts, or neither be known (NaN)")
        if self.order not in ("channel", "frame"):
            raise ValueError(f"order must be 'channel' or 'frame', got {self.order!r}")
        if self.readout not in ("mean", "class") or (self.readout == "class" and not special):
            raise ValueError(
                f"readout must be 'mean', or 'class' where there is a special token; got {self.readout!r} "
                f"with special tokens {special}"
            )
        for name, value in (
            ("ch_names", names), ("special", special), ("frame_start_s", start), ("frame_stop_s", stop),
        ):  # fmt: skip
            object.__setattr__(self, name, value)

    @property
    def n_chans(self) -> int:
        """Number of channels."""
        return len(self.ch_names)

    @property
    def n_frames(self) -> int:
        """Number of frames a channel."""
        return len(self.frame_start_s)

    @property
    def n_special(self) -> int:
        """Number of special tokens."""
        return len(self.special)

    @property
    def n_tokens(self) -> int:
        """Number of tokens of one window, special ones included."""
        return self.n_special + self.n_chans * self.n_frames

    @cached_property
    def channel(self) -> NDArray[np.int64]:
        """Position of the channel of each token, shape (n_tokens,); -1 for special tokens."""
        return self._places(0)

    @cached_property
    def frame(self) -> NDArray[np.int64]:
        """Number of the frame of each token, shape (n_tokens,); -1 for special tokens."""
        return self._places(1)

    @property
    def start_s(self) -> NDArray[np.float64]:
        """Start of each token's frame in seconds, shape (n_tokens,); NaN for special tokens."""
        return np.where(self.frame < 0, np.nan, self.frame_start_s[self.frame])

    @property
    def stop_s(self) -> NDArray[np.float64]:
        """End of each token's frame in seconds, shape (n_tokens,); NaN for special tokens."""
        return np.where(self.frame < 0, np.nan, self.frame_stop_s[self.frame])

    @property
    def knows_time(self) -> bool:
        """Whether frames are known in seconds."""
        return not bool(np.isnan(self.frame_start_s).any())

    def grid(self, values: ArrayLike) -> NDArray[Any]:
        """Return values of tokens (..., n_tokens) as (..., n_chans, n_frames), special ones left
        out.

        Raises
        ------
        ValueError
            The last axis has another length.
        """
        values = np.asarray(values)
        if not values.ndim or values.shape[-1] != self.n_tokens:
            raise ValueError(f"this layout has {self.n_tokens} tokens, got values of shape {values.shape}")
        values = values[..., self.n_special :]
        if self.order == "channel":
            return values.reshape(*values.shape[:-1], self.n_chans, self.n_frames)
        return np.swapaxes(values.reshape(*values.shape[:-1], self.n_frames, self.n_chans), -1, -2)

    def tokens(self, channel: int | None = None, frame: int | None = None) -> NDArray[np.int64]:
        """Return the numbers of the tokens of a channel, of a frame, or of both."""
        chosen = self.channel >= 0
        if channel is not None:
            chosen = chosen & (self.channel == channel)
        if frame is not None:
            chosen = chosen & (self.frame == frame)
        return np.flatnonzero(chosen)

    def named(self, ch_names: Sequence[str]) -> TokenLayout:
        """Return the same layout with other names of channels.

        Raises
        ------
        ValueError
            Their number differs, and the layout is not one of mixed channels.
        """
        if len(ch_names) != self.n_chans:
            raise ValueError(f"the layout has {self.n_chans} channels, got {len(ch_names)} names")
        return replace(self, ch_names=tuple(ch_names))

    def as_dict(self) -> dict[str, Any]:
        """Return plain facts that JSON holds."""
        return {
            "ch_names": list(self.ch_names),
            "frame_start_s": [None if np.isnan(s) else float(s) for s in self.frame_start_s],
            "frame_stop_s": [None if np.isnan(s) else float(s) for s in self.frame_stop_s],
            "order": self.order,
            "special": list(self.special),
            "readout": self.readout,
        }

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> TokenLayout:
        """Read what :meth:`as_dict` gave."""
        start, stop = ([np.nan if s is None else s for s in facts[f"frame_{end}_s"]] for end in ("start", "stop"))
        return cls(tuple(facts["ch_names"]), start, stop, facts["order"], tuple(facts["special"]), facts["readout"])

    def _places(self, which: int) -> NDArray[np.int64]:
        n_rows, n_columns = (self.n_chans, self.n_frames) if self.order == "channel" else (self.n_frames, self.n_chans)
        rows, columns = np.divmod(np.arange(n_rows * n_columns), n_columns)
        places = (rows, columns) if self.order == "channel" else (columns, rows)
        return np.concatenate([np.full(self.n_special, -1), places[which]])


def signal_layout(
    n_chans: int, n_times: int, sfreq: float | None, ch_names: Sequence[str] | None = None
) -> TokenLayout:
    """Return the layout of values by sample: each sample is a frame of its own.

    Parameters
    ----------
    n_chans, n_times : int
        Shape of a window.
    sfreq : float or None
        Samples a second; None where it is not known.
    ch_names : sequence of str, optional
        None: ``channel 0`` and so on.

    Returns
    -------
    TokenLayout

    See Also
    --------
    whole_layout : One value a channel.

    Examples
    --------
    >>> from biot_bd.models import signal_layout
    >>> signal_layout(1, 4, sfreq=2).frame_stop_s.tolist()
    [0.5, 1.0, 1.5, 2.0]
    """
    step = np.nan if sfreq is None else 1 / sfreq
    edges = np.arange(n_times + 1) * step
    return TokenLayout(_names(n_chans, ch_names), edges[:-1], edges[1:])


def whole_layout(n_chans: int, n_times: int, sfreq: float | None, ch_names: Sequence[str] | None = None) -> TokenLayout:
    """Return the layout of one value a channel: one frame as long as the window.

    Parameters
    ----------
    n_chans, n_times : int
        Shape of a window.
    sfreq : float or None
        Samples a second; None where it is not known.
    ch_names : sequence of str, optional
        None: ``channel 0`` and so on.

    Returns
    -------
    TokenLayout

    See Also
    --------
    signal_layout : One value a sample.

    Examples
    --------
    >>> from biot_bd.models import whole_layout
    >>> whole_layout(2, 400, sfreq=200).frame_stop_s.tolist()
    [2.0]
    """
    stop_s = np.nan if sfreq is None else n_times / sfreq
    return TokenLayout(_names(n_chans, ch_names), [np.nan if sfreq is None else 0.0], [stop_s])


def _names(n_chans: int, ch_names: Sequence[str] | None) -> tuple[str, ...]:
    return tuple(f"channel {i}" for i in range(n_chans)) if ch_names is None else tuple(ch_names)
