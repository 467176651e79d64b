"""Channel occlusion: what the score loses without a channel."""

from __future__ import annotations

from typing import Literal

import torch

from biot_bd.models.attention.token_map import TokenMap
from biot_bd.probes.baselines import phase_surrogate
from biot_bd.probes.explained_output import Output
from biot_bd.probes.question import Question
from biot_bd.probes.signal_occlusion import score_lost
from biot_bd.probes.target_probe import TargetProbe


class ChannelOcclusionProbe(TargetProbe):
    """Score with a channel minus the score without it.

    Where the model takes absent channels, the channel is really absent; else a phase surrogate
    stands in for it (same spectrum, other phases), never zeros.

    Parameters
    ----------
    fill : {"absent", "phase-surrogate"}, optional
        What takes the channel's place; None: absent where the model takes that.
    n_surrogates : int
        Surrogates to take the mean over.
    random_state : int
        Of the surrogates.
    output : {"margin", "logit", "probability"}
        What is explained; ``"margin"``: the log odds of the class.
    batch_size : int
        Windows a forward pass.
    progress : bool
        Show a progress bar.

    See Also
    --------
    TokenOcclusionProbe : One token, channel or frame at a time.

    Examples
    --------
    >>> import torch
    >>> from biot_bd import BIOT
    >>> from biot_bd.probes import ChannelOcclusionProbe
    >>> size = {"embed_dim": 16, "num_heads": 2, "num_layers": 1}
    >>> model = BIOT(n_outputs=2, n_chans=2, n_times=400, sfreq=200, **size).eval()
    >>> found = ChannelOcclusionProbe()(model, torch.randn(1, 2, 400))
    >>> found.by_channel().shape, found.info["fill"]
    ((1, 2), 'absent')
    """

    _name = "channel-occlusion"
    title = "what the decision loses without each channel"
    needs: frozenset[str] = frozenset()

    def __init__(
        self,
        fill: Literal["absent", "phase-surrogate"] | None = None,
        n_surrogates: int = 4,
        random_state: int = 0,
        output: Output = "margin",
        batch_size: int = 32,
        progress: bool = False,
    ) -> None:
        self.fill = fill
        self.n_surrogates = n_surrogates
        self.random_state = random_state
        self.output = output
        self.batch_size = batch_size
        self.progress = progress

    def _counts(self) -> dict[str, int]:
        return super()._counts() | {"n_surrogates": self.n_surrogates}

    def _explain(self, question: Question) -> TokenMap:
        fill = self._chosen(question)
        if fill == "absent":
            fills = [torch.full_like(question.x, torch.nan)]
        else:
            fills = [phase_surrogate(question.x, self.random_state + i) for i in range(int(self.n_surrogates))]
        lost = [score_lost(question, one, int(self.batch_size), self._name, self.progress) for one in fills]
        return TokenMap(
            question.marked(torch.stack(lost).mean(dim=0)[..., None]),
            self.layout_by_channel(question.model, question.x),
            probe=self._name,
            signed=True,
            target=question.target,
            unit=question.unit,
            info={"fill": fill} | ({} if fill == "absent" else {"n_surrogates": len(fills)}),
        )

    def _chosen(self, question: Question) -> str:
        """Return what takes a channel's place."""
        if self.fill not in (None, "absent", "phase-surrogate"):
            raise ValueError(f"fill must be 'absent', 'phase-surrogate' or None, got {self.fill!r}")
        takes = bool(getattr(question.model, "accepts_absent_channels", False))
        fill = self.fill or ("absent" if takes else "phase-surrogate")
        if fill == "phase-surrogate":
            return fill
        if not takes:
            raise ValueError(f"{type(question.model).__name__} takes no absent channels: use fill='phase-surrogate'")
        alone = (question.present.sum(dim=1) < 2).nonzero().flatten().tolist()
        if alone:
            raise ValueError(
                f"window {alone[0]} has one channel, and nothing is left without it: use fill='phase-surrogate' "
                f"({len(alone)} such windows)"
            )
        return fill
