"""A network that gives embeddings in the place of logits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from biot_bd.embedding.layer_points import LayerPoint, layer_points
from biot_bd.models import early_middle_late, layout_of, token_site, token_stages
from biot_bd.models.attention.layout import TokenLayout

POOLINGS = ("mean", "tokens")


class EmbeddingReader(nn.Module):
    """A network that gives what a model makes of windows before its last layer.

    Parameters
    ----------
    module : torch.nn.Module
        The model, in eval mode, with a ``final_layer``.
    point : LayerPoint or None
        The transformer layer to read; None: the end of the model.
    pooling : {"mean", "tokens"}
        One row a window, or one row a token.

    See Also
    --------
    embedding_reader : Chooses the layer by its number or name.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.embedding import EmbeddingReader
    >>> from biot_bd.models import BIOT
    >>> model = BIOT(
    ...     embed_dim=16, num_heads=2, num_layers=1, n_chans=2, n_times=400, n_outputs=2
    ... )
    >>> x = torch.ones(3, 2, 400)
    >>> with torch.no_grad():
    ...     EmbeddingReader(model.eval())(x).shape
    torch.Size([3, 16])
    """

    def __init__(self, module: nn.Module, point: LayerPoint | None = None, pooling: str = "mean") -> None:
        super().__init__()
        self.module = module
        self.point = point
        self.pooling = pooling

    def forward(self, x: Tensor) -> Tensor:
        """Embed windows.

        Parameters
        ----------
        x : Tensor, shape (n, n_chans, n_times)
            An absent channel is NaN throughout.

        Returns
        -------
        Tensor of float32, shape (n, n_features) or (n, n_tokens, n_features)
            Tokens of absent channels are NaN; special tokens, such as a class token, are left out.
        """
        if self.point is None and self.pooling == "mean":
            return self._pooled(x)
        if self.point is None:
            tokens, layout = self._last_tokens(x)
        else:
            tokens, layout = self._layer_tokens(x, self.point)
        mask = _mask(layout, x)
        if self.pooling == "tokens":
            return tokens if mask is None else torch.where(mask[..., None], tokens, torch.nan)
        if mask is None:
            return tokens.mean(dim=1)
        kept = torch.where(mask[..., None], tokens, 0.0)
        return kept.sum(dim=1) / mask.sum(dim=1, keepdim=True)

    def _pooled(self, x: Tensor) -> Tensor:
        seen: list[Tensor] = []
        final: Any = self.module.final_layer
        hook = final.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        try:
            self.module(x)
        finally:
            hook.remove()
        return seen[-1].flatten(1).float()

    def _last_tokens(self, x: Tensor) -> tuple[Tensor, TokenLayout | None]:
        stages = token_stages(self.module)
        x, present = stages.present(x)
        tokens = stages.encode(stages.tokens(x), stages.token_mask(present))[:, stages.n_special :]
        return tokens.float(), layout_of(self.module, x.shape[-1])

    def _layer_tokens(self, x: Tensor, point: LayerPoint) -> tuple[Tensor, TokenLayout]:
        layout = _known_layout(self.module, x)
        with point.watched(self.module) as seen:
            self.module(x)
        if not seen:
            raise ValueError(f"{type(self.module).__name__} ran without its layer {point.path!r}")
        tokens = seen[-1]
        if tokens.ndim == 4:
            tokens = tokens.flatten(1, 2)
        elif _time_first(self.module):
            tokens = tokens.transpose(0, 1)
        if tokens.shape[:2] != (x.shape[0], layout.n_tokens):  # len() would fix the batch of an exported graph
            raise ValueError(
                f"{type(self.module).__name__}: layer {point.path!r} gave {tuple(tokens.shape)} for {len(x)} windows of "
                f"{layout.n_tokens} tokens, so nobody knows which token is which; leave layer= out"
            )
        return tokens[:, layout.n_special :].float(), layout


def embedding_reader(
    module: nn.Module, x: Tensor, layer: int | str | None = None, pooling: str = "mean"
) -> tuple[EmbeddingReader, int | None]:
    """Choose where a model's embedding is read.

    Parameters
    ----------
    module : torch.nn.Module
        In eval mode.
    x : Tensor, shape (n, n_chans, n_times)
        Some windows, to find the layers with.
    layer : int or {"early", "middle", "late"}, optional
        Transformer layer, from 0 (or from the end, from -1); None: what the last layer of all, the
        head, is given.
    pooling : {"mean", "tokens"}
        The mean over the tokens of channels that are there, or the tokens.

    Returns
    -------
    reader : EmbeddingReader
    number : int or None
        Of the layer, from 0.

    Raises
    ------
    ValueError
        The model has no such layer, or nobody knows what its tokens are; the message says what is
        possible.

    See Also
    --------
    biot_bd.Embedder : Uses it.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.embedding import embedding_reader
    >>> from biot_bd.models import MaskedViT
    >>> model = MaskedViT(n_chans=2, n_times=400, embed_dim=16, num_layers=4, num_heads=2)
    >>> reader, number = embedding_reader(model.eval(), torch.ones(1, 2, 400), "middle")
    >>> number, reader.point.path
    (2, 'layers.2')
    """
    name = type(module).__name__
    if pooling not in POOLINGS:
        raise ValueError(f"pooling={pooling!r}: expected one of {', '.join(map(repr, POOLINGS))}")
    if not isinstance(getattr(module, "final_layer", None), nn.Module):
        raise ValueError(f"{name} has no final_layer, so nobody knows its embedding; name its last layer final_layer")
    if layer is None and pooling == "mean":
        return EmbeddingReader(module), None
    if layer is None and callable(getattr(module, "token_stages", None)):
        return EmbeddingReader(module, None, pooling), None
    _known_layout(module, x)
    points = layer_points(module, x)
    if not points:
        raise ValueError(f"{name} has no transformer layers; leave layer= out and take pooling='mean'")
    number = _number("late" if layer is None else layer, len(points), name)
    return EmbeddingReader(module, points[number], pooling), number


def _number(layer: int | str, n_layers: int, name: str) -> int:
    if isinstance(layer, str):
        named = early_middle_late(n_layers)
        named |= {"early": 0, "middle": named.get("middle", n_layers - 1), "late": n_layers - 1}
        if layer in named:
            return named[layer]
    elif isinstance(layer, int) and not isinstance(layer, bool) and -n_layers <= layer < n_layers:
        return layer % n_layers
    raise ValueError(
        f"layer={layer!r}: {name} has {n_layers} transformer layers; give 0 to {n_layers - 1}, 'early', 'middle' or 'late', "
        "or None for what its head is given"
    )


def _known_layout(module: nn.Module, x: Tensor) -> TokenLayout:
    layout = layout_of(module, x.shape[-1])
    if layout is None:
        raise ValueError(
            f"{type(module).__name__}: what its tokens stand for is not known, so only layer=None with pooling='mean' is "
            "possible (what its head is given); a model of your own can say it by a method token_layout(n_times)"
        )
    return layout


def _time_first(module: nn.Module) -> bool:
    try:
        return not token_site(module).batch_first
    except ValueError:
        return False


def _mask(layout: TokenLayout | None, x: Tensor) -> Tensor | None:
    """Return which tokens are of present channels, bool (n, n_tokens); None: all are."""
    if layout is None or layout.n_chans != x.shape[1] or layout.n_chans == 1:
        return None
    present = ~x[..., 0].isnan()
    channel = torch.from_numpy(layout.channel[layout.n_special :]).to(x.device)
    return present[:, channel]
