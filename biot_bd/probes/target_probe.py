"""Base of the probes that ask a model about a class."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from biot_bd.models.attention.token_map import TokenMap
from biot_bd.probes.base import Probe
from biot_bd.probes.explained_output import Output, check_output
from biot_bd.probes.question import Question, ask, plainly


class TargetProbe(Probe):
    """Base of the built-in probes that explain why a model gives a class its score.

    Subclasses have the parameters ``output`` and ``batch_size`` and a method ``_explain``, which is
    given the windows as the model takes them.

    See Also
    --------
    Probe : The base of all.
    """

    output: Output
    batch_size: int

    def __call__(self, model: nn.Module, x: Tensor, target: int | Sequence[int] | Tensor | None = None) -> TokenMap:
        """Explain the score of a class.

        Parameters
        ----------
        model : torch.nn.Module
            In eval mode, giving logits (n, n_outputs); it is left as it was.
        x : Tensor of float, shape (n, n_chans, n_times)
            Windows as the model sees them; absent channels NaN.
        target : int, sequence of int or Tensor, optional
            The class to explain, for all windows or for each; None: the predicted one.

        Returns
        -------
        TokenMap
            NaN for absent channels.

        Raises
        ------
        TypeError
            The model is no torch module, or the windows are no tensor.
        ValueError
            The input or a parameter is wrong, or the model cannot be explained in this way.
        """
        self.check_input(model, x)
        check_output(self.output)
        for name, value in self._counts().items():
            if isinstance(value, bool) or int(value) != value or value < 1:
                raise ValueError(f"{name} must be 1 or more, got {value!r}")
        with plainly(model):
            return self._explain(ask(model, x, target, self.output, int(self.batch_size)))

    def _counts(self) -> dict[str, int]:
        """Return the parameters that count something, which must be 1 or more."""
        return {"batch_size": self.batch_size}

    @abstractmethod
    def _explain(self, question: Question) -> TokenMap:
        """Explain the output asked about."""
