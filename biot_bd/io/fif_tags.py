"""Whether the tags of a FIF file lead to its end; MNE does not look whether they do.

References
----------
https://mne.tools/stable/generated/mne.read_tag.html
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

TAG_BYTES = 16


def check_fif(path: str | os.PathLike[str]) -> None:
    """Raise where following the tags of a file does not end.

    Parameters
    ----------
    path : path-like
        A file; what is packed (``.fif.gz``) is passed over.

    Raises
    ------
    ValueError
        A tag leads back to one before it; says at which byte.
    """
    at, seen = 0, set[int]()
    with Path(path).open("rb", buffering=0) as file:
        while at >= 0:
            if at in seen:
                raise ValueError(f"damaged FIF file: its tags lead back to byte {at}")
            seen.add(at)
            file.seek(at)
            tag = file.read(TAG_BYTES)
            if len(tag) < TAG_BYTES or tag.startswith(b"\x1f\x8b"):
                return
            n_bytes, following = struct.unpack(">8x2i", tag)
            if following < 0:
                return
            at = following or at + TAG_BYTES + n_bytes
