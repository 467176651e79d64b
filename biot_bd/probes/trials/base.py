"""What every test of a probe is, and what all of them are given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from biot_bd.models.attention.token_map import TokenMap
from biot_bd.probes.planted_models import PlantedModel
from biot_bd.probes.probe_table import Outcome, ProbeResult

Explain = Callable[..., TokenMap]


class NotApplicable(Exception):
    """A test does not apply to a probe; the text says why."""


@dataclass(frozen=True, eq=False)
class Case:
    """What probes are tested on.

    Parameters
    ----------
    model : torch.nn.Module
        In eval mode.
    x : Tensor, shape (n, n_chans, n_times)
        Windows.
    target : Tensor of int64, shape (n,)
        The class to ask about, for each window.
    random_state : int
        Seed of all that is drawn.
    make_planted : callable
        Gives the models that planted tests use.
    """

    model: nn.Module
    x: Tensor
    target: Tensor
    random_state: int
    make_planted: Callable[[], tuple[PlantedModel, ...]]
    kept: dict[Any, Any] = field(default_factory=dict, init=False)  # what tests share, by key

    @cached_property
    def planted(self) -> tuple[PlantedModel, ...]:
        """Models trained on planted evidence, made when first asked for."""
        return self.make_planted()

    def rng(self) -> np.random.Generator:
        """Return a generator that draws the same for every probe."""
        return np.random.default_rng(self.random_state)

    def explain(self, probe: Explain, model: nn.Module, x: Tensor, target: Tensor | int) -> TokenMap:
        """Call a probe with torch's own generator seeded, and leave that as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.random_state)
            return probe(model, x, target)


@dataclass(frozen=True, eq=False)
class Candidate:
    """A probe under test, with what it found on the windows of the case."""

    name: str
    probe: Any
    found: TokenMap

    @property
    def is_control(self) -> bool:
        """Whether it looks at no model, and says so."""
        return bool(getattr(self.probe, "control", False))

    @property
    def needs(self) -> frozenset[str]:
        """What it says that a model must have."""
        return frozenset(getattr(self.probe, "needs", frozenset()))

    @property
    def uses_attention(self) -> bool:
        """Whether it says that it reads attention maps."""
        return bool(self.needs & {"attention", "linear-attention"})

    @property
    def kind(self) -> Any:
        """The kind of map that it reads."""
        return self.found.info.get("kind", "exact")


class Trial(ABC):
    """A test: measures one number of a probe and compares it with a bound.

    ``name`` is what :func:`biot_bd.probes.evaluate` knows it by, ``title`` says in words what a
    probe that passes does.
    """

    name: str
    title: str
    bound: float
    at_least: bool = True

    @abstractmethod
    def measure(self, candidate: Candidate, case: Case) -> tuple[float, str]:
        """Return the value and what it is of.

        Raises
        ------
        NotApplicable
            There is nothing to measure.
        """

    def passes(self, value: float) -> bool:
        """Return whether a value is within the bound."""
        return value >= self.bound if self.at_least else value <= self.bound

    def judge(self, candidate: Candidate, case: Case) -> ProbeResult:
        """Measure and compare; a probe that raises has failed."""
        try:
            value, reason = self.measure(candidate, case)
        except NotApplicable as why:
            return self.result(candidate.name, "not applicable", None, str(why))
        except Exception as error:
            return self.result(candidate.name, "failed", None, one_line(error))
        if not np.isfinite(value):
            return self.result(candidate.name, "failed", None, f"not a finite number: {reason}")
        return self.result(candidate.name, "passed" if self.passes(value) else "failed", value, reason)

    def result(self, name: str, outcome: Outcome, value: float | None, reason: str) -> ProbeResult:
        """Return the row of a probe."""
        return ProbeResult(
            probe=name, test=self.name, outcome=outcome, value=value, bound=self.bound,
            at_least=self.at_least, title=self.title, reason=reason,
        )  # fmt: skip


def one_line(error: BaseException) -> str:
    """Return an error as one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


def token_values(found: TokenMap) -> NDArray[np.float64]:
    """Return a map's values without bands, shape (n, n_chans, n_frames)."""
    return np.asarray(found.without_bands().values, dtype=float)


def largest_difference(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the largest difference relative to the largest value; infinite where absences
    differ.
    """
    if a.shape != b.shape or not np.array_equal(np.isnan(a), np.isnan(b)):
        return float("inf")
    scale = max(float(np.nanmax(np.abs(a), initial=0.0)), 1e-30)
    return float(np.nanmax(np.abs(a - b), initial=0.0)) / scale
