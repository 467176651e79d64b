"""Whether a probe says the same of a window whatever stands beside it, and whichever way channels
are ordered.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from biot_bd.models.biot import BIOT
from biot_bd.probes.base import input_facts
from biot_bd.probes.trials.base import Candidate, Case, NotApplicable, Trial, largest_difference, token_values


class BatchMates(Trial):
    """The first and the last window alone, against the same in the batch."""

    name = "batch-mates"
    title = "says the same of a window whatever windows stand beside it"
    bound = 1e-3
    at_least = False

    def measure(self, candidate: Candidate, case: Case) -> tuple[float, str]:
        """Return the value and what it is of; see :class:`Trial`."""
        if len(case.x) < 2:
            raise NotApplicable("there is one window only")
        together = token_values(candidate.found)
        errors = []
        for place in (0, len(case.x) - 1):
            row = slice(place, place + 1)
            alone = case.explain(candidate.probe, case.model, case.x[row], case.target[row])
            errors.append(largest_difference(together[row], token_values(alone)))
        return max(errors), "largest change of a value of the first and the last window alone, relative to the largest"


class ChannelOrder(Trial):
    """Channels in another order, for a model that is told so: the map must follow them."""

    name = "channel-order"
    title = "its values follow their channels when these are reordered"
    bound = 1e-3
    at_least = False

    def measure(self, candidate: Candidate, case: Case) -> tuple[float, str]:
        """Return the value and what it is of; see :class:`Trial`."""
        n_chans = case.x.shape[1]
        if n_chans < 2:
            raise NotApplicable("there is one channel only")
        order = torch.as_tensor(case.rng().permutation(n_chans))
        model = reordered(case.model, order, n_chans, inside=bool(candidate.needs - {"gradients"}))
        x = case.x[:, order.to(case.x.device)]
        with torch.no_grad():
            if not torch.allclose(model(x), case.model(case.x), rtol=1e-3, atol=1e-4):
                raise NotApplicable("the reordered model does not give the same output")
        moved = case.explain(candidate.probe, model, x, case.target)
        values = token_values(candidate.found)
        expected = values if moved.layout.n_chans == 1 else values[:, order.numpy()]
        return largest_difference(expected, token_values(moved)), "largest change of a value, relative to the largest"


def reordered(model: nn.Module, order: Tensor, n_chans: int, inside: bool) -> nn.Module:
    """Return a model for which channel ``i`` is what was channel ``order[i]``.

    ``inside``: its tokens must come in the new order, too; else a module in front puts channels
    back.

    Raises
    ------
    NotApplicable
        Tokens must, and this model's cannot.
    """
    if isinstance(model, BIOT):
        return _reordered_biot(model, order)
    if inside:
        raise NotApplicable(f"tokens of {type(model).__name__} cannot be put into another order of channels")
    return _Reordered(model, order, n_chans).eval()


def _reordered_biot(model: BIOT, order: Tensor) -> BIOT:
    moved = copy.deepcopy(model)
    ids = [model.channel_ids[i] for i in order.tolist()]
    moved.channel_ids = tuple(ids)
    moved.encoder._channel_ids = tuple(ids)
    moved.encoder._fill_index(model.encoder.index.device)
    infos: Any = model._chs_info
    if infos:
        moved._chs_info = [infos[i] for i in order.tolist()]
    return moved


class _Reordered(nn.Module):
    """Puts channels back into the order that a model knows."""

    def __init__(self, model: nn.Module, order: Tensor, n_chans: int) -> None:
        super().__init__()
        sfreq, ch_names = input_facts(model, n_chans)
        if sfreq is not None:
            self.sfreq = sfreq
        if ch_names is not None:
            self.chs_info = [{"ch_name": ch_names[i]} for i in order.tolist()]
        self.accepts_absent_channels = getattr(model, "accepts_absent_channels", False)
        self.model = model
        self.back: Tensor
        self.register_buffer("back", torch.argsort(order), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x[:, self.back.to(x.device)])
        return logits
