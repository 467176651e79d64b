"""biot_bd: seizure detection with foundation models, from raw EEG to an honest score.

The public names stand in ``__init__.pyi`` and are imported on first use, so ``import biot_bd``
stays cheap.
"""

from importlib.metadata import version as _version

import lazy_loader as _lazy

from biot_bd._compat import install_torchaudio_guard as _install_torchaudio_guard

_install_torchaudio_guard()

__version__ = _version("biot-bd")

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
__all__ += ["__version__"]
