"""Which images were shown: ``image_metadata.npy`` beside the image folders of THINGS-EEG2."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from biot_bd_things.object_npy import ObjectFileError, read_object_npy

PARTS = ("training", "test")
_KEYS = {"training": "train", "test": "test"}


@dataclass(frozen=True)
class ImageSet:
    """The images of one part, in the order of their numbers.

    Parameters
    ----------
    part : {"training", "test"}
        The two share no concept.
    concepts, files : tuple of str
        Folder and file name of each image; image number ``k`` of a recording's events is the entry
        ``k - 1``.
    folder : Path
        ``image_set``.

    See Also
    --------
    read_image_set : Reads one.

    Examples
    --------
    >>> from pathlib import Path
    >>> from biot_bd_things import ImageSet
    >>> images = ImageSet("test", ("00001_aircraft_carrier",), ("ship.jpg",), Path("image_set"))
    >>> len(images), images.paths[0].as_posix()
    (1, 'image_set/test_images/00001_aircraft_carrier/ship.jpg')
    """

    part: str
    concepts: tuple[str, ...]
    files: tuple[str, ...]
    folder: Path

    def __len__(self) -> int:
        return len(self.files)

    @property
    def paths(self) -> list[Path]:
        """Where each image lies."""
        below = self.folder / f"{self.part}_images"
        return [below / concept / file for concept, file in zip(self.concepts, self.files, strict=True)]

    def pixels(self, size: int, numbers: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Return images at a small size.

        Parameters
        ----------
        size : int
            Width and height in pixels; images of THINGS are square.
        numbers : array of int, optional
            Positions from 0; all by default.

        Returns
        -------
        ndarray of float32, shape (n, 3, size, size)
            Red, green and blue from 0 to 1.

        Raises
        ------
        FileNotFoundError
            An image is not there.
        """
        paths = self.paths if numbers is None else [self.paths[k] for k in numbers]
        out = np.empty((len(paths), 3, size, size), dtype=np.float32)
        for row, path in zip(out, paths, strict=True):
            with Image.open(path) as image:
                small = image.convert("RGB").resize((size, size), Image.Resampling.BOX)
            row[...] = np.asarray(small, dtype=np.float32).transpose(2, 0, 1) / 255
        return out


def read_image_set(root: str | os.PathLike[str], part: str) -> ImageSet:
    """Read which images a part has.

    Parameters
    ----------
    root : path
        Holds ``image_set/image_metadata.npy``, or is that folder.
    part : {"training", "test"}

    Raises
    ------
    FileNotFoundError
        ``image_metadata.npy`` is not there.
    ValueError
        Another part, or a file that says something else.

    See Also
    --------
    generate_things : Makes such a folder of generated images and EEG.
    """
    if part not in PARTS:
        raise ValueError(f"part must be 'training' or 'test', found {part!r}")
    folder = Path(root)
    folder = folder / "image_set" if (folder / "image_set").is_dir() else folder
    path = folder / "image_metadata.npy"
    told = read_object_npy(path)
    found = []
    for what in ("concepts", "files"):
        key = f"{_KEYS[part]}_img_{what}"
        if key not in told:
            raise ObjectFileError(f"{path}: has no {key!r}; found {', '.join(told)}")
        names = [str(name) for name in told[key]]
        if bad := [name for name in names if Path(name).name != name or name in ("", ".", "..")]:
            raise ObjectFileError(f"{path}: {key} has {bad[0]!r}, which is no name of a file or folder")
        found.append(tuple(names))
    concepts, files = found
    if len(concepts) != len(files):
        raise ObjectFileError(f"{path}: names {len(concepts)} concepts and {len(files)} files of the part {part}")
    return ImageSet(part, concepts, files, folder)
