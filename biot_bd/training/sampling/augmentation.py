"""Random changes of training windows: ``BIOTClassifier(augment=...)``.

The transforms are braindecode's (:mod:`braindecode.augmentation`) and
:class:`~biot_bd.training.TokenShuffle`.  They change batches of training windows only, on the
device of the model, with numpy's global generator, which ``fit`` seeds and restart points store.
A channel that is absent (NaN throughout) stays so exactly.  Not every transform fits bipolar
channels, and those that do not are refused; ``docs/sampling.md`` has the table.

``augment`` is a preset (``"light"``, ``"strong"``), a transform, or a list of transforms, each
given as a name (``"FTSurrogate"``), as a pair of name and parameters (``("GaussianNoise", {"std":
0.2})``) or as an object.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import torch
from braindecode import augmentation
from braindecode.augmentation import Compose, Transform
from sklearn.utils import check_random_state
from torch import Tensor

from biot_bd.signals.names import parse_name
from biot_bd.training._validation import did_you_mean
from biot_bd.training.input_data import InputInfo
from biot_bd.training.sampling.token_shuffle import TokenShuffle

Step: TypeAlias = tuple[str, dict[str, Any]] | Transform

PRESETS: dict[str, tuple[tuple[str, dict[str, Any]], ...]] = {
    "light": (
        ("GaussianNoise", {"probability": 0.5, "std": 0.05}),
        ("SmoothTimeMask", {"probability": 0.3, "mask_len_samples": 0.05}),
        ("AmplitudeScale", {"probability": 0.5, "interval": (0.9, 1.1)}),
    ),
    "strong": (
        ("FTSurrogate", {"probability": 0.5, "phase_noise_magnitude": 0.1}),
        ("FrequencyShift", {"probability": 0.5, "max_delta_freq": 0.5}),
        ("GaussianNoise", {"probability": 0.5, "std": 0.1}),
        ("SmoothTimeMask", {"probability": 0.5, "mask_len_samples": 0.15}),
        ("AmplitudeScale", {"probability": 0.5, "interval": (0.8, 1.25)}),
    ),
}
"""Transforms by preset, for signals scaled to a 95th percentile of 1.

Mask lengths are shares of the window.
"""

DEFAULT_PROBABILITY = 0.5
MOST_SHIFT_HZ = 2.0
"""Above it a shift turns rhythms of one band (delta, theta, ...; about 4 Hz wide) into those of
the next.
"""

_DROPOUT = (
    "it writes zeros, and here an absent channel is NaN, never zero; BIOT drops tokens in training by itself "
    "(module__drop_prob, and the fine-tuning defaults)"
)
REFUSED: dict[str, str] = {
    "Mixup": "it mixes targets too; use finetune=['mixup'] (biot_bd.training.finetuning.recipes)",
    "SegmentationReconstruction": "it makes windows of pieces of several subjects and changes the order of the targets",
    "BandRotation": "it rolls electrodes of wristbands for EMG; EEG channels have no such order",
    "ChannelsDropout": _DROPOUT,
}
"""Transforms that are never taken, and why."""

NEEDS_REFERENTIAL: dict[str, str] = {
    "ChannelsSymmetry": (
        "it finds the partner on the other side by one electrode number a name; mirroring a derivation such as "
        "Fp1-F7 means both electrodes (Fp2-F8)"
    ),
    "ChannelsShuffle": "a bipolar channel is the difference of two given electrodes, and BIOT tells channels apart by their place",
    "ChannelsReref": "bipolar channels have no common reference that could be exchanged",
    "SensorsRotation": "it interpolates between the positions of single electrodes, and a bipolar channel has none",
}
"""Transforms that are taken for referential channels only, and why.

