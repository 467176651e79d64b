"""What the probes that read recorded attention share: windows batch by batch, one value a token."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from biot_bd.models.attention.attention_maps import AttentionMaps
from biot_bd.models.attention.layout import TokenLayout
from biot_bd.models.attention.maps import early_middle_late
from biot_bd.models.attention.record import attention_layers
from biot_bd.models.attention.row_products import n_tokens_of
from biot_bd.models.attention.token_map import TokenMap
from biot_bd.models.attention.trace import AttentionTrace
from biot_bd.probes.base import Probe
from biot_bd.probes.question import plainly, presence


@dataclass(frozen=True)
class WindowBatch:
    """Some windows, what their tokens stand for, the classes asked about (None: the predicted
    ones), and the layers to record (None: all).
    """

    x: Tensor
    layout: TokenLayout
    target: Tensor | None
    layers: tuple[str, ...] | None


@dataclass
class BatchValues:
    """What a batch of windows gave: values (n, n_tokens), the layers read, by how much their maps
    missed in rebuilding outputs, and the classes asked about.
    """

    values: NDArray[np.float64]
    layers: tuple[str, ...]
    errors: tuple[float, ...]
    target: tuple[int, ...] | None = None


class RecordingProbe(Probe):
    """Base of the probes that read recorded attention; one value a token."""

    needs: ClassVar[frozenset[str]] = frozenset({"attention"})
    name: ClassVar[str]
    title: ClassVar[str]
    unit: ClassVar[str]
    batch_size: int
    layers: int | str | Sequence[int | str] | None = None
    signed: bool = False

    def __call__(self, model: nn.Module, x: Tensor, target: int | Sequence[int] | Tensor | None = None) -> TokenMap:
        """Explain windows, a batch at a time.

        Parameters
        ----------
        model : torch.nn.Module
            In eval mode.
        x : Tensor of float, shape (n, n_chans, n_times)
            Windows; absent channels NaN.
        target : int, sequence of int or Tensor, optional
            The class asked about, for probes that ask about one; None: the predicted one.

        Returns
        -------
        TokenMap

        Raises
        ------
        ValueError
            The input or a parameter is wrong, the model has no attention that can be recorded or
            takes no absent channels, or the layout of its tokens is not known.
        """
        self.check_input(model, x)
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, got {self.batch_size}")
        self.check_parameters()
        layout = self.layout_of_tokens(model, x)
        present = presence(model, x).cpu().numpy()
        with plainly(model):
            parts = self._parts(model, as_model_takes(model, x), layout, target)
        values = np.concatenate([part.values for part in parts])
        known = np.ones(values.shape, bool)
        if layout.n_chans == x.shape[1]:  # else channels are mixed before the tokens
            known = np.where(layout.channel < 0, True, present[:, layout.channel])
            values = np.where(known, values, np.nan)
        self._check_numbers(values, known, model)
        errors = [error for part in parts for error in part.errors]
        info = {"layers": parts[0].layers, "reconstruction_error": max(errors, default=None), **self.facts(layout)}
        chosen = None if parts[0].target is None else tuple(one for part in parts for one in part.target or ())
        return TokenMap(
            layout.grid(values), layout, probe=self.name, target=chosen, unit=self.unit, info=info, signed=bool(self.signed),
            special=values[:, : layout.n_special] if layout.n_special else None,
        )  # fmt: skip

    def _parts(
        self, model: nn.Module, x: Tensor, layout: TokenLayout, target: int | Sequence[int] | Tensor | None
    ) -> list[BatchValues]:
        layers = chosen_layers(model, x[:1], self.layers)
        batches = x.split(int(self.batch_size))
        targets = _for_batches(target, [len(batch) for batch in batches])
        return [
            self.of_batch(model, WindowBatch(batch, layout, asked, layers))
            for batch, asked in zip(batches, targets, strict=True)
        ]

    def check_parameters(self) -> None:
        """Check parameters of the probe before the model runs."""

    def facts(self, layout: TokenLayout) -> dict[str, Any]:
        """Return what was done, for ``info``."""
        return {}

    @abstractmethod
    def of_batch(self, model: nn.Module, batch: WindowBatch) -> BatchValues:
        """Return one value a token for the windows of a batch."""

    def _check_numbers(self, values: NDArray[np.float64], known: NDArray[np.bool_], model: nn.Module) -> None:
        bad = np.flatnonzero((~np.isfinite(values) & known).any(axis=1))
        if len(bad):
            raise ValueError(
                f"probe {self.name}: window {bad[0]} gave values that are no numbers ({len(bad)} of {len(values)} windows); "
                f"{type(model).__name__} does not compute with these windows"
            )


def as_model_takes(model: nn.Module, x: Tensor) -> Tensor:
    """Return a copy of windows on the device of a model, in its precision where that is single or
    double.
    """
    own = next(model.parameters(), x)
    return x.detach().to(own.device, own.dtype if own.dtype in (torch.float32, torch.float64) else x.dtype).clone()


def chosen_layers(
    model: nn.Module, x: Tensor, layers: int | str | Sequence[int | str] | None
) -> tuple[str, ...] | None:
    """Return module paths for numbers, paths, and ``"early"``, ``"middle"``, ``"late"``.

    Parameters
    ----------
    model : torch.nn.Module
        In eval mode.
    x : Tensor
        One window: the model runs on it to tell its attention layers.
    layers : int, str or sequence of them, or None
        None: all.

    Returns
    -------
    tuple of str or None

    Raises
    ------
    ValueError
        The model has no such layer, or none at all.
    """
    if layers is None:
        return None
    known = attention_layers(model, x)
    if not known:
        raise ValueError(f"{type(model).__name__} has no attention that can be recorded")
    wanted = [layers] if isinstance(layers, (int, str)) or np.isscalar(layers) else list(layers)
    if not wanted:
        raise ValueError("layers must name one layer or more; None takes all")
    return tuple(dict.fromkeys(_path(known, one) for one in wanted))


def _path(known: tuple[str, ...], layer: Any) -> str:
    roles = early_middle_late(len(known))
    if layer in known:
        return str(layer)
    if isinstance(layer, str) and layer in ("early", "middle", "late"):
        return known[roles.get(layer, roles.get("late", 0))]
    if (
        not isinstance(layer, (str, bool))
        and isinstance(layer, (int, np.integer))
        and -len(known) <= layer < len(known)
    ):
        return known[int(layer)]
    raise ValueError(
        f"no attention layer {layer!r}; there are numbers 0 to {len(known) - 1}, 'early', 'middle', 'late', and the paths "
        + ", ".join(known)
    )


def maps_over_tokens(trace: AttentionTrace, layout: TokenLayout) -> AttentionMaps:
    """Return the maps of the latest pass.

    Raises
    ------
    ValueError
        One of them is not over the tokens of the layout.
    """
    maps = trace.maps
    for record in maps.records:
        if n_tokens_of(record) != layout.n_tokens or record.shape[-1] != record.shape[-2]:
            raise ValueError(
                f"layer {record.layer}: a map of {record.shape[-2]} queries and {record.shape[-1]} keys is not one over the "
                f"{layout.n_tokens} tokens of the model; choose others with layers=, or correct token_layout()"
            )
    return maps


def _for_batches(target: int | Sequence[int] | Tensor | None, sizes: Sequence[int]) -> Sequence[Tensor | None]:
    """Return the classes asked about for each batch."""
    if target is None:
        return [None] * len(sizes)
    targets = torch.as_tensor(target)
    if targets.ndim > 1 or (targets.ndim == 1 and len(targets) != sum(sizes)):
        raise ValueError(
            f"target must be one class, or one for each of {sum(sizes)} windows; got shape {tuple(targets.shape)}"
        )
    return targets.split(list(sizes)) if targets.ndim else [targets] * len(sizes)
