"""What every probe of importance is.

A probe is called as ``probe(model, x, target=None)`` with a torch module in eval mode and windows
as a float tensor, and answers with a :class:`TokenMap`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from sklearn.base import BaseEstimator
from torch import Tensor, nn

from biot_bd.models.attention.braindecode_layouts import channel_names, sampling_rate
from biot_bd.models.attention.layout import TokenLayout, signal_layout, whole_layout
from biot_bd.models.attention.layouts import layout_of
from biot_bd.models.attention.token_map import TokenMap


class Probe(BaseEstimator, ABC):
    """Base of the built-in probes: plain keyword parameters, called with a model and windows.

    Plugins may register any class of that shape; deriving from this one adds ``get_params``,
    ``clone``, a readable ``repr`` and :meth:`check_input`.

    See Also
    --------
    biot_bd.testing.check_probe : Check a probe of one's own.

    Examples
    --------
    >>> import torch
    >>> class Loudness(Probe):
    ...     def __call__(self, model, x, target=None):
    ...         self.check_input(model, x)
    ...         layout = self.layout_by_channel(model, x)
    ...         return TokenMap(x.std(dim=-1, keepdim=True).numpy(), layout, probe="loudness")
    >>> Loudness()(torch.nn.Identity().eval(), torch.zeros(1, 2, 100)).by_channel().tolist()
    [[0.0, 0.0]]
    """

    @abstractmethod
    def __call__(self, model: nn.Module, x: Tensor, target: int | Sequence[int] | Tensor | None = None) -> TokenMap:
        """Explain what ``model`` does on windows ``x``.

        Parameters
        ----------
        model : torch.nn.Module
            In eval mode.
        x : Tensor of float, shape (n, n_chans, n_times)
            Windows as the model sees them; absent channels NaN.
        target : int, sequence of int or Tensor, optional
            The class to explain, for probes that need one.

        Returns
        -------
        TokenMap
            One value a channel and frame, for each window.
        """

    @staticmethod
    def check_input(model: nn.Module, x: Tensor) -> None:
        """Check what every probe needs.

        Raises
        ------
        TypeError
            The model is no torch module, or the windows are no tensor.
        ValueError
            The model is in training mode, the windows are not a float tensor of three dimensions, a
            channel has some NaN or an infinite value, or is absent and the model takes none such.
        """
        if not isinstance(model, nn.Module):
            raise TypeError(
                f"a probe takes a torch module, got {type(model).__name__}; of a fitted classifier pass its module_"
            )
        if model.training:
            raise ValueError("a probe explains a model in eval mode: call model.eval() first")
        if not isinstance(x, Tensor):
            raise TypeError(f"a probe takes windows as a torch tensor, got {type(x).__name__}")
        if x.ndim != 3 or not x.is_floating_point() or len(x) == 0:
            raise ValueError(
                f"windows must be a float tensor of shape (n, n_chans, n_times), n > 0; got {x.dtype} {tuple(x.shape)}"
            )
        presence(model, x)

    @staticmethod
    def targets(scores: Tensor, target: int | Sequence[int] | Tensor | None) -> Tensor:
        """Return the class to explain for each window: what was asked for, else the predicted one.

        Parameters
        ----------
        scores : Tensor, shape (n, n_outputs)
            Logits or probabilities.
        target : int, sequence of int or Tensor, optional
            One class for all windows or one each.

        Returns
        -------
        Tensor of int64, shape (n,)

        Raises
        ------
        ValueError
            There is no such class, or another number of targets than windows.
        """
        if target is None:
            return scores.argmax(dim=1)
        chosen = torch.as_tensor(target, device=scores.device)
        if chosen.ndim > 1 or chosen.is_floating_point() or (chosen.ndim == 1 and len(chosen) != len(scores)):
            raise ValueError(
                f"target must be one class, or one for each of {len(scores)} windows; got {chosen.dtype} of shape "
                f"{tuple(chosen.shape)}"
            )
        if not bool(((chosen >= 0) & (chosen < scores.shape[1])).all()):
            raise ValueError(f"target must be a class from 0 to {scores.shape[1] - 1}, got {chosen.tolist()}")
        return chosen.long().expand(len(scores))

    @staticmethod
    def layout_of_tokens(model: nn.Module, x: Tensor) -> TokenLayout:
        """Return the layout of the model's tokens.

        Raises
        ------
        ValueError
            It is not known.
        """
        layout = layout_of(model, x.shape[-1])
        if layout is None:
            raise ValueError(
                f"{type(model).__name__}: what its tokens stand for is not known; give it a method token_layout()"
            )
        return layout

    @staticmethod
    def layout_by_sample(model: nn.Module, x: Tensor) -> TokenLayout:
        """Return the layout of one value a sample, with what the model knows of names and rate."""
        return signal_layout(x.shape[1], x.shape[2], *input_facts(model, x.shape[1]))

    @staticmethod
    def layout_by_channel(model: nn.Module, x: Tensor) -> TokenLayout:
        """Return the layout of one value a channel, with what the model knows of names and rate."""
        return whole_layout(x.shape[1], x.shape[2], *input_facts(model, x.shape[1]))


def presence(model: nn.Module, x: Tensor) -> Tensor:
    """Return which channels windows have, bool (n, n_chans).

    Raises
    ------
    ValueError
        A channel has some NaN or an infinite value, or is absent and the model takes none such.
    """
    present = ~x.isnan().all(dim=-1)
    bad = (present & ~x.isfinite().all(dim=-1)).nonzero()
    if len(bad):
        window, channel = bad[0].tolist()
        raise ValueError(
            f"window {window}, channel {channel} has values that are not finite; an absent channel is NaN throughout, "
            f"anything else must be finite ({len(bad)} such channels)"
        )
    absent = (~present).nonzero()
    if len(absent) and not getattr(model, "accepts_absent_channels", False):
        window, channel = absent[0].tolist()
        raise ValueError(
            f"{type(model).__name__} takes no absent channels, and window {window} lacks channel {channel}: "
            "explain windows that have all channels"
        )
    return present


def input_facts(model: nn.Module, n_chans: int) -> tuple[float | None, tuple[str, ...] | None]:
    """Return the sampling frequency and the names of the channels as far as a model knows them."""
    return sampling_rate(model), channel_names(model, n_chans)
