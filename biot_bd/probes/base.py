"""What every probe gives back, and what every probe is.

A probe is called as ``probe(model, x, target=None)`` with a torch module in eval mode and windows
as a float tensor, and answers with an :class:`Explanation`.
"""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from torch import Tensor, nn

from biot_bd.runs import atomic_path, to_jsonable

DIMS = ("window", "layer", "head", "query", "key", "channel", "frame", "time")


@dataclass(frozen=True, eq=False)
class Explanation:
    """Values of a probe, and what their axes mean.

    Parameters
    ----------
    values : ndarray
        One axis for each name in ``dims``; NaN where a channel is absent.
    dims : tuple of str
        Names out of ``window, layer, head, query, key, channel, frame, time``, each at most once.
    layers : tuple of str, optional
        Names of the layers, where there is an axis ``layer``.
    info : dict
        Plain facts that JSON holds: the probe, its parameters, the layout of tokens.

    Raises
    ------
    ValueError
        Names, axes and layers do not fit each other.
    TypeError
        ``info`` holds something that JSON does not.

    See Also
    --------
    Probe : What makes one.

    Examples
    --------
    >>> import numpy as np
    >>> found = Explanation(np.arange(6.0).reshape(1, 2, 3), ("window", "channel", "time"))
    >>> found.sizes
    {'window': 1, 'channel': 2, 'time': 3}
    >>> found.select(window=0, channel=1)
    array([3., 4., 5.])
    """

    values: np.ndarray
    dims: tuple[str, ...]
    layers: tuple[str, ...] | None = None
    info: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        values, dims = np.asarray(self.values), tuple(self.dims)
        layers = None if self.layers is None else tuple(str(layer) for layer in self.layers)
        if not np.issubdtype(values.dtype, np.number):
            raise ValueError(f"values of an explanation must be numbers, got dtype {values.dtype}")
        unknown = [name for name in dims if name not in DIMS]
        if unknown or len(set(dims)) != len(dims):
            raise ValueError(f"dims must be names out of {', '.join(DIMS)}, each once; got {dims}")
        if len(dims) != values.ndim:
            raise ValueError(f"values of shape {values.shape} have {values.ndim} axes, dims name {len(dims)}: {dims}")
        if ("layer" in dims) != (layers is not None):
            raise ValueError(
                f"layers must be named exactly where there is an axis 'layer'; got dims {dims}, layers {layers}"
            )
        if layers is not None and len(layers) != values.shape[dims.index("layer")]:
            raise ValueError(f"{len(layers)} layer names for {values.shape[dims.index('layer')]} layers in values")
        for name, value in (("values", values), ("dims", dims), ("layers", layers), ("info", to_jsonable(self.info))):
            object.__setattr__(self, name, value)

    @property
    def sizes(self) -> dict[str, int]:
        """Length of each axis by name."""
        return dict(zip(self.dims, self.values.shape, strict=True))

    def select(self, **at: int | str) -> np.ndarray:
        """Return the values at one place of some axes, e.g. ``select(window=0, layer="...")``.

        Parameters
        ----------
        **at : int or str
            Axis name -> position; layers also by name.

        Returns
        -------
        ndarray
            The remaining axes, in order.

        Raises
        ------
        ValueError
            There is no such axis or layer.
        """
        missing = [name for name in at if name not in self.dims]
        if missing:
            raise ValueError(f"no axis {', '.join(missing)}; there are {', '.join(self.dims)}")
        place: list[Any] = [slice(None)] * self.values.ndim
        for name, position in at.items():
            if isinstance(position, str):
                if name != "layer" or position not in (self.layers or ()):
                    raise ValueError(f"no {name} named {position!r}; layers: {', '.join(self.layers or ()) or 'none'}")
                position = (self.layers or ()).index(position)
            place[self.dims.index(name)] = position
        return self.values[tuple(place)]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a ``.npz`` file, atomically; :meth:`load` reads it without pickle."""
        facts = {"dims": self.dims, "layers": self.layers, "info": self.info}
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, values=self.values, facts=np.array(json.dumps(to_jsonable(facts))))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Explanation:
        """Read what :meth:`save` wrote.

        Raises
        ------
        ValueError
            The file is not a saved explanation; the message names it.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                values, facts = stored["values"], json.loads(str(stored["facts"]))
            layers = facts["layers"]
            return cls(values, tuple(facts["dims"]), None if layers is None else tuple(layers), facts["info"])
        except FileNotFoundError:
            raise
        except Exception as error:
            raise ValueError(f"{path}: not a saved explanation ({type(error).__name__}: {error})") from error


class Probe(BaseEstimator, ABC):
    """Base of the built-in probes: plain keyword parameters, called with a model and windows.

    Plugins may register any class of that shape; deriving from this one adds ``get_params``,
    ``clone``, a readable ``repr`` and :meth:`check_input`.

    See Also
    --------
    biot_bd.testing.check_probe : Check a probe of one's own.

    Examples
    --------
    >>> import torch
    >>> class Loudness(Probe):
    ...     def __call__(self, model, x, target=None):
    ...         self.check_input(model, x)
    ...         return Explanation(x.std(dim=-1).numpy(), ("window", "channel"))
    >>> Loudness()(torch.nn.Identity().eval(), torch.zeros(1, 2, 100)).sizes
    {'window': 1, 'channel': 2}
    """

    @abstractmethod
    def __call__(self, model: nn.Module, x: Tensor, target: int | Sequence[int] | Tensor | None = None) -> Explanation:
        """Explain what ``model`` does on windows ``x``.

        Parameters
        ----------
        model : torch.nn.Module
            In eval mode.
        x : Tensor of float, shape (n, n_chans, n_times)
            Windows as the model sees them; absent channels NaN.
        target : int, sequence of int or Tensor, optional
            The class to explain, for probes that need one.

        Returns
        -------
        Explanation
        """

    @staticmethod
    def check_input(model: nn.Module, x: Tensor) -> None:
        """Check what every probe needs.

        Raises
        ------
        TypeError
            The model is no torch module, or the windows are no tensor.
        ValueError
            The model is in training mode, or the windows are not a float tensor of three
            dimensions.
        """
        if not isinstance(model, nn.Module):
            raise TypeError(
                f"a probe takes a torch module, got {type(model).__name__}; of a fitted classifier pass its module_"
            )
        if model.training:
            raise ValueError("a probe explains a model in eval mode: call model.eval() first")
        if not isinstance(x, Tensor):
            raise TypeError(f"a probe takes windows as a torch tensor, got {type(x).__name__}")
        if x.ndim != 3 or not x.is_floating_point() or len(x) == 0:
            raise ValueError(
                f"windows must be a float tensor of shape (n, n_chans, n_times), n > 0; got {x.dtype} {tuple(x.shape)}"
            )
