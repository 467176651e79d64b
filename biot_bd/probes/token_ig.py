"""Integrated gradients on tokens, from the mean token."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from biot_bd.models.attention.token_map import TokenMap
from biot_bd.probes.base import presence
from biot_bd.probes.baselines import background_windows
from biot_bd.probes.completeness import completeness
from biot_bd.probes.explained_output import Output
from biot_bd.probes.path_integral import integrated_gradients
from biot_bd.probes.progress_bar import with_progress
from biot_bd.probes.question import Question
from biot_bd.probes.target_probe import TargetProbe
from biot_bd.probes.token_question import TokenQuestion, known_tokens, mean_tokens, read_tokens, token_question


class TokenIGProbe(TargetProbe):
    """Integrated gradients on the tokens that enter the first layer: what the score owes to
    each token being what it is and not the mean token.

    The method is that of [1]_.  The path starts where every token is the mean one, which says
    nothing of where and when; special tokens stay as they are.  A signal that is nowhere
    special has no baseline problem here: no channel is dead, no frame is silent.

    Parameters
    ----------
    steps : int
        Points on the path, by the midpoint rule.
    background : array or Windows, shape (m, n_chans, n_times), optional
        Windows, as the model takes them, whose mean token is the start (of 256, evenly spread,
        where there are more); None: each window's own mean token, so that its map does not depend
        on its company.
    output : {"margin", "logit", "probability"}
        What is explained; ``"margin"``: the log odds of the class.
    batch_size : int
        Points a forward and backward pass.
    progress : bool
        Show a progress bar.

    See Also
    --------
    TokenOcclusionProbe : What the score loses without a token.
    InputIGProbe : On the signal.

    References
    ----------
    .. [1] Sundararajan, M., Taly, A., Yan, Q. (2017). Axiomatic Attribution for Deep Networks.
       ICML.

    Examples
    --------
    >>> import torch
    >>> from biot_bd import BIOT
    >>> from biot_bd.probes import TokenIGProbe
    >>> size = {"embed_dim": 16, "num_heads": 2, "num_layers": 1}
    >>> model = BIOT(n_outputs=2, n_chans=2, n_times=400, sfreq=200, **size).eval()
    >>> found = TokenIGProbe()(model, torch.randn(1, 2, 400))
    >>> found.values.shape, found.info["completeness_error"] < 1e-4
    ((1, 2, 3), True)
    """

    _name = "token-ig"
    title = "what the decision rests on (integrated gradients on tokens)"
    needs = frozenset({"tokens", "gradients"})

    def __init__(
        self,
        steps: int = 32,
        background: Any = None,
        output: Output = "margin",
        batch_size: int = 32,
        progress: bool = False,
    ) -> None:
        self.steps = steps
        self.background = background
        self.output = output
        self.batch_size = batch_size
        self.progress = progress

    def _counts(self) -> dict[str, int]:
        return super()._counts() | {"steps": self.steps}

    def _explain(self, question: Question) -> TokenMap:
        steps, batch_size = int(self.steps), int(self.batch_size)
        asked = token_question(question, batch_size)
        start = torch.where(asked.known[..., None], self._mean(asked), asked.tokens)
        parts = integrated_gradients(asked.score, start, asked.tokens, steps, batch_size)
        n_parts = -(-len(start) // max(1, batch_size // steps))
        found = torch.cat([part.sum(dim=-1) for part in with_progress(parts, n_parts, self._name, self.progress)])
        with torch.no_grad():
            rows = torch.arange(len(start), device=start.device)
            begun = torch.cat([asked.score(start[some], some) for some in rows.split(batch_size)])
        values = asked.grid(found)
        return TokenMap(
            values,
            asked.layout,
            probe=self._name,
            signed=True,
            target=question.target,
            unit=question.unit,
            info={"baseline": "mean token of the window" if self.background is None else "mean token of the background"}
            | {"steps": steps}
            | completeness(values, question.scores - begun),
        )

    def _mean(self, asked: TokenQuestion) -> Tensor:
        """Return the mean token, of each window or of the background, shape (n or 1, 1, d)."""
        if self.background is None:
            return mean_tokens(asked.tokens, asked.known)
        question = asked.question
        windows = background_windows(self.background, question.x)
        known = known_tokens(asked.layout, presence(question.model, windows))
        tokens = read_tokens(question.model, asked.site, windows, int(self.batch_size))
        return mean_tokens(tokens.flatten(0, 1)[None], known.flatten()[None])
