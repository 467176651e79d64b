"""Load one module of an installed peer, where the whole package asks for more than is used."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from importlib.metadata import distribution
from pathlib import Path
from types import ModuleType
from typing import Any


def installed_file(name: str, path: str) -> Path:
    """Return a file of an installed distribution, else raise ``PackageNotFoundError``."""
    return Path(str(distribution(name).locate_file(path)))


def load_module(name: str, path: str, module: str, instead_of: Mapping[str, Mapping[str, Any]]) -> ModuleType:
    """Run the peer's own file as it is, with stand-ins for imports that a check does not touch.

    Parameters
    ----------
    name : str
        Distribution on PyPI.
    path : str
        Of the file in it.
    module : str
        The file's own dotted name, by which its relative imports are found.
    instead_of : mapping
        Module -> names in it.
    """
    spec = importlib.util.spec_from_file_location(module, installed_file(name, path))
    if spec is None or spec.loader is None:
        raise ImportError(f"{name}: {path} is no Python module")
    loaded = importlib.util.module_from_spec(spec)
    before = {known: sys.modules.get(known) for known in (module, *instead_of)}
    for stand_in, names in instead_of.items():
        sys.modules[stand_in] = ModuleType(stand_in)
        sys.modules[stand_in].__dict__.update(names)
    sys.modules[module] = loaded
    try:
        spec.loader.exec_module(loaded)
    finally:
        for known, was in before.items():
            if was is None:
                del sys.modules[known]
            else:
                sys.modules[known] = was
    return loaded
