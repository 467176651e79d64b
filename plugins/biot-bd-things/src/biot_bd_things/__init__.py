"""A plugin of biot_bd: THINGS-EEG2, EEG aligned to images, retrieval and reconstruction.

What needs torch is imported on first use: naming plugins stays cheap.
"""

import lazy_loader as _lazy

from biot_bd.hookspecs import Register, hookimpl

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)


@hookimpl
def register_datasets(register: Register) -> None:
    """Add the raw recordings."""
    register("things-eeg2", "biot_bd_things.recordings:load_things_eeg2")


@hookimpl
def register_label_rules(register: Register) -> None:
    """Add windows around shown images."""
    register("things-images", "biot_bd_things.shown:ShownImages")
