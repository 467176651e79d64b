"""Base of the probes that compare a signal with a baseline."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from biot_bd.models.attention.token_map import TokenMap
from biot_bd.probes.baselines import Baseline, baselines_of, check_baseline
from biot_bd.probes.completeness import completeness
from biot_bd.probes.progress_bar import with_progress
from biot_bd.probes.question import Question
from biot_bd.probes.target_probe import TargetProbe


class BaselineProbe(TargetProbe):
    """Base of the probes that share out the difference between the score of a window and that of a
    baseline, by sample.

    Subclasses have the parameters below and a method ``_from``, which attributes from one baseline.

    See Also
    --------
    InputIGProbe : Explains the parameters.
    """

    _name: str
    baseline: Baseline
    n_baselines: int
    background: Any
    random_state: int
    progress: bool

    def _counts(self) -> dict[str, int]:
        return super()._counts() | {"n_baselines": self.n_baselines}

    def _explain(self, question: Question) -> TokenMap:
        check_baseline(self.baseline, self.background)
        starts = baselines_of(
            question.x,
            self.baseline,
            n_baselines=int(self.n_baselines),
            background=self.background,
            random_state=self.random_state,
        )
        batches = torch.arange(len(question.x), device=question.x.device).split(self._at_once())
        total, begun = torch.zeros_like(question.x), torch.zeros_like(question.scores)
        places = [(start, rows) for start in starts for rows in batches]
        for start, rows in with_progress(places, len(places), self._name, self.progress):
            total[rows] += self._from(question, start[rows], rows).detach()
            with torch.no_grad():
                begun[rows] += question.score_of(start[rows], rows)
        values = question.marked(total / len(starts))
        return TokenMap(
            values,
            self.layout_by_sample(question.model, question.x),
            probe=self._name,
            signed=True,
            target=question.target,
            unit=question.unit,
            info={"baseline": self.baseline, "n_baselines": len(starts)}
            | completeness(values, question.scores - begun / len(starts)),
        )

    def _at_once(self) -> int:
        """Return how many windows are given to ``_from``."""
        return int(self.batch_size)

    @abstractmethod
    def _from(self, question: Question, start: Tensor, rows: Tensor) -> Tensor:
        """Return attributions of some windows, (m, n_chans, n_times), from a baseline."""
