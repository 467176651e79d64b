"""Preprocessed epochs of THINGS-EEG2, as they are published."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biot_bd_things.images import PARTS
from biot_bd_things.layout import NAMESPACE, folder_of, two_digits
from biot_bd_things.object_npy import ObjectFileError, read_object_npy


@dataclass(frozen=True)
class ThingsEpochs:
    """Epochs of one part, of one or more subjects.

    Parameters
    ----------
    x : ndarray of float32, shape (n, n_chans, n_times)
        Whitened by the authors, so without a unit.
    image : ndarray of int64, shape (n,)
        Which image was shown, from 0, as in :class:`ImageSet`.
    repetition : ndarray of int64, shape (n,)
        Which of its presentations, from 0; -1 where they were averaged.
    subject : ndarray of str, shape (n,)
        ``things-eeg2/01`` and so on.
    ch_names : tuple of str
        Channels.
    times_s : ndarray, shape (n_times,)
        From the onset of the image, in seconds.

    See Also
    --------
    load_epochs : Reads them.
    ImageAligner : What to train on them.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd_things import ThingsEpochs
    >>> x = np.zeros((2, 3, 50), dtype="float32")
    >>> epochs = ThingsEpochs(
    ...     x,
    ...     np.array([0, 0]),
    ...     np.array([0, 1]),
    ...     np.array(["things-eeg2/01"] * 2),
    ...     ("O1", "Oz", "O2"),
    ...     np.arange(50) / 100,
    ... )
    >>> epochs.averaged().x.shape, epochs.sfreq
    ((1, 3, 50), 100.0)
    """

    x: NDArray[np.float32]
    image: NDArray[np.int64]
    repetition: NDArray[np.int64]
    subject: NDArray[Any]
    ch_names: tuple[str, ...]
    times_s: NDArray[np.float64]

    @property
    def sfreq(self) -> float:
        """Sampling rate in Hz."""
        return float(round(1 / np.diff(self.times_s).mean(), 6))

    def averaged(self) -> ThingsEpochs:
        """Return the mean over the presentations of each image, within each subject."""
        names, codes = np.unique(self.subject, return_inverse=True)
        keys, place = np.unique(np.stack([codes, self.image]), axis=1, return_inverse=True)
        counts = np.bincount(place.ravel(), minlength=keys.shape[1])
        total = np.zeros((keys.shape[1], *self.x.shape[1:]))
        np.add.at(total, place.ravel(), self.x)
        return ThingsEpochs(
            (total / counts[:, None, None]).astype(np.float32),
            keys[1].astype(np.int64),
            np.full(keys.shape[1], -1, dtype=np.int64),
            names[keys[0]],
            self.ch_names,
            self.times_s,
        )

    def of(self, subjects: Iterable[str]) -> ThingsEpochs:
        """Return the epochs of some subjects."""
        rows = np.isin(self.subject, list(subjects))
        return ThingsEpochs(
            self.x[rows], self.image[rows], self.repetition[rows], self.subject[rows], self.ch_names, self.times_s
        )


def load_epochs(
    root: str | os.PathLike[str],
    part: str,
    *,
    subjects: Iterable[str | int] | None = None,
    repetitions: int | None = None,
) -> ThingsEpochs:
    """Read ``preprocessed_eeg_training.npy`` or ``preprocessed_eeg_test.npy`` of subjects.

    Parameters
    ----------
    root : path
        Holds ``sub-01/preprocessed_eeg_test.npy`` and so on, directly or below
        ``preprocessed_data`` or ``eeg_dataset/preprocessed_data``.
    part : {"training", "test"}
        16,540 images with 4 presentations, or 200 with 80, in the real set.
    subjects : iterable of str or int, optional
        Numbers; all on the disk by default.
    repetitions : int, optional
        Only so many presentations of each image, the first ones; they were shuffled by the authors.

    Returns
    -------
    ThingsEpochs
        Copied to memory: 1.1 GB a subject of the real training part.

    Raises
    ------
    FileNotFoundError
        No such file, or not of a subject that was asked for.
    ObjectFileError
        A file says something else, or subjects differ in channels or times.

    Notes
    -----
    The authors whitened the epochs with the covariance of training **and** test epochs of a
    session (multivariate noise normalisation).  That takes no image into account, but test data
    take part in it; who wants none of that starts from the raw recordings.
    """
    if part not in PARTS:
        raise ValueError(f"part must be 'training' or 'test', found {part!r}")
    base = folder_of(Path(root), "preprocessed_data")
    paths = {
        path.parent.name.removeprefix("sub-"): path for path in sorted(base.glob(f"sub-*/preprocessed_eeg_{part}.npy"))
    }
    wanted = two_digits(subjects)
    missing = [s for s in wanted or [] if s not in paths]
    if missing or not paths:
        raise FileNotFoundError(f"{base}: no sub-{missing[0] if missing else '*'}/preprocessed_eeg_{part}.npy here")
    parts = [_of_file(paths[s], s, repetitions) for s in wanted or paths]
    first = parts[0]
    for other in parts[1:]:
        if other.ch_names != first.ch_names or not np.allclose(other.times_s, first.times_s):
            raise ObjectFileError(
                f"{base}: {other.subject[0]} and {first.subject[0]} differ in channels or times; load them one by one"
            )
    return ThingsEpochs(
        *(np.concatenate([getattr(p, name) for p in parts]) for name in ("x", "image", "repetition", "subject")),
        first.ch_names,
        first.times_s,
    )


def _of_file(path: Path, subject: str, repetitions: int | None) -> ThingsEpochs:
    told = read_object_npy(path)
    if missing := [key for key in ("preprocessed_eeg_data", "ch_names", "times") if key not in told]:
        raise ObjectFileError(f"{path}: has no {missing[0]!r}; found {', '.join(told)}")
    data, names, times = (
        told["preprocessed_eeg_data"],
        tuple(map(str, told["ch_names"])),
        np.asarray(told["times"], dtype=np.float64),
    )
    if data.ndim != 4 or data.shape[2:] != (len(names), len(times)):
        raise ObjectFileError(
            f"{path}: expected (images, presentations, {len(names)} channels, {len(times)} times), found {data.shape}"
        )
    kept = data[:, :repetitions]
    n_images, n_repetitions = kept.shape[:2]
    x = np.asarray(kept, dtype=np.float32).reshape(-1, *kept.shape[2:])
    if not np.isfinite(x).all():
        raise ObjectFileError(f"{path}: holds values that are not finite")
    image, repetition = (i.ravel().astype(np.int64) for i in np.indices((n_images, n_repetitions)))
    return ThingsEpochs(x, image, repetition, np.full(len(x), f"{NAMESPACE}/{subject}"), names, times)
