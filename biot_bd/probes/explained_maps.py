"""All maps of one explained window in one file with named axes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biot_bd.bounded_files import read_npz
from biot_bd.models.attention.layout import TokenLayout
from biot_bd.models.attention.token_map import TokenMap
from biot_bd.runs import atomic_path, to_jsonable

FORMAT, VERSION = "biot_bd maps", 1
ATTENTION_AXES = ("window", "head", "query", "key")


@dataclass(frozen=True)
class ExplainedMaps:
    """What probes say of one window, the attention maps of its pass, and its EEG.

    Parameters
    ----------
    probes : dict of str to TokenMap
        By name of the probe.
    attention : dict of str to ndarray, shape (n, heads, queries, keys)
        By path of the attention module, in the order of their calls.
    layouts : dict of str to TokenLayout or None
        What queries and keys of each map are; None where that is not known.
    eeg_uv : ndarray, shape (n_chans, n_times)
        The window in the channels that the model sees, in microvolts; NaN where absent.
    ch_names : tuple of str
        Its channels.
    sfreq : float or None
        Its samples a second, where that is known.
    facts : dict
        Model, recording, start, probability.

    See Also
    --------
    load_maps : Reads the file.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.models import TokenLayout, TokenMap
    >>> from biot_bd.probes import ExplainedMaps, load_maps
    >>> found = TokenMap(
    ...     np.ones((1, 2, 1)), TokenLayout(("C3", "C4"), [0], [2]), probe="energy"
    ... )
    >>> ExplainedMaps({"energy": found}, {}, {}, np.zeros((2, 400)), ("C3", "C4"), 200.0).save(
    ...     "maps.npz"
    ... )
    >>> load_maps("maps.npz").probes["energy"].by_channel().tolist()
    [[1.0, 1.0]]
    """

    probes: Mapping[str, TokenMap]
    attention: Mapping[str, NDArray[Any]]
    layouts: Mapping[str, TokenLayout | None]
    eeg_uv: NDArray[Any]
    ch_names: tuple[str, ...]
    sfreq: float | None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def axes(self) -> dict[str, list[str]]:
        """Names of the axes of each array of the file."""
        named = {f"probe/{name}": list(found.dims) for name, found in self.probes.items()}
        named |= {f"attention/{layer}": list(ATTENTION_AXES) for layer in self.attention}
        return named | {"eeg_uv": ["channel", "time"]}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a ``.npz`` file, atomically.

        Its arrays are ``probe/NAME``, ``special/NAME`` (of special tokens), ``attention/LAYER`` and
        ``eeg_uv``; ``about`` is JSON with the axes of each, channels and seconds.
        """
        arrays: dict[str, NDArray[Any]] = {"eeg_uv": self.eeg_uv}
        for name, found in self.probes.items():
            arrays[f"probe/{name}"] = found.values
            if found.special is not None:
                arrays[f"special/{name}"] = found.special
        arrays |= {f"attention/{layer}": weights for layer, weights in self.attention.items()}
        about = {
            "format": FORMAT,
            "version": VERSION,
            "axes": self.axes,
            "ch_names": self.ch_names,
            "sfreq": self.sfreq,
            "probes": {name: found.as_dict() for name, found in self.probes.items()},
            "layouts": {layer: None if one is None else one.as_dict() for layer, one in self.layouts.items()},
            "facts": self.facts,
        }
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays, about=np.array(json.dumps(to_jsonable(about))))


def load_maps(path: str | os.PathLike[str]) -> ExplainedMaps:
    """Read the ``maps.npz`` that ``biot-bd explain`` wrote.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    ExplainedMaps

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        It is no such file; the message names it.

    See Also
    --------
    ExplainedMaps : What it holds, and writes it.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.probes import ExplainedMaps, load_maps
    >>> ExplainedMaps({}, {}, {}, np.zeros((1, 4)), ("C3",), 2.0).save("maps.npz")
    >>> load_maps("maps.npz").axes
    {'eeg_uv': ['channel', 'time']}
    """
    try:
        stored = read_npz(path)
        return _of(stored, json.loads(str(stored["about"])))
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(f"{path}: no file of maps ({type(error).__name__}: {error})") from error


def _of(stored: Mapping[str, Any], about: dict[str, Any]) -> ExplainedMaps:
    if (about["format"], about["version"]) != (FORMAT, VERSION):
        raise ValueError(f"expected {FORMAT} {VERSION}, found {about['format']} {about['version']}")
    return ExplainedMaps(
        probes={
            name: TokenMap.from_dict(facts, stored[f"probe/{name}"], stored.get(f"special/{name}"))
            for name, facts in about["probes"].items()
        },
        attention={layer: stored[f"attention/{layer}"] for layer in about["layouts"]},
        layouts={
            layer: None if facts is None else TokenLayout.from_dict(facts) for layer, facts in about["layouts"].items()
        },
        eeg_uv=stored["eeg_uv"],
        ch_names=tuple(about["ch_names"]),
        sfreq=about["sfreq"],
        facts=about["facts"],
    )
