"""Integrated gradients on the signal, from a named baseline."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from biot_bd.probes.baseline_probe import BaselineProbe
from biot_bd.probes.baselines import Baseline
from biot_bd.probes.captum_extra import captum_attr
from biot_bd.probes.explained_output import Output
from biot_bd.probes.question import Question


class InputIGProbe(BaselineProbe):
    """Integrated gradients by sample, by captum: what the score owes to the signal being what
    it is and not the baseline.

    The method is that of [1]_.

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
        Points on the path, by the midpoint rule.
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
        return super()._counts() | {"steps": self.steps}

    def _at_once(self) -> int:
        return max(1, int(self.batch_size) // int(self.steps))

    def _from(self, question: Question, start: Tensor, rows: Tensor) -> Tensor:
        method = captum_attr("IntegratedGradients")(question.score_of)
        found: Tensor = method.attribute(
            question.x[rows],
            baselines=start,
            additional_forward_args=(rows,),
            n_steps=int(self.steps),
            method="riemann_middle",
            internal_batch_size=int(self.batch_size),
        )
        return found
