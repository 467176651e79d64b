"""Which number of a model's output a probe explains."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

Output = Literal["margin", "logit", "probability"]

UNITS: dict[str, str] = {"margin": "logit margin", "logit": "logit", "probability": "probability"}
"""What values are called, for each kind of output."""


def check_output(output: str) -> None:
    """Check the name of an output.

    Raises
    ------
    ValueError
        It is none of the three.
    """
    if output not in get_args(Output):
        raise ValueError(f"output must be one of {', '.join(get_args(Output))}; got {output!r}")


def explained_output(logits: Tensor, targets: Tensor, output: Output = "margin") -> Tensor:
    """Return the number that is explained, one for each window.

    Parameters
    ----------
    logits : Tensor, shape (n, n_outputs)
    targets : Tensor of int64, shape (n,)
        The class asked about.
    output : {"margin", "logit", "probability"}
        ``"margin"``: the logit of the target minus the logsumexp of the others, which is the log
        odds of its softmax probability; with two classes, the difference of the logits.  A single
        logit is ambiguous with two classes, as both may move together; a probability is flat where
        the model is sure.

    Returns
    -------
    Tensor, shape (n,)

    Raises
    ------
    ValueError
        The output has another name, or a single logit has no others.

    See Also
    --------
    biot_bd.probes.Probe.targets : The class to ask about.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.probes.explained_output import explained_output
    >>> explained_output(torch.tensor([[0.5, 2.0]]), torch.tensor([1])).tolist()
    [1.5]
    """
    check_output(output)
    chosen = logits.gather(1, targets[:, None])[:, 0]
    if output == "logit":
        return chosen
    if logits.shape[1] < 2:
        raise ValueError(f"a model with {logits.shape[1]} output has no {output} of one class: use output='logit'")
    others = torch.nn.functional.one_hot(targets, logits.shape[1]).bool()
    margin = chosen - logits.masked_fill(others, -torch.inf).logsumexp(dim=1)
    return margin if output == "margin" else margin.sigmoid()
