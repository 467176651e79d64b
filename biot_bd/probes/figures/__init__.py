"""Pictures of what probes found, made to be read by those who read EEG.

Each function returns a :class:`matplotlib.figure.Figure` made without pyplot, as wide as asked
(``width_px``; letters keep their size, so a narrow one stays readable), whose label
(``figure.get_label()``) says in words what it shows, for those who cannot see it.
"""

import lazy_loader as _lazy

# The public names stand in __init__.pyi and are imported on first use: a room costs only what is
# used of it.
__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
