"""Weight-decomposed low-rank adaptation through ``peft`` (the extra ``lora``)."""

from __future__ import annotations

from typing import Any

from torch import nn

from biot_bd.training.finetuning.lora import LoRA


class DoRA(LoRA):
    r"""Train directions of low rank and magnitudes of a few linear maps, and the head.

    Every other weight is frozen [1]_.

    A map :math:`W` becomes :math:`m \frac{V}{\lVert V \rVert}` with
    :math:`V = W + \frac{\alpha}{r} B A`, the norm of each row (an output), and :math:`m` (out,) at
    first :math:`\lVert W \rVert`.  When training ends the product takes the place of the weights.

    Parameters
    ----------
    r : int
        Rank of the updates.
    alpha : float
        Scale of the updates.
    dropout : float
        Dropout in front of :math:`A`.
    targets : sequence of str
        Ends of the names of the linear maps, as in :class:`LoRA`.

    See Also
    --------
    LoRA : Without magnitudes.

    Notes
    -----
    Magnitudes take no weight decay, which would shrink the maps themselves.

    References
    ----------
    .. [1] Liu, S.-Y. et al. (2024). DoRA: Weight-Decomposed Low-Rank Adaptation. ICML.

    Examples
    --------
    >>> from biot_bd.training.finetuning import DoRA
    >>> DoRA(r=4).decays("encoder.to_q.lora_magnitude_vector.default.weight")
    False
    """

    def config(self, module: nn.Module, found: list[str]) -> Any:
        """Return the configuration of ``peft`` for the linear maps of these paths."""
        config = super().config(module, found)
        config.use_dora = True
        return config

    def decays(self, name: str) -> bool:
        """Return False for magnitudes."""
        return "lora_magnitude_vector" not in name
