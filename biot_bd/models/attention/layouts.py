"""What the tokens of known models stand for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from torch import nn

from biot_bd.models.attention.attention_record import AttentionRecord
from biot_bd.models.attention.braindecode_layouts import FOLDED, LAYOUTS
from biot_bd.models.attention.layout import TokenLayout

_Known = TypeVar("_Known")


def layout_of(model: nn.Module, n_times: int | None = None) -> TokenLayout | None:
    """Return what the tokens of a model stand for.

    Parameters
    ----------
    model : torch.nn.Module
        One with a method ``token_layout(n_times)``, as BIOT has, or a transformer of braindecode:
        BENDR, BIOT, CBraMod, CTNet, EEGConformer, EEGDINO, LaBraM, MSVTNet, PBT, STEEGFormer.
    n_times : int, optional
        Samples of a window; None: the model's own.

    Returns
    -------
    TokenLayout or None
        Of the tokens that enter the first layer; None where that is not known.

    See Also
    --------
    TokenLayout : What it says.
    token_site : Where the tokens enter.

    Examples
    --------
    >>> from biot_bd.models import BIOT, layout_of
    >>> model = BIOT(
    ...     embed_dim=16, num_heads=2, num_layers=1, n_chans=2, n_times=400, n_outputs=2
    ... )
    >>> layout_of(model).n_tokens
    6
    """
    layouts = _layouts(model, n_times)
    return layouts[0] if layouts else None


def describe_record(model: nn.Module, record: AttentionRecord, input_shape: tuple[int, ...] | None) -> None:
    """Say what the tokens of a record stand for, where that is known."""
    if input_shape is None or len(input_shape) != 3:
        return
    own = getattr(model, "folded_attention", None) or known(model, FOLDED) or {}
    folded = own.get(record.layer.rpartition(".")[-1])
    for layout in _layouts(model, input_shape[-1]):
        n_tokens = {None: layout.n_tokens, "frame": layout.n_chans, "channel": layout.n_frames}[folded]
        n_folded = {None: 1, "frame": layout.n_frames, "channel": layout.n_chans}[folded]
        if record.shape[-2:] == (n_tokens, n_tokens) and record.shape[0] == input_shape[0] * n_folded:
            record.layout, record.folded = layout, folded
            return


def known(model: nn.Module, table: Mapping[str, _Known]) -> _Known | None:
    """Return what a table says of the class of braindecode that a model is or derives from."""
    for cls in type(model).__mro__:
        if cls.__module__.startswith("braindecode.models.") and cls.__name__ in table:
            return table[cls.__name__]
    return None


def _layouts(model: nn.Module, n_times: int | None) -> tuple[TokenLayout, ...]:
    """Return the layouts that layers of a model have, the one that enters the first layer first."""
    own: Any = getattr(model, "token_layout", None)
    if callable(own):
        layout = own(n_times)
        if not isinstance(layout, TokenLayout):
            raise TypeError(
                f"{type(model).__name__}.token_layout() must give a TokenLayout, gave {type(layout).__name__}"
            )
        return (layout,)
    make = known(model, LAYOUTS)
    if make is None:
        return ()
    given: Any = model
    return make(given, int(given.n_times if n_times is None else n_times))
