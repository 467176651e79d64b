"""Integrated gradients on the signal, from a named baseline."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from biot_bd.models.attention.token_map import TokenMap
from biot_bd.probes.baselines import Baseline, baselines_of, check_baseline
from biot_bd.probes.captum_extra import captum_attr
from biot_bd.probes.completeness import completeness
from biot_bd.probes.explained_output import Output
from biot_bd.probes.progress_bar import with_progress
from biot_bd.probes.question import Question
from biot_bd.probes.target_probe import TargetProbe


class InputIGProbe(TargetProbe):
    """Integrated gradients [1]_ by sample, by captum: what the score owes to the signal being what
    it is and not the baseline.

    Parameters
    ----------
    baseline : {"phase-surrogate", "interictal-mean", "zero"}
        ``"phase-surrogate"``: the same spectrum with other phases, mean over ``n_baselines`` of
        them.  ``"interictal-mean"``: mean over windows of the background (of the attributions, for
        the mean of many EEG signals is next to no signal).  ``"zero"``: warns, as no working
        electrode records zeros.
    n_baselines : int
        Surrogates, or windows of the background, evenly spread.
    background : array or Windows, shape (m, n_chans, n_times), optional
        Windows without seizures, as the model takes them, for ``"interictal-mean"``.
    steps : int
        Points of the quadrature along the path.
    random_state : int
        Of the surrogates.
    output : {"margin", "logit", "probability"}
        What is explained; ``"margin"``: the log odds of the class.
    batch_size : int
        Points a forward and backward pass.
    progress : bool
        Show a progress bar.

    Raises
    ------
    biot_bd.exceptions.MissingExtraError
        When called: captum is not installed.

    See Also
    --------
    TokenIGProbe : On tokens.

    References
    ----------
    .. [1] Sundararajan, M., Taly, A., Yan, Q. (2017). Axiomatic Attribution for Deep Networks.
       ICML.

    Examples
    --------
    >>> import torch
    >>> from biot_bd import BIOT
    >>> from biot_bd.probes import InputIGProbe
    >>> size = {"embed_dim": 16, "num_heads": 2, "num_layers": 1}
    >>> model = BIOT(n_outputs=2, n_chans=2, n_times=400, sfreq=200, **size).eval()
    >>> found = InputIGProbe(n_baselines=1)(model, torch.randn(1, 2, 400))
    >>> found.values.shape, found.signed
    ((1, 2, 400), True)
    """

    _name = "input-ig"
    title = "what the decision rests on, by sample (integrated gradients)"
    needs = frozenset({"gradients"})

    def __init__(
        self,
        baseline: Baseline = "phase-surrogate",
        n_baselines: int = 4,
        background: Any = None,
        steps: int = 32,
        random_state: int = 0,
        output: Output = "margin",
        batch_size: int = 32,
        progress: bool = False,
    ) -> None:
        self.baseline = baseline
        self.n_baselines = n_baselines
        self.background = background
        self.steps = steps
        self.random_state = random_state
        self.output = output
        self.batch_size = batch_size
        self.progress = progress

    def _counts(self) -> dict[str, int]:
        return super()._counts() | {"n_baselines": self.n_baselines, "steps": self.steps}

    def _explain(self, question: Question) -> TokenMap:
        check_baseline(self.baseline, self.background)
        starts = baselines_of(
            question.x,
            self.baseline,
            n_baselines=int(self.n_baselines),
            background=self.background,
            random_state=self.random_state,
        )
        found = []
        for start in with_progress(starts, len(starts), self._name, self.progress):
            found.append(self._from(question, start))
        values = question.marked(torch.stack([values for values, _ in found]).mean(dim=0))
        expected = question.scores - torch.stack([score for _, score in found]).mean(dim=0)
        return TokenMap(
            values,
            self.layout_by_sample(question.model, question.x),
            probe=self._name,
            signed=True,
            target=question.target,
            unit=question.unit,
            info={"baseline": self.baseline, "n_baselines": len(starts), "steps": int(self.steps)}
            | completeness(values, expected),
        )

    def _from(self, question: Question, start: Tensor) -> tuple[Tensor, Tensor]:
        """Return attributions from one baseline and the scores there."""
        method = captum_attr("IntegratedGradients")(question.score_of)
        at_once = max(1, int(self.batch_size) // int(self.steps))
        parts = []
        for rows in torch.arange(len(start), device=start.device).split(at_once):
            values = method.attribute(
                question.x[rows],
                baselines=start[rows],
                additional_forward_args=(rows,),
                n_steps=int(self.steps),
                internal_batch_size=max(int(self.batch_size), len(rows)),
            )
            parts.append(values.detach())
        rows = torch.arange(len(start), device=start.device)
        with torch.no_grad():
            scores = [question.score_of(start[some], some) for some in rows.split(int(self.batch_size))]
        return torch.cat(parts), torch.cat(scores)
