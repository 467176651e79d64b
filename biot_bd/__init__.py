"""biot_bd: seizure detection with foundation models, from raw EEG to an honest score.

The public names stand in ``__init__.pyi`` and are imported on first use, so ``import biot_bd``
stays cheap.  Rooms are, too: ``biot_bd.models.MaskedViT`` needs no import of its own.
"""

from importlib import import_module as _import_module
from importlib.metadata import version as _version
from importlib.util import find_spec as _find_spec
from typing import Any as _Any

import lazy_loader as _lazy

from biot_bd._compat import install_torchaudio_guard as _install_torchaudio_guard

_install_torchaudio_guard()

__version__ = _version("biot-bd")

_public_name, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
__all__ += ["__version__"]


def __getattr__(name: str) -> _Any:
    """Import a public name, or a room, on first use."""
    try:
        return _public_name(name)
    except AttributeError:
        if name.startswith("_") or _find_spec(f"{__name__}.{name}") is None:
            raise
        return _import_module(f"{__name__}.{name}")
