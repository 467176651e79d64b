"""Windows to embeddings by a model that stays as it is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from biot_bd.embedding.cache import EmbeddingCache, scratch_array
from biot_bd.embedding.frozen_network import FrozenNetwork
from biot_bd.embedding.own_code import own_code
from biot_bd.embedding.progress import window_bar
from biot_bd.signals.base import TakesWindows
from biot_bd.signals.subject_array import SubjectArray, with_subjects_of
from biot_bd.training import BIOTClassifier
from biot_bd.training.input_data import InputInfo, SignalData
from biot_bd.windows import Windows

CACHE = "embeddings"
"""Folder of a store where the embeddings of its windows lie."""
GRAPHS = "graphs"
AT_ONCE = 1024


class Embedder(TakesWindows):
    """Turn windows into what a model makes of them; the model is not trained.

    In a pipeline it stands behind the steps that the model needs and in front of a classifier of
    scikit-learn.  The embeddings of prepared windows are computed once a table of windows and kept
    on disk, so that folds, probes and processes share them.

    Parameters
    ----------
    module : str or class
        Name in ``biot_bd.registry.models``, or a class, as for :class:`biot_bd.BIOTClassifier`.
    pretrained : str or path, optional
        Where the weights are from: a name of :data:`biot_bd.models.KNOWN`, a file, a Hub
        repository, the folder of ``biot-bd pretrain``, or that of a saved classifier.  None: random
        weights, drawn by ``random_state``.
    module_params : mapping, optional
        Arguments of the model, e.g. ``{"embed_dim": 64}``.
    layer : int or {"early", "middle", "late"}, optional
        Transformer layer to read, from 0; None: what the model's last layer is given.
    pooling : {"mean", "tokens"}
        One row a window, or all its tokens.
    engine : {"torch", "onnx", "openvino"}
        What computes; the others need ``layer=None`` and ``pooling="mean"``, and ``device="cpu"``
        or ``"auto"``.
    precision : {"auto", "fp32", "tf32", "bf16", "fp16"}
        "auto" is fp32 on a CPU, and on a GPU bf16 where it was checked to hardly move the
        embeddings of some windows.
    batch_size : int
        Windows at a time.
    device : str
        ``"auto"``: a GPU where there is one.
    cache : path, False or None
        Folder of the embeddings; None: in the store of the windows; False: none.  Arrays are never
        kept.
    random_state : int or None
        Draws weights that no checkpoint brings.
    progress : bool
        Show a bar on stderr.

    Attributes
    ----------
    module_ : torch.nn.Module
        The model, in eval mode.
    reader_ : EmbeddingReader
        The network that gives embeddings.
    classifier_ : BIOTClassifier
        The model as a classifier with an untrained head, which says how it was built.
    input_info_ : InputInfo
        Channels, rate and unit of the windows of ``fit``.
    provenance_ : biot_bd.models.Provenance
        What the weights have seen; checks of contamination read it, and ``pretrained``.
    layer_ : int or None
        Number of the layer that is read.
    precision_ : str
        What the model computes in.
    n_features_out_ : int
        Length of an embedding.
    embedding_shape_ : tuple of int
        Of one window: ``(n_features,)`` or ``(n_tokens, n_features)``.

    Raises
    ------
    ContractError
        The model expects other windows; the message says what to put in front.
    ValueError
        No such layer, windows unlike those of ``fit``, absent channels that the model cannot leave
        out.
    EmbeddingCacheError
        A file of the cache is damaged.

    See Also
    --------
    biot_bd.embedding.embedding_reader : What layers and tokens there are.
    biot_bd.evaluation.cross_validate : Refuses weights that saw the test subjects.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd import Embedder
    >>> x = np.random.default_rng(0).normal(size=(6, 4, 400)).astype("float32")
    >>> size = {"embed_dim": 16, "num_heads": 2, "num_layers": 2}
    >>> Embedder("biot", module_params=size, device="cpu").fit_transform(x).shape
    (6, 16)
    >>> tokens = Embedder("biot", module_params=size, layer=0, pooling="tokens", device="cpu")
    >>> tokens.fit_transform(x).shape  # 4 channels by 3 frames
    (6, 12, 16)
    """

    saved_as = "embedder"

    def __init__(
        self,
        module: Any = "biot",
        *,
        pretrained: Any = None,
        module_params: Mapping[str, Any] | None = None,
        layer: int | str | None = None,
        pooling: str = "mean",
        engine: str = "torch",
        precision: str = "auto",
        batch_size: int = 64,
        device: str = "auto",
        cache: Any = None,
        random_state: int | None = 0,
        progress: bool = False,
    ) -> None:
        self.module = module
        self.pretrained = pretrained
        self.module_params = module_params
        self.layer = layer
        self.pooling = pooling
        self.engine = engine
        self.precision = precision
        self.batch_size = batch_size
        self.device = device
        self.cache = cache
        self.random_state = random_state
        self.progress = progress

    # ---- fitting ----

    def fit(self, X: Any, y: Any = None) -> Embedder:
        """Build the model for such windows; nothing is learnt of them.

        Parameters
        ----------
        X : Windows, ndarray (n, n_chans, n_times), SubjectArray or mne.Epochs
            The windows; only some are read.
        y : ignored
            For pipelines.

        Returns
        -------
        Embedder
        """
        if len(X) == 0:
            raise ValueError("there are no windows to fit an Embedder on")
        first = X[: min(len(X), 8)]
        info = SignalData(first).info
        self._take(FrozenNetwork.built(self, info), info)
        self._learn_shape(first, self._root(X))
        return self

    def _restore(self, classifier: BIOTClassifier) -> None:
        """Take over the model of a saved embedder."""
        info = classifier.facts_.input_info
        self._take(FrozenNetwork(classifier, classifier.provenance_), info)
        self._learn_shape(np.random.default_rng(0).normal(size=(2, info.n_chans, info.n_times)).astype(np.float32))

    def _take(self, network: FrozenNetwork, info: InputInfo) -> None:
        self.network_ = network
        self.classifier_, self.module_ = network.classifier, network.module
        self.input_info_, self.provenance_ = info, network.provenance

    def _root(self, X: Any) -> Path | None:
        """Return the folder of the caches for some windows; None where nothing is kept."""
        if self.cache is False or (self.cache is None and not isinstance(X, Windows)):
            return None
        return Path(os.fspath(self.cache)) if self.cache is not None else X.tables[0].store / CACHE

    def _learn_shape(self, first: Any, root: Path | None = None) -> None:
        x = SignalData(first).read(np.arange(len(first)))
        self.network_.look(x, self, None if root is None else root / GRAPHS)
        self.reader_, self.layer_ = self.network_.reader, self.network_.layer
        self.precision_ = self.network_.precision
        self.embedding_shape_ = self.network_.embed(x[:1]).shape[1:]
        self.n_features_out_ = int(self.embedding_shape_[-1])

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "n_features_out_")

    # ---- embedding ----

    def transform(self, X: Any) -> Any:
        """Embed windows.

        Parameters
        ----------
        X : Windows, ndarray (n, n_chans, n_times), SubjectArray or mne.Epochs
            Like those of ``fit``.

        Returns
        -------
        SubjectArray of float32 where subjects are known, else ndarray
            Shape (n, n_features) or (n, n_tokens, n_features); tokens of absent channels are NaN.
        """
        check_is_fitted(self)
        if isinstance(X, Windows):
            return SubjectArray(self._of_windows(X), X.groups, X.row_ids)
        data = SignalData(X)
        self._check(data.info, data.present)
        out = scratch_array((len(data), *self.embedding_shape_))
        for start in range(0, len(data), self.batch_size):
            rows = np.arange(start, min(start + self.batch_size, len(data)))
            out[rows] = self.network_.embed(data.read(rows))
        return with_subjects_of(X, out)

    def _of_windows(self, X: Windows) -> NDArray[np.float32]:
        self._check(SignalData(X[:1]).info if len(X) else self.input_info_, None)
        out = scratch_array((len(X), *self.embedding_shape_))
        with self._bar(len(X)) as told:
            for whole, rows, places in X.by_table():
                if self.cache is False:
                    for start in range(0, len(rows), self.batch_size):
                        some = slice(start, start + self.batch_size)
                        out[places[some]] = self.network_.embed_windows(whole, rows[some])
                        told(len(rows[some]))
                else:
                    cache = self.cache_of(whole)
                    cache.rows(rows, self._computes(whole), out=out, places=places, told=told)
                    self._check_usable(whole, rows, out, places)
        return out

    def _check_usable(
        self, whole: Windows, rows: NDArray[np.int64], out: NDArray[np.float32], places: NDArray[np.int64]
    ) -> None:
        """Raise where windows that were asked for could not be embedded, as nothing kept would."""
        for start in range(0, len(rows), AT_ONCE):
            some = slice(start, start + AT_ONCE)
            empty = np.isnan(out[places[some]]).reshape(len(rows[some]), -1).all(axis=1)
            if empty.any():
                self.network_.embed_windows(whole, rows[some][empty])

    def _computes(self, whole: Windows) -> Any:
        def compute(start: int, stop: int) -> NDArray[np.float32]:
            made = np.empty((stop - start, *self.embedding_shape_), np.float32)
            for first in range(start, stop, self.batch_size):
                rows = np.arange(first, min(first + self.batch_size, stop))
                made[rows - start] = self.network_.embed_usable(whole, rows, self.embedding_shape_)
            return made

        return compute

    def _check(self, info: InputInfo, present: NDArray[np.bool_] | None) -> None:
        self.input_info_.check_same(info)
        if present is not None:
            self.network_.check_present(present, info.ch_names)

    def _bar(self, n: int) -> Any:
        return window_bar(n, self.progress)

    # ---- the cache ----

    def cache_of(self, whole: Windows) -> EmbeddingCache:
        """Return where the embeddings of a table of windows are kept.

        Parameters
        ----------
        whole : Windows
            Of one table, with the steps in front of this; any selection of it.

        Returns
        -------
        EmbeddingCache
            Made where it is not there yet.

        Raises
        ------
        ValueError
            Windows of several tables, or ``cache=False``.
        """
        check_is_fitted(self)
        if self.cache is False:
            raise ValueError("cache=False: the embeddings are not kept")
        tables = whole.by_table()
        if len(tables) != 1:
            raise ValueError(f"windows of {len(tables)} tables: each has a cache of its own; give those of one")
        whole = tables[0][0]
        return EmbeddingCache(self._root(whole) or Path(), self.identity(whole), len(whole), self.embedding_shape_)

    def cache_info(self, windows: Windows) -> dict[str, Any]:
        """Say what is kept of the tables that windows are of, and what it cost.

        Parameters
        ----------
        windows : Windows
            With the steps in front of this.

        Returns
        -------
        dict
            ``keys`` and ``folders`` (one a table), ``n_windows`` that are computed, ``n_bytes`` on
            disk, ``seconds`` of computing, summed over all calls and processes.
        """
        entries = [self.cache_of(whole).entry() for whole, _, _ in windows.by_table()]
        return {
            "keys": [entry.folder.name for entry in entries],
            "folders": [str(entry.folder) for entry in entries],
            "n_windows": sum(entry.n_done for entry in entries),
            "n_bytes": sum(entry.n_bytes for entry in entries),
            "seconds": sum(entry.seconds for entry in entries),
        }

    def identity(self, whole: Windows) -> dict[str, Any]:
        """Return all that the embeddings of windows depend on, as JSON holds it.

        Parameters
        ----------
        whole : Windows
            All windows of a table, with the steps in front of this.

        Returns
        -------
        dict
        """
        check_is_fitted(self)
        code = own_code(type(step) for step in whole._steps)
        steps = {"code of steps": code} if code else {}
        return {"windows": whole.fingerprint, **steps, **self.network_.identity(self)}

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Return names of the features, ``embedding0`` and so on.

        Parameters
        ----------
        input_features : ignored
            For scikit-learn.

        Returns
        -------
        ndarray of object, shape (n_features,)
        """
        check_is_fitted(self)
        return np.array([f"embedding{i}" for i in range(self.n_features_out_)], dtype=object)
