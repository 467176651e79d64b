"""Rollout: attention followed through all layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from biot_bd.models.attention.attention_maps import AttentionMaps
from biot_bd.models.attention.attention_record import AttentionRecord
from biot_bd.models.attention.row_products import n_tokens_of, rows_times_map
from biot_bd.probes.branches import branches

Fusion = Literal["mean", "max", "min"]
_FUSIONS = ("mean", "max", "min")
_READOUTS = (None, "mean", "class", "whole")
_VARIANTS = ("residual", "eeg-transformer")


def rollout(
    maps: AttentionMaps | Sequence[Tensor] | Tensor | NDArray[Any],
    fusion: str = "mean",
    residual: float | None = None,
    readout: str | None = None,
    variant: str = "residual",
) -> NDArray[np.float64]:
    r"""Follow attention through all layers, to the tokens that enter the first.

    With :math:`A_l` the map of layer :math:`l`, its heads fused, and :math:`a` the share of the
    residual path, :math:`R = \prod_l (a I + (1 - a) A_l)`, later layers on the left [1]_.  Every
    row of :math:`R` sums to 1.  The importance of the tokens is :math:`r^T R`, where :math:`r` is
    what the head reads: :math:`1/N` for the mean over tokens, or the class token.

    This is where attention flows from, and no evidence for a decision: it knows neither values nor
    classes.

    Parameters
    ----------
    maps : AttentionMaps, sequence of Tensor or array, shape (n_layers, n, heads, tokens, tokens)
        Maps of all layers in their order, rows sum to 1.  Rows and columns of absent tokens are NaN
        in arrays; ``trace.maps`` knows them itself, and which modules run side by side (CBraMod's
        are taken as heads of one layer).
    fusion : {"mean", "max", "min"}
        Of the heads; after the latter two each row is made to sum to 1 again.
    residual : float, optional
        Share ``a`` of the residual path, from 0 to below 1.  None: 0.5.
    readout : {"mean", "class", "whole"}, optional
        ``"mean"``: over the tokens present, special ones left out where the layout is known.
        ``"class"``: the first token.  ``"whole"``: no read-out, :math:`R` itself.  None:
        ``"mean"``; in the variant ``"whole"``.
    variant : {"residual", "eeg-transformer"}
        The second repeats the published code [2]_ for comparison, with its faults: no residual
        path, fused heads that do not sum to 1, layers in the reversed order, and one maximum of all
        windows to divide by.  Its read-outs are ``"whole"`` and ``"class"``, which leaves the class
        token itself out.

    Returns
    -------
    ndarray of float64, shape (n, tokens), or (n, tokens, tokens) without a read-out
        Shares that sum to 1 (not in the variant); NaN for absent tokens.

    Raises
    ------
    TypeError
        Maps are no tensors or arrays.
    ValueError
        A parameter is none of those, maps differ in their tokens or have rows that do not sum to 1,
        or there is no class token.

    See Also
    --------
    RolloutProbe : The same of a model and windows, by channel and time.
    GradAttentionProbe : Follows what matters for a class.

    References
    ----------
    .. [1] Abnar, S. & Zuidema, W. (2020). Quantifying Attention Flow in Transformers. ACL.
    .. [2] Code of P. Thölke, https://github.com/PhilippThoelke/eeg-transformer

    Examples
    --------
    Two tokens; the later layer looks at the second, the earlier one at the first:

    >>> import numpy as np
    >>> from biot_bd.probes import rollout
    >>> earlier, later = [[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]
    >>> maps = np.array([earlier, later])[:, None, None]
    >>> rollout(maps, residual=0.0)  # the later one looks at what came from the first
    array([[1., 0.]])
    >>> rollout(maps, readout="whole")
    array([[[0.75, 0.25],
            [0.5 , 0.5 ]]])
    """
    residual, readout = _checked(fusion, residual, readout, variant)
    recorded = maps if isinstance(maps, AttentionMaps) else as_maps(maps)
    layers = branches(recorded)
    _check_maps(recorded)
    if variant == "eeg-transformer":
        return _published(recorded, layers, fusion, readout)
    for record in recorded.records:
        _check_rows(record)
    with torch.no_grad():
        if readout == "whole":
            return _whole(recorded, layers, fusion, residual)
        return _read_out(recorded, layers, fusion, residual, readout)


def as_maps(maps: Sequence[Tensor] | Tensor | NDArray[Any]) -> AttentionMaps:
    """Return plain maps, whose absent tokens are NaN, as recorded ones.

    Raises
    ------
    TypeError
        They are no tensors or arrays.
    ValueError
        They do not have the four dimensions of a map.
    """
    if not isinstance(maps, Sequence | Tensor | np.ndarray) or not all(
        isinstance(m, Tensor | np.ndarray) for m in maps
    ):
        raise TypeError(
            f"rollout takes trace.maps, a sequence of tensors or an array (n_layers, n, heads, tokens, tokens); got "
            f"{type(maps).__name__}"
        )
    records = []
    for number, one in enumerate(maps):
        weights = torch.as_tensor(one).detach()
        if weights.ndim != 4 or not weights.is_floating_point() or not weights.numel():
            raise ValueError(
                f"map {number} must be of floating numbers, shape (n, heads, tokens, tokens); got {weights.dtype} "
                f"{tuple(weights.shape)}"
            )
        mask = None
        if weights.isnan().any():
            mask = ~weights.isnan().all(dim=-1).all(dim=1)
            weights = weights.masked_fill(~(mask[:, None, :, None] & mask[:, None, None, :]), 0.0)
            if weights.isnan().any():
                raise ValueError(f"map {number}: NaN is for whole rows and columns, those of absent tokens")
        records.append(AttentionRecord(f"map {number}", "sdpa", "exact", weights, key_mask=mask))
    return AttentionMaps(records)


def present_tokens(maps: AttentionMaps) -> Tensor:
    """Return which tokens are there, bool of shape (n, n_tokens), on the device of the maps."""
    first = maps.records[0]
    made = first.made if isinstance(first.made, Tensor) else first.made[0]
    for record in maps.records:
        if record.key_mask is not None and record.folded is None:
            return record.key_mask.to(made.device)
    n_tokens = n_tokens_of(first)
    n_windows = len(made) * int(first.shape[-1]) // n_tokens
    return torch.ones(n_windows, n_tokens, dtype=torch.bool, device=made.device)


def _checked(fusion: str, residual: float | None, readout: str | None, variant: str) -> tuple[float, str]:
    for name, value, known in (
        ("fusion", fusion, _FUSIONS), ("readout", readout, _READOUTS), ("variant", variant, _VARIANTS),
    ):  # fmt: skip
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(str(one) for one in known)}; got {value!r}")
    if variant == "eeg-transformer":
        if residual is not None or readout == "mean":
            raise ValueError("the variant 'eeg-transformer' has no residual= and no readout='mean': leave them out")
        return 0.0, readout or "whole"
    residual = 0.5 if residual is None else float(residual)
    if not 0 <= residual < 1:
        raise ValueError(f"residual must be from 0 to below 1, got {residual}")
    return residual, readout or "mean"


def _check_maps(maps: AttentionMaps) -> None:
    if not len(maps):
        raise ValueError("rollout needs the map of one layer or more, got none")
    sizes = {n_tokens_of(record) for record in maps.records}
    if len(sizes) > 1 or any(record.shape[-1] != record.shape[-2] for record in maps.records):
        raise ValueError(
            "rollout needs maps over the same tokens, as many queries as keys; got "
            + ", ".join(f"{record.layer} {tuple(record.shape[-2:])}" for record in maps.records)
        )


def _check_rows(record: AttentionRecord) -> None:
    """Raise where rows do not sum to 1; products of softmax factors do."""
    if not isinstance(record.made, Tensor):
        return
    sums = record.made.detach().sum(dim=-1)
    if record.key_mask is not None:
        sums = sums.masked_fill(~record.key_mask[:, None], 1.0)
    limit = 1e-3 if sums.dtype in (torch.float32, torch.float64) else 5e-2
    if not bool(((sums - 1).abs() <= limit).all()):  # NaN included
        raise ValueError(
            f"layer {record.layer}: each row of an attention map sums to 1, these sum to {float(sums.min()):.3g} to "
            f"{float(sums.max()):.3g}; pass maps as recorded, with the NaN of absent tokens"
        )


def _fused(maps: AttentionMaps, layer: Sequence[int], fusion: str) -> Tensor:
    """Return one map of a layer, shape (n, tokens, tokens): the fused heads of all its branches."""
    heads = torch.cat([maps[number] for number in layer], dim=1) if len(layer) > 1 else maps[layer[0]]
    if fusion == "mean":
        return heads.mean(dim=1)
    return heads.amax(dim=1) if fusion == "max" else heads.amin(dim=1)


def _stochastic(maps: AttentionMaps, layer: Sequence[int], fusion: str) -> Tensor:
    """Return the fused map in float64, rows of tokens that are present sum to 1."""
    if fusion == "mean" and len(layer) == 1:
        fused = maps.mean_heads(layer[0]).double()
    else:
        fused = _fused(maps, layer, fusion).double()
    present = present_tokens(maps)
    # Rows of absent tokens mean nothing, and nothing leads to them.
    fused = fused.masked_fill(~(present[:, :, None] & present[:, None, :]), 0.0)
    sums = fused.sum(dim=-1, keepdim=True)
    if bool((sums[..., 0] <= 0)[present].any()):
        raise ValueError(f"fusion={fusion!r} leaves a row of layer {maps.layers[layer[0]]} without any weight")
    return fused / sums.masked_fill(sums == 0, 1.0)


def _whole(maps: AttentionMaps, layers: Sequence[Sequence[int]], fusion: str, residual: float) -> NDArray[np.float64]:
    present = present_tokens(maps)
    whole = torch.eye(present.shape[1], dtype=torch.float64, device=present.device).repeat(len(present), 1, 1)
    for layer in layers:
        whole = residual * whole + (1 - residual) * (_stochastic(maps, layer, fusion) @ whole)
    whole = whole.masked_fill(~(present[:, :, None] & present[:, None, :]), torch.nan)
    return np.asarray(whole.cpu().numpy())


def _read_out(
    maps: AttentionMaps, layers: Sequence[Sequence[int]], fusion: str, residual: float, readout: str
) -> NDArray[np.float64]:
    """Return ``r @ R``, from the left: a vector times a map for each layer, the latest first."""
    shares = readout_shares(maps, readout)
    for layer in reversed(layers):
        if fusion == "mean":
            heads = [maps.records[number].shape[1] for number in layer]
            parts = [
                rows_times_map(shares, maps.records[number]) * (own / sum(heads))
                for number, own in zip(layer, heads, strict=True)
            ]
            moved = torch.stack(parts).sum(dim=0)
        else:
            moved = (shares[:, None] @ _stochastic(maps, layer, fusion))[:, 0]
        shares = residual * shares + (1 - residual) * moved
    return np.asarray(shares.masked_fill(~present_tokens(maps), torch.nan).cpu().numpy())


def readout_shares(maps: AttentionMaps, readout: str) -> Tensor:
    """Return the share of each token in what the head reads, float64 of shape (n, tokens).

    Raises
    ------
    ValueError
        There is no class token, or it is absent.
    """
    present = present_tokens(maps)
    layout = maps.layouts[-1]
    n_special = 0 if layout is None else layout.n_special
    if readout == "class":
        if layout is not None and not n_special:
            raise ValueError("readout='class': the model has no class token; use readout='mean'")
        shares = torch.zeros(present.shape, dtype=torch.float64, device=present.device)
        shares[:, 0] = 1.0
        return shares
    shares = present.double()
    shares[:, :n_special] = 0.0
    return shares / shares.sum(dim=1, keepdim=True)


def _published(maps: AttentionMaps, layers: Sequence[Sequence[int]], fusion: str, readout: str) -> NDArray[np.float64]:
    """Repeat the published code: the product has the first layer on the left."""
    n_tokens = n_tokens_of(maps.records[0])
    whole = torch.eye(n_tokens, dtype=torch.float64, device=present_tokens(maps).device)
    for layer in layers:
        whole = whole @ _fused(maps, layer, fusion).detach().double()
    if readout == "class":
        towards = whole[:, 0, 1:]
        whole = towards / towards.max()
    return np.asarray(whole.cpu().numpy())
