"""Whether the tokens that a probe puts first matter more to the output than tokens in random
order.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from biot_bd.models.attention.layout import TokenLayout
from biot_bd.models.attention.token_map import TokenMap
from biot_bd.models.attention.tokens import TokenSite, token_site
from biot_bd.probes.explained_output import explained_output
from biot_bd.probes.trials.base import Candidate, Case, NotApplicable, Trial, one_line, token_values

SHARES = (0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
"""Shares of the tokens that are there, at which the output is read."""
N_ORDERS = 10
N_RESAMPLED = 2000
BATCH = 32


class _TokenOrder(Trial):
    """The area under the output's curve as tokens come or go, against random orders.

    The value is the lower end of a 95 % interval of the gain, over windows and orders.
    """

    bound = 0.0
    inserts: bool

    def passes(self, value: float) -> bool:
        return value > self.bound

    def measure(self, candidate: Candidate, case: Case) -> tuple[float, str]:
        """Return the value and what it is of; see :class:`Trial`."""
        curves = _curves_of(case)
        areas = curves.areas(curves.order(candidate.found, case.rng()), self.inserts)
        random = curves.random_areas(case.rng())
        gains = areas[:, None] - random if self.inserts else random - areas[:, None]
        low, high = interval(gains, case.rng())
        how = "" if curves.site.drops else "; tokens replaced by the mean token, as this model cannot drop any"
        return low, (
            f"lower end of the gain in logits over random orders: {gains.mean():.2f} (95 %: {low:.2f} to {high:.2f}; "
            f"{len(gains)} windows, {gains.shape[1]} orders){how}"
        )


class Deletion(_TokenOrder):
    """Tokens go, the most important first: the output should fall faster than in random order."""

    name = "deletion"
    title = "without the tokens that it puts first the output falls faster than by chance"
    inserts = False


class Insertion(_TokenOrder):
    """Tokens come, the most important first: the output should rise faster than in random order."""

    name = "insertion"
    title = "with the tokens that it puts first alone the output stands higher than by chance"
    inserts = True


class Curves:
    """Outputs of a model with some of its tokens.

    Parameters
    ----------
    case : Case
        Model, windows and classes.

    Raises
    ------
    NotApplicable
        Where the model's tokens enter is not known, or it has one output.
    """

    def __init__(self, case: Case) -> None:
        try:
            self.site: TokenSite = token_site(case.model)
            self.layout: TokenLayout = self.site.layout(case.model, case.x.shape[-1])
        except ValueError as error:
            raise NotApplicable(one_line(error)) from error
        self.model, self.x, self.target = case.model, case.x, case.target
        with torch.no_grad():
            if self.model(self.x[:1]).shape[-1] < 2:
                raise NotApplicable("a single output has no margin between classes")
            self.tokens = self.site.read(self.model, self.x)
        absent = torch.isnan(self.x).all(dim=-1).cpu().numpy()
        own = self.layout.channel >= 0
        if self.layout.n_chans == self.x.shape[1]:
            self.present = np.where(own, ~absent[:, self.layout.channel], False)
        else:
            self.present = np.broadcast_to(own, (len(self.x), self.layout.n_tokens)).copy()
        self._random: NDArray[np.float64] | None = None

    def order(self, found: TokenMap, rng: np.random.Generator) -> list[NDArray[np.int64]]:
        """Return the present tokens of each window, the highest value first, ties in random
        order.

        Raises
        ------
        NotApplicable
            The map cannot be brought onto the tokens.
        """
        if found.layout.n_chans != self.layout.n_chans:
            raise NotApplicable(
                f"it speaks of {found.layout.n_chans} channels, the model's tokens of {self.layout.n_chans}"
            )
        same = found.layout.n_frames == self.layout.n_frames and np.array_equal(
            found.layout.frame_start_s, self.layout.frame_start_s, equal_nan=True
        )
        try:
            values = token_values(found if same else found.on(self.layout))
        except ValueError as error:
            raise NotApplicable(one_line(error)) from error
        own = np.flatnonzero(self.layout.channel >= 0)
        by_token = values[:, self.layout.channel[own], self.layout.frame[own]]
        orders = []
        for row, present in zip(by_token, self.present[:, own], strict=True):
            chosen = np.flatnonzero(present)
            if np.isnan(row[chosen]).any():
                raise NotApplicable("it gives no value for some tokens")
            orders.append(own[chosen[np.lexsort((rng.random(len(chosen)), -row[chosen]))]])
        return orders

    def random_areas(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Return areas with tokens in random order, shape (n, n_orders), computed once."""
        if self._random is None:
            areas = []
            for _ in range(N_ORDERS):
                orders = [rng.permutation(np.flatnonzero(present)) for present in self.present]
                areas.append(self.areas(orders, inserts=True))
            self._random = np.stack(areas, axis=1)
        return self._random

    def areas(self, orders: list[NDArray[np.int64]], inserts: bool) -> NDArray[np.float64]:
        """Return the mean output over the shares of tokens that are there, for each window."""
        n_present = min(map(len, orders))
        outputs = []
        for share in SHARES:
            n_kept = max(round(share * n_present), 1)
            kept = np.stack([order[:n_kept] if inserts else order[len(order) - n_kept :] for order in orders])
            outputs.append(self._outputs(np.sort(kept, axis=1)))
        return np.asarray(np.mean(outputs, axis=0))

    def _outputs(self, kept: NDArray[np.int64]) -> NDArray[np.float64]:
        special = np.broadcast_to(np.arange(self.layout.n_special), (len(kept), self.layout.n_special))
        places = torch.as_tensor(np.concatenate([special, kept], axis=1))
        found = []
        with torch.no_grad():
            for start in range(0, len(kept), BATCH):
                rows = slice(start, start + BATCH)
                logits = self._logits(self.x[rows], self.tokens[rows], places[rows], self.present[rows])
                found.append(explained_output(logits, self.target[rows].to(logits.device)).double().cpu())
        return torch.cat(found).numpy()

    def _logits(self, x: Tensor, tokens: Tensor, places: Tensor, present: NDArray[np.bool_]) -> Tensor:
        if self.site.drops:
            return self.site.run(self.model, x, tokens, kept=places)
        weights = torch.as_tensor(present, dtype=tokens.dtype, device=tokens.device)[..., None]
        mean = (tokens * weights).sum(dim=1, keepdim=True) / weights.sum(dim=1, keepdim=True)
        stays = torch.zeros(tokens.shape[:2], dtype=torch.bool).scatter_(1, places, True).to(tokens.device)
        return self.site.run(self.model, x, torch.where(stays[..., None], tokens, mean))


def _curves_of(case: Case) -> Curves:
    """Return the curves of a case, made for the first probe that asks."""
    if "curves" not in case.kept:
        case.kept["curves"] = Curves(case)
    return case.kept["curves"]


def interval(gains: NDArray[np.float64], rng: np.random.Generator, level: float = 0.95) -> tuple[float, float]:
    """Return a bootstrap interval of the mean, windows and orders drawn anew.

    Parameters
    ----------
    gains : ndarray, shape (n_windows, n_orders)
    rng : numpy Generator
    level : float

    Returns
    -------
    low, high : float
    """
    n_windows, n_orders = gains.shape
    windows = rng.multinomial(n_windows, np.full(n_windows, 1 / n_windows), size=N_RESAMPLED)
    orders = rng.multinomial(n_orders, np.full(n_orders, 1 / n_orders), size=N_RESAMPLED)
    means = ((windows @ gains) * orders).sum(axis=1) / (n_windows * n_orders)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
