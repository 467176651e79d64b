"""Restart points: after each epoch the whole state of a fit, so that a killed one goes on at its
last epoch.

One file a fit, named by the fingerprint of its parameters and data, so fits with other parameters
or data never mix.  The file is written atomically and holds plain data and tensors only
(``torch.load(weights_only=True)``).  It stays after the fit has ended: the same fit called again
then returns at once.  Delete the folder when the model is saved.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from biot_bd.runs import atomic_path, fingerprint, note_done

FORMAT = 2
UNSEEN = ("log_dir", "restart_dir", "verbose", "data_on_device")
"""Parameters that do not change what is learnt."""


# --- random numbers -------------------------------------------------------------------------------


class _Turn:
    """Whose turn it is to draw from the generators, which all threads share."""

    lock = threading.RLock()

    @classmethod
    def renew(cls) -> None:
        cls.lock = threading.RLock()


if hasattr(os, "register_at_fork"):  # a forked worker must not wait for a thread that it does not have
    os.register_at_fork(after_in_child=_Turn.renew)


@contextmanager
def kept_random_states() -> Iterator[None]:
    """Put the random numbers of torch, numpy and random back after the block.

    The generators belong to the process, so blocks in several threads run one after another.
    """
    with _Turn.lock:
        before = random_states()
        try:
            yield
        finally:
            set_random_states(before)


@contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Seed torch, numpy and random inside the block and put their states back after it.

    None leaves them alone.  Blocks in several threads run one after another.
    """
    if seed is None:
        with _Turn.lock:
            yield
        return
    with kept_random_states():
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        random.seed(seed)
        yield


def mixed_seed(*parts: int) -> int:
    """Return one seed of several whole numbers from 0 on, such as (seed, epoch, batch).

    Examples
    --------
    >>> from biot_bd.training.resume import mixed_seed
    >>> mixed_seed(0, 1, 2) == mixed_seed(0, 1, 2), mixed_seed(0, 1, 2) == mixed_seed(0, 2, 1)
    (True, False)
    """
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


def random_states() -> dict[str, Any]:
    """Return the states of the random numbers of torch, numpy and random, as plain data and
    tensors.
    """
    name, keys, *rest = np.random.get_state()  # noqa: NPY002
    version, words, gauss = random.getstate()
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": [name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest],
        "python": [version, list(words), gauss],
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_states(state: dict[str, Any]) -> None:
    """Put back what :func:`random_states` returned."""
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    torch.set_rng_state(state["torch"].cpu())
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())


# --- fingerprints ---------------------------------------------------------------------------------


def array_digest(x: NDArray[Any]) -> str:
    """Return a text that changes with the shape, dtype or any value of an array."""
    x = np.ascontiguousarray(x)
    if x.dtype.kind in "OUS":
        x = np.array([str(value) for value in x.ravel()])
    digest = hashlib.blake2b(digest_size=12)
    digest.update(f"{x.shape} {x.dtype.str}".encode())
    digest.update(x.data.cast("B") if x.size else b"")
    return digest.hexdigest()


