"""What the tokens of known models stand for."""

from __future__ import annotations

from typing import Any

from torch import nn

from biot_bd.models.attention.attention_record import AttentionRecord
from biot_bd.models.attention.layout import TokenLayout


def layout_of(model: nn.Module, n_times: int | None = None) -> TokenLayout | None:
    """Return what the tokens of a model stand for.

    Parameters
    ----------
    model : torch.nn.Module
        One with a method ``token_layout(n_times)``, as BIOT has.
    n_times : int, optional
        Samples of a window; None: the model's own.

    Returns
    -------
    TokenLayout or None
        None where that is not known.

    See Also
    --------
    TokenLayout : What it says.

    Examples
    --------
    >>> from biot_bd.models import BIOT, layout_of
    >>> model = BIOT(
    ...     embed_dim=16, num_heads=2, num_layers=1, n_chans=2, n_times=400, n_outputs=2
    ... )
    >>> layout_of(model).n_tokens
    6
    """
    own: Any = getattr(model, "token_layout", None)
    if callable(own):
        layout = own(n_times)
        if not isinstance(layout, TokenLayout):
            raise TypeError(
                f"{type(model).__name__}.token_layout() must give a TokenLayout, gave {type(layout).__name__}"
            )
        return layout
    return None


def describe_record(model: nn.Module, record: AttentionRecord, input_shape: tuple[int, ...] | None) -> None:
    """Say what the tokens of a record stand for, where that is known."""
    if input_shape is None or len(input_shape) != 3:
        return
    layout = layout_of(model, input_shape[-1])
    if layout is not None and record.shape[-2:] == (layout.n_tokens, layout.n_tokens):
        record.layout = layout
