"""Saliency: how much a small change of each sample moves the score."""

from __future__ import annotations

import torch

from biot_bd.models.attention.token_map import TokenMap
from biot_bd.probes.captum_extra import captum_attr
from biot_bd.probes.explained_output import Output
from biot_bd.probes.question import Question
from biot_bd.probes.target_probe import TargetProbe


class SaliencyProbe(TargetProbe):
    """Size of the gradient of the score by sample, by captum.

    The method is that of [1]_.  It says where the model is sensitive, not what its decision rests
    on: a burst that is there and counts may have a small gradient, for more of it would change
    little.

    Parameters
    ----------
    output : {"margin", "logit", "probability"}
        What is explained; ``"margin"``: the log odds of the class.
    batch_size : int
        Windows a pass.

    Raises
    ------
    biot_bd.exceptions.MissingExtraError
        When called: captum is not installed.

    See Also
    --------
    InputIGProbe : What the decision rests on, by sample.

    References
    ----------
    .. [1] Simonyan, K., Vedaldi, A., Zisserman, A. (2014). Deep Inside Convolutional Networks:
       Visualising Image Classification Models and Saliency Maps. ICLR workshop.

    Examples
    --------
    >>> import torch
    >>> from biot_bd import BIOT
    >>> from biot_bd.probes import SaliencyProbe
    >>> size = {"embed_dim": 16, "num_heads": 2, "num_layers": 1}
    >>> model = BIOT(n_outputs=2, n_chans=2, n_times=400, sfreq=200, **size).eval()
    >>> SaliencyProbe()(model, torch.randn(1, 2, 400)).values.shape
    (1, 2, 400)
    """

    _name = "saliency"
    title = "where a small change of the signal would move the decision (saliency)"
    needs = frozenset({"gradients"})

    def __init__(self, output: Output = "margin", batch_size: int = 32) -> None:
        self.output = output
        self.batch_size = batch_size

    def _explain(self, question: Question) -> TokenMap:
        saliency = captum_attr("Saliency")(question.score_of)
        parts = [
            saliency.attribute(question.x[rows].requires_grad_(), additional_forward_args=(rows,)).detach()
            for rows in torch.arange(len(question.x), device=question.x.device).split(int(self.batch_size))
        ]
        return TokenMap(
            question.marked(torch.cat(parts)),
            self.layout_by_sample(question.model, question.x),
            probe=self._name,
            target=question.target,
            unit=f"|change of the {question.unit} by unit of the signal|",
        )
