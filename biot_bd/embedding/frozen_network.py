"""The model of an embedder: built once, never trained, asked for embeddings."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from biot_bd.embedding.graph_engine import GraphEngine
from biot_bd.embedding.own_code import own_code
from biot_bd.embedding.reader import EmbeddingReader, embedding_reader
from biot_bd.models.checkpoints.provenance import Provenance
from biot_bd.models.inference_plan import PRECISIONS, has_fast, precision_context
from biot_bd.models.own_modes import own_modes
from biot_bd.models.weight_identity import weight_digests
from biot_bd.runs import fingerprint, to_jsonable
from biot_bd.signals.base import describe_channels
from biot_bd.signals.info import SignalInfo
from biot_bd.signals.window_checks import check_windows, present_channels
from biot_bd.training import BIOTClassifier, load_pipeline
from biot_bd.training._validation import resolve_device, uncompiled
from biot_bd.training.fitted_facts import FittedFacts
from biot_bd.training.input_data import InputInfo
from biot_bd.training.pretrained import module_facts, started_from
from biot_bd.training.resume import describe, seeded
from biot_bd.windows import Windows

ENGINES = ("torch", "onnx", "openvino")
TOLERANCE = 1e-2
"""Most that embeddings in bf16 may differ from those in fp32, relatively to their length, for
precision="auto"."""
SAVED = "pipeline.json"


class FrozenNetwork:
    """A model that gives embeddings.

    Parameters
    ----------
    classifier : BIOTClassifier
        Its module is built.
    provenance : Provenance
        What the weights have seen.

    Attributes
    ----------
    module : torch.nn.Module
        In eval mode, without gradients.
    reader : EmbeddingReader
    layer : int or None
    precision : str
    """

    reader: EmbeddingReader
    layer: int | None
    precision: str
    graph: GraphEngine | None = None

    def __init__(self, classifier: BIOTClassifier, provenance: Provenance) -> None:
        self.classifier, self.provenance = classifier, provenance
        self.module = uncompiled(classifier.module_).eval().requires_grad_(False)
        self.device = torch.device(resolve_device(classifier.device))

    @classmethod
    def built(cls, embedder: Any, info: InputInfo) -> FrozenNetwork:
        """Build the model that an embedder's parameters name, for such windows."""
        _check_parameters(embedder)
        source = embedder.pretrained
        if source is not None and _is_saved(source):
            return cls._of_saved(embedder, Path(source).expanduser(), info)
        net = _classifier(embedder, source, embedder.module_params or {})
        net._check_contract(info)
        _initialize(net, info, embedder.random_state)
        provenance = started_from(net) or Provenance(f"random weights of {_named(embedder.module)}")
        report = None if source is None else getattr(uncompiled(net.module_), "load_report", None)
        net.facts_ = replace(
            net.facts_, provenance=provenance, pretrained_report=report, **module_facts(net), stale=None
        )
        return cls(net, provenance)

    @classmethod
    def _of_saved(cls, embedder: Any, folder: Path, info: InputInfo) -> FrozenNetwork:
        net = load_pipeline(folder)
        while hasattr(net, "steps"):
            net = net.steps[-1][1]
        if not isinstance(net, BIOTClassifier):
            raise ValueError(
                f"{folder}: ends in a {type(net).__name__}, which has no network of its own; give the folder of a saved "
                "BIOTClassifier, or the checkpoint that its embeddings are from"
            )
        wanted = BIOTClassifier(embedder.module)._module_class()
        found = net._module_class()
        if wanted is not found:
            raise ValueError(
                f"{folder}: a saved {_named(net.module)}, but module={embedder.module!r}; give module= that"
            )
        if embedder.module_params:
            raise ValueError(f"{folder}: a saved model has its own sizes; leave module_params out")
        try:
            net.input_info_.check_same(info)
        except ValueError as error:
            raise ValueError(f"{folder}: {error}") from error
        net.set_params(device=embedder.device)
        net.module_.to(resolve_device(embedder.device))
        return cls(net, net.provenance_)

    # ---- what is read, and how ----

    def look(self, x: NDArray[np.float32], embedder: Any, root: Path | None = None) -> None:
        """Find the layer and the precision with some windows.

        Parameters
        ----------
        x : ndarray, shape (n, n_chans, n_times)
        embedder : Embedder
            Says what is wanted.
        root : Path, optional
            Where graphs of other engines are kept; None: in a folder that goes with this.
        """
        sample = torch.from_numpy(x).to(self.device)
        self.check_present(present_channels(x), self.classifier.facts_.input_info.ch_names)
        with torch.no_grad(), own_modes(self.device):
            self.reader, self.layer = embedding_reader(self.module, sample, embedder.layer, embedder.pooling)
        self.reader.eval()
        self.precision = "fp32"
        self.graph = None if embedder.engine == "torch" else self._engine(embedder, root)
        self.precision = self._precision(embedder.precision, x)

    def _engine(self, embedder: Any, root: Path | None) -> GraphEngine:
        """Write the graph of the model, once, and load it."""
        asked = f"engine={embedder.engine!r}"
        if self.layer is not None or embedder.pooling != "mean":
            raise ValueError(f"{asked}: a graph gives what the head is given; leave layer out and take pooling='mean'")
        if embedder.precision not in ("auto", "fp32"):
            raise ValueError(f"{asked}: computes in fp32, not in {embedder.precision!r}; leave precision out")
        if self.device.type != "cpu":
            raise ValueError(f"{asked}: computes on the CPU, but device={embedder.device!r}; give device='cpu'")
        if root is None:
            self._folder = TemporaryDirectory()
            root = Path(self._folder.name)
        name = fingerprint({**self.identity(embedder), "engine": "onnx"})  # OpenVINO reads the same graph
        return GraphEngine(self.classifier, embedder.engine, root / name, self.embed)

    def _precision(self, wanted: str, x: NDArray[np.float32]) -> str:
        if wanted != "auto":
            return wanted
        if self.device.type != "cuda" or not has_fast("bf16", self.device):
            return "fp32"
        exact, self.precision = self.embed(x), "bf16"
        found = self.embed(x)
        moved, length = (float(np.linalg.norm(np.nan_to_num(one))) for one in (found - exact, exact))
        apart = moved / max(length, 1e-12)
        return "bf16" if np.isfinite(apart) and apart <= TOLERANCE else "fp32"

    def identity(self, embedder: Any) -> dict[str, Any]:
        """Return all that an embedding depends on, but the window, as JSON holds it."""
        net = self.classifier
        cls = type(self.module)
        arguments = {**net._facts_for_module(net._module_class(), 2), **net.get_params_for("module")}
        config = net.facts_.module_config
        code = own_code(type(part) for part in self.module.modules())
        return dict(
            to_jsonable(
                {
                    "model": _named(embedder.module),
                    "class": f"{cls.__module__}:{cls.__qualname__}",
                    "arguments": fingerprint(to_jsonable([describe(arguments), config, repr(self.module)])),
                    "weights": fingerprint(weight_digests(self.module)),
                    "source": self.provenance.source,
                    "layer": self.layer,
                    "pooling": embedder.pooling,
                    "engine": embedder.engine,
                    "precision": self.precision,
                    **({"code": code} if code else {}),
                    "versions": {name: importlib.metadata.version(name) for name in ("biot-bd", "braindecode")},
                }
            )
        )

    # ---- embeddings ----

    def embed(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embed windows that were checked."""
        if self.graph is not None:
            return self.graph(x)
        device = self.device.type
        before = getattr(self.module, "inference_plan", None)
        with ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            stack.enter_context(own_modes(self.device))
            if before is not None:  # the model's own way to compute in half precision
                self.module.inference_plan = replace(before, precision=self.precision)
                stack.callback(setattr, self.module, "inference_plan", before)
            else:
                stack.enter_context(precision_context(self.precision, device))
            made = self.reader(torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)).to(self.device))
        return made.float().cpu().numpy()

    def embed_windows(self, whole: Windows, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Read windows, check them, and embed them."""
        x = whole.read(rows)
        present = present_channels(x)
        self.check_present(present, whole.ch_names, rows)
        if not whole.always_finite:
            check_windows(x, present, SignalInfo(whole.ch_names, whole.sfreq, x.shape[2], None, x.shape[1]))
        return self.embed(x)

    def embed_usable(self, whole: Windows, rows: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Read windows and embed those that can be; others, which nobody may ask for, are NaN.

        Parameters
        ----------
        whole : Windows
        rows : ndarray of int, shape (n,)
        shape : tuple of int
            Of the embedding of a window.
        """
        x = whole.read(rows)
        present = present_channels(x)
        usable = present.any(axis=1) if self._takes_absent else present.all(axis=1)
        if not whole.always_finite:
            usable &= np.array([np.isfinite(window[there]).all() for window, there in zip(x, present, strict=True)])
        if usable.all():
            return self.embed(x)
        made = np.full((len(rows), *shape), np.nan, np.float32)
        if usable.any():
            made[usable] = self.embed(x[usable])
        return made

    @property
    def _takes_absent(self) -> bool:
        return bool(getattr(self.module, "accepts_absent_channels", False))

    def check_present(self, present: NDArray[np.bool_], ch_names: Any, rows: NDArray[np.int64] | None = None) -> None:
        """Raise where channels are absent that the model cannot leave out, or a window has none."""
        if present.all():
            return
        empty = np.flatnonzero(~present.any(axis=1))
        if len(empty):
            number = int(empty[0] if rows is None else rows[empty[0]])
            raise ValueError(f"window {number} has no channel that is present; leave such windows out")
        if not self._takes_absent:
            absent = ~present
            if rows is not None:  # numbers of the table, not of the batch
                absent = np.zeros((int(rows.max()) + 1, present.shape[1]), bool)
                absent[rows] = ~present
            raise ValueError(
                f"{type(self.module).__name__} cannot leave out absent channels, but {describe_channels(absent, ch_names)} "
                "are absent; put FillAbsent in front, take BIOT or another montage, or leave these windows out"
            )


def _check_parameters(embedder: Any) -> None:
    if embedder.engine not in ENGINES:
        raise ValueError(f"engine={embedder.engine!r}: expected one of {', '.join(map(repr, ENGINES))}")
    known = ("auto", *PRECISIONS)
    if embedder.precision not in known:
        raise ValueError(f"precision={embedder.precision!r}: expected one of {', '.join(map(repr, known))}")
    if not isinstance(embedder.batch_size, (int, np.integer)) or embedder.batch_size < 1:
        raise ValueError(f"batch_size={embedder.batch_size!r}: expected a whole number, 1 or more")


def _classifier(embedder: Any, source: Any, params: Mapping[str, Any]) -> BIOTClassifier:
    named = {f"module__{name}": value for name, value in params.items()}
    return BIOTClassifier(embedder.module, pretrained=source, device=embedder.device, **named)


def _initialize(net: BIOTClassifier, info: InputInfo, seed: int | None) -> None:
    net.facts_ = FittedFacts(info, np.array([0, 1]))
    with seeded(seed), own_modes(resolve_device(net.device), training=True):
        net.initialize()


def _is_saved(source: Any) -> bool:
    try:
        return (Path(source).expanduser() / SAVED).is_file()
    except (TypeError, OSError):
        return False


def _named(module: Any) -> str:
    return module if isinstance(module, str) else getattr(module, "__name__", type(module).__name__)
