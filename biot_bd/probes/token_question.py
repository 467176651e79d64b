"""The tokens of windows that a question is about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from biot_bd.models.attention.layout import TokenLayout
from biot_bd.models.attention.tokens import TokenSite, token_site
from biot_bd.probes.question import Question, as_array, checked_logits


@dataclass(frozen=True)
class TokenQuestion:
    """A question, and the tokens that enter the model's first layer.

    Parameters
    ----------
    question : Question
    site : TokenSite
        Where they enter.
    layout : TokenLayout
        What they stand for.
    tokens : Tensor, shape (n, n_tokens, d)
    known : Tensor of bool, shape (n, n_tokens)
        True for tokens of channels that are present; False for absent and special ones.

    See Also
    --------
    token_question : Makes one.
    """

    question: Question
    site: TokenSite
    layout: TokenLayout
    tokens: Tensor
    known: Tensor

    def score(self, tokens: Tensor, rows: Tensor, kept: Tensor | None = None) -> Tensor:
        """Return the explained output with other tokens (m, n_tokens, d), ``rows`` (m,) being the
        windows that they are of; of tokens that are left out, none is there.
        """
        model = self.question.model
        logits = self.site.run(model, self.question.x[rows], tokens, kept)
        return self.question.score(checked_logits(logits, type(model).__name__, len(rows)), rows)

    def grid(self, values: Tensor) -> NDArray[Any]:
        """Return values of tokens (n, n_tokens) by channel and frame, NaN for absent channels."""
        return self.layout.grid(as_array(values.masked_fill(~self.known, torch.nan)))


def token_question(question: Question, batch_size: int) -> TokenQuestion:
    """Read the tokens of the windows of a question.

    Raises
    ------
    ValueError
        It is not known where the model's tokens enter, or what they stand for.
    """
    site = token_site(question.model)
    layout = site.layout(question.model, question.x.shape[-1])
    tokens = read_tokens(question.model, site, question.x, batch_size)
    return TokenQuestion(question, site, layout, tokens, known_tokens(layout, question.present))


def read_tokens(model: nn.Module, site: TokenSite, x: Tensor, batch_size: int) -> Tensor:
    """Return the tokens of windows, without gradients."""
    with torch.no_grad():
        return torch.cat([site.read(model, part) for part in x.split(batch_size)])


def known_tokens(layout: TokenLayout, present: Tensor) -> Tensor:
    """Return which tokens stand for a channel that is present, bool (n, n_tokens)."""
    channel = torch.as_tensor(layout.channel, device=present.device)
    if layout.n_chans != present.shape[1]:  # channels are mixed before the tokens: none is absent
        return (channel >= 0).expand(len(present), -1)
    return present[:, channel] & (channel >= 0)


def mean_tokens(tokens: Tensor, known: Tensor) -> Tensor:
    """Return the mean of each window's known tokens, shape (n, 1, d)."""
    shares = known.to(tokens.dtype)
    return (shares[:, None] @ tokens) / shares.sum(dim=1)[:, None, None]
