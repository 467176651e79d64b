"""The probe ``patch-occlusion``: how much a score falls when a stretch of one channel is taken
away.

Zeiler, M. D. and Fergus, R. (2014). Visualizing and understanding convolutional networks. ECCV,
818-833 (section 4.2, there for patches of an image).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from biot_bd.probes import Probe, TokenLayout, TokenMap


class PatchOcclusion(Probe):
    """Probability of the target on the whole window, less that without a stretch of one channel.

    A straight line between the samples around it takes the place of a stretch, so that no step
    is added, which a model might take for a spike.

    Parameters
    ----------
    n_frames : int
        Into how many stretches a window is cut; 10 of a window of 10 s are a second each.
    batch_size : int
        Windows in a pass.
    """

    title = "what the decision loses without each stretch of each channel"
    needs = frozenset[str]()

    def __init__(self, n_frames: int = 10, batch_size: int = 64) -> None:
        self.n_frames = n_frames
        self.batch_size = batch_size

    def __call__(self, model: nn.Module, x: Tensor, target: int | Sequence[int] | Tensor | None = None) -> TokenMap:
        """Explain each window by channel and stretch.

        Parameters
        ----------
        model : torch.nn.Module
            In eval mode; gives logits (n, n_classes).
        x : Tensor of shape (n, n_chans, n_times)
        target : int, sequence of int or Tensor of shape (n,), optional
            Class to explain; the predicted one by default.

        Returns
        -------
        TokenMap
            Falls of the target's probability, in -1 to 1.

        Raises
        ------
        ValueError
            A window has fewer samples than stretches, or the model gives a single output.
        """
        self.check_input(model, x)
        if not 1 <= self.n_frames <= x.shape[2]:
            raise ValueError(f"n_frames must be 1 to {x.shape[2]}, the samples of a window; got {self.n_frames}")
        edges = np.linspace(0, x.shape[2], self.n_frames + 1).round().astype(int)
        x = x.detach()
        whole = self._probabilities(model, x)
        if whole.shape[1] < 2:
            raise ValueError(f"{type(model).__name__} gives one output, whose probability among its classes is always 1")
        chosen = self.targets(whole, target)
        score = whole.gather(1, chosen[:, None])
        falls = [score[i] - self._without_each(model, x[i], edges)[:, chosen[i]] for i in range(len(x))]
        values = torch.stack(falls).reshape(len(x), x.shape[1], self.n_frames)
        values[x.isnan().all(dim=2)] = torch.nan  # an absent channel cannot be taken away
        return TokenMap(
            values.cpu().numpy(),
            self._layout(model, x, edges),
            probe="patch-occlusion",
            signed=True,
            target=tuple(chosen.tolist()),
            unit="fall of the probability",
            info=self.get_params(),
        )

    def _layout(self, model: nn.Module, x: Tensor, edges: np.ndarray) -> TokenLayout:
        """Say which channel and which seconds a value stands for, as far as the model knows."""
        samples = self.layout_by_sample(model, x)
        return TokenLayout(samples.ch_names, samples.frame_start_s[edges[:-1]], samples.frame_stop_s[edges[1:] - 1])

    def _without_each(self, model: nn.Module, window: Tensor, edges: np.ndarray) -> Tensor:
        """Return probabilities (n_chans * n_frames, n_classes), one stretch taken away in each."""
        copies = window.repeat(window.shape[0] * self.n_frames, 1, 1)
        for number, copy in enumerate(copies):
            channel, frame = divmod(number, self.n_frames)
            self._draw_line(copy[channel], edges[frame], edges[frame + 1])
        return self._probabilities(model, copies)

    @staticmethod
    def _draw_line(signal: Tensor, start: int, stop: int) -> None:
        before = signal[start - 1] if start else signal[min(stop, len(signal) - 1)]
        after = signal[stop] if stop < len(signal) else signal[max(start - 1, 0)]
        part = torch.linspace(0, 1, stop - start + 2, dtype=signal.dtype, device=signal.device)[1:-1]
        signal[start:stop] = before.clone() + (after - before) * part

    @torch.no_grad()
    def _probabilities(self, model: nn.Module, x: Tensor) -> Tensor:
        return torch.cat([model(part).float().softmax(dim=1) for part in x.split(self.batch_size)])
