"""The model registry: versions of models that never change, each with its card and its proof."""

import lazy_loader as _lazy

# The public names stand in __init__.pyi and are imported on first use: a room costs only what is
# used of it.
__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
