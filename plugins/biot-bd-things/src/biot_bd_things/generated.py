"""A generated set in the layout of THINGS-EEG2: images of shapes, and EEG that depends on them.

It shows that the way from files to a reconstruction works, and nothing about brains.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from biot_bd_things.montage import THINGS_17

ELECTRODES = THINGS_17.ch_names
"""The 17 channels of the published preprocessed epochs."""
N_FACTORS = 6
"""Numbers that an image is drawn from: place (2), size, colour (3)."""
ONSET_GAP_S = 0.2
_IMAGE_PX = 32


def generate_things(
    root: str | os.PathLike[str],
    *,
    n_subjects: int = 4,
    n_training_images: int = 60,
    n_test_images: int = 20,
    n_training_repetitions: int = 2,
    n_test_repetitions: int = 8,
    sfreq: float = 250.0,
    noise_uv: float = 10.0,
    random_state: int = 0,
) -> Path:
    """Write images, metadata and raw recordings as THINGS-EEG2 has them, all generated.

    Each image is a coloured square or disc; the brain of a generated subject answers from 0.08 s
    after an onset with one time course a factor (place, size, colour), mixed to the electrodes by a
    matrix that subjects share but for a tenth.

    Parameters
    ----------
    root : path
        Made where needed.
    n_subjects, n_training_images, n_test_images : int
        How many.  Training and test share no image.
    n_training_repetitions, n_test_repetitions : int
        Presentations of each image to each subject.
    sfreq : float
        In Hz; 1000 in the real recordings.
    noise_uv : float
        Standard deviation of the noise in microvolts; the answers have about 5.
    random_state : int
        Seed.

    Returns
    -------
    Path
        ``root``.

    See Also
    --------
    load_things_eeg2 : Reads the recordings, with ``generated=True``.

    Examples
    --------
    >>> from biot_bd_things import generate_things, read_image_set
    >>> root = generate_things("things", n_subjects=1, n_training_images=3, n_test_images=2)
    >>> len(read_image_set(root, "training"))
    3
    """
    root, rng = Path(root), np.random.default_rng(random_state)
    counts = {"training": n_training_images, "test": n_test_images}
    factors = {part: rng.uniform(0, 1, (n, N_FACTORS)) for part, n in counts.items()}
    metadata: dict[str, Any] = {}
    for part, values in factors.items():
        concepts = [f"{k:05d}_{part}_shape" for k in range(1, len(values) + 1)]
        files = [f"{concept}_01s.png" for concept in concepts]
        for concept, file, value in zip(concepts, files, values, strict=True):
            folder = root / "image_set" / f"{part}_images" / concept
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw(value)).save(folder / file)
        key = {"training": "train", "test": "test"}[part]
        metadata |= {f"{key}_img_concepts": concepts, f"{key}_img_files": files}
    np.save(root / "image_set" / "image_metadata.npy", metadata)  # type: ignore[arg-type]
    shared = rng.normal(0, 1, (len(ELECTRODES), N_FACTORS))
    repetitions = {"training": n_training_repetitions, "test": n_test_repetitions}
    for subject in range(1, n_subjects + 1):
        own = np.random.default_rng([random_state, subject])
        mixing = shared + 0.1 * own.normal(0, 1, shared.shape)
        folder = root / "raw_data" / f"sub-{subject:02d}" / "ses-01"
        folder.mkdir(parents=True, exist_ok=True)
        for part, values in factors.items():
            raw = _recording(values, mixing, repetitions[part], sfreq, noise_uv, own)
            np.save(folder / f"raw_eeg_{part}.npy", raw)  # type: ignore[arg-type]
    return root


def draw(factors: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return an image of factors from 0 to 1: a coloured disc or square on grey, 32 x 32."""
    x, y, size, *colour = factors
    rows, columns = np.mgrid[0:_IMAGE_PX, 0:_IMAGE_PX] / _IMAGE_PX
    reach = 0.12 + 0.2 * size
    across, down = np.abs(columns - 0.25 - 0.5 * x), np.abs(rows - 0.25 - 0.5 * y)
    inside = np.hypot(across, down) < reach if colour[0] > 0.5 else np.maximum(across, down) < reach
    image = np.full((_IMAGE_PX, _IMAGE_PX, 3), 0.5)
    image[inside] = colour
    return (255 * image).astype(np.uint8)


def _recording(
    factors: NDArray[np.float64],
    mixing: NDArray[np.float64],
    n_repetitions: int,
    sfreq: float,
    noise_uv: float,
    rng: np.random.Generator,
) -> dict[str, Any]:
    order = rng.permutation(np.repeat(np.arange(len(factors)), n_repetitions))
    # One onset in 20 is a target trial.
    numbers = np.insert(order + 1, np.arange(10, len(order), 20), 99999)
    gap = round(ONSET_GAP_S * sfreq)
    # An answer is over before the next one begins: the real ones overlap.
    spacing = 5 * gap
    n_samples = (len(numbers) + 2) * spacing
    samples = noise_uv * rng.normal(0, 1, (len(mixing), n_samples))
    times_s = np.arange(4 * gap) / sfreq
    courses = np.stack([np.exp(-0.5 * ((times_s - 0.12 - 0.08 * k) / 0.04) ** 2) for k in range(factors.shape[1])])
    stim = np.zeros(n_samples)
    for position, number in enumerate(numbers):
        start = (position + 1) * spacing
        stim[start] = number
        if number != 99999:
            weights = 10 * (factors[number - 1] - 0.5)
            samples[:, start : start + len(times_s)] += (mixing * weights) @ courses
    return {
        "raw_eeg_data": np.concatenate([1e-6 * samples, stim[None]]),
        "ch_names": [*ELECTRODES, "stim"],
        "ch_types": ["eeg"] * len(ELECTRODES) + ["stim"],
        "sfreq": float(sfreq),
        "highpass": 0.01,
        "lowpass": 100,
    }
