"""What the tokens of braindecode's transformers stand for.

Each was checked by experiment: a change of one channel in one frame moves that token (most, where
the model normalises over all tokens, or gives each a place by a convolution over its neighbours).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from biot_bd.models.attention.layout import Folded, TokenLayout

Layouts = tuple[TokenLayout, ...]
ALL_CHANNELS = "all channels"
"""The one "channel" of models that mix channels before their tokens."""


def sampling_rate(model: Any) -> float | None:
    """Return the sampling frequency that a model knows, else None."""
    try:  # braindecode's properties raise where a fact is missing
        return float(model.sfreq)
    except (AttributeError, TypeError, ValueError):
        return None


def channel_names(model: Any, n_chans: int) -> tuple[str, ...] | None:
    """Return the names of the channels of a model's input, else None."""
    try:
        names = tuple(str(one["ch_name"]) for one in model.chs_info)
    except (AttributeError, KeyError, TypeError, ValueError):
        names = tuple(map(str, getattr(model, "ch_names", ())))
    return names if len(names) == n_chans else None


def token_channel_names(model: Any, n_chans: int) -> tuple[str, ...]:
    """Return the names of the channels that a model's tokens are of.

    These are others than those of its input where it interpolates.
    """
    try:
        names = tuple(str(one["ch_name"]) for one in model._TARGET_CHS_INFO)
    except (AttributeError, KeyError, TypeError):
        names = channel_names(model, n_chans) or ()
    return names if len(names) == n_chans else tuple(f"channel {i}" for i in range(n_chans))


def n_token_channels(model: Any) -> int:
    """Return the number of channels that a model's tokens are of (see token_channel_names)."""
    target = getattr(model, "_TARGET_CHS_INFO", None)
    return int(model.n_chans) if target is None else len(target)


def _layout(model: Any, start: Any, stop: Any, mixed: bool = False, **kinds: Any) -> TokenLayout:
    """Make a layout of frames in samples."""
    sfreq = sampling_rate(model) or np.nan
    names = (ALL_CHANNELS,) if mixed else token_channel_names(model, n_token_channels(model))
    return TokenLayout(names, np.asarray(start) / sfreq, np.asarray(stop) / sfreq, **kinds)


def _patches(n_times: int, size: int, step: int | None = None) -> tuple[Any, Any]:
    """Return starts and stops in samples of all whole patches."""
    step = size if step is None else step
    start = np.arange((n_times - size) // step + 1) * step
    return start, start + size


def _biot(model: Any, n_times: int) -> Layouts:
    return (_layout(model, *_patches(n_times, int(model.encoder.n_fft), int(model.encoder.hop_length))),)


def _cbramod(model: Any, n_times: int) -> Layouts:
    return (_layout(model, *_patches(n_times, model._patch_size)),)


def _labram(model: Any, n_times: int) -> Layouts:
    readout = "class" if model.fc_norm is None else "mean"
    patches = _patches(n_times, model.patch_size)
    # As a decoder of codes it takes the mean over channels.
    return (_layout(model, *patches, mixed=not model.neural_tokenizer, special=("class",), readout=readout),)


def _pbt(model: Any, n_times: int) -> Layouts:
    if n_times % model.d_input:  # patches run over from one channel into the next
        return ()
    return (_layout(model, *_patches(n_times, model.d_input), special=("class",), readout="class"),)


def _steegformer(model: Any, n_times: int) -> Layouts:
    readout = "mean" if model.global_pool == "avg" else "class"
    patches = _patches(n_times, model.patch_size)
    return (_layout(model, *patches, order="frame", special=("class",), readout=readout),)


def _eegdino(model: Any, n_times: int) -> Layouts:
    patches = _patches(n_times, model.patch_embedding.patch_size)
    special = tuple(f"global {i}" for i in range(model.n_global_tokens))
    # Global tokens join behind some layer; the head reads the mean over the others.
    return _layout(model, *patches), _layout(model, *patches, special=special)


def _eegconformer(model: Any, n_times: int) -> Layouts:
    return (_layout(model, *_reach(_time_steps(model.patch_embedding.shallownet), n_times), mixed=True),)


def _ctnet(model: Any, n_times: int) -> Layouts:
    return (_layout(model, *_reach(_time_steps(model.cnn.eegnet_module), n_times), mixed=True),)


def _msvtnet(model: Any, n_times: int) -> Layouts:
    # A token joins what convolutions of several lengths see; the longest sees what all see.
    reaches = [_reach(_time_steps(branch[0]), n_times) for branch in model.mstsconv]
    start = np.min([start for start, _ in reaches], axis=0)
    stop = np.max([stop for _, stop in reaches], axis=0)
    return (_layout(model, start, stop, mixed=True, special=("class",), readout="class"),)


def _bendr(model: Any, n_times: int) -> Layouts:
    if model.encoder_only or model.contextualizer.start_token is None:
        return ()
    convolutions = [part for part in model.encoder.modules() if hasattr(part, "kernel_size")]
    frames = _reach(_time_steps(convolutions), n_times)
    return (_layout(model, *frames, mixed=True, special=("start",), readout="class"),)


def _time_steps(modules: Any) -> list[tuple[int, int, int, int]]:
    """Return kernel, stride, and padding on both sides along time of convolutions and poolings."""
    steps = []
    for module in modules:
        if not hasattr(module, "kernel_size"):
            continue
        kernel, stride = _last(module.kernel_size), _last(module.stride)
        if module.padding == "same":
            left = (kernel - 1) // 2
            steps.append((kernel, stride, left, kernel - 1 - left))
        else:
            padding = 0 if module.padding == "valid" else _last(module.padding)
            steps.append((kernel, stride, padding, padding))
    return steps


def _last(value: int | Sequence[int]) -> int:
    return int(value if isinstance(value, int) else value[-1])


def _reach(steps: list[tuple[int, int, int, int]], n_times: int) -> tuple[Any, Any]:
    """Return the samples that each output of a chain of convolutions along time sees."""
    length = n_times
    for kernel, stride, left, right in steps:
        length = (length + left + right - kernel) // stride + 1
    start = np.arange(max(length, 0))
    stop = start + 1
    for kernel, stride, left, _ in reversed(steps):
        start, stop = start * stride - left, (stop - 1) * stride - left + kernel
    return np.clip(start, 0, n_times), np.clip(stop, 0, n_times)


#: By name of the class; none of them is imported for it.
LAYOUTS: dict[str, Callable[[Any, int], Layouts]] = {
    "BENDR": _bendr,
    "BIOT": _biot,
    "CBraMod": _cbramod,
    "CTNet": _ctnet,
    "EEGConformer": _eegconformer,
    "EEGDINO": _eegdino,
    "Labram": _labram,
    "MSVTNet": _msvtnet,
    "PBT": _pbt,
    "STEEGFormer": _steegformer,
}
#: Attention modules, by the last part of their path, that fold channels or frames into the batch.
FOLDED: dict[str, dict[str, Folded]] = {"CBraMod": {"self_attn_s": "frame", "self_attn_t": "channel"}}
