"""Which code of one's own embeddings depend on: models and steps of plugins have no version."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Iterable
from pathlib import Path

VERSIONED = frozenset(("biot_bd", "braindecode", "torch", "sklearn", "builtins", "abc"))
"""Packages whose versions an identity names, or that change no number."""


def own_code(classes: Iterable[type]) -> dict[str, str]:
    """Return a digest of the code of classes, and of what they are made of, outside our packages.

    Parameters
    ----------
    classes : iterable of type

    Returns
    -------
    dict of str to str
        By module: of its file; of a script or a notebook, which changes for many reasons, that of
        the class alone (by ``module:class``).

    Examples
    --------
    >>> from torch import nn
    >>> from biot_bd.embedding.own_code import own_code
    >>> own_code([nn.Linear])
    {}
    """
    found = {}
    for cls in dict.fromkeys(base for given in classes for base in given.__mro__):
        if cls.__module__.partition(".")[0] in VERSIONED:
            continue
        file = getattr(sys.modules.get(cls.__module__), "__file__", None)
        if cls.__module__ == "__main__" or file is None or not Path(file).is_file():
            found[f"{cls.__module__}:{cls.__qualname__}"] = _of_class(cls)
        elif cls.__module__ not in found:
            found[cls.__module__] = hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16]
    return dict(sorted(found.items()))


def _of_class(cls: type) -> str:
    try:
        text = inspect.getsource(cls)
    except (OSError, TypeError):  # typed into a console: what its functions do
        codes = [value.__code__ for value in vars(cls).values() if inspect.isfunction(value)]
        text = repr(
            [(code.co_code, code.co_names, [c for c in code.co_consts if not inspect.iscode(c)]) for code in codes]
        )
    return hashlib.sha256(text.encode()).hexdigest()[:16]
