"""Which tokens of a window are hidden: shares, blocks in time, whole channels, guards."""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from biot_bd.models.token_stages import TokenSizes
from biot_bd.pretraining.batch_random import BatchRandom

Geometry = Literal["token", "time", "channel", "block"]


class Masking:
    """Choose hidden tokens on a grid of channels and frames.

    Every window hides the same share of its present tokens, so that windows weigh alike in a loss;
    at least one token is hidden and one stays visible.  Absent channels are never hidden.

    Parameters
    ----------
    sizes : TokenSizes
        Of the model's tokens.
    geometry : {"token", "time", "channel", "block"}
        ``"token"``: tokens one by one; ``"time"``: blocks of frames, the same in all channels;
        ``"channel"``: whole channels; ``"block"``: blocks of frames, in each channel its own.
    mask_ratio : float
        Share of tokens (frames, channels) that is hidden, rounded to whole ones.
    block_frames : int
        Length of a block in frames.  Blocks do not overlap but may touch; one is shorter where the
        share asks for it, or cut by the window's ends, so that all frames are hidden equally often.
    guard_frames : int
        A hidden token is scored only if no token of its channel within so many frames is visible.
        Frames that overlap share samples: with a frame of two hops, the frame beside a hidden one
        has seen half of it, and ``guard_frames=1`` leaves such tokens out of the loss.

    Raises
    ------
    ValueError
        A geometry that there is not, a share outside of (0, 1), fewer than two frames (or
        channels), or a guard that leaves nothing to score.

    See Also
    --------
    biot_bd.pretraining.MaskedObjective : Scores what is hidden.

    Notes
    -----
    A window with one channel present has none to infer a whole channel from: with
    ``geometry="channel"`` it hides blocks of frames instead.

    Examples
    --------
    >>> from biot_bd.models import TokenSizes
    >>> from biot_bd.pretraining import BatchRandom, Masking
    >>> sizes = TokenSizes(n_chans=2, n_frames=8, n_features=101, embed_dim=16)
    >>> masking = Masking(sizes, "time", mask_ratio=0.5, block_frames=4)
    >>> masking.hidden(BatchRandom(1, n=1))[0].int()
    tensor([[0, 0, 0, 1, 1, 1, 1, 0],
            [0, 0, 0, 1, 1, 1, 1, 0]], dtype=torch.int32)
    """

    def __init__(
        self,
        sizes: TokenSizes,
        geometry: Geometry = "block",
        mask_ratio: float = 0.5,
        block_frames: int = 3,
        guard_frames: int = 0,
    ) -> None:
        self.sizes, self.geometry, self.mask_ratio = sizes, geometry, mask_ratio
        self.block_frames, self.guard_frames = block_frames, guard_frames
        self._check()
        self._n_hidden_frames = _count(mask_ratio, sizes.n_frames)
        self._check_guard()

    def _check(self) -> None:
        sizes, known = self.sizes, get_args(Geometry)
        if self.geometry not in known:
            raise ValueError(f"mask geometry must be one of {', '.join(known)}; found {self.geometry!r}")
        if not 0 < self.mask_ratio < 1:
            raise ValueError(f"mask_ratio must lie between 0 and 1, found {self.mask_ratio}")
        if self.block_frames < 1 or self.guard_frames < 0:
            raise ValueError(
                f"block_frames must be at least 1 and guard_frames at least 0; found {self.block_frames} and {self.guard_frames}"
            )
        if sizes.n_frames < 2:
            raise ValueError("a window has one frame of tokens, masking needs two; make windows longer")
        if self.geometry == "channel" and sizes.n_chans < 2:
            raise ValueError(
                "tokens have one row, so no channel can be hidden alone; take mask_geometry='time', or a model with tokens a channel"
            )

    def _check_guard(self) -> None:
        """Raise where no token may be as far from visible ones as the guard asks for."""
        if self.guard_frames == 0:
            return
        longest, needed = min(self.block_frames, self._n_hidden_frames), 2 * self.guard_frames + 1
        if self.geometry == "token" or longest < needed:
            raise ValueError(
                f"guard_frames={self.guard_frames} scores tokens in the middle of blocks of at least {needed} hidden frames; found "
                f"mask_geometry={self.geometry!r} with blocks of {1 if self.geometry == 'token' else longest}: raise block_frames or mask_ratio"
            )

    def hidden(self, rng: BatchRandom, present: Tensor | None = None) -> Tensor:
        """Choose the hidden tokens of a batch.

        Parameters
        ----------
        rng : BatchRandom
            The same numbers are drawn whatever ``present`` says.
        present : Tensor of bool, shape (n, n_chans), optional
            Rows that are there; None: all.

        Returns
        -------
        Tensor of bool, shape (n, n_chans, n_frames)
            True: hidden.
        """
        n_chans, n_frames = self.sizes.n_chans, self.sizes.n_frames
        if present is None:
            present = torch.ones(rng.n, n_chans, dtype=torch.bool, device=rng.device)
        rows = present[..., None].expand(-1, -1, n_frames)
        if self.geometry == "token":
            return _lowest(rng.uniform(n_chans * n_frames), rows.flatten(1), self.mask_ratio).view(
                -1, n_chans, n_frames
            )
        if self.geometry == "channel":
            return self._channels(rng, present)
        return self._blocks(rng, n_chans if self.geometry == "block" else 1) & rows

    def scored(self, hidden: Tensor, present: Tensor | None = None) -> Tensor:
        """Return which hidden tokens the guard leaves to score, of the shape of ``hidden``."""
        if self.guard_frames == 0:
            return hidden
        visible = ~hidden if present is None else ~hidden & present[..., None]
        width = 2 * self.guard_frames + 1
        near = F.max_pool1d(visible.float(), width, stride=1, padding=self.guard_frames) > 0
        return hidden & ~near

    def _channels(self, rng: BatchRandom, present: Tensor) -> Tensor:
        """Hide whole channels, or blocks of the only one."""
        whole = _lowest(rng.uniform(self.sizes.n_chans), present, self.mask_ratio)[..., None]
        blocks = self._blocks(rng, 1) & present[..., None]
        return torch.where(present.sum(1)[:, None, None] > 1, whole, blocks)

    def _blocks(self, rng: BatchRandom, n_rows: int) -> Tensor:
        """Hide blocks of frames, (n, n_rows, n_frames): they and visible frames in random order."""
        n_frames, n_hidden = self.sizes.n_frames, self._n_hidden_frames
        n_blocks = -(-n_hidden // self.block_frames)
        lengths = torch.ones(n_blocks + n_frames - n_hidden, dtype=torch.long, device=rng.device)
        lengths[:n_blocks] = self.block_frames
        lengths[n_blocks - 1] = n_hidden - (n_blocks - 1) * self.block_frames
        numbers = rng.uniform(n_rows, len(lengths) + 1)
        order = numbers[..., 1:].argsort(-1)
        repeats, is_block = lengths[order].flatten(), (order < n_blocks).flatten()
        frames = torch.repeat_interleave(is_block, repeats, output_size=rng.n * n_rows * n_frames)
        # Turned as a ring: the frames at the ends would be hidden less often otherwise.
        place = torch.arange(n_frames, device=rng.device) + (numbers[..., :1] * n_frames).long()
        return frames.view(rng.n, n_rows, n_frames).gather(2, place % n_frames)


def _count(ratio: float, n: int) -> int:
    """Return how many of ``n`` a share is, leaving one on either side."""
    return min(max(round(ratio * n), 1), n - 1)


def _lowest(numbers: Tensor, allowed: Tensor, ratio: float) -> Tensor:
    """Return where the lowest numbers of a row lie, a share of those allowed, (n, k)."""
    n_allowed = allowed.sum(1)
    wanted = (ratio * n_allowed).round().clamp(min=1)
    wanted = torch.minimum(wanted, (n_allowed - 1).to(wanted.dtype))
    rank = numbers.masked_fill(~allowed, 2.0).argsort(1).argsort(1)
    return rank < wanted[:, None]
