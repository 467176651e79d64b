"""Small image encoder and decoder: embeddings to align EEG with, and images made of embeddings."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from skorch import NeuralNet
from torch import Tensor, nn


class _Network(nn.Module):
    """Convolutions to embeddings and back."""

    def __init__(self, size: int, n_features: int, width: int) -> None:
        super().__init__()
        inner = size // 4
        self.encoder = nn.Sequential(
            nn.Conv2d(3, width, 4, 2, 1),
            nn.GELU(),
            nn.Conv2d(width, 2 * width, 4, 2, 1),
            nn.GELU(),
            nn.Flatten(),
            nn.Linear(2 * width * inner**2, n_features),
        )
        self.decoder = nn.Sequential(
            nn.Linear(n_features, 2 * width * inner**2),
            nn.Unflatten(1, (2 * width, inner, inner)),
            nn.GELU(),
            nn.ConvTranspose2d(2 * width, width, 4, 2, 1),
            nn.GELU(),
            nn.ConvTranspose2d(width, 3, 4, 2, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.decoder(self.encoder(x))
        return made


class ImageAutoencoder(TransformerMixin, BaseEstimator):
    """Learn embeddings of small images from which the images can be made again.

    Parameters
    ----------
    n_features : int
        Of an embedding.
    width : int
        Channels of the first convolution.
    lr : float
        Of Adam.
    batch_size, max_epochs : int
        Images a batch, epochs.
    device : str
        E.g. ``"cpu"``, ``"cuda"``; ``"auto"`` takes a GPU where there is one.
    random_state : int
        Seed.

    Attributes
    ----------
    net_ : skorch.NeuralNet
        Trained.
    mean_image_ : ndarray of float32, shape (3, size, size)
        Of the training images: what is said without any EEG.

    Raises
    ------
    ValueError
        Images of another shape, not from 0 to 1, or of a size that 4 does not divide.

    See Also
    --------
    embed_images : Embeddings of another encoder, e.g. CLIP's.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd_things import ImageAutoencoder
    >>> images = np.random.default_rng(0).uniform(size=(6, 3, 16, 16)).astype("float32")
    >>> auto = ImageAutoencoder(4, max_epochs=1, device="cpu").fit(images)
    >>> auto.transform(images).shape, auto.inverse_transform(np.eye(4)[:2]).shape
    ((6, 4), (2, 3, 16, 16))
    """

    def __init__(
        self,
        n_features: int = 32,
        *,
        width: int = 16,
        lr: float = 3e-3,
        batch_size: int = 64,
        max_epochs: int = 60,
        device: str = "auto",
        random_state: int = 0,
    ) -> None:
        self.n_features, self.width, self.lr = n_features, width, lr
        self.batch_size, self.max_epochs, self.device, self.random_state = batch_size, max_epochs, device, random_state

    def fit(self, X: ArrayLike, y: Any = None) -> ImageAutoencoder:
        """Train on images (n, 3, size, size) from 0 to 1; ``y`` is not used."""
        images = self._images(X)
        self.mean_image_ = images.mean(axis=0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.random_state)
            self.net_ = NeuralNet(
                _Network,
                module__size=images.shape[-1],
                module__n_features=self.n_features,
                module__width=self.width,
                criterion=nn.MSELoss,
                optimizer=torch.optim.Adam,
                lr=self.lr,
                batch_size=self.batch_size,
                max_epochs=self.max_epochs,
                train_split=None,
                iterator_train__shuffle=True,
                device=("cuda" if torch.cuda.is_available() else "cpu") if self.device == "auto" else self.device,
                verbose=0,
            )
            self.net_.fit(images, images)
        return self

    def transform(self, X: ArrayLike) -> NDArray[np.float32]:
        """Return the embeddings (n, n_features) of images."""
        return self._run(self._images(X), "encoder")

    def inverse_transform(self, X: ArrayLike) -> NDArray[np.float32]:
        """Return the images (n, 3, size, size) of embeddings."""
        return self._run(np.asarray(X, dtype=np.float32), "decoder")

    def _run(self, x: NDArray[np.float32], what: str) -> NDArray[np.float32]:
        check_is_fitted(self, "net_")
        module = self.net_.module_.eval()
        parts = []
        with torch.inference_mode():
            for start in range(0, len(x), self.batch_size):
                part = torch.from_numpy(x[start : start + self.batch_size]).to(self.net_.device)
                parts.append(getattr(module, what)(part).cpu().numpy())
        return np.concatenate(parts)

    @staticmethod
    def _images(X: ArrayLike) -> NDArray[np.float32]:
        images = np.asarray(X, dtype=np.float32)
        if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3] or images.shape[3] % 4:
            raise ValueError(
                f"images: expected the shape (n, 3, size, size) with a size that 4 divides, found {images.shape}"
            )
        if not ((images >= 0) & (images <= 1)).all():
            raise ValueError("images: expected values from 0 to 1")
        return images


def embed_images(
    encoder: nn.Module, images: ArrayLike, *, batch_size: int = 64, device: str = "cpu"
) -> NDArray[np.float32]:
    """Return what an encoder says of images.

    Parameters
    ----------
    encoder : torch.nn.Module
        Takes (n, 3, height, width) and gives (n, n_features), e.g. the image tower of CLIP.
    images : array of shape (n, 3, height, width)
        As the encoder wants them, normalised where it wants that.
    batch_size : int
        Images at once.
    device : str
        Where it computes.

    Returns
    -------
    ndarray of float32, shape (n, n_features)

    Raises
    ------
    ValueError
        The encoder gives another shape, or values that are not finite.

    See Also
    --------
    ImageAligner : Takes them as ``y``.

    Examples
    --------
    >>> import numpy as np
    >>> from torch import nn
    >>> from biot_bd_things import embed_images
    >>> embed_images(nn.Flatten(), np.zeros((2, 3, 4, 4))).shape
    (2, 48)
    """
    encoder = encoder.to(device).eval()
    x, parts = np.asarray(images, dtype=np.float32), []
    with torch.inference_mode():
        for start in range(0, len(x), batch_size):
            parts.append(encoder(torch.from_numpy(x[start : start + batch_size]).to(device)).float().cpu().numpy())
    found = np.concatenate(parts)
    if found.ndim != 2 or not np.isfinite(found).all():
        raise ValueError(f"the encoder gave {found.shape}; expected finite embeddings of shape (n, n_features)")
    return found
