"""Which layers of a model to show."""

from __future__ import annotations


def early_middle_late(n_layers: int) -> dict[str, int]:
    """Choose the layers to show of a model of any depth.

    Parameters
    ----------
    n_layers : int
        Number of attention layers, 1 or more.

    Returns
    -------
    dict of str to int
        ``early``, ``middle`` and ``late`` with their layer numbers; two layers have no ``middle``,
        and a single layer is called ``only``.

    Raises
    ------
    ValueError
        There is no layer.

    See Also
    --------
    attention_layers : The layers that a model has.
    AttentionTrace : ``trace.early``, ``trace.middle``, ``trace.late``.

    Examples
    --------
    >>> from biot_bd.models import early_middle_late
    >>> early_middle_late(4)
    {'early': 0, 'middle': 2, 'late': 3}
    >>> early_middle_late(1)
    {'only': 0}
    """
    if n_layers < 1:
        raise ValueError(f"a model needs one attention layer or more to choose from, got {n_layers}")
    if n_layers == 1:
        return {"only": 0}
    if n_layers == 2:
        return {"early": 0, "late": 1}
    return {"early": 0, "middle": n_layers // 2, "late": n_layers - 1}
