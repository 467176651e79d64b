"""What is known of windows: channels, rate, length, unit."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SignalInfo:
    """What is known of windows of shape ``(n, n_chans, n_times)``.

    Parameters
    ----------
    ch_names : tuple of str or None
        Channel names, None where the data carry none.
    sfreq : float or None
        Sampling rate in Hz, None where the data carry none.
    n_times : int
        Samples a window.
    unit : str or None
        ``"uV"``, or None for scaled signals.
    n_chans : int
        Channels; may be left out where ``ch_names`` is given.
    scale : str or None
        How scaled signals were scaled, e.g. ``"percentile-95"`` or ``"uV/100"``; None where nobody
        says, and with a unit.

    Raises
    ------
    ValueError
        Names and number of channels disagree, the unit is neither ``"uV"`` nor None, or signals
        with a unit are said to be scaled.

    See Also
    --------
    WindowTransformer : Steps are told of their input by it.

    Examples
    --------
    >>> from biot_bd.signals import SignalInfo
    >>> info = SignalInfo(("Fp1-F7", "F7-T7"), 200.0, 2000, "uV")
    >>> info.n_chans, info.unit
    (2, 'uV')
    """

    ch_names: tuple[str, ...] | None
    sfreq: float | None
    n_times: int
    unit: str | None
    n_chans: int = 0
    scale: str | None = None

    def __post_init__(self) -> None:
        if self.ch_names is not None:
            object.__setattr__(self, "ch_names", tuple(self.ch_names))
            if self.n_chans == 0:
                object.__setattr__(self, "n_chans", len(self.ch_names))
        if self.ch_names is not None and len(self.ch_names) != self.n_chans:
            raise ValueError(f"{len(self.ch_names)} channel names for {self.n_chans} channels")
        if self.unit not in ("uV", None):
            raise ValueError(f"unit must be 'uV' or None (scaled), not {self.unit!r}")
        if self.unit is not None and self.scale is not None:
            raise ValueError(f"signals in {self.unit!r} are not scaled, but scale is {self.scale!r}")
        if self.sfreq is not None:
            object.__setattr__(self, "sfreq", float(self.sfreq))
