"""DeepLIFT, where it holds."""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from biot_bd.models.attention.token_map import TokenMap
from biot_bd.probes.baseline_probe import BaselineProbe
from biot_bd.probes.baselines import Baseline
from biot_bd.probes.captum_extra import captum_attr
from biot_bd.probes.explained_output import Output
from biot_bd.probes.question import Question

TOLERANCE = 0.01
"""Most that attributions may miss of what they explain, as a share."""


class DeepLIFTProbe(BaselineProbe):
    """DeepLIFT by sample, by captum; refused where it does not add up.

    The method is that of [1]_.  Its rules cover some modules (ReLU, ELU, Sigmoid, Tanh,
    Softmax, max pooling).  What a transformer computes besides (products of activations, GELU,
    LayerNorm, the size of a spectrum, activations called as functions) has none and is taken
    for linear, without an error, so the attributions miss what they should add up to.  That is
    measured at each call.

    Parameters
    ----------
    baseline : {"phase-surrogate", "interictal-mean", "zero"}
        As for :class:`InputIGProbe`.
    n_baselines : int
        Surrogates, or windows of the background, evenly spread.
    background : array or Windows, shape (m, n_chans, n_times), optional
        Windows without seizures, as the model takes them, for ``"interictal-mean"``.
    random_state : int
        Of the surrogates.
    output : {"margin", "logit", "probability"}
        What is explained; ``"margin"``: the log odds of the class.
    batch_size : int
        Windows a pass.
    progress : bool
        Show a progress bar.

    Raises
    ------
    ValueError
        When called: attributions miss more than 1 % of what they explain.
    biot_bd.exceptions.MissingExtraError
        When called: captum is not installed.

    See Also
    --------
    InputIGProbe : Adds up on any model with gradients.

    References
    ----------
    .. [1] Shrikumar, A., Greenside, P., Kundaje, A. (2017). Learning Important Features Through
       Propagating Activation Differences. ICML.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from biot_bd.probes import DeepLIFTProbe
    >>> model = nn.Sequential(
    ...     nn.Flatten(), nn.Linear(200, 8), nn.ReLU(), nn.Linear(8, 2)
    ... ).eval()
    >>> DeepLIFTProbe()(model, torch.randn(1, 2, 100)).values.shape
    (1, 2, 100)
    """

    _name = "deeplift"
    title = "what the decision rests on, by sample (DeepLIFT)"
    needs = frozenset({"gradients"})

    def __init__(
        self,
        baseline: Baseline = "phase-surrogate",
        n_baselines: int = 4,
        background: Any = None,
        random_state: int = 0,
        output: Output = "margin",
        batch_size: int = 32,
        progress: bool = False,
    ) -> None:
        self.baseline = baseline
        self.n_baselines = n_baselines
        self.background = background
        self.random_state = random_state
        self.output = output
        self.batch_size = batch_size
        self.progress = progress

    def _explain(self, question: Question) -> TokenMap:
        # A copy: captum leaves tensors behind on modules that its rules did not reach.
        found = super()._explain(replace(question, model=copy.deepcopy(question.model)))
        missed = found.info["completeness_error_relative"]
        if missed is not None and missed > TOLERANCE:
            raise ValueError(
                f"DeepLIFT is wrong on this {type(question.model).__name__}: its attributions miss {missed:.0%} of the "
                f"{question.unit} that they should add up to, as it has rules for a few modules only, and none for GELU, "
                "LayerNorm, products of activations, spectra or activations called as functions; use 'token-ig' or 'input-ig'"
            )
        return found

    def _from(self, question: Question, start: Tensor, rows: Tensor) -> Tensor:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Setting forward, backward hooks", UserWarning)
            method = captum_attr("DeepLift")(_Scored(question))
            x = question.x[rows].requires_grad_()
            found: Tensor = method.attribute(x, baselines=start, additional_forward_args=(rows,))
        return found


class _Scored(nn.Module):
    """A model that gives the explained output."""

    def __init__(self, question: Question) -> None:
        super().__init__()
        self.model = question.model
        self.question = question

    def forward(self, x: Tensor, rows: Tensor) -> Tensor:
        return self.question.score_of(x, rows)
