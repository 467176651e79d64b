"""What a model expects of its windows, as plain facts that are checked before it trains."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

import numpy as np

from biot_bd.exceptions import ContractError
from biot_bd.signals.names import parse_name
from biot_bd.signals.positions import channel_positions

SCALERS = {
    "percentile-95": "PercentileScaler(95)",
    "uV/100": "FixedScaler(100)",
    "uV/1000": "FixedScaler(1000)",
    "z-score": "Standardizer()",
}
"""The step of :mod:`biot_bd.signals` that makes each scale out of microvolts."""


class _Described(Protocol):
    """What is known of windows: ``SignalInfo``, or what a classifier keeps of its input."""

    @property
    def n_chans(self) -> int: ...
    @property
    def n_times(self) -> int: ...
    @property
    def ch_names(self) -> tuple[str, ...] | None: ...
    @property
    def sfreq(self) -> float | None: ...
    @property
    def unit(self) -> str | None: ...
    @property
    def scale(self) -> str | None: ...


@dataclass(frozen=True, kw_only=True)
class ModelContract:
    """What a model expects of its windows.

    What windows say otherwise is refused; what they do not say (arrays know no names, no rate and
    no unit) is not, unless the model cannot be built without it.

    Parameters
    ----------
    scale : str or None
        ``"uV"``, or how microvolts are scaled: ``"percentile-95"``, ``"uV/100"``, ``"uV/1000"``,
        ``"z-score"``.  None: any.
    scale_from_scratch : bool
        Whether the scale matters without published weights, too.
    sfreq : float or None
        Sampling rate in Hz; None: any.
    needs_sfreq : bool
        Whether the model cannot be built without a rate, whichever.
    reference : {"bipolar", "referential", None}
        Whether channels are differences of two electrodes, or electrodes against one reference;
        None: any.
    ch_names : tuple of str or None
        The channels that the model knows, in its order; None: any.
    all_channels : bool
        Whether it takes exactly ``ch_names``, in this order, instead of some of them in any.
    positions : {"required", "used", "unused"}
        Whether the model reads where channels lie on the head (``chs_info``), and can do without.
    min_chans : int
        Fewest channels.
    max_chans : int or None
        Most channels.
    min_window_s, max_window_s : float or None
        Shortest and longest window in seconds.
    multiple_samples : int
        A window's samples must be a multiple of it.
    accepts_absent_channels : bool
        Whether the model leaves out channels that are NaN throughout.
    instead : str or None
        Registered model for other channels.
    needs : str or None
        What must be there besides the packages that biot-bd needs, e.g. a download.
    weights : str or None
        Where pretrained weights are.
    sources : tuple of str
        Where these facts are from.
    notes : tuple of str
        What nothing checks, but a user should know.

    Raises
    ------
    ValueError
        A number or word that cannot be.

    See Also
    --------
    biot_bd.registry.models : ``registry.models.contract("cbramod")``.
    biot_bd.signals.FixedScaler, biot_bd.signals.Standardizer : Steps that fulfil a scale.

    Examples
    --------
    >>> from biot_bd import registry
    >>> contract = registry.models.contract("cbramod")
    >>> contract.scale, contract.sfreq, contract.multiple_samples
    ('uV/100', 200.0, 200)
    >>> from biot_bd.signals import SignalInfo
    >>> contract.check(SignalInfo(("F7-T7", "T7-P7"), 200.0, 2000, "uV"), "cbramod")
    Traceback (most recent call last):
    ...
    biot_bd.exceptions.ContractError: cbramod expects signals scaled to uV/100, found uV; ...
    """

    scale: str | None = None
    scale_from_scratch: bool = True
    sfreq: float | None = None
    needs_sfreq: bool = False
    reference: Literal["bipolar", "referential"] | None = None
    ch_names: tuple[str, ...] | None = None
    all_channels: bool = False
    positions: Literal["required", "used", "unused"] = "unused"
    min_chans: int = 1
    max_chans: int | None = None
    min_window_s: float | None = None
    max_window_s: float | None = None
    multiple_samples: int = 1
    accepts_absent_channels: bool = False
    instead: str | None = None
    needs: str | None = None
    weights: str | None = None
    sources: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.reference not in ("bipolar", "referential", None):
            raise ValueError(f"reference must be 'bipolar', 'referential' or None, found {self.reference!r}")
        if self.positions not in ("required", "used", "unused"):
            raise ValueError(f"positions must be 'required', 'used' or 'unused', found {self.positions!r}")
        if self.multiple_samples < 1 or self.min_chans < 1 or (self.sfreq is not None and not self.sfreq > 0):
            raise ValueError("multiple_samples and min_chans must be at least 1, sfreq above 0 or None")
        if self.all_channels and self.ch_names is None:
            raise ValueError("all_channels=True needs ch_names")

    def as_dict(self) -> dict[str, Any]:
        """Return the facts as JSON holds them."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    def check(
        self, info: _Described, name: str = "the model", given: Collection[str] = (), scratch: bool = False
    ) -> None:
        """Raise where windows are known to be others than the model expects.

        Parameters
        ----------
        info : SignalInfo or InputInfo
            What is known of the windows.
        name : str
            The model's name, for messages.
        given : collection of str
            Parameters of the module that the caller sets (``"ch_names"``, ``"chs_info"``,
            ``"sfreq"``): they need not be in the data.
        scratch : bool
            Whether the model starts without published weights.

        Raises
        ------
        ContractError
            Says what was expected and found, and what to do.
        """
        problems = self.problems(info, name, given, scratch)
        if problems:
            raise ContractError(
                "; also, ".join([problems[0], *(text.removeprefix(f"{name} ") for text in problems[1:])])
            )

    def problems(
        self, info: _Described, name: str = "the model", given: Collection[str] = (), scratch: bool = False
    ) -> list[str]:
        """Return all that :meth:`check` would raise for, a line each; nothing where all is well."""
        scale = None if scratch and not self.scale_from_scratch else self._scale(info)
        found = [scale, self._sfreq(info, given), self._window(info), self._count(info)]
        found += [self._names(info, given), self._reference(info)]
        return [f"{name} {problem}" for problem in found if problem is not None]

    def _scale(self, info: _Described) -> str | None:
        found = "uV" if info.unit == "uV" else info.scale
        if self.scale is None or found is None or found == self.scale:
            return None
        if self.scale == "uV":
            return f"expects signals in microvolts, found {found}; leave the scaler out"
        place = "in front of it" if found == "uV" else "in the place of the scaler in front of it"
        return f"expects signals scaled to {self.scale}, found {found}; put {SCALERS.get(self.scale, 'such a step')} {place}"

    def _sfreq(self, info: _Described, given: Collection[str]) -> str | None:
        if info.sfreq is None:
            if self.needs_sfreq and not {"sfreq", "input_window_seconds"} & set(given):
                return "needs the sampling rate, which arrays do not carry; give Windows or mne.Epochs, or module__sfreq=200"
            return None
        if self.sfreq is None or info.sfreq == self.sfreq:
            return None
        return (
            f"expects {self.sfreq:g} Hz, found {info.sfreq:g} Hz; give prepare sfreq={self.sfreq:g}, "
            f"or put Resampler({self.sfreq:g}) in front of it"
        )

    def _window(self, info: _Described) -> str | None:
        if info.n_times % self.multiple_samples:
            fitting = max(1, round(info.n_times / self.multiple_samples)) * self.multiple_samples
            length = "" if info.sfreq is None else f" ({fitting / info.sfreq:g} s)"
            return (
                f"expects windows of a multiple of {self.multiple_samples} samples, found {info.n_times}; "
                f"give prepare a window_s of e.g. {fitting} samples{length}"
            )
        length_s = None if info.sfreq is None else info.n_times / info.sfreq
        if length_s is None:
            return None
        if self.min_window_s is not None and length_s < self.min_window_s:
            return f"expects windows of at least {self.min_window_s:g} s, found {length_s:g} s; give prepare a longer window_s"
        if self.max_window_s is not None and length_s > self.max_window_s:
            return f"expects windows of at most {self.max_window_s:g} s, found {length_s:g} s; give prepare a shorter window_s"
        return None

    def _count(self, info: _Described) -> str | None:
        most = self.max_chans
        if info.n_chans < self.min_chans or (most is not None and info.n_chans > most):
            wanted = f"at least {self.min_chans}" if most is None else f"{self.min_chans} to {most}"
            return f"expects {wanted} channels, found {info.n_chans}; prepare another montage"
        return None

    def _names(self, info: _Described, given: Collection[str]) -> str | None:
        named = {"ch_names", "chs_info"} & set(given)
        what = "the names of the channels" if self.ch_names is not None else "the positions of the channels"
        if info.ch_names is None:
            if (self.ch_names is None and self.positions != "required") or named:
                return None
            way = "module__ch_names=[...]" if self.ch_names is not None else "module__chs_info=make_chs_info([...])"
            return f"needs {what}, which arrays do not carry; give Windows or mne.Epochs, or {way}"
        if self.ch_names is not None and "ch_names" not in named:
            return self._known_names(info.ch_names)
        if self.positions == "required" and "chs_info" not in named:
            positions = channel_positions(info.ch_names)
            names = ", ".join(name for name, row in zip(info.ch_names, positions, strict=True) if np.isnan(row).any())
            if names:
                return f"needs the positions of the channels, and none is known for {names}; use 10-20 names, or module__chs_info"
        return None

    def _known_names(self, ch_names: tuple[str, ...]) -> str | None:
        known = [name.upper() for name in self.ch_names or ()]
        found = [name.upper() for name in ch_names]
        other = f"; use module={self.instead!r} for other channels" if self.instead else "; prepare another montage"
        if self.all_channels and found != known:
            return f"expects exactly the {len(known)} channels {', '.join(known[:3])}, ..., {known[-1]}, found {len(found)}: {', '.join(ch_names[:3])}, ...{other}"
        unknown = [name for name in ch_names if name.upper() not in known]
        if unknown:
            return f"knows no channels {', '.join(unknown)} (it knows {len(known)}, such as {', '.join((self.ch_names or ())[:3])}){other}"
        return None

    def _reference(self, info: _Described) -> str | None:
        if self.reference is None or info.ch_names is None:
            return None
        parsed = [parse_name(name) for name in info.ch_names]
        bipolar = [name for name, one in zip(info.ch_names, parsed, strict=True) if one is not None and one.bipolar]
        if self.reference == "referential" and bipolar:
            return (
                f"expects electrodes against one reference, found derivations of two such as {bipolar[0]}; "
                "prepare montage='szcore-19'"
            )
        if self.reference == "bipolar" and len(bipolar) < len(info.ch_names):
            rest = next(name for name in info.ch_names if name not in bipolar)
            return f"expects derivations of two electrodes, found {rest}; prepare montage='biot-16'"
        return None
