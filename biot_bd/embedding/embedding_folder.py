"""A folder of embedded windows: the numbers, whose they are, where they lie, and how they cluster.

``embeddings.npy`` float32, a row a window; ``table.parquet``, their recordings, subjects, times and
labels, and where there is a map ``map_x`` and ``map_y``; ``clusters.json`` and ``nearest.json``;
and, written last, ``embedding.json``: of what, by what.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from biot_bd.bounded_files import read_npy, read_table
from biot_bd.embedding.clusters import MOST_WINDOWS, cluster_facts, evenly_by_group
from biot_bd.embedding.nearest import nearest_windows
from biot_bd.embedding.projection import project
from biot_bd.exceptions import EmbeddingCacheError
from biot_bd.json_values import check_values, naming
from biot_bd.models.checkpoints.anonymous_facts import without_places
from biot_bd.runs import atomic_path, environment, make_folder, read_json, to_jsonable, write_json
from biot_bd.windows import Windows

FORMAT, VERSION = "biot-bd embedded windows", 1
DESCRIPTION, ARRAY, TABLE = "embedding.json", "embeddings.npy", "table.parquet"
CLUSTERS, NEAREST = "clusters.json", "nearest.json"
MOST_ON_MAP = 5000
N_QUERIES, N_NEIGHBOURS = 4, 3


class _Facts(TypedDict):
    format: str
    version: int
    windows: dict[str, Any]
    model: dict[str, Any]
    steps: list[str]
    shape: list[int]
    provenance: dict[str, Any]
    cache: dict[str, Any] | None
    map: dict[str, Any] | None
    metric: str
    environment: NotRequired[dict[str, Any]]


@dataclass(frozen=True, eq=False)
class EmbeddedWindows:
    """Embedded windows that lie in a folder.

    Parameters
    ----------
    folder : Path
        Where they lie.
    facts : dict
        What ``embedding.json`` says.
    embeddings : ndarray of float32, shape (n, n_features) or (n, n_tokens, n_features)
        Mapped into memory, read where it is asked for.
    table : pandas.DataFrame
        Recording, subject, times and label of each window; ``map_x`` and ``map_y`` where there is a
        map, NaN for windows that are not on it.
    clusters : dict or None
        Of :func:`biot_bd.embedding.cluster_facts`.
    nearest : list of dict
        Some windows (``query``, a row) with their ``neighbours`` and ``distances``.

    See Also
    --------
    read_embeddings : Opens a folder.

    Examples
    --------
    >>> from biot_bd.embedding import EmbeddedWindows
    >>> sorted(EmbeddedWindows.__dataclass_fields__)[:3]
    ['clusters', 'embeddings', 'facts']
    """

    folder: Path
    facts: dict[str, Any]
    embeddings: NDArray[np.float32]
    table: pd.DataFrame
    clusters: dict[str, Any] | None
    nearest: list[dict[str, Any]]


def write_embeddings(
    embedder: Any,
    windows: Windows,
    folder: str | os.PathLike[str],
    *,
    steps: Sequence[Any] = (),
    method: str | None = None,
    metric: str = "cosine",
    random_state: int = 0,
    told: Callable[[str], None] = lambda what: None,
) -> EmbeddedWindows:
    """Embed windows, and write them with what there is to know of them.

    Parameters
    ----------
    embedder : Embedder
        Is fitted where it is not.
    windows : Windows
        All that shall be embedded.
    folder : path-like
        What it holds of a former call is replaced.
    steps : sequence of WindowTransformer
        In front of the embedder.
    method : {"pca", "tsne", "umap"}, optional
        Draw a map of at most 5,000 windows.
    metric : {"cosine", "euclidean"}
        Of neighbours, clusters and maps.
    random_state : int
        Of maps and clusters.
    told : callable
        Is given a line about what begins.

    Returns
    -------
    EmbeddedWindows

    Raises
    ------
    ValueError
        A window has an embedding that is not finite.
    MissingExtraError
        ``method="umap"`` without umap-learn.

    See Also
    --------
    biot_bd.report.write_embedding_report : The page of such a folder.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from biot_bd import Embedder, PercentileScaler, load_dataset, prepare
    >>> from biot_bd.embedding import write_embeddings
    >>> work = TemporaryDirectory()
    >>> recordings = load_dataset(
    ...     "demo", work.name + "/edf", n_subjects=2, recordings=1, minutes=2
    ... )
    >>> windows = prepare(recordings, work.name + "/windows")
    >>> size = {"embed_dim": 16, "num_heads": 2, "num_layers": 1}
    >>> embedder = Embedder(module_params=size, device="cpu")
    >>> made = write_embeddings(
    ...     embedder, windows, work.name + "/out", steps=[PercentileScaler()]
    ... )
    >>> made.embeddings.shape, made.clusters["subject"]["n_groups"]
    ((46, 16), 2)
    >>> work.cleanup()
    """
    mapped: Any = windows
    for step in steps:
        mapped = step.transform(mapped)
    told(f"embedding {len(windows):,} windows")
    embeddings = np.asarray(embedder.fit_transform(mapped))
    folder = make_folder(folder)
    (folder / DESCRIPTION).unlink(missing_ok=True)  # what is half written is no such folder
    with atomic_path(folder / ARRAY) as temporary, open(temporary, "wb") as file:
        np.save(file, embeddings, allow_pickle=False)
    pooled = _pooled(embeddings)
    table = windows.metadata
    chart = None
    if method is not None:
        told(f"drawing a map ({method})")
        table, chart = _with_map(table, pooled, method, metric, random_state)
    with atomic_path(folder / TABLE) as temporary:
        table.to_parquet(temporary, index=False)
    told("looking for clusters and neighbours")
    subjects = table["subject"].astype(str).to_numpy()
    write_json(folder / CLUSTERS, _clusters(pooled, subjects, windows, metric, random_state))
    write_json(folder / NEAREST, _nearest(pooled, subjects, table["label"].to_numpy(), metric, random_state))
    write_json(folder / DESCRIPTION, _described(embedder, windows, mapped, steps, embeddings.shape, chart, metric))
    return read_embeddings(folder)


def read_embeddings(folder: str | os.PathLike[str]) -> EmbeddedWindows:
    """Open what :func:`write_embeddings` wrote.

    Parameters
    ----------
    folder : path-like
        Its ``embedding.json`` is written last.

    Returns
    -------
    EmbeddedWindows

    Raises
    ------
    FileNotFoundError
        No embedded windows are there, or their writing did not end.
    EmbeddingCacheError
        A file is damaged, missing or of a newer version.

    See Also
    --------
    biot_bd.embedding.nearest_windows : What to do with the numbers.

    Examples
    --------
    >>> from biot_bd.embedding import read_embeddings
    >>> read_embeddings("no-such-folder")
    Traceback (most recent call last):
    ...
    FileNotFoundError: no-such-folder: no embedded windows here (no embedding.json)
    """
    folder = Path(folder)
    file = folder / DESCRIPTION
    if not file.is_file():
        raise FileNotFoundError(f"{folder}: no embedded windows here (no {DESCRIPTION})")
    facts = _read_facts(file)
    again = "run the same `biot-bd embed` again"
    try:
        embeddings = read_npy(folder / ARRAY)
        table = read_table(folder / TABLE)
        clusters, nearest = read_json(folder / CLUSTERS), read_json(folder / NEAREST)
    except (OSError, ValueError, EOFError) as error:
        raise EmbeddingCacheError(f"{folder}: damaged ({' '.join(str(error).split())}); {again}") from error
    if list(embeddings.shape) != facts["shape"] or embeddings.dtype != np.float32 or len(table) != len(embeddings):
        raise EmbeddingCacheError(
            f"{folder}: expected float32 of shape {facts['shape']} and as many rows in {TABLE}, found {embeddings.dtype} of "
            f"shape {list(embeddings.shape)} and {len(table)} rows; {again}"
        )
    return EmbeddedWindows(folder, facts, embeddings, table, clusters, nearest)


def _read_facts(file: Path) -> dict[str, Any]:
    try:
        facts = read_json(file)
    except ValueError as error:
        raise EmbeddingCacheError(str(error)) from error
    with naming(file, EmbeddingCacheError):
        if not isinstance(facts, dict) or facts.get("format") != FORMAT:
            raise ValueError("not written by biot-bd embed")
        reader = _READERS.get(facts.get("version"))
        if reader is None:
            raise ValueError(
                f"of format version {facts.get('version')!r}; this biot_bd reads {VERSION}: install a newer one"
            )
        return reader(facts)


def _version1(facts: dict[str, Any]) -> dict[str, Any]:
    check_values(facts, _Facts)
    return facts


_READERS: dict[Any, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _version1}


# --- what is found --------------------------------------------------------------------------------


def _pooled(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    if embeddings.ndim == 2:
        return embeddings
    pooled = np.empty((len(embeddings), embeddings.shape[2]), np.float32)
    for start in range(0, len(embeddings), 256):
        pooled[start : start + 256] = np.nanmean(embeddings[start : start + 256], axis=1)
    return pooled


def _with_map(
    table: pd.DataFrame, pooled: NDArray[np.float32], method: str, metric: str, seed: int
) -> tuple[pd.DataFrame, dict[str, Any]]:
    rows = evenly_by_group(table["subject"].astype(str).to_numpy(), MOST_ON_MAP, np.random.default_rng(seed))
    places = np.full((len(table), 2), np.nan, np.float32)
    places[rows] = project(pooled[rows], method, metric=metric, random_state=seed)
    chart = {"method": method, "n_windows": len(rows), "metric": None if method == "pca" else metric, "seed": seed}
    return table.assign(map_x=places[:, 0], map_y=places[:, 1]), chart


def _clusters(
    pooled: NDArray[np.float32], subjects: NDArray[Any], windows: Windows, metric: str, seed: int
) -> dict[str, Any]:
    rows = evenly_by_group(subjects, MOST_WINDOWS, np.random.default_rng(seed))
    classes = class_names(windows)
    labels = np.array([classes[label] for label in windows.y[rows]])
    return to_jsonable(cluster_facts(pooled[rows], subjects[rows], labels, metric=metric, random_state=seed))


def class_names(windows: Windows) -> tuple[str, ...]:
    """Return the names of the labels of windows, by number."""
    return tuple(windows.classes) if hasattr(windows, "classes") else ("background", "seizure")


def _nearest(
    pooled: NDArray[np.float32], subjects: NDArray[Any], labels: NDArray[Any], metric: str, seed: int
) -> list[dict[str, Any]]:
    """Choose windows of each class, of as many subjects as can be, and find those like them."""
    rng = np.random.default_rng(seed)
    known = np.unique(labels)
    queries: list[int] = []
    for label in known[::-1]:
        own = np.flatnonzero(labels == label)
        queries += own[evenly_by_group(subjects[own], max(1, N_QUERIES // len(known)), rng)].tolist()
    apart = subjects if len(np.unique(subjects)) > 1 else None
    found = nearest_windows(pooled, queries, n_neighbors=N_NEIGHBOURS, metric=metric, apart=apart)
    parts = [found[found["query"] == query] for query in pd.unique(found["query"])]
    return [
        {
            "query": int(own["query"].iloc[0]),
            "neighbours": own["neighbour"].astype(int).tolist(),
            "distances": own["distance"].tolist(),
            "of_other_subjects": apart is not None,
        }
        for own in parts
    ]


def _described(
    embedder: Any,
    windows: Windows,
    mapped: Any,
    steps: Sequence[Any],
    shape: tuple[int, ...],
    chart: dict[str, Any] | None,
    metric: str,
) -> dict[str, Any]:
    module = embedder.module_
    facts: _Facts = {
        "format": FORMAT,
        "version": VERSION,
        "windows": {
            "folders": [] if windows.anonymous else [os.path.abspath(table.folder) for table in windows.tables],
            "fingerprint": windows.fingerprint,
            "n_windows": len(windows),
            "n_subjects": len(set(windows.groups)),
            "label_rule": windows.label_rule,
            "classes": list(class_names(windows)),
            "generated": windows.generated,
        },
        "model": {
            **embedder.network_.identity(embedder),
            "pretrained": None if embedder.pretrained is None else str(embedder.pretrained),
            "random_state": embedder.random_state,
            "n_parameters": sum(parameter.numel() for parameter in module.parameters()),
        },
        "steps": [repr(step) for step in steps],
        "shape": list(shape),
        "provenance": embedder.provenance_.to_dict(),
        "cache": None if embedder.cache is False else embedder.cache_info(mapped),
        "map": chart,
        "metric": metric,
        "environment": environment(),
    }
    told: dict[str, Any] = to_jsonable(facts)
    return without_places(told, [str(told["model"]["pretrained"])]) if windows.anonymous else told
