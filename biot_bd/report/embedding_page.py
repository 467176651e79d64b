"""The page of embedded windows: where they lie, how they cluster, what lies next to what."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from biot_bd.embedding import EmbeddedWindows, map_figure, read_embeddings, windows_figure
from biot_bd.models.checkpoints.provenance import Provenance, canonical_name
from biot_bd.report.explain.pictures import Album, Shown
from biot_bd.report.text import generated_banners, render
from biot_bd.runs import write_text
from biot_bd.windows import Windows

PAGE = "report.html"
MAP_NAMES = {"pca": "principal components", "tsne": "t-SNE", "umap": "UMAP"}


def write_embedding_report(folder: str | Path, *, windows: Windows | None = None) -> Path:
    """Write ``report.html`` into a folder of embedded windows.

    Parameters
    ----------
    folder : path
        Of ``biot-bd embed`` or :func:`biot_bd.embedding.write_embeddings`.
    windows : Windows, optional
        The windows that were embedded, in uV, for the pictures of EEG; by default those at the
        places that ``embedding.json`` names.  Where they are gone or others, the page says so.

    Returns
    -------
    Path
        ``folder/report.html``; its pictures lie in ``folder/pictures/``, too.

    Raises
    ------
    FileNotFoundError
        There are no embedded windows.
    EmbeddingCacheError
        A file is damaged.

    See Also
    --------
    biot_bd.embedding.cluster_facts : The numbers of the page.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from biot_bd import Embedder, load_dataset, prepare
    >>> from biot_bd.embedding import write_embeddings
    >>> from biot_bd.report import write_embedding_report
    >>> work = TemporaryDirectory()
    >>> recordings = load_dataset(
    ...     "demo", work.name + "/edf", n_subjects=2, recordings=1, minutes=2
    ... )
    >>> windows = prepare(recordings, work.name + "/windows")
    >>> _ = write_embeddings(Embedder("eegnet", device="cpu"), windows, work.name + "/out")
    >>> write_embedding_report(work.name + "/out").name
    'report.html'
    >>> work.cleanup()
    """
    made = read_embeddings(folder)
    facts = made.facts
    windows, no_eeg = _windows_of(facts["windows"], windows)
    subjects = sorted(set(made.table["subject"].astype(str)))
    provenance = Provenance.from_dict(facts["provenance"])
    album = Album(made.folder)
    caution = "generated data: not a clinical result" if facts["windows"]["generated"] else None
    page = {
        "anonymous": not facts["windows"]["folders"],
        "title": f"Embeddings by {facts['model']['model']}",
        "lead": _lead(facts),
        "banners": [*generated_banners(facts["windows"]["generated"], None, "numbers"), *_seen(provenance, subjects)],
        "facts": facts,
        "clusters": made.clusters,
        "maps": _maps(made, album, caution),
        "map_name": MAP_NAMES[facts["map"]["method"]] if facts["map"] else None,
        "nearest": _nearest(made, windows, album, caution),
        "apart": all(one["of_other_subjects"] for one in made.nearest),
        "no_eeg": no_eeg,
        "subjects": subjects,
        "seen": provenance.trained_on,
        "known": provenance.known,
    }
    return write_text(made.folder / PAGE, render("embedding.html.j2", page))


def _lead(facts: dict[str, Any]) -> str:
    model, told, shape = facts["model"], facts["windows"], facts["shape"]
    layer = "what its last layer is given" if model["layer"] is None else f"transformer layer {model['layer']} (from 0)"
    pooled = "" if len(shape) == 2 else f" by each of {shape[1]} tokens"
    return (
        f"{told['n_windows']:,} windows of {told['n_subjects']} subjects as {shape[-1]} numbers{pooled}: {layer} of a model of "
        f"{model['n_parameters']:,} parameters that was not trained on them here ({model['source']})."
    )


def _seen(provenance: Provenance, subjects: list[str]) -> list[str]:
    """Say which of the subjects the weights have seen before."""
    if not provenance.known:
        return [f"Nobody knows which subjects {provenance.source} was trained on; they may be among these."]
    seen = [subject for subject in subjects if provenance.saw([canonical_name(subject)])]
    if not seen:
        return []
    return [
        f"The weights were trained on {len(seen)} of these subjects ({', '.join(seen[:6])}{' ...' if len(seen) > 6 else ''}): "
        "how their windows lie together says nothing of new subjects."
    ]


def _windows_of(told: dict[str, Any], given: Windows | None) -> tuple[Windows | None, str | None]:
    """Return the windows that were embedded, or why there are none to draw."""
    try:
        windows = given
        if windows is None:
            windows = Windows.concat([Windows.open(folder) for folder in told["folders"]])
    except (OSError, ValueError) as error:
        return None, f"the prepared windows cannot be read ({error})"
    if windows.fingerprint != told["fingerprint"]:
        return (
            None,
            f"the windows of {', '.join(map(os.fspath, told['folders']))} are others now than those that were embedded",
        )
    if windows.unit != "uV" or windows.ch_names is None or windows.sfreq is None:
        return None, "the windows are not in microvolts, or name no channels and rate"
    return windows, None


# --- pictures -------------------------------------------------------------------------------------


def _maps(made: EmbeddedWindows, album: Album, caution: str | None) -> list[Shown]:
    chart = made.facts["map"]
    if chart is None:
        return []
    table = made.table[made.table["map_x"].notna()]
    places = table[["map_x", "map_y"]].to_numpy()
    classes = made.facts["windows"]["classes"]
    names = {"subject": table["subject"].astype(str), "class": table["label"].map(lambda label: classes[int(label)])}
    method = MAP_NAMES[chart["method"]]
    distance = "" if chart["metric"] is None else f", {chart['metric']} distance"
    footnote = f"{method}{distance}, seed {chart['seed']}; axes have no unit, and distances between groups mean little"
    pictures = []
    for key, own in names.items():
        said = _silhouette((made.clusters or {}).get(key))
        draw = partial(
            map_figure, places, own.to_numpy(), title=f"Windows by {key}", said=said, caution=caution, footnote=footnote
        )
        pictures.append(album.add(f"map-{key}", f"Windows by {key}", draw, 620))
    return pictures


def _silhouette(facts: dict[str, Any] | None) -> str:
    if not facts or facts["silhouette"] is None:
        return ""
    return f"Silhouette {facts['silhouette']:.3f}, of shuffled names {facts['chance']:.3f} (p {facts['p']:.2g})."


def _nearest(made: EmbeddedWindows, windows: Windows | None, album: Album, caution: str | None) -> list[dict[str, Any]]:
    shown = []
    classes = made.facts["windows"]["classes"]
    for number, one in enumerate(made.nearest):
        rows = [one["query"], *one["neighbours"]]
        places = [_place(made.table, row, classes) for row in rows]
        picture = None
        if windows is not None:
            names = [
                places[0]["short"],
                *(f"{p['short']}, {d:.3g}" for p, d in zip(places[1:], one["distances"], strict=True)),
            ]
            title = f"The windows nearest to {places[0]['long']}"
            draw = partial(
                windows_figure,
                list(windows.read(np.asarray(rows))),
                names,
                windows.ch_names or (),
                float(windows.sfreq or 1),
                title=title,
                caution=caution,
                footnote=f"{made.facts['metric']} distance of embeddings behind each name",
            )
            picture = album.add(f"nearest-{number + 1}", title, draw)
        distances = [None, *one["distances"]]
        shown.append({"picture": picture, "rows": list(zip(places, distances, strict=True)), "of": places[0]["long"]})
    return shown


def _place(table: pd.DataFrame, row: int, classes: list[str]) -> dict[str, Any]:
    found = table.iloc[row]
    label = classes[int(found["label"])]
    return {
        "recording": str(found["recording"]),
        "subject": str(found["subject"]),
        "start_s": float(found["start_s"]),
        "label": label,
        "short": f"{found['subject']}, {found['start_s']:g} s, {label}",
        "long": f"{label} at {found['start_s']:g} s of {found['recording']} ({found['subject']})",
    }
