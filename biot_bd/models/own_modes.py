"""Modes of torch that a caller may have on, and that must not move what a classifier computes.

``torch.autocast``, ``inference_mode``, ``no_grad``, the default dtype and the default device reach
into everything that is called inside of them.  A module follows them; a classifier has parameters
of its own for precision and device.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch


@contextmanager
def own_modes(device: torch.device | str, training: bool = False) -> Iterator[None]:
    """Leave a caller's modes outside of a block.

    Parameters
    ----------
    device : device or str
        Where the block computes.
    training : bool
        Whether it also needs gradients and makes float32 parameters.  The default dtype belongs to
        the process, so only one thread at a time may train.
    """
    with ExitStack() as stack:
        for kind in {"cpu", torch.device(device).type}:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        if training:
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.enable_grad())
            stack.enter_context(_float32_by_default())
        yield


@contextmanager
def _float32_by_default() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
