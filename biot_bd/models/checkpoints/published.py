"""The published BIOT checkpoints: where they are, how to tell them, what they were trained on.

The facts are those of the BIOT repository (https://github.com/ycq091044/BIOT) and of the paper,
Yang, C., Westover, M. B., Sun, J. (2023), "BIOT: Biosignal Transformer for Cross-data Learning in
the Wild".
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biot_bd.models.checkpoints.provenance import Provenance, Seen

CHANNELS_16 = tuple(
    "FP1-F7 F7-T7 T7-P7 P7-O1 FP2-F8 F8-T8 T8-P8 P8-O2 FP1-F3 F3-C3 C3-P3 P3-O1 FP2-F4 F4-C4 C4-P4 P4-O2".split()
)
CHANNELS_18 = (*CHANNELS_16, "C3-A2", "C4-A1")
ENCODER: dict[str, Any] = {"embed_dim": 256, "num_heads": 8, "num_layers": 4, "sfreq": 200, "hop_length": 100}
"""What the published encoders were trained with.

Heads, rate and hop do not show in tensor shapes.
"""

WEB = "https://github.com/ycq091044/BIOT/tree/main/pretrained-models"
_PREST = Seen("mgh-prest", None, "unsupervised")
_SHHS = Seen("shhs", None, "unsupervised")
# Cases 1 to 20; case 21 is subject 01, so of CHB-MIT only 22, 23 and 24 were not seen.
_CHBMIT = Seen("chb-mit", tuple(f"chb-mit/{number:02d}" for number in range(1, 21)), "supervised")
_OTHERS = tuple(Seen(name, None, "supervised") for name in ("tuab", "tuev", "iiic"))


@dataclass(frozen=True)
class Checkpoint:
    """One published checkpoint.

    Parameters
    ----------
    name : str
        Short name, e.g. ``"prest-16"``.
    file : str
        Name of the published file.
    blob_id : str
        Git blob id of that file: SHA-1 of the word ``blob``, its size, a zero byte and its bytes.
    repository : str
        Hub repository of the copy that braindecode keeps.
    ch_names : tuple of str
        Channels in the order of the token table.
    trained_on : tuple of Seen
        Data sets and subjects.
    """

    name: str
    file: str
    blob_id: str
    repository: str
    ch_names: tuple[str, ...]
    trained_on: tuple[Seen, ...]

    @property
    def n_channels(self) -> int:
        """Size of the token table."""
        return len(self.ch_names)

    @property
    def provenance(self) -> Provenance:
        """What it was trained on."""
        return Provenance(self.name, self.trained_on, known=True)


#: Published checkpoints by name: where they are, their sizes, what they saw.
KNOWN: dict[str, Checkpoint] = {
    one.name: one
    for one in (
        Checkpoint(
            "prest-16",
            "EEG-PREST-16-channels.ckpt",
            "dd9a5b3970f754f1b9b119e0ed0caa4d49a6579f",
            "braindecode/biot-pretrained-prest-16chs",
            CHANNELS_16,
            (_PREST,),
        ),
        Checkpoint(
            "shhs-prest-18",
            "EEG-SHHS+PREST-18-channels.ckpt",
            "5e4d1ee6fdc5442059d093b99053dfa14c8c8b61",
            "braindecode/biot-pretrained-shhs-prest-18chs",
            CHANNELS_18,
            (_PREST, _SHHS),
        ),
        Checkpoint(
            "six-datasets-18",
            "EEG-six-datasets-18-channels.ckpt",
            "04dfe806a0c8f0ad2cf2e7e343232faca82bb951",
            "braindecode/biot-pretrained-six-datasets-18chs",
            CHANNELS_18,
            (_PREST, _SHHS, *_OTHERS, _CHBMIT),
        ),
    )
}


def git_blob_id(path: str | os.PathLike[str]) -> str:
    """Return the id that git gives a file.

    SHA-1 of the word ``blob``, its size, a zero byte and its bytes.
    """
    digest = hashlib.sha1(f"blob {os.path.getsize(path)}\0".encode(), usedforsecurity=False)
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: digest).hexdigest()


def by_blob_id(blob_id: str) -> Checkpoint | None:
    """Return the published checkpoint with a git blob id, if there is one."""
    return next((one for one in KNOWN.values() if one.blob_id == blob_id), None)


def listed(source: str | os.PathLike[str]) -> Checkpoint | None:
    """Return the published checkpoint that is named.

    By its name, its Hub repository, or that one's folder in the Hub's cache.
    """
    repositories = {one.repository.lower(): one for one in KNOWN.values()}
    text = str(source)
    named = KNOWN.get(text) or repositories.get(text.lower().removeprefix("hf://"))
    if named is not None and isinstance(source, str):
        return named
    cached = re.search(r"models--([\w.-]+?)--([\w.-]+)", Path(text).as_posix())
    if cached is None or not os.path.exists(text):
        return None
    return repositories.get(f"{cached[1]}/{cached[2]}".lower())
