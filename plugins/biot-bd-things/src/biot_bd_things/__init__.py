"""A plugin of biot_bd: THINGS-EEG2, EEG aligned to images, retrieval and reconstruction."""

import lazy_loader as _lazy

# The public names stand in __init__.pyi and are imported on first use.
__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