def describe(value: Any) -> Any:
    """Describe a parameter as JSON holds it, alike in every process.

    Classes by path, arrays by digest, objects by content.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return {"array": array_digest(value)}
    if isinstance(value, (pd.Series, pd.Index)):
        return describe(list(value.items() if isinstance(value, pd.Series) else value))
    if isinstance(value, torch.Tensor):
        return {"tensor": array_digest(value.detach().cpu().float().numpy())}
    if isinstance(value, Mapping):
        return {str(k): describe(v) for k, v in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(json.dumps(describe(v), sort_keys=True) for v in value)
    if isinstance(value, (list, tuple)):
        return [describe(v) for v in value]
    if isinstance(value, torch.nn.Module):
        return {"module": _path(type(value)), "state": describe(value.state_dict())}
    if isinstance(value, type) or hasattr(value, "__qualname__"):
        return _path(value)
    content = value.get_params(deep=False) if hasattr(value, "get_params") else getattr(value, "__dict__", {})
    return {"object": _path(type(value)), "content": describe(content)}


def _path(obj: Any) -> str:
    return f"{obj.__module__}:{obj.__qualname__}"


# --- states ---------------------------------------------------------------------------------------


def _encode(value: Any) -> Any:
    """Turn a value into what ``torch.load(weights_only=True)`` reads back.

    ``TypeError`` where there is nothing such.
    """
    if isinstance(value, np.generic):  # first: np.float64 is a float
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str, torch.Tensor)):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return {"$array": torch.from_numpy(value.copy())}
    if isinstance(value, (list, tuple)):
        return type(value)(_encode(v) for v in value)
    if isinstance(value, dict):
        return {k: _encode(v) for k, v in value.items()}
    raise TypeError(f"a restart point cannot hold {type(value).__name__}")


def _decode(value: Any) -> Any:
    if isinstance(value, dict) and "$array" in value:
        return value["$array"].cpu().numpy()
    if isinstance(value, dict):
        return {k: _decode(v) for k, v in value.items()}
    return type(value)(_decode(v) for v in value) if isinstance(value, (list, tuple)) else value


def _plain_items(values: Mapping[str, Any]) -> dict[str, Any]:
    """Encode the values that can be; the others (functions, classes) follow from the parameters."""
    found = {}
    for key, value in values.items():
        with suppress(TypeError):
            found[key] = _encode(value)
    return found


def _callback_state(callback: Any) -> dict[str, Any]:
    if hasattr(callback, "state_dict"):
        return {"$own": _encode(callback.state_dict())}
    learnt = {k: v for k, v in vars(callback).items() if k.endswith("_") and not k.startswith("_")}
    state = _plain_items(learnt)
    for key, value in learnt.items():
        if not isinstance(value, type) and hasattr(value, "state_dict") and hasattr(value, "load_state_dict"):
            state[key] = {"$state_dict": _plain_items(value.state_dict())}
    return state


def _set_callback_state(callback: Any, state: dict[str, Any]) -> None:
    if "$own" in state:
        callback.load_state_dict(_decode(state["$own"]))
        return
    for key, value in state.items():
        if isinstance(value, dict) and "$state_dict" in value:
            getattr(callback, key).load_state_dict(_decode(value["$state_dict"]))
        else:
            setattr(callback, key, _decode(value))


class RestartPoint:
    """The restart point of one fit.

    Callbacks take part with their attributes that end in ``_`` and are plain data, arrays, tensors
    or have ``state_dict`` (learning-rate schedulers), or with ``state_dict``/``load_state_dict`` of
    their own.

    Parameters
    ----------
    folder : path
        Where the file lies; made when needed.
    facts : dict
        What makes this fit this fit (parameters, data, seed, split), JSON.

    Attributes
    ----------
    path : Path
    """

    def __init__(self, folder: str | Path, facts: dict[str, Any]) -> None:
        self.fingerprint = fingerprint(facts)
        self.path = Path(folder) / f"restart-{self.fingerprint}.pt"

    def save(self, net: Any) -> None:
        """Write the state of a net after an epoch."""
        scaler = getattr(net, "scaler_", None)
        state = {
            "format": FORMAT,
            "fingerprint": self.fingerprint,
            "module": net.module_.state_dict(),
            "criterion": net.criterion_.state_dict() if isinstance(net.criterion_, torch.nn.Module) else {},
            "optimizer": _encode(net.optimizer_.state_dict()),
            **net._restart_state(),
            "scaler": None if scaler is None else _encode(scaler.state_dict()),
            "history": json.dumps(net.history.to_list(), default=_number),
            "callbacks": {name: _callback_state(callback) for name, callback in net.callbacks_},
            "random": random_states(),
        }
        with atomic_path(self.path) as temporary:
            torch.save(state, temporary)
        note_done("epochs", len(net.history), net.max_epochs)

    def _content(self) -> bytes | None:
        if not self.path.is_file():
            return None
        with suppress(OSError):
            return self.path.read_bytes()
        return b""  # not usable, as is said of a damaged one

    def load(self, net: Any) -> bool:
        """Put the stored state into an initialised net; return False where there is none.

        Of several processes that share a fit, the main one reads it for all.

        A file that cannot be read, or that is of another version, is left out with a warning; so
        are the restart points of other fits in the same folder.
        """
        content = net._processes.agreed(self._content() if net._processes.is_main else None)
        if content is None:
            if others := sorted(self.path.parent.glob("restart-*.pt")):
                warnings.warn(
                    f"{self.path.parent} holds {len(others)} restart point(s) of fits with other parameters or data; starting with the first epoch",
                    stacklevel=2,
                )
            return False
        try:
            state = torch.load(io.BytesIO(content), map_location=net.device, weights_only=True)
            if state["format"] != FORMAT or state["fingerprint"] != self.fingerprint:
                raise ValueError(f"format {state['format']} of fit {state['fingerprint']}")
            history = json.loads(state["history"])
            own = net._read_restart_state(state)
        except Exception as error:  # a damaged file fails in many ways, and the fit can always start afresh
            warnings.warn(
                f"{self.path}: not a usable restart point ({error}); starting with the first epoch", stacklevel=2
            )
            return False
        net._take_restart_state(own)
        net.module_.load_state_dict(state["module"])
        if isinstance(net.criterion_, torch.nn.Module):
            net.criterion_.load_state_dict(state["criterion"])
        finetuning = net._finetuning()
        if finetuning is not None:  # parts may have thawed since the first epoch
            finetuning.resume(net, len(history))
        net.optimizer_.load_state_dict(_decode(state["optimizer"]))
        if state["scaler"] is not None:
            net.scaler_.load_state_dict(_decode(state["scaler"]))
        net.history.clear()
        net.history.extend(history)
        for name, callback in net.callbacks_:
            if name in state["callbacks"]:
                _set_callback_state(callback, state["callbacks"][name])
        set_random_states(state["random"])
        return True


def _number(value: Any) -> Any:
    """Make JSON of numpy numbers in a history; floats come back exactly."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"the history holds {value!r}, which a restart point cannot keep; record numbers or texts")
