"""Images made from EEG, beside what the same decoder makes without EEG."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from biot_bd_things.autoencoder import ImageAutoencoder


@dataclass(frozen=True)
class ImageReconstruction:
    """Images, and what was made of them.

    Parameters
    ----------
    shown : ndarray of float32, shape (n, 3, size, size)
        What the subjects saw.
    from_image : ndarray, same shape
        Made of the image's own embedding: the most that any EEG could give.
    from_eeg : ndarray, same shape
        Made of what the EEG says.
    mean_image : ndarray, shape (3, size, size)
        Mean of the training images: said without looking at the EEG.
    error, error_of_image, error_of_mean, error_of_others : ndarray of float64, shape (n,)
        Mean squared error of ``from_eeg``, of ``from_image``, of the mean image, and of what was
        made of the EEG of the other windows (mean over these): the right pairing must beat it.

    See Also
    --------
    reconstruct : Makes it.
    reconstruction_sheet : Draws it.
    """

    shown: NDArray[np.float32]
    from_image: NDArray[np.float32]
    from_eeg: NDArray[np.float32]
    mean_image: NDArray[np.float32]
    error: NDArray[np.float64]
    error_of_image: NDArray[np.float64]
    error_of_mean: NDArray[np.float64]
    error_of_others: NDArray[np.float64]

    @property
    def skill(self) -> float:
        """1 - error / error of the mean image; 0 where the EEG adds nothing, negative: it harms."""
        return float(1 - self.error.mean() / self.error_of_mean.mean())

    @property
    def told_apart(self) -> float:
        """1 - error / error of the others' EEG; 0 where it does not matter whose EEG is taken."""
        return float(1 - self.error.mean() / self.error_of_others.mean())

    @property
    def best_possible(self) -> float:
        """The skill with the image's own embedding."""
        return float(1 - self.error_of_image.mean() / self.error_of_mean.mean())


def reconstruct(auto: ImageAutoencoder, eeg: ArrayLike, shown: ArrayLike) -> ImageReconstruction:
    """Make images of the embeddings that EEG speaks of.

    Parameters
    ----------
    auto : ImageAutoencoder
        Fitted on training images; its embeddings are what the EEG was aligned with.
    eeg : array of shape (n, n_features)
        What ``ImageAligner.predict`` says of windows.
    shown : array of shape (n, 3, size, size)
        The image of each.

    Returns
    -------
    ImageReconstruction

    Raises
    ------
    ValueError
        Not one image a window, fewer than two different images, or images of another form.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd_things import ImageAutoencoder, reconstruct
    >>> images = np.random.default_rng(0).uniform(size=(6, 3, 16, 16)).astype("float32")
    >>> auto = ImageAutoencoder(4, max_epochs=1, device="cpu").fit(images)
    >>> made = reconstruct(auto, auto.transform(images), images)
    >>> bool(np.allclose(made.from_eeg, made.from_image, atol=1e-6))
    True
    """
    images, places = np.asarray(shown, dtype=np.float32), np.asarray(eeg, dtype=np.float32)
    if len(images) != len(places):
        raise ValueError(f"shown: expected one image a window, {len(places)}, found {len(images)}")
    of = np.unique(images.reshape(len(images), -1), axis=0, return_inverse=True)[1].ravel()
    if of.max(initial=0) < 1:
        raise ValueError("shown: all windows are of one image, so nothing can be told apart")
    from_image, from_eeg = auto.inverse_transform(auto.transform(images)), auto.inverse_transform(places)
    between = np.stack([((from_eeg - image) ** 2).mean(axis=(1, 2, 3)) for image in images]).astype(np.float64)
    others = np.where(of[:, None] != of[None, :], between, np.nan)
    return ImageReconstruction(
        images,
        from_image,
        from_eeg,
        auto.mean_image_,
        np.diagonal(between).copy(),
        ((from_image - images) ** 2).mean(axis=(1, 2, 3), dtype=np.float64),
        ((auto.mean_image_ - images) ** 2).mean(axis=(1, 2, 3), dtype=np.float64),
        np.nanmean(others, axis=1),
    )


def reconstruction_sheet(
    made: ImageReconstruction, *, n: int = 10, generated: bool = False, width_px: int = 900
) -> Figure:
    """Draw images as shown, made of their own embedding, and made of EEG.

    The windows are spread evenly over all of them, from the smallest error to the largest, so that
    the sheet shows failures as often as they occur.

    Parameters
    ----------
    made : ImageReconstruction
        What to draw.
    n : int
        Columns.
    generated : bool
        Whether images and EEG were generated; the sheet then says so.
    width_px : int
        Width of the figure.

    Returns
    -------
    matplotlib.figure.Figure
        Its label is a text for those who cannot see it.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd_things import ImageAutoencoder, reconstruct, reconstruction_sheet
    >>> images = np.random.default_rng(0).uniform(size=(6, 3, 16, 16)).astype("float32")
    >>> auto = ImageAutoencoder(4, max_epochs=1, device="cpu").fit(images)
    >>> sheet = reconstruction_sheet(reconstruct(auto, auto.transform(images), images), n=3)
    >>> len(sheet.axes)
    9
    """
    order = np.argsort(made.error)
    chosen = order[np.linspace(0, len(order) - 1, min(n, len(order))).round().astype(int)]
    rows = {"shown": made.shown, "made of the image": made.from_image, "made of the EEG": made.from_eeg}
    numbers = (
        f"skill over the mean image {made.skill:+.2f} (of the image itself {made.best_possible:+.2f}), "
        f"over the EEG of other windows {made.told_apart:+.2f}"
    )
    title = ("Generated images and EEG: no result. " if generated else "") + "Images made of EEG"
    cell_in = width_px / 100 / (len(chosen) + 2)
    figure = Figure(figsize=(width_px / 100, cell_in * len(rows) + 1.1), dpi=100)
    figure.suptitle(
        f"{title}\n{numbers}\n{len(made.error)} windows, columns from the smallest to the largest error",
        fontsize=10,
        x=0.01,
        ha="left",
    )
    axes = figure.subplots(len(rows), len(chosen), squeeze=False)
    for (name, images), line in zip(rows.items(), axes, strict=True):
        for axis, k in zip(line, chosen, strict=True):
            axis.imshow(images[k].transpose(1, 2, 0), vmin=0, vmax=1, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    for axis, k in zip(axes[-1], chosen, strict=True):
        axis.set_xlabel(f"{made.error[k]:.3f}", fontsize=8)
    figure.subplots_adjust(left=0.16, right=0.99, bottom=0.1, top=1 - 0.8 / figure.get_figheight())
    figure.set_label(
        f"{title}: {len(chosen)} windows, each with the image shown, made of its embedding and made of the EEG; {numbers}; {len(made.error)} windows in all."
    )
    return figure
