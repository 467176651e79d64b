"""The label rule ``things-images``: one window a presentation, labelled by the image."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pandas as pd

_TEXT = re.compile(r"image/(training|test)/(\d+)")


@dataclass(frozen=True)
class ShownImages:
    """Windows around the onset of each image; the label is the image's number from 0.

    Trials with a target show no image of the set and make no window; nor does a window that would
    leave the recording.

    Parameters
    ----------
    before_s : float
        How long before the onset a window begins, in seconds.
    n_images : int, optional
        How many images there are, each a class; None: as many as the highest number of the
        recordings, which ``prepare`` finds.

    Raises
    ------
    ValueError
        When called: annotations of both parts, whose numbers mean different images.

    See Also
    --------
    load_things_eeg2 : Writes the annotations.
    ImageAligner : Takes such windows.

    Examples
    --------
    >>> from biot_bd_things import ShownImages
    >>> shown = [(1.0, 0.1, "image/test/3"), (1.2, 0.1, "target")]
    >>> table = ShownImages()(1000, 250.0, [], annotations=shown, window_s=1.0)
    >>> table[["start_sample", "n_samples", "label", "kind"]].values.tolist()
    [[200, 250, 2, 'test']]
    """

    before_s: float = 0.2
    n_images: int | None = None
    needs_annotations: ClassVar[bool] = True

    @property
    def classes(self) -> tuple[str, ...]:
        """A name for each image: its number as in the files, from 1."""
        return tuple(f"image {number}" for number in range(1, (self.n_images or 0) + 1))

    def for_descriptions(self, descriptions: Iterable[str]) -> ShownImages:
        """Return the rule for the images that annotations of recordings name."""
        numbers = [int(match[2]) for text in descriptions if (match := _TEXT.fullmatch(str(text)))]
        return self if self.n_images is not None or not numbers else replace(self, n_images=max(numbers))

    def __call__(
        self,
        n_samples: int,
        sfreq: float,
        events: Any,
        *,
        annotations: Sequence[tuple[float, float, str]],
        window_s: float = 1.0,
        stride_s: float | None = None,
    ) -> pd.DataFrame:
        """Return a row a window."""
        length = round(window_s * sfreq)
        rows = []
        for onset_s, _, text in annotations:
            match = _TEXT.fullmatch(str(text))
            if match is None:
                continue
            start = round((onset_s - self.before_s) * sfreq)
            if start >= 0 and start + length <= n_samples:
                rows.append((start, length, int(match[2]) - 1, match[1], 0.0))
        table = pd.DataFrame(rows, columns=["start_sample", "n_samples", "label", "kind", "seizure_fraction"])
        if len(parts := sorted(set(table["kind"]))) > 1:
            raise ValueError(
                f"annotations of {' and '.join(parts)} images in one recording: their numbers mean different images"
            )
        return table.astype(
            {"start_sample": np.int64, "n_samples": np.int64, "label": np.int64, "seizure_fraction": np.float64}
        )
