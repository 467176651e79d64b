"""EEG encoders that are trained to land where the shown image lies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold, GroupShuffleSplit
from sklearn.utils.validation import check_is_fitted
from skorch import NeuralNet
from skorch.callbacks import EarlyStopping, ProgressBar
from skorch.dataset import Dataset
from skorch.helper import predefined_split

from biot_bd import registry
from biot_bd_things.contrastive import ImageContrast
from biot_bd_things.retrieval import unit_vectors


class ImageAligner(TransformerMixin, BaseEstimator):
    """Map windows into the space of image embeddings, by a registered model.

    The model is built with as many outputs as the embeddings have features and trained with
    :class:`ImageContrast`.  Some subjects validate: training stops when they gain no more, and
    the best epoch's weights are kept.  As the contrast asks for directions only, a ridge
    regression on the windows of these subjects then learns where an image's own embedding lies:
    :meth:`transform` is for retrieval, :meth:`predict` for making images.

    Parameters
    ----------
    module : str
        Name in ``biot_bd.registry.models``; plugins add some.  The answer to an image is locked to
        its onset, so models that pool power (``"shallow"``) see little of it.
    module_params : mapping, optional
        Its parameters, e.g. ``{"embed_dim": 64}``.
    sfreq : float
        Of the windows, in Hz.
    temperature : float
        Where that of the loss starts.
    lr, weight_decay : float
        Of AdamW.
    batch_size, max_epochs, patience : int
        Windows a batch, most epochs, epochs without gain after which training stops.
    validation_fraction : float
        Share of the subjects that validate; with one subject, of the images.
    device : str
        E.g. ``"cpu"``, ``"cuda"``; ``"auto"`` takes a GPU where there is one.
    random_state : int
        Seed of weights, batches and split; the same number gives the same weights on a CPU.
    progress : bool
        Show a progress bar.

    Attributes
    ----------
    net_ : skorch.NeuralNet
        Trained; ``net_.history`` has a row an epoch.
    regression_ : sklearn.linear_model.RidgeCV
        From aligned windows to embeddings; its strength was chosen by images apart.
    valid_subjects_ : list of str
        Who validated; empty where images did.

    Raises
    ------
    ValueError
        Windows, embeddings and subjects differ in number, or an embedding is not finite or zero.

    See Also
    --------
    retrieval : How well it finds the image.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd_things import ImageAligner
    >>> rng = np.random.default_rng(0)
    >>> images = rng.normal(size=(8, 4)).astype("float32")
    >>> shown = np.tile(np.arange(8), 4)
    >>> x = rng.normal(size=(32, 3, 100)).astype("float32")
    >>> aligner = ImageAligner("eegnet", sfreq=100, max_epochs=1, device="cpu")
    >>> aligner.fit(x, images[shown], groups=np.repeat(["a", "b"], 16)).transform(x).shape
    (32, 4)
    """

    def __init__(
        self,
        module: str = "eegnet",
        *,
        module_params: Mapping[str, Any] | None = None,
        sfreq: float = 100.0,
        temperature: float = 0.07,
        lr: float = 1e-3,
        weight_decay: float = 1e-4,
        batch_size: int = 128,
        max_epochs: int = 40,
        patience: int = 8,
        validation_fraction: float = 0.2,
        device: str = "auto",
        random_state: int = 0,
        progress: bool = False,
    ) -> None:
        self.module, self.module_params, self.sfreq = module, module_params, sfreq
        self.temperature, self.lr, self.weight_decay = temperature, lr, weight_decay
        self.batch_size, self.max_epochs, self.patience = batch_size, max_epochs, patience
        self.validation_fraction, self.device = validation_fraction, device
        self.random_state, self.progress = random_state, progress

    def fit(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> ImageAligner:
        """Train.

        Parameters
        ----------
        X : array of shape (n, n_chans, n_times)
            Windows; standardised here by channel, with the training windows' mean and deviation.
        y : array of shape (n, n_features)
            Embedding of the image that was shown in each.
        groups : array of shape (n,), optional
            Subject of each window; None: they are of one.
        """
        x, images = _windows(X), np.asarray(y, dtype=np.float32)
        if images.ndim != 2 or len(images) != len(x):
            raise ValueError(f"y: expected one embedding a window, shape ({len(x)}, n_features), found {images.shape}")
        if not np.isfinite(images).all() or (np.linalg.norm(images, axis=1) == 0).any():
            raise ValueError(
                "y: an image embedding is zero or not finite, so it has no direction; leave that image out"
            )
        subjects = np.full(len(x), "one") if groups is None else np.asarray(groups).astype(str)
        if len(subjects) != len(x):
            raise ValueError(f"groups: expected one subject a window, {len(x)}, found {len(subjects)}")
        train, valid = self._split(images, subjects)
        self.mean_ = x[train].mean(axis=(0, 2), keepdims=True)
        self.std_ = x[train].std(axis=(0, 2), keepdims=True) + 1e-12
        x = (x - self.mean_) / self.std_
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.random_state)
            self.net_ = self._net(x.shape, images.shape[1], Dataset(x[valid], images[valid]))
            self.net_.fit(x[train], images[train])
        self.regression_ = self._regression(self._directions(x[valid]), images[valid])
        return self

    def predict(self, X: ArrayLike) -> NDArray[np.float32]:
        """Return the embedding of the image that each window speaks of, shape (n, n_features).

        It is drawn towards the mean embedding as far as the EEG says little.
        """
        return np.asarray(self.regression_.predict(self.transform(X)), dtype=np.float32)

    def transform(self, X: ArrayLike) -> NDArray[np.float32]:
        """Return where each window lies among images: unit vectors, shape (n, n_features)."""
        check_is_fitted(self, "net_")
        return self._directions((_windows(X) - self.mean_) / self.std_)

    def _directions(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        found = np.asarray(self.net_.predict(x.astype(np.float32)), dtype=np.float32)
        return unit_vectors(found)

    @staticmethod
    def _regression(directions: NDArray[np.float32], images: NDArray[np.float32]) -> RidgeCV:
        which = np.unique(images, axis=0, return_inverse=True)[1].ravel()
        n_folds = min(5, int(which.max()) + 1)
        splits = list(GroupKFold(n_folds).split(directions, groups=which)) if n_folds > 1 else None
        return RidgeCV(alphas=np.logspace(-2, 4, 13), cv=splits).fit(directions, images)

    def _split(
        self, images: NDArray[np.float32], subjects: NDArray[Any]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        several = len(np.unique(subjects)) > 1
        sides = subjects if several else np.unique(images, axis=0, return_inverse=True)[1].ravel()
        splitter = GroupShuffleSplit(1, test_size=self.validation_fraction, random_state=self.random_state)
        train, valid = next(splitter.split(images, groups=sides))
        self.valid_subjects_ = sorted(set(subjects[valid].tolist())) if several else []
        return train, valid

    def _net(self, shape: tuple[int, ...], n_features: int, valid: Dataset) -> NeuralNet:
        cls = registry.models[self.module]
        signal = {"n_chans": shape[1], "n_times": shape[2], "n_outputs": n_features, "sfreq": self.sfreq}
        callbacks: list[Any] = [("stop", EarlyStopping(patience=self.patience, load_best=True, sink=_quiet))]
        return NeuralNet(
            cls,
            **{f"module__{key}": value for key, value in {**signal, **(self.module_params or {})}.items()},
            criterion=ImageContrast,
            criterion__temperature=self.temperature,
            optimizer=torch.optim.AdamW,
            optimizer__weight_decay=self.weight_decay,
            lr=self.lr,
            batch_size=self.batch_size,
            max_epochs=self.max_epochs,
            train_split=predefined_split(valid),
            iterator_train__shuffle=True,
            device=("cuda" if torch.cuda.is_available() else "cpu") if self.device == "auto" else self.device,
            callbacks=[*callbacks, *([("bar", ProgressBar())] if self.progress else [])],
            verbose=0,
        )


def _quiet(*_: Any, **__: Any) -> None:
    """Say nothing."""


def _windows(X: ArrayLike) -> NDArray[np.float32]:
    x = np.asarray(X, dtype=np.float32)
    if x.ndim != 3 or not np.isfinite(x).all():
        raise ValueError(f"X: expected finite windows of shape (n, n_chans, n_times), found {x.shape}")
    return x
