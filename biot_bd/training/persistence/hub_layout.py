"""The Hub layout of a module: what ``config.json`` must hold for plain braindecode to build and fill it."""

from __future__ import annotations

import json
from typing import Any

import braindecode.models

from biot_bd.models.biot import BIOT
from biot_bd.training.resume import seeded


def hub_layout(module: Any) -> tuple[str | None, dict[str, Any] | None]:
    """Return the class of braindecode that loads a module, and its ``config.json``.

    Parameters
    ----------
    module : torch.nn.Module
        Its weights are those that lie in ``model.safetensors``.

    Returns
    -------
    address : str or None
        E.g. ``"braindecode.models:BIOT"``; None where braindecode has no such module: one of another package, a BIOT
        whose channels are not its tokens in order, a module that was changed after it was built.
    config : dict or None
        What ``from_config`` of that class takes.
    """
    name = type(module).__name__
    cls: Any = getattr(braindecode.models, name, None)
    if type(module) not in (cls, BIOT) or not hasattr(module, "get_config"):
        return None, None
    try:
        config = module.get_config()
        json.dumps(config)
        if type(module) is BIOT:
            ids, size = config.pop("channel_ids"), config.pop("n_channel_tokens")
            if ids != list(range(size)):
                return None, None
        with seeded(0):  # the random weights of the trial must not move the caller's numbers
            built = cls.from_config(config)
    except (TypeError, ValueError, RuntimeError, AttributeError):
        return None, None
    found, wanted = ({key: tuple(value.shape) for key, value in one.state_dict().items()} for one in (built, module))
    return (f"braindecode.models:{name}", config) if found == wanted else (None, None)
