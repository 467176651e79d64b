"""The probe ``channel-occlusion``: how much a score falls when a channel is taken away.

Zeiler, M. D. and Fergus, R. (2014). Visualizing and understanding convolutional networks. ECCV,
818-833 (section 4.2, there for patches of an image).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from biot_bd.probes import Explanation, Probe

FILLS = {"absent": float("nan"), "zeros": 0.0}


class ChannelOcclusion(Probe):
    """Probability of the target with all channels, less that without one.

    Parameters
    ----------
    fill : {"zeros", "absent"}
        What takes a channel's place: silence, which every model accepts but none has been trained
        on, or the mark of an absent channel, which a model with ``accepts_absent_channels`` leaves
        out exactly.
    batch_size : int
        Windows in a pass.
    """

    def __init__(self, fill: str = "zeros", batch_size: int = 64) -> None:
        self.fill = fill
        self.batch_size = batch_size

    def __call__(self, model: nn.Module, x: Tensor, target: int | Sequence[int] | Tensor | None = None) -> Explanation:
        """Explain each window by channel.

        Parameters
        ----------
        model : torch.nn.Module
            In eval mode; gives logits (n, n_classes).
        x : Tensor of shape (n, n_chans, n_times)
        target : int, sequence of int or Tensor of shape (n,), optional
            Class to explain; the predicted one by default.

        Returns
        -------
        Explanation
            ``values`` (n, n_chans): fall of the target's probability, in -1 to 1; dims ``("window",
            "channel")``.

        Raises
        ------
        ValueError
            ``fill`` is unknown, or the model cannot leave channels out.
        """
        if self.fill not in FILLS:
            raise ValueError(f"fill must be one of {sorted(FILLS)}, got {self.fill!r}")
        if self.fill == "absent" and not getattr(model, "accepts_absent_channels", False):
            raise ValueError(f"{type(model).__name__} cannot leave channels out; use fill='zeros'")
        self.check_input(model, x)
        whole = self._probabilities(model, x)
        chosen = whole.argmax(dim=1) if target is None else torch.as_tensor(target, device=x.device).expand(len(x))
        score = whole.gather(1, chosen[:, None])
        falls = [score - self._without(model, x, channel).gather(1, chosen[:, None]) for channel in range(x.shape[1])]
        values = torch.cat(falls, dim=1).cpu().numpy()
        return Explanation(
            values=values, dims=("window", "channel"), info={"probe": "channel-occlusion", **self.get_params()}
        )

    def _without(self, model: nn.Module, x: Tensor, channel: int) -> Tensor:
        occluded = x.clone()
        occluded[:, channel] = FILLS[self.fill]
        return self._probabilities(model, occluded)

    @torch.no_grad()
    def _probabilities(self, model: nn.Module, x: Tensor) -> Tensor:
        return torch.cat([model(part).softmax(dim=1) for part in x.split(self.batch_size)])
