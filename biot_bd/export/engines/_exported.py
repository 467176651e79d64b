"""What all engines of exported models have in common: checks, batches, absent channels, proof."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biot_bd.exceptions import ArtifactError, BiotBdError, MissingExtraError
from biot_bd.export.artifact import Artifact, Run, read_artifact
from biot_bd.processor import n_threads as n_threads
from biot_bd.signals.info import SignalInfo
from biot_bd.signals.window_checks import check_windows, present_channels

BATCH = 64


@dataclass(frozen=True)
class Runtime:
    """An engine of exported models.

    Parameters
    ----------
    name : str
        As it is registered.
    formats : tuple of str
        The formats of graphs that it reads.
    build : callable
        ``(file, inputs, precision) -> run`` with ``run(x, present) -> (probabilities, embedding)``:
        the graph's file and the names of its inputs.
    has : callable
        ``(precision) -> bool``: whether this processor computes in it.
    """

    name: str
    formats: tuple[str, ...]
    build: Callable[[Path, Sequence[str], str], Run]
    has: Callable[[str], bool] = field(default=lambda precision: True)


class ExportedClassifier:
    """A classifier whose signal steps and network are one exported graph.

    Parameters
    ----------
    artifact : Artifact
        The exported model.
    runtime : Runtime
        What computes it.

    Attributes
    ----------
    classes_ : ndarray, shape (n_classes,)
        Sorted labels, in the order of the columns of :meth:`predict_proba`.
    positive_label_ : label or None
        The positive one of two classes.
    threshold_ : float or None
        Probability from which a window is called positive.
    input_info_ : SignalInfo
        The windows that it takes, in microvolts.
    precision : str
        What it computes in.

    Raises
    ------
    ArtifactError
        The engine cannot run graphs of this format, or the gates let none of its precisions
        through.
    """

    def __init__(self, artifact: Artifact, runtime: Runtime) -> None:
        graph, known = artifact.facts["graph"], artifact.facts["input"]
        if graph["format"] not in runtime.formats:
            raise ArtifactError(
                f"{artifact.folder}: a graph of format {graph['format']}, the engine {runtime.name} runs "
                f"{' and '.join(runtime.formats)}; use the engine {graph['format']}"
            )
        allowed = artifact.precisions(runtime.name)
        if not allowed:
            proven = ", ".join(f"{run['engine']} in {run['precision']}" for run in artifact.facts["runs"])
            raise ArtifactError(
                f"{artifact.folder}: was not proven for the engine {runtime.name}, only for {proven or 'none'}; "
                f"export it on a machine that has {runtime.name}"
            )
        self._artifact, self._runtime, self._run = artifact, runtime, None
        self._allowed, self._batch_size = allowed, BATCH
        self.precision = allowed[0]
        self.classes_: NDArray[Any] = np.array(artifact.facts["classes"])
        self.positive_label_: Any = artifact.facts["positive_label"]
        self.threshold_ = artifact.facts["threshold"]
        self.input_info_ = SignalInfo(tuple(known["ch_names"]), known["sfreq"], known["n_times"], "uV")

    _run: Run | None

    def set_precision(self, precision: str | None, batch_size: int) -> tuple[str, list[str]]:
        """Choose the precision, and prove the model in it.

        Parameters
        ----------
        precision : {"fp32", "bf16", "int8", "int8-bf16", "auto"} or None
            None and ``"auto"``: the graph's own.
        batch_size : int
            Windows that are computed at once, at most.

        Returns
        -------
        precision : str
            What was chosen.
        notes : list of str
            What a reader should know of it.

        Raises
        ------
        ValueError
            The model was not proven in this precision.
        ArtifactError
            It does not compute here what it computed where it was exported.
        """
        chosen = self._allowed[0] if precision in (None, "auto") else str(precision)
        if chosen not in self._allowed:
            raise ValueError(
                f"{self._artifact.folder}: proven for the engine {self._runtime.name} in {', '.join(self._allowed)}, "
                f"not in {chosen}; use precision={self._allowed[0]!r} or 'auto'"
            )
        notes = []
        if not self._runtime.has(chosen):
            own = self._artifact.facts["graph"]["precision"]
            if own not in self._allowed:
                raise ValueError(f"{self._artifact.folder}: this processor has no {chosen}; export the model in fp32")
            notes, chosen = [f"computed in {own} instead of {chosen}: the processor has no fast bf16"], own
        elif chosen != "fp32":
            notes = [f"computed in {chosen}"]
        if self._run is None or chosen != self.precision:
            self._start(chosen)
        self._batch_size = max(1, int(batch_size))
        return chosen, notes

    def predict_proba(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """Return probabilities, float32 (n, n_classes); NaN where every channel is flat.

        Parameters
        ----------
        x : ndarray, shape (n, n_chans, n_times)
            Microvolts; absent channels are NaN throughout.

        Raises
        ------
        ValueError
            Another shape, a channel with some samples that are not finite, no channel at all, or an
            absent or flat one where the model takes none.
        """
        return self._compute(x)[0]

    def embed(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """Return what the last layer is given, float32 (n, n_features); ``x`` as for
        :meth:`predict_proba`.
        """
        return self._compute(x)[1]

    def _compute(self, x: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        x = np.asarray(x)
        if x.ndim != 3 or x.dtype.kind not in "fiu":
            raise ValueError(f"expected windows of real numbers (n, n_chans, n_times), found {x.dtype} {x.shape}")
        present = present_channels(x) if len(x) else np.ones(x.shape[:2], bool)
        check_windows(x, present, self.input_info_)
        if not present.all() and not self._artifact.takes_absent_channels:
            window, channel = np.argwhere(~present)[0]
            raise ValueError(
                f"window {window} has no channel {self.input_info_.ch_names[channel]}, and the exported model "  # type: ignore[index]
                f"{self._artifact.folder} takes no absent channels; interpolate them or leave such recordings out"
            )
        if not present.any(axis=1).all():
            window = int(np.argmin(present.any(axis=1)))
            raise ValueError(f"window {window} has no channel that is present; leave such windows out")
        if self._run is None:
            self._start(self.precision)
        run: Run = self._run  # type: ignore[assignment]
        filled = np.ascontiguousarray(np.where(present[..., None], x, 0), dtype=np.float32)
        size = self._batch_size
        parts = [run(filled[i : i + size], present[i : i + size]) for i in range(0, max(len(x), 1), size)]
        proba, features = (np.concatenate([part[number] for part in parts]) for number in (0, 1))
        # NaN where no channel that is present moves, which only the graph can tell.
        if not self._artifact.takes_absent_channels and np.isnan(proba).any():
            window = int(np.argmax(np.isnan(proba).any(axis=1)))
            raise ValueError(
                f"window {window} has a channel that is flat, and the exported model {self._artifact.folder} takes no absent "
                "channels; leave such windows out"
            )
        return proba, features

    def _start(self, precision: str) -> None:
        """Build the graph in a precision and compute the proof."""
        try:
            run = self._runtime.build(self._artifact.file, self._artifact.facts["graph"]["inputs"], precision)
            self._artifact.replay(run, precision)
        except BiotBdError:
            raise
        except Exception as error:  # each engine has kinds of its own
            told = " ".join(str(error).split())[:300]
            raise ArtifactError(
                f"{self._artifact.file}: the engine {self._runtime.name} cannot run it ({type(error).__name__}: {told}); "
                "export the model again, or use another engine"
            ) from error
        self._run, self.precision = run, precision


class ExportedModel:
    """What an engine returns for a detector: no steps, a classifier, the record of the source.

    Parameters
    ----------
    folder : Path
        Of an exported model.
    runtime : Runtime
        What computes it.

    Raises
    ------
    FileNotFoundError
        No exported model is there.
    ArtifactError
        It is damaged, or not for this engine.
    """

    def __init__(self, folder: Path, runtime: Runtime) -> None:
        self.artifact = read_artifact(folder)
        self.steps: list[Any] = []
        self.classifier = ExportedClassifier(self.artifact, runtime)
        self.record_ = dict(self.artifact.facts["source"]["record"])

    def set_precision(self, precision: str | None, batch_size: int) -> tuple[str, list[str]]:
        """Choose the precision: see :meth:`ExportedClassifier.set_precision`."""
        return self.classifier.set_precision(precision, batch_size)


def need(package: str) -> Any:
    """Import the package of an engine.

    Raises
    ------
    MissingExtraError
        It is not installed.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise MissingExtraError(
            f"{package} is not installed, and this engine computes with it: pip install {package}, or "
            "biot-bd[export], or give another --engine"
        ) from error