Rotations about x, y and z are SensorsRotations.
"""

_MOVES = ("ChannelsSymmetry", "ChannelsShuffle", "TokenShuffle")
_MIXES = ("ChannelsReref", "SensorsRotation")
_KEPT_AS = {"interval": "scale", "max_mask_ratio": "mask_ratio"}


# --- parameters -----------------------------------------------------------------------------------


def _known() -> dict[str, type[Transform]]:
    classes: list[tuple[str, type]] = [
        *inspect.getmembers(augmentation, inspect.isclass),
        ("TokenShuffle", TokenShuffle),
    ]
    return {name: cls for name, cls in classes if issubclass(cls, Transform) and cls not in (Transform, Compose)}


def _kind(cls: type, among: Mapping[str, str] | Sequence[str]) -> str | None:
    """Return the name in ``among`` that a class, or one it derives from, has."""
    return next((base.__name__ for base in cls.__mro__ if base.__name__ in among), None)


def _check_class(cls: type, params: Mapping[str, Any] | None = None) -> None:
    refused = _kind(cls, REFUSED)
    if refused:
        raise ValueError(f"augment: {cls.__name__} is not taken: {REFUSED[refused]}")
    known = [name for name in inspect.signature(cls).parameters if name != "random_state"]
    unknown = [name for name in params or {} if name not in known]
    if unknown:
        raise ValueError(f"augment: {cls.__name__} has no parameter {unknown[0]!r}; it has {', '.join(known)}")


def _step(item: Any) -> list[Step]:
    """Read one item of the list."""
    if isinstance(item, Compose):
        return [step for part in item.transforms for step in _step(part)]
    if isinstance(item, Transform):
        _check_class(type(item))
        _check_shift(item)
        return [item]
    name, params = (item, {}) if isinstance(item, str) else (None, {})
    if isinstance(item, (tuple, list)) and len(item) == 2 and isinstance(item[1], Mapping):
        name, params = item[0], dict(item[1])
    known = _known()
    if name in PRESETS:
        raise ValueError(f"augment: the preset {name!r} stands alone; write augment={name!r}")
    if not isinstance(name, str):
        raise ValueError(
            f"augment: expected a name, a pair (name, parameters) or a Transform of braindecode, found {item!r}"
        )
    if name not in known:
        hint = did_you_mean(name, [*known, *PRESETS])
        raise ValueError(
            f"augment={name!r} is not known; there are {', '.join(PRESETS)} and the transforms {', '.join(sorted(set(known) - set(REFUSED)))}{hint}"
        )
    _check_class(known[name], params)
    return [(name, params)]


def resolve_augment(augment: Any) -> tuple[Step, ...]:
    """Return the transforms that an ``augment`` parameter stands for, checked as far as that
    goes without data.

    Parameters
    ----------
    augment : None, str, Transform, pair, or list of these
        See the module.

    Returns
    -------
    tuple
        Of pairs ``(name, parameters)`` and ``Transform`` objects.

    Raises
    ------
    ValueError
        An unknown name or parameter, or a transform that is never taken (the reason is named).
    """
    if augment is None:
        return ()
    if isinstance(augment, str) and augment in PRESETS:
        return PRESETS[augment]
    is_pair = isinstance(augment, tuple) and len(augment) == 2 and isinstance(augment[1], Mapping)
    items = augment if isinstance(augment, (list, tuple)) and not is_pair else [augment]
    return tuple(step for item in items for step in _step(item))


def transform_parameters(transform: Transform) -> dict[str, Any]:
    """Return the parameters that a transform was made with, apart from ``random_state``.

    Raises
    ------
    ValueError
        The transform does not keep one of them.
    """
    params = {}
    for name in inspect.signature(type(transform)).parameters:
        if name == "random_state":
            continue
        kept_as = _KEPT_AS.get(name, name)
        if not hasattr(transform, kept_as):
            raise ValueError(
                f"augment: {type(transform).__name__} does not keep its parameter {name!r}; give it by name, "
                f"e.g. ({type(transform).__name__!r}, {{'probability': 0.5}})"
            )
        value = getattr(transform, kept_as)
        params[name] = value.tolist() if isinstance(value, (Tensor, np.ndarray)) else value
    return params


def describe_augment(augment: Any) -> list[dict[str, Any]]:
    """Describe the transforms as JSON holds them, so that equal descriptions mean equal changes."""
    described = []
    for step in resolve_augment(augment):
        if isinstance(step, Transform):
            try:
                params = transform_parameters(step)
            except ValueError:  # whatever it does keep
                hidden = ("training", "rng")
                params = {k: repr(v) for k, v in vars(step).items() if k not in hidden and not k.startswith("_")}
            described.append({"name": f"{type(step).__module__}:{type(step).__qualname__}", **params})
        else:
            described.append({"name": step[0], **step[1]})
    return described


# --- fitting the data -----------------------------------------------------------------------------


def _electrodes(info: InputInfo, name: str) -> list[str]:
    """Return the electrode of each channel, for a transform.

    Raises
    ------
    ValueError
        The channels are bipolar, unknown, or no EEG.
    """
    why = NEEDS_REFERENTIAL[name]
    if info.ch_names is None:
        raise ValueError(
            f"augment: {name} is taken for referential channels only ({why}), and arrays carry no channel names; "
            "use Windows or mne.Epochs"
        )
    parsed = [parse_name(channel) for channel in info.ch_names]
    references = {None if channel is None else channel.reference for channel in parsed}
    for channel, found in zip(info.ch_names, parsed, strict=True):
        if found is None:
            raise ValueError(f"augment: {name} needs electrodes of the 10-10 system, found the channel {channel!r}")
        if found.bipolar and found.reference not in ("A1", "A2", "M1", "M2") and len(references) > 1:
            raise ValueError(f"augment: {name} does not fit the bipolar channel {channel!r}: {why}")
    return [channel.electrode for channel in parsed if channel is not None]


def _check_shift(transform: Transform) -> None:
    most = getattr(transform, "max_delta_freq", None)
    if most is not None and not 0 <= float(most) <= MOST_SHIFT_HZ:
        raise ValueError(
            f"augment: {type(transform).__name__} may shift by at most {MOST_SHIFT_HZ:g} Hz, found max_delta_freq={float(most):g}: "
            "rhythms would leave their band, and with it their meaning"
        )


def _filled(name: str, params: dict[str, Any], info: InputInfo) -> dict[str, Any]:
    """Add what the data say to the parameters of a transform given by name."""
    takes = inspect.signature(_known()[name]).parameters
    full: dict[str, Any] = {"probability": DEFAULT_PROBABILITY} if "probability" in takes else {}
    full |= params
    if "sfreq" in takes and "sfreq" not in full:
        if info.sfreq is None:
            raise ValueError(
                f"augment: {name} needs the sampling rate, which arrays do not carry; use Windows or mne.Epochs, or give "
                f"({name!r}, {{'sfreq': 200}})"
            )
        full["sfreq"] = float(info.sfreq)
    if "max_freq" in takes and "max_freq" not in full:
        full["max_freq"] = full["sfreq"] / 2  # what braindecode takes too, with a warning
    if "ordered_ch_names" in takes and "ordered_ch_names" not in full:
        full["ordered_ch_names"] = _electrodes(info, _kind(_known()[name], NEEDS_REFERENTIAL) or name)
    if name == "GaussianNoise" and "std" not in full and info.unit == "uV":
        raise ValueError(
            "augment: GaussianNoise needs std in microvolts for signals that are not scaled, e.g. ('GaussianNoise', {'std': 5.0})"
        )
    length = full.get("mask_len_samples")
    if isinstance(length, (float, np.floating)) and 0 < length < 1:
        full["mask_len_samples"] = max(1, round(length * info.n_times))
    return full


def _build(step: Step, info: InputInfo, all_present: bool) -> Transform:
    cls = type(step) if isinstance(step, Transform) else _known()[step[0]]
    needs = _kind(cls, NEEDS_REFERENTIAL)
    if needs is not None:
        _electrodes(info, needs)
        if not all_present and _kind(cls, _MIXES):
            raise ValueError(
                f"augment: {cls.__name__} computes each channel from others, and some windows lack channels; leave it out"
            )
    if isinstance(step, Transform):
        return copy.deepcopy(step)
    try:
        name, params = step
        transform = cls(**_filled(name, params, info))
    except (AssertionError, TypeError) as error:  # braindecode checks with both
        raise ValueError(f"augment: {step[0]} does not take {step[1]}: {error}") from error
    _check_shift(transform)
    return transform


def _check_fits(transform: Transform, info: InputInfo) -> None:
    """Raise where parameters do not fit the montage or the length of the windows."""
    parsed = [parse_name(channel) for channel in info.ch_names or ()]
    bipolar = any(channel is not None and channel.bipolar for channel in parsed)
    if bipolar and getattr(transform, "channel_indep", False):
        raise ValueError(
            f"augment: {type(transform).__name__}(channel_indep=True) does not fit bipolar channels: neighbours share an electrode, "
            "and phases of their own would undo it; use channel_indep=False"
        )
    length = getattr(transform, "mask_len_samples", 0)
    if length >= info.n_times:
        raise ValueError(
            f"augment: {type(transform).__name__} would mask {int(length)} of {info.n_times} samples; give mask_len_samples as a share, e.g. 0.1"
        )


class Augmenter:
    """Change batches of windows; made by :func:`build_augmenter`.

    Parameters
    ----------
    transforms : sequence of Transform
        Carried out in this order.  Their own random states are not used.
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = tuple(transforms)

    def __call__(self, x: Tensor) -> Tensor:
        """Return changed windows.

        Parameters
        ----------
        x : Tensor, shape (n, n_chans, n_times)
            Not modified; a channel that is NaN throughout is absent, and comes out so.

        Returns
        -------
        Tensor
            Of the same shape and dtype.
        """
        out = x
        for transform in self.transforms:
            # The global generator: fit seeds it, restart points keep it.
            transform.rng = check_random_state(None)
            absent = out.isnan().all(dim=-1, keepdim=True)
            if _kind(type(transform), _MOVES) or not bool(absent.any()):
                out = transform(out)
            else:
                # Zeros meanwhile, so that nothing spreads from an absent channel.
                out = transform(out.masked_fill(absent, 0.0)).masked_fill(absent, torch.nan)
        return out.to(x.dtype)


def build_augmenter(
    augment: Any, info: InputInfo, all_present: bool = True, sfreq: float | None = None
) -> Augmenter | None:
    """Return what changes the batches of a fit, or None where ``augment`` is None.

    Parameters
    ----------
    augment : None, str, Transform, pair, or list
        See the module.
    info : InputInfo
        Of the signals.
    all_present : bool
        False where some windows lack channels.
    sfreq : float or None
        Rate in Hz that the model was made for, taken where the signals do not say theirs.

    Raises
    ------
    ValueError
        A transform that does not fit the montage, or lacks the sampling rate or a scale; or a bad
        parameter.
    """
    steps = resolve_augment(augment)
    if not steps:
        return None
    if info.unit == "uV" and isinstance(augment, str) and augment in PRESETS:
        raise ValueError(
            f"augment={augment!r} is made for scaled signals, found microvolts; put PercentileScaler in front of the classifier, "
            "or list transforms with parameters of their own"
        )
    info = replace(info, sfreq=info.sfreq if info.sfreq is not None else sfreq)
    transforms = [_build(step, info, all_present) for step in steps]
    for transform in transforms:
        _check_fits(transform, info)
    return Augmenter(transforms)
