"""Token occlusion: what the score loses without a token, a channel or a frame."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from biot_bd.models.attention.layout import TokenLayout
from biot_bd.models.attention.token_map import TokenMap
from biot_bd.probes.explained_output import Output
from biot_bd.probes.progress_bar import with_progress
from biot_bd.probes.question import Question, as_array
from biot_bd.probes.target_probe import TargetProbe
from biot_bd.probes.token_question import TokenQuestion, mean_tokens, token_question

_BY = ("token", "channel", "frame")
_FILLS = ("dropped", "mean-token")


class TokenOcclusionProbe(TargetProbe):
    """Score with a token minus the score without it.

    Where the model runs with fewer tokens they are really dropped from the sequence; else the
    window's mean token stands in their place.

    Parameters
    ----------
    by : {"token", "channel", "frame"}
        What is left out at a time: one token, all of a channel, or all of a frame.
    fill : {"dropped", "mean-token"}, optional
        How it is left out; None: dropped where the model allows.
    output : {"margin", "logit", "probability"}
        What is explained; ``"margin"``: the log odds of the class.
    batch_size : int
        Sequences a forward pass.
    progress : bool
        Show a progress bar.

    See Also
    --------
    TokenIGProbe : Shares out the score instead.
    ChannelOcclusionProbe : For models whose tokens are not known.

    Examples
    --------
    >>> import torch
    >>> from biot_bd import BIOT
    >>> from biot_bd.probes import TokenOcclusionProbe
    >>> size = {"embed_dim": 16, "num_heads": 2, "num_layers": 1}
    >>> model = BIOT(n_outputs=2, n_chans=2, n_times=400, sfreq=200, **size).eval()
    >>> x = torch.randn(1, 2, 400)
    >>> for by in ("token", "channel", "frame"):
    ...     TokenOcclusionProbe(by)(model, x).values.shape
    (1, 2, 3)
    (1, 2, 1)
    (1, 1, 3)
    """

    _name = "token-occlusion"
    title = "what the decision loses without each piece of signal (token occlusion)"
    needs = frozenset({"tokens"})

    def __init__(
        self,
        by: Literal["token", "channel", "frame"] = "token",
        fill: Literal["dropped", "mean-token"] | None = None,
        output: Output = "margin",
        batch_size: int = 32,
        progress: bool = False,
    ) -> None:
        self.by = by
        self.fill = fill
        self.output = output
        self.batch_size = batch_size
        self.progress = progress

    def _explain(self, question: Question) -> TokenMap:
        if self.by not in _BY or self.fill not in (None, *_FILLS):
            raise ValueError(
                f"by must be one of {', '.join(_BY)} and fill one of {', '.join(_FILLS)} or None; got {self.by!r}, "
                f"{self.fill!r}"
            )
        asked = token_question(question, int(self.batch_size))
        fill = self.fill or ("dropped" if asked.site.drops else "mean-token")
        groups, layout = groups_of(asked.layout, self.by)
        lost = self._lost(asked, torch.as_tensor(groups, device=question.x.device), fill)
        return TokenMap(
            layout.grid(as_array(lost)),
            layout,
            probe=self._name,
            signed=True,
            target=question.target,
            unit=question.unit,
            info={"by": self.by, "fill": fill},
        )

    def _lost(self, asked: TokenQuestion, groups: Tensor, fill: str) -> Tensor:
        """Return the score lost by leaving out each group (n_groups, size) of tokens, (n,
        n_groups); NaN where none of them is there.
        """
        there = asked.known[:, groups].any(dim=-1)
        self._check_rest(asked, groups, fill)
        others = _others(groups, asked.layout.n_tokens)
        mean = mean_tokens(asked.tokens, asked.known) if fill == "mean-token" else None
        lost = torch.full(there.shape, torch.nan, dtype=asked.tokens.dtype, device=asked.tokens.device)
        batches = there.nonzero().split(int(self.batch_size))
        with torch.no_grad():
            for batch in with_progress(batches, len(batches), self._name, self.progress):
                rows, left_out = batch.unbind(dim=1)
                tokens, kept = asked.tokens[rows], others[left_out]
                if mean is not None:
                    places = groups[left_out][..., None].expand(-1, -1, tokens.shape[-1])
                    tokens = tokens.scatter(1, places, mean[rows].expand_as(places))
                scores = asked.score(tokens, rows, kept if mean is None else None)
                lost[rows, left_out] = asked.question.scores[rows] - scores
        return lost

    def _check_rest(self, asked: TokenQuestion, groups: Tensor, fill: str) -> None:
        """Check that every window has something left."""
        n_known = asked.known.sum(dim=1)
        alone = (asked.known[:, groups].sum(dim=-1) == n_known[:, None]).any(dim=1).nonzero().flatten().tolist()
        if alone and fill == "dropped" and not asked.layout.n_special:
            raise ValueError(
                f"window {alone[0]} has nothing left without one {self.by}: leave out something smaller, or use "
                f"fill='mean-token' ({len(alone)} such windows)"
            )


def groups_of(layout: TokenLayout, by: str) -> tuple[np.ndarray, TokenLayout]:
    """Return the numbers of the tokens that are left out together, (n_groups, size), and the layout
    of one value a group.
    """
    if by == "token":
        plain = replace(layout, special=(), readout="mean")
        return layout.tokens()[:, None], plain
    if by == "channel":
        whole = replace(
            layout,
            frame_start_s=layout.frame_start_s[:1],
            frame_stop_s=layout.frame_stop_s[-1:],
            special=(),
            readout="mean",
        )
        return np.array([layout.tokens(channel=i) for i in range(layout.n_chans)]), whole
    together = replace(layout, ch_names=("all channels",), special=(), readout="mean")
    return np.array([layout.tokens(frame=i) for i in range(layout.n_frames)]), together


def _others(groups: Tensor, n_tokens: int) -> Tensor:
    """Return the tokens that are not in each group, (n_groups, n_tokens - size)."""
    outside = torch.ones(len(groups), n_tokens, dtype=torch.bool, device=groups.device).scatter(1, groups, False)
    return outside.nonzero()[:, 1].unflatten(0, (len(groups), -1))
