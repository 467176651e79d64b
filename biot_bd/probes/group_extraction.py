"""Maps of all windows of a store, in parts of bounded size, kept in a folder so that a call that
was stopped goes on.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from biot_bd import registry
from biot_bd.bounded_files import read_npz
from biot_bd.models.attention.layout import TokenLayout
from biot_bd.models.attention.maps import early_middle_late
from biot_bd.models.attention.record import record_attention
from biot_bd.models.attention.token_map import TokenMap
from biot_bd.models.weight_identity import weight_digests
from biot_bd.probes.fitted_parts import network_of, output_of, parts_of
from biot_bd.probes.group import ALL, MapGroup
from biot_bd.runs import atomic_path, fingerprint, make_folder, read_json, to_jsonable, write_json
from biot_bd.signals import BandPass
from biot_bd.signals.features import BANDS
from biot_bd.training import BIOTClassifier
from biot_bd.windows import Windows

PART = 256
"""Windows of a part, which is read, explained and written as a whole."""


def explain_group(
    model: Any,
    windows: Windows,
    probe: Any = "attention",
    *,
    folder: str | os.PathLike[str] | None = None,
    label: Any = None,
    bands: Sequence[str] | Mapping[str, tuple[float, float]] = (),
    conditions: Mapping[str, str] | None = None,
    per_subject: int | None = None,
    matrices: bool = True,
    batch_size: int = 32,
    progress: bool = False,
) -> MapGroup:
    """Explain all windows of a store, with what the model said of each.

    Parameters
    ----------
    model : Pipeline or BIOTClassifier
        Fitted.
    windows : Windows
        Of subjects that the model was not trained on, in microvolts as the pipeline takes them.
    probe : str or Probe
        A registered name, or a probe.
    folder : path-like, optional
        Where the group is kept.  The same call again goes on where it was stopped, and opens what
        is finished; None keeps all in memory.
    label : object, optional
        The class to explain, by its label; by default the positive one (seizure) of two, so that
        maps of all windows speak of the same class.
    bands : sequence of str, or mapping of str to (l_freq, h_freq)
        Explain the windows again, limited to each of these bands: names out of ``delta``,
        ``theta``, ``alpha``, ``beta``, ``gamma``, or edges in Hz.  A window's ends are wrong after
        a filter (see :class:`biot_bd.signals.BandPass`).
    conditions : mapping of str to str, optional
        Name to pandas expression over the columns of ``windows.metadata``, such as ``{"first hour":
        "start_s < 3600"}``; a window is of one at most.
    per_subject : int, optional
        At most so many windows of each subject and label, evenly spread.
    matrices : bool
        Keep attention by channel of an early, a middle and a late layer, too, where the model has
        attention.
    batch_size : int
        Windows given to the probe at once.
    progress : bool
        Show a bar on stderr.

    Returns
    -------
    MapGroup

    Raises
    ------
    ValueError
        The folder holds another group, a window is of two conditions, or a parameter is wrong.
    KeyError
        No such probe.

    See Also
    --------
    MapGroup : Means, comparisons, tables.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from sklearn.pipeline import make_pipeline
    >>> from biot_bd import BIOTClassifier, PercentileScaler, load_dataset, prepare
    >>> from biot_bd.probes import explain_group
    >>> folder = TemporaryDirectory()
    >>> recordings = load_dataset(
    ...     "demo", folder.name + "/edf", n_subjects=2, recordings=1, minutes=2
    ... )
    >>> windows = prepare(recordings, folder.name + "/windows")
    >>> size = {"module__embed_dim": 16, "module__num_heads": 2, "module__num_layers": 1}
    >>> net = BIOTClassifier(
    ...     max_epochs=1, train_split=None, device="cpu", random_state=0, verbose=0, **size
    ... )
    >>> fitted = make_pipeline(PercentileScaler(), net).fit(windows, windows.y)
    >>> group = explain_group(fitted, windows, per_subject=4)
    >>> group.values.shape, group.subjects, sorted(group.by_class())
    ((16, 16, 19), ('demo/01', 'demo/02'), [0, 1])
    >>> folder.cleanup()
    """
    if not isinstance(windows, Windows):
        raise TypeError(f"a group is made of prepared Windows, which know their subjects; got {type(windows).__name__}")
    if batch_size < 1 or (per_subject is not None and per_subject < 1):
        raise ValueError(f"batch_size and per_subject must be 1 or more, got {batch_size} and {per_subject}")
    extraction = _prepared(model, windows, probe, label, bands, conditions, per_subject, matrices, batch_size)
    if folder is None:
        return extraction.joined([part.computed() for part in _shown(extraction.parts(), extraction, progress)])
    return _kept(extraction, Path(folder), progress)


@dataclass(frozen=True, eq=False)
class _Extraction:
    """What is to be computed, and how."""

    steps: list[Any]
    classifier: BIOTClassifier
    network: nn.Module
    windows: Windows
    table: pd.DataFrame
    probe: Any
    probe_name: str
    label: Any
    target: int
    bands: dict[str, tuple[float, float] | None]
    no_matrices: str | None
    batch_size: int
    identity: dict[str, Any]

    def parts(self) -> list[_Part]:
        starts = range(0, len(self.windows), PART)
        return [_Part(self, band, start) for band in self.bands for start in starts]

    def joined(self, computed: list[dict[str, NDArray[Any]]]) -> MapGroup:
        """Make the group of parts computed in the order of :meth:`parts`."""
        matrices = None if self.no_matrices else np.concatenate([one["matrices"] for one in computed])
        return self.group(
            np.concatenate([one["values"] for one in computed]),
            matrices,
            np.concatenate([one["proba"] for one in computed]),
            json.loads(str(computed[0]["facts"])),
        )

    def group(
        self, values: NDArray[Any], matrices: NDArray[Any] | None, proba: NDArray[Any], facts: Mapping[str, Any]
    ) -> MapGroup:
        table = pd.concat([self.table.assign(band=band) for band in self.bands], ignore_index=True)
        info = {
            "label": self.label,
            "title": getattr(self.probe, "title", None),
            "parameters": {key: repr(value) for key, value in _parameters(self.probe).items()},
            "generated": bool(self.windows.generated),
            **({"anonymous": True} if self.windows.anonymous else {}),
            "model": f"{type(self.network).__name__}, {sum(p.numel() for p in self.network.parameters()):,} parameters",
            "windows": self.windows.fingerprint,
        } | ({"no_matrices": self.no_matrices} if self.no_matrices else {})
        return MapGroup(
            _judged(table, proba, self.classifier),
            values,
            TokenLayout.from_dict(facts["layout"]),
            probe=facts["probe"],
            signed=facts["signed"],
            unit=facts["unit"],
            matrices=matrices,
            roles=() if matrices is None else _roles(matrices.shape[1]),
            info=info,
        )


@dataclass(frozen=True, eq=False)
class _Part:
    """Some windows in one band."""

    of: _Extraction
    band: str
    start: int

    @property
    def name(self) -> str:
        return f"{list(self.of.bands).index(self.band):02d}-{self.start:08d}.npz"

    def computed(self) -> dict[str, NDArray[Any]]:
        """Return probabilities, maps, matrices and, as one text, the facts of the maps."""
        of = self.of
        part = of.windows[self.start : self.start + PART]
        edges = of.bands[self.band]
        ready: Any = part if edges is None else part.map(BandPass(*edges, method="iir"))
        for step in of.steps:
            ready = step.transform(ready)
        x = np.asarray(ready, dtype=np.float32)
        names = getattr(ready, "ch_names", None)
        device = next(of.network.parameters()).device
        batches = torch.from_numpy(x).split(of.batch_size)
        maps = [_compact(of.probe(of.network, batch.to(device), of.target), x.shape[-1]) for batch in batches]
        first = maps[0] if names is None or len(names) != maps[0].layout.n_chans else maps[0].named(names)
        found: dict[str, NDArray[Any]] = {
            "proba": np.asarray(of.classifier.predict_proba(x), dtype=np.float64),
            "values": np.concatenate([one.values for one in maps]).astype(np.float32),
            "facts": np.array(json.dumps(_facts_of(first))),
        }
        if of.no_matrices is None:
            found["matrices"] = np.concatenate([_matrices(of.network, batch.to(device)) for batch in batches])
        return found


def _prepared(
    model: Any,
    windows: Windows,
    probe: Any,
    label: Any,
    bands: Sequence[str] | Mapping[str, tuple[float, float]],
    conditions: Mapping[str, str] | None,
    per_subject: int | None,
    matrices: bool,
    batch_size: int,
) -> _Extraction:
    steps, classifier = parts_of(model)
    network = network_of(classifier)
    name = probe if isinstance(probe, str) else type(probe).__name__
    instance = registry.probes[probe]() if isinstance(probe, str) else probe
    label = _label(classifier, label)
    chosen = windows if per_subject is None else windows[_evenly(windows, per_subject)]
    edges = _edges(bands)
    table = _table(chosen, conditions)
    no_matrices = _no_matrices(network, chosen, steps) if matrices else "not asked for"
    identity = {
        "windows": chosen.fingerprint,
        "weights": fingerprint(weight_digests(network)),
        "steps": [repr(step) for step in steps],
        "probe": f"{type(instance).__module__}.{type(instance).__qualname__}",
        "parameters": {key: repr(value) for key, value in _parameters(instance).items()},
        "label": label,
        "bands": edges,
        "conditions": dict(conditions or {}),
        "matrices": no_matrices is None,
    }
    target = output_of(classifier, label)
    return _Extraction(
        steps, classifier, network, chosen, table, instance, name, label, target, edges, no_matrices, batch_size,
        to_jsonable(identity),
    )  # fmt: skip


def _kept(extraction: _Extraction, folder: Path, progress: bool) -> MapGroup:
    """Compute what a folder lacks, and make the group of it."""
    folder = make_folder(folder)
    note, parts = folder / "extraction.json", folder / "parts"
    if note.is_file():
        before = read_json(note)
        other = [key for key, value in extraction.identity.items() if before.get(key) != value]
        if other:
            raise ValueError(
                f"{folder}: holds a group of other {', '.join(other)}; name another folder, or delete this one"
            )
        if (folder / "group.json").is_file():
            return MapGroup.load(folder)
    elif any(folder.iterdir()):
        raise ValueError(f"{folder}: is not empty, and no group was begun there; name another folder")
    write_json(note, extraction.identity)
    make_folder(parts)
    paths = []
    for part in _shown(extraction.parts(), extraction, progress):
        paths.append(parts / part.name)
        if not paths[-1].is_file():
            with atomic_path(paths[-1]) as temporary, open(temporary, "wb") as file:
                arrays: dict[str, Any] = part.computed()
                np.savez(file, **arrays)
    _join_files(paths, extraction, folder).save(folder)
    shutil.rmtree(parts)
    return MapGroup.load(folder)


def _join_files(paths: list[Path], extraction: _Extraction, folder: Path) -> MapGroup:
    """Join parts in arrays on disk, one part in memory at a time."""
    n = len(extraction.windows) * len(extraction.bands)
    whole: dict[str, NDArray[Any]] = {}
    proba = []
    facts: Mapping[str, Any] = {}
    at = 0
    for path in paths:
        part = read_npz(path)
        facts = facts or json.loads(str(part["facts"]))
        proba.append(part["proba"])
        for name in ("values", "matrices"):
            if name in part:
                rows = part[name]
                if name not in whole:
                    where = folder / "parts" / f"{name}.npy"
                    whole[name] = np.lib.format.open_memmap(
                        where, mode="w+", dtype=rows.dtype, shape=(n, *rows.shape[1:])
                    )
                whole[name][at : at + len(rows)] = rows
        at += len(proba[-1])
    return extraction.group(whole["values"], whole.get("matrices"), np.concatenate(proba), facts)


def _compact(found: TokenMap, n_times: int) -> TokenMap:
    """Return a map without bands; values by sample become those of whole seconds, of which
    thousands of windows can be kept.
    """
    found = found.without_bands()
    layout = found.layout
    if layout.n_frames < n_times or not layout.knows_time or layout.frame_stop_s[-1] <= 1:
        return found
    edges = [*range(int(np.ceil(layout.frame_stop_s[-1]))), float(layout.frame_stop_s[-1])]
    return found.on(TokenLayout(layout.ch_names, edges[:-1], edges[1:]))


def _facts_of(found: TokenMap) -> dict[str, Any]:
    """Return what all maps of a group have in common."""
    return {"layout": found.layout.as_dict(), "probe": found.probe, "signed": found.signed, "unit": found.unit}


def _parameters(probe: Any) -> dict[str, Any]:
    return probe.get_params() if hasattr(probe, "get_params") else dict(vars(probe))


def _label(classifier: BIOTClassifier, label: Any) -> Any:
    """Return the class to explain as a plain label."""
    if label is None:
        label = classifier.positive_label_
    if label is None:
        raise ValueError(f"the model has {len(classifier.classes_)} classes: say which is explained, label=")
    return np.asarray(label).item()


def _evenly(windows: Windows, number: int) -> NDArray[np.int64]:
    """Return rows: so many of each subject and label, evenly spread."""
    places = pd.DataFrame({"subject": windows.groups, "label": windows.y}).groupby(["subject", "label"]).indices
    found = [
        rows[np.unique(np.linspace(0, len(rows) - 1, min(number, len(rows))).round().astype(int))]
        for rows in places.values()
    ]
    return np.sort(np.concatenate(found))


def _edges(bands: Sequence[str] | Mapping[str, tuple[float, float]]) -> dict[str, tuple[float, float] | None]:
    known = {name: (low, high) for name, low, high in BANDS}
    given = bands if isinstance(bands, Mapping) else {name: known.get(name) for name in bands}
    unknown = [name for name, edges in given.items() if edges is None or name == ALL]
    if isinstance(bands, str) or unknown:
        raise ValueError(f"bands must be names out of {', '.join(known)}, or a mapping of names to Hz; got {bands!r}")
    return {ALL: None, **{str(name): edges and (float(edges[0]), float(edges[1])) for name, edges in given.items()}}


def _table(windows: Windows, conditions: Mapping[str, str] | None) -> pd.DataFrame:
    table = windows.metadata
    if not conditions:
        return table
    named = pd.Series(None, index=table.index, dtype=object)
    for name, expr in conditions.items():
        try:
            rows = table.query(expr).index
        except Exception as error:  # pandas raises many kinds
            raise ValueError(
                f"condition {name!r}: {expr!r} is no expression over {', '.join(table.columns)} ({error})"
            ) from error
        if (twice := named[rows].dropna()).size:
            raise ValueError(
                f"{twice.size} window(s) are of the conditions {twice.iloc[0]!r} and {name!r}; one at most"
            )
        named[rows] = name
    return table.assign(condition=named)


def _judged(table: pd.DataFrame, proba: NDArray[np.float64], classifier: BIOTClassifier) -> pd.DataFrame:
    """Add what the model said: probability, prediction, confidence, outcome."""
    classes = np.asarray(classifier.classes_)
    positive, threshold = classifier.positive_label_, classifier.threshold_
    chosen = proba.argmax(axis=1)
    found = table.copy()
    if positive is not None:
        column = classes.tolist().index(positive)
        found["probability"] = proba[:, column]
        if threshold is not None:
            chosen = np.where(proba[:, column] >= threshold, column, 1 - column)
    found["predicted"] = classes[chosen]
    found["confidence"] = proba[np.arange(len(proba)), chosen]
    if positive is not None:
        said, true = found["predicted"] == positive, found["label"] == positive
        found["outcome"] = np.select(
            [said & true, ~said & true, said & ~true], ["hit", "miss", "false alarm"], "rejection"
        )
    return found


def _no_matrices(network: nn.Module, windows: Windows, steps: list[Any]) -> str | None:
    """Say why a model gives no attention by channel; None where it does."""
    ready: Any = windows[:1]
    for step in steps:
        ready = step.transform(ready)
    x = torch.from_numpy(np.asarray(ready, dtype=np.float32)).to(next(network.parameters()).device)
    try:
        _matrices(network, x)
    except (ValueError, RuntimeError, NotImplementedError) as error:
        return str(error)
    return None


def _matrices(network: nn.Module, x: Tensor) -> NDArray[np.float32]:
    with torch.no_grad(), record_attention(network) as trace:
        network(x)
    maps = trace.maps
    numbers = early_middle_late(len(maps)).values()
    return np.stack([maps[i : i + 1].channel_matrix()[0] for i in numbers], axis=1).astype(np.float32)


def _roles(number: int) -> tuple[str, ...]:
    return {1: ("late",), 2: ("early", "late")}.get(number, ("early", "middle", "late"))


def _shown(parts: list[_Part], extraction: _Extraction, show: bool) -> Iterator[_Part]:
    """Yield parts, with a bar on stderr where one is wanted."""
    if not show:
        yield from parts
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task(f"{extraction.probe_name}, {len(extraction.windows)} windows", total=len(parts))
        for part in parts:
            yield part
            bar.advance(task)
