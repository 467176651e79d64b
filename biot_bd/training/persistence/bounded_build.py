"""Build the network of a saved model within what its weights need, and without a network of the
other kind.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from biot_bd.exceptions import SavedPipelineError

SPARE_BYTES = 64 * 2**20
SPARE_TENSORS = 20_000
_OF_A_SHAPE = (torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn)
_OF_A_SIZE = (torch.full, torch.empty_strided)
_OF_A_LENGTH = (torch.hann_window, torch.hamming_window, torch.blackman_window, torch.bartlett_window, torch.randperm)
_building = threading.local()


class _Counting(TorchFunctionMode):
    """Count what is asked for before it is allocated."""

    def __init__(self, folder: Path, n_bytes: int) -> None:
        super().__init__()
        self.folder, self.n_bytes, self.n_tensors = folder, 4 * n_bytes + SPARE_BYTES, SPARE_TENSORS

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        n_values = _asked_for(func, args, kwargs)
        if n_values is not None:
            self.n_bytes -= 4 * n_values
            self.n_tensors -= 1
            if self.n_bytes < 0 or self.n_tensors < 0:
                raise SavedPipelineError(
                    f"{self.folder}: the description asks for a network far larger than its weights; "
                    "it was not written by save_pipeline"
                )
        return func(*args, **kwargs)


def _asked_for(func: Any, args: Any, kwargs: Any) -> int | None:
    """Return how many values a function that makes a tensor would make; None of others."""
    if func in _OF_A_SHAPE:
        shape = args or (kwargs.get("size", ()),)
        return prod(shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape)
    if func in _OF_A_SIZE:
        return prod(args[0] if args else kwargs.get("size", ()))
    if func in _OF_A_LENGTH:
        return int(args[0]) if args else 0
    if func is torch.eye:
        return int(args[0]) * int(args[1] if len(args) > 1 else args[0])
    if func is torch.linspace:
        return int(args[2] if len(args) > 2 else kwargs.get("steps", 0))
    if func is torch.arange:
        start, stop = (0, args[0]) if len(args) == 1 else (args[0], args[1]) if args else (0, kwargs.get("end", 0))
        return max(0, int((stop - start) / (args[2] if len(args) > 2 else kwargs.get("step", 1))))
    return None


@contextmanager
def bounded_build(folder: Path, weights: Path) -> Iterator[None]:
    """Let a network be built that is at most a few times as large as its weights, and let this
    thread open no connection meanwhile: weights and vocabularies lie in the folder.

    Parameters
    ----------
    folder : Path
        For messages.
    weights : Path
        The file of weights.

    Raises
    ------
    SavedPipelineError
        More was asked for, or a connection.
    """
    _install_hook()
    _building.folder = folder
    try:
        with _Counting(folder, weights.stat().st_size):
            yield
    finally:
        _building.folder = None


def _refuse_connections(event: str, args: Any) -> None:
    if event in ("socket.getaddrinfo", "socket.connect", "socket.sendto", "socket.gethostbyname"):
        folder = getattr(_building, "folder", None)
        if folder is not None:
            raise SavedPipelineError(
                f"{folder}: its network wants a connection to be built, and loading a model opens none"
            )


_installed = threading.Lock()
_hooks: list[Any] = []


def _install_hook() -> None:
    # An audit hook stays for the life of the process, so there is one, and it looks at a flag.
    with _installed:
        if not _hooks:
            _hooks.append(_refuse_connections)
            sys.addaudithook(_refuse_connections)
