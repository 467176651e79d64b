"""Every script of the gallery begins with the same random numbers, one thread and a quiet MNE."""

from typing import Any

import mne
import torch


def fix(gallery_conf: dict[str, Any], script: str) -> None:
    """Prepare for a script; a ``reset_modules`` function of sphinx-gallery."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    mne.set_log_level("ERROR")
