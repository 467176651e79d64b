"""Whether a probe's maps change when the model forgets what it learnt.

References
----------
.. [1] Adebayo, J. et al. (2018). Sanity Checks for Saliency Maps. NeurIPS 31.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import nn

from biot_bd.probes.trials.base import Candidate, Case, NotApplicable, Trial, token_values

N_STAGES = 4
N_DRAWS = 2


class RandomWeights(Trial):
    """Weights are drawn anew from the head down; the map of the model without any learnt weight
    must not resemble the true one.
    """

    name = "random-weights"
    title = "its maps change when the model's weights are drawn at random"
    bound = 0.5
    at_least = False

    def measure(self, candidate: Candidate, case: Case) -> tuple[float, str]:
        """Return the value and what it is of; see :class:`Trial`."""
        if candidate.is_control:
            raise NotApplicable("a control: it looks at no model")
        true = token_values(candidate.found)
        likeness: dict[str, list[float]] = {}
        for draw in range(N_DRAWS):
            for stage, model in randomised(case.model, random_state=case.random_state + draw):
                found = case.explain(candidate.probe, model, case.x, case.target)
                likeness.setdefault(stage, []).append(rank_correlation(true, token_values(found)))
        means = {stage: float(np.mean(values)) for stage, values in likeness.items()}
        by_stage = ", ".join(f"{stage} {value:.2f}" for stage, value in means.items())
        return means["all"], f"rank correlation with the true maps, by what was drawn at random: {by_stage}"


def randomised(model: nn.Module, random_state: int = 0) -> Iterator[tuple[str, nn.Module]]:
    """Yield copies of a model whose weights are drawn anew, from the head down.

    Each tensor gets normal numbers of its own mean and standard deviation; of one that is constant,
    a tenth of its value or 0.02.  Buffers stay.

    Parameters
    ----------
    model : torch.nn.Module
    random_state : int
        Seed.

    Yields
    ------
    stage : str
        ``"head"``, a share such as ``"50 %"``, at last ``"all"``.
    model : torch.nn.Module

    Raises
    ------
    ValueError
        The model has no parameters.
    RuntimeError
        A parameter of the last copy is as it was.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.probes.trials.random_weights import randomised
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 2)).eval()
    >>> [stage for stage, _ in randomised(model)]
    ['head', 'all']
    """
    names = [name for name, module in model.named_modules() if list(module.parameters(recurse=False))][::-1]
    if not names:
        raise ValueError(f"{type(model).__name__} has no parameters, so it cannot be randomised")
    generator = torch.Generator().manual_seed(random_state)
    copied = copy.deepcopy(model)
    ends = sorted({1, *(round(len(names) * part / (N_STAGES - 1)) for part in range(1, N_STAGES))})
    done = 0
    for end in ends:
        for name in names[done:end]:
            for parameter in copied.get_submodule(name).parameters(recurse=False):
                _draw(parameter, generator)
        done = end
        last = end == len(names)
        if last:
            check_moved(model, copied)
        yield "all" if last else "head" if end == 1 else f"{round(100 * end / len(names))} %", copied


def _draw(parameter: nn.Parameter, generator: torch.Generator) -> None:
    mean, spread = float(parameter.detach().double().mean()), 0.0
    if parameter.numel() > 1:
        spread = float(parameter.detach().double().std())
    if spread <= 1e-6 * abs(mean) or spread == 0:
        spread = max(0.1 * abs(mean), 0.02)
    drawn = mean + spread * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        parameter.copy_(drawn)


def check_moved(before: nn.Module, after: nn.Module) -> None:
    """Raise where a parameter did not move in nearly all of its numbers.

    Raises
    ------
    RuntimeError
        The message names the parameters.
    """
    old = dict(before.named_parameters())
    stayed = [
        name
        for name, parameter in after.named_parameters()
        if parameter.numel() and float((parameter != old[name]).double().mean()) < 0.9
    ]
    if stayed:
        raise RuntimeError(
            f"{len(stayed)} parameters did not move, so this is no model of random weights: {', '.join(stayed[:5])}"
        )


def rank_correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return how alike two sets of maps are: the size of Spearman's correlation, mean over windows,
    absent channels left out; a map of equal values resembles nothing (0).
    """
    found = []
    for first, second in zip(a.reshape(len(a), -1), b.reshape(len(b), -1), strict=True):
        both = ~(np.isnan(first) | np.isnan(second))
        first, second = first[both], second[both]
        if len(first) > 1 and np.ptp(first) > 0 and np.ptp(second) > 0:
            found.append(abs(float(spearmanr(first, second).statistic)))
        else:
            found.append(0.0)
    return float(np.mean(found))
