"""Let braindecode import beside a torch build that torchaudio's native part does not fit.

``import braindecode`` imports torchaudio, whose Linux wheel links CUDA libraries.  Beside a CPU
build of torch its ``torchaudio._extension`` raises ``OSError``, though braindecode needs only
torchaudio's pure-Python functions.  :func:`install_torchaudio_guard` wraps the loader of that one
module: the real one is tried first, and only if it cannot load does a stand-in without native
functions take its place.  Importing ``biot_bd`` installs the guard, so worker processes that
unpickle our objects have it as well.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

GUARDED = "torchaudio._extension"


class _FallbackLoader(importlib.abc.Loader):
    """Run the real loader; where the shared library cannot be loaded, fill in a stand-in."""

    def __init__(self, loader: importlib.abc.Loader) -> None:
        self.loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        try:
            self.loader.exec_module(module)
        except OSError as error:
            _stand_in(module, error)


class _TorchaudioFinder(importlib.abc.MetaPathFinder):
    """Find ``torchaudio._extension`` as usual, and wrap its loader."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != GUARDED:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _FallbackLoader(spec.loader)
        return spec


def _stand_in(module: ModuleType, error: OSError) -> None:
    """Give ``module`` the names that torchaudio imports from its extension package."""

    def fail_if_no_align(function: Callable[..., Any]) -> Callable[..., Any]:
        return function

    module._IS_TORCHAUDIO_EXT_AVAILABLE = False  # type: ignore[attr-defined]
    module._IS_ALIGN_AVAILABLE = False  # type: ignore[attr-defined]
    module._check_cuda_version = lambda: None  # type: ignore[attr-defined]
    module.fail_if_no_align = fail_if_no_align  # type: ignore[attr-defined]
    module.biot_bd_stand_in_for = str(error)  # type: ignore[attr-defined]


def install_torchaudio_guard() -> None:
    """Put the guard first on ``sys.meta_path``; a second call does nothing."""
    if not any(isinstance(finder, _TorchaudioFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _TorchaudioFinder())


def torchaudio_guard_active() -> str | None:
    """Return the error that the stand-in hides, or None where torchaudio's own extension loaded.

    Returns
    -------
    str or None
        None also before torchaudio has been imported.
    """
    return getattr(sys.modules.get(GUARDED), "biot_bd_stand_in_for", None)
