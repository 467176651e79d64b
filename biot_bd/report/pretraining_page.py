"""The page of a pretraining: curves beside chance, what it reconstructs, who was seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from biot_bd.exceptions import CheckpointError
from biot_bd.json_values import check_values, naming
from biot_bd.models import provenance_of
from biot_bd.models.checkpoints.pretraining_folder import HISTORY, read_pretraining
from biot_bd.pretraining import (
    ReconstructionScores,
    load_pretraining,
    reconstruction_figure,
    reconstruction_scores_figure,
    reconstruction_spectra_figure,
    score_reconstruction,
)
from biot_bd.pretraining.reconstruction_scores import joined, reconstructing, reconstructions, shown_facts
from biot_bd.report.drawing.curves import training_picture
from biot_bd.report.drawing.svg import Picture
from biot_bd.report.explain.pictures import Album, Shown
from biot_bd.report.text import generated_banners, render
from biot_bd.runs import atomic_path, make_folder, read_json, to_jsonable, write_json, write_text

PAGE, FOLDER, SCORES = "report.html", "reconstruction", "scores.json"
N_DRAWN, N_SPECTRA = 2, 32
_NO_LOGS = ("epoch", "dur", "batches")
MEANING = {
    "loss": "what is minimised",
    "chance": "the loss of somebody who knows nothing",
    "skill_strict": "the same against the best of several guesses: interpolation, the channel's mean, one constant token",
    "skill": "1: perfect; 0: as the simple guess it is measured against",
    "mse": "mean squared error on hidden tokens",
    "embedding_std": "spread of embeddings over windows; near 0 the model has collapsed",
    "masked_fraction": "share of the present tokens that was hidden",
    "kl": "divergence of the latent's posterior from its prior, in nats",
    "active_units": "latent units whose posterior mean varies over windows",
    "top1": "share of windows whose own other view was the nearest",
}


def write_pretraining_report(folder: str | Path, *, windows: Any = None, pipeline: Any = None) -> Path:
    """Write ``report.html`` into the folder of a pretraining.

    Parameters
    ----------
    folder : path
        A finished one, of ``biot-bd pretrain`` or
        :func:`biot_bd.pretraining.save_pretraining`.
    windows : Windows, optional
        Of subjects that did not train, as the first step of the pipeline takes them: what is
        reconstructed of them is scored and drawn, into ``folder/reconstruction/``.  Without them
        the page has the scores that are stored there, if any.
    pipeline : Pipeline or Pretrainer, optional
        What the folder holds, where it is loaded already.

    Returns
    -------
    Path
        ``folder/report.html``.

    Raises
    ------
    FileNotFoundError
        There is no finished pretraining.
    CheckpointError
        A file is damaged.
    ValueError
        Subjects of ``windows`` trained the model.

    See Also
    --------
    biot_bd.write_report : The page of a cross-validation.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd import Pretrainer
    >>> from biot_bd.pretraining import save_pretraining
    >>> from biot_bd.report import write_pretraining_report
    >>> x = np.random.default_rng(0).normal(size=(8, 2, 400)).astype("float32")
    >>> size = {"module__embed_dim": 8, "module__num_heads": 2, "module__num_layers": 1}
    >>> net = Pretrainer(**size, max_epochs=1, batch_size=4, train_split=None, device="cpu")
    >>> write_pretraining_report(save_pretraining(net.fit(x), "run")).name
    'report.html'
    """
    folder = Path(folder)
    description = read_pretraining(folder)
    if not (folder / HISTORY).is_file():
        raise CheckpointError(f"{folder / HISTORY}: missing; copy the whole folder again")
    with naming(folder / HISTORY, CheckpointError):
        rows = read_json(folder / HISTORY)
        check_values(rows, list[dict[str, Any]])
        logs = logs_of(rows)
    reconstructed = [] if windows is None else _reconstructed(folder, windows, pipeline)
    if windows is None:
        reconstructed = _stored(folder)
    page = {
        "anonymous": bool(description["record"].get("data", {}).get("anonymous")),
        "title": f"Pretraining of {description['model']['name']}",
        "lead": _lead(description),
        "banners": generated_banners(description["generated"], None, "numbers"),
        "described": description,
        "left_out": description["record"].get("subjects", {}).get("hold_out", []),
        "objectives": list(description["objective"]),
        "headline": _headline(logs, list(description["objective"])),
        "curves": _curves(logs),
        "logs": _table(logs),
        "reconstructed": reconstructed,
        "seen": provenance_of(folder).trained_on,
        "window_s": _window_s(description["input_info"]),
    }
    return write_text(folder / PAGE, render("pretraining.html.j2", page))


def _lead(description: Mapping[str, Any]) -> str:
    weights = description["objective"]
    said = ", ".join(name if len(weights) == 1 else f"{name} (weight {weight:g})" for name, weight in weights.items())
    return (
        f"{description['model']['n_parameters']:,} parameters, trained without labels by {said} "
        f"for {description['n_epochs']} epochs on {_counted(description['train_subjects'])}."
    )


def _counted(subjects: Sequence[str]) -> str:
    n = len(subjects)
    return "windows whose subjects are not known" if not n else f"{n} subject{'' if n == 1 else 's'}"


def _window_s(info: Mapping[str, Any]) -> float | None:
    return None if not info["sfreq"] else info["n_times"] / info["sfreq"]


# --- curves ---------------------------------------------------------------------------------------

Logs = dict[str, dict[str, Any]]


def logs_of(rows: Sequence[Mapping[str, Any]]) -> Logs:
    """Return what a history tells by epoch: log -> ``"train"`` or ``"valid"`` -> values.

    Parameters
    ----------
    rows : sequence of mapping
        Of ``history.json``, an epoch each.

    Returns
    -------
    dict of str to dict of str to ndarray, shape (n_epochs,)
        NaN where an epoch has none.
    """
    found: Logs = {}
    for key in dict.fromkeys(key for row in rows for key in row):
        part, _, log = key.partition("_")
        values = [row.get(key) for row in rows]
        numbers = [value for value in values if value is not None]
        if part not in ("train", "valid") or log in _NO_LOGS or log.endswith(("_best", "batch_count")):
            continue
        if numbers and all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in numbers):
            found.setdefault(log, {})[part] = np.array(
                [np.nan if value is None else float(value) for value in values], dtype=float
            )
    return found


def _kind(log: str) -> str:
    """Return what a log is, without the name of its objective in front."""
    return next((kind for kind in MEANING if log == kind or log.endswith(f"_{kind}")), log)


def _curves(logs: Logs) -> list[tuple[str, Picture]]:
    """Draw losses with their chance first, then skills, then the others."""
    order = sorted(
        (log for log in logs if _kind(log) != "chance"),
        key=lambda log: (_kind(log) != "loss", not _kind(log).startswith("skill"), log != "loss"),
    )
    pictures = []
    for number, log in enumerate(order):
        series = {{"train": "training", "valid": "validation"}[part]: values for part, values in logs[log].items()}
        if _kind(log) == "loss":
            chance = logs.get(f"{log.removesuffix('loss')}chance", {})
            if "valid" in chance or "train" in chance:
                series["chance"] = chance.get("valid", chance.get("train"))
        if any(np.isfinite(values).any() for values in series.values()):
            pictures.append((log, training_picture(f"log-{number}", log, series, log, None)))
    return pictures


def _last(logs: Logs, log: str) -> float | None:
    parts = logs.get(log, {})
    values = parts.get("valid", parts.get("train"))
    return None if values is None or not np.isfinite(values[-1]) else float(values[-1])


def _headline(logs: Logs, objectives: Sequence[str]) -> list[dict[str, Any]]:
    """Return the last loss of each objective with its chance and skill."""
    rows = []
    for name in objectives:
        front = "" if len(objectives) == 1 else f"{name}_"
        values = {kind: _last(logs, f"{front}{kind}") for kind in ("loss", "chance", "skill", "skill_strict")}
        rows.append({"name": name, "part": "validation" if "valid" in logs.get("loss", {}) else "training", **values})
    return rows


def _table(logs: Logs) -> list[dict[str, Any]]:
    """Return first and last values of all logs."""
    return [
        {"log": log, "part": part, "first": values[0], "last": values[-1], "meaning": MEANING.get(_kind(log), "")}
        for log, parts in logs.items()
        for part, values in parts.items()
    ]


# --- reconstructions ------------------------------------------------------------------------------


def _reconstructed(folder: Path, windows: Any, pipeline: Any) -> list[dict[str, Any]]:
    """Score and draw what each objective reconstructs; write it beside the page."""
    loaded = load_pretraining(folder) if pipeline is None else pipeline
    in_pipeline = hasattr(loaded, "steps")
    net = loaded.steps[-1][1] if in_pipeline else loaded
    names = list(reconstructing(net.module_))
    if not names:
        return []
    ready = loaded[:-1].transform(windows) if in_pipeline and len(loaded.steps) > 1 else windows
    scores = {name: score_reconstruction(net, ready, objective=name) for name in names}
    pictures = {name: _pictures(folder, net, ready, name) for name in names}
    stored = {
        "objectives": {name: one.as_dict() for name, one in scores.items()},
        "pictures": {name: [one.noted() for one in drawn] for name, drawn in pictures.items()},
    }
    write_json(make_folder(folder / FOLDER) / SCORES, to_jsonable(stored))
    return [_shown(folder, name, one, pictures[name]) for name, one in scores.items()]


def _stored(folder: Path) -> list[dict[str, Any]]:
    file = folder / FOLDER / SCORES
    if not file.is_file():
        return []
    with naming(file, CheckpointError):
        stored = read_json(file)
        scores = {name: ReconstructionScores.from_dict(one) for name, one in stored["objectives"].items()}
        album = Album(folder / FOLDER)
        pictures = {name: [_beside_the_page(album.find(one)) for one in stored["pictures"][name]] for name in scores}
    return [_shown(folder, name, one, pictures[name]) for name, one in scores.items()]


def _shown(folder: Path, name: str, scores: ReconstructionScores, pictures: list[Shown]) -> dict[str, Any]:
    album = Album(make_folder(folder / FOLDER))
    draw = partial(reconstruction_scores_figure, scores, footnote=f"objective {name}")
    drawn = album.add(f"{name}-scores", "Reconstruction by channel and by subject", draw)
    return {
        "name": name,
        "scores": scores,
        "overall": scores.overall,
        "tables": {by: _rows(scores.rows(by)) for by in ("subject", "channel")},
        "csv": _csv(folder, name, scores),
        "pictures": [*pictures, _beside_the_page(drawn)],
    }


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    plain = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in plain]


def _csv(folder: Path, name: str, scores: ReconstructionScores) -> dict[str, str]:
    """Write the tables; return their names relative to the page."""
    found = {f"{name}-scores": scores.table, f"{name}-by-feature": scores.by_feature}
    for stem, table in found.items():
        with atomic_path(folder / FOLDER / f"{stem}.csv") as temporary:
            table.to_csv(temporary, index=False)
    return {stem: f"{FOLDER}/{stem}.csv" for stem in found}


def _pictures(folder: Path, net: Any, ready: Any, name: str) -> list[Shown]:
    """Draw windows evenly spread over those that were scored, and the mean spectra of more."""
    rows = np.unique(np.linspace(0, len(ready) - 1, min(len(ready), N_SPECTRA)).round().astype(int))
    found = joined(list(reconstructions(net, ready[rows], objective=name)))
    facts, album = shown_facts(net), Album(make_folder(folder / FOLDER))
    groups = np.asarray(getattr(ready, "groups", np.full(len(ready), ""))).astype(str)
    pictures = []
    for number, window in enumerate(np.unique(np.linspace(0, len(rows) - 1, N_DRAWN).round().astype(int))):
        whose = f"subject {groups[rows[window]]}, " if groups[rows[window]] else ""
        footnote = f"objective {name}; {whose}window {rows[window]} of those scored"
        draw = partial(reconstruction_figure, found, window=int(window), footnote=footnote, **facts.window)
        pictures.append(album.add(f"{name}-window-{number + 1}", f"Reconstruction, {whose}window {rows[window]}", draw))
    spectra = partial(reconstruction_spectra_figure, found, footnote=f"objective {name}", **facts.spectra)
    pictures.append(album.add(f"{name}-spectra", "Spectra of what was reconstructed", spectra))
    return [_beside_the_page(one) for one in pictures]


def _beside_the_page(picture: Shown) -> Shown:
    return replace(picture, files=tuple(f"{FOLDER}/{file}" for file in picture.files))
