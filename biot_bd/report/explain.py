"""A saved model looked into.

Its network and input, and an explanation of chosen windows as arrays and as a page.
"""

from __future__ import annotations

import inspect
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from biot_bd.evaluation.data import other_windows
from biot_bd.exceptions import StoreError
from biot_bd.models.checkpoints.pipeline_folder import description_file
from biot_bd.probes.base import Explanation
from biot_bd.report.drawing.curves import eeg_picture
from biot_bd.report.drawing.heatmaps import map_rows, maps_of
from biot_bd.report.examples import Example, described, excerpt_around, find_rows, seizures_of
from biot_bd.report.run_folder import read_run
from biot_bd.report.text import render
from biot_bd.runs import to_jsonable, write_json, write_text
from biot_bd.training import load_pipeline, read_record
from biot_bd.windows import Windows

CONTEXT_S = 30.0
# Fewer parameters than this and BIOT is called small on every output (the published one has 3.19
# million).
FULL_BIOT_PARAMETERS = 3_000_000


@dataclass(frozen=True)
class Model:
    """A saved pipeline, taken apart.

    Parameters
    ----------
    pipeline : estimator
        As :func:`biot_bd.training.load_pipeline` gives it.
    module : torch.nn.Module
        The network, in eval mode.
    monitor : str or None
        What early stopping watched in training; None where nothing stopped early.
    """

    pipeline: Any
    module: torch.nn.Module
    monitor: str | None = None

    @property
    def size(self) -> str:
        """Name and number of parameters in words."""
        name, number = module_name(self.module)
        return f"{name}, {f'{number / 1e6:.2f} million' if number >= 1e6 else f'{number:,}'} parameters"


def module_name(module: torch.nn.Module) -> tuple[str, int]:
    """Return what a network is called on outputs, and its number of parameters."""
    number = sum(parameter.numel() for parameter in module.parameters())
    name = type(module).__name__
    return (f"small {name}" if name == "BIOT" and number < FULL_BIOT_PARAMETERS else name), number


def load_model(folder: Path) -> Model:
    """Load a saved pipeline and find its network.

    Raises
    ------
    ValueError
        The pipeline holds no network, or its files are damaged.
    """
    pipeline = load_pipeline(folder)
    last = pipeline.steps[-1][1] if isinstance(pipeline, Pipeline) else pipeline
    module = getattr(last, "module_", None)
    if not isinstance(module, torch.nn.Module):
        raise ValueError(f"{folder}: the last step is a {type(last).__name__} without a network; nothing to look into")
    module = module.eval()
    monitor = getattr(last, "monitor", None) if getattr(last, "patience", None) is not None else None
    return Model(pipeline, module, monitor)


def model_input(model: Model, windows: Windows) -> tuple[NDArray[np.float32], list[str]]:
    """Return windows as the network gets them, through all steps before it, and the names of
    their channels.

    Parameters
    ----------
    model : Model
        With its pipeline.
    windows : Windows
        In uV; few, since they are read into memory.

    Returns
    -------
    x : ndarray, shape (n, n_chans, n_times), float32
        NaN in absent channels.
    ch_names : list of str
        After the steps, e.g. those of the montage.
    """
    ready: Any = windows
    if isinstance(model.pipeline, Pipeline):
        for _, step in model.pipeline.steps[:-1]:
            if step is not None and step != "passthrough":
                ready = step.transform(ready)
    x = np.asarray(ready, dtype=np.float32)
    names = getattr(ready, "ch_names", None) or [f"channel {i}" for i in range(x.shape[1])]
    return x, list(names)


def explain_windows(
    model: Model, windows: Windows, probe: Any, target: int | None = None
) -> tuple[Explanation, list[str]]:
    """Run a probe on windows, on the device of the network.

    Return the names of the channels as well.
    """
    x, ch_names = model_input(model, windows)
    device = next(model.module.parameters()).device
    return probe(model.module, torch.from_numpy(x).to(device), target=target), ch_names


# --- the page -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """The model that is looked into.

    Parameters
    ----------
    folder : Path
        Of the saved pipeline.
    text : str
        Where it comes from, in words.
    subjects : tuple of str or None
        Subjects whose windows it may explain (the test subjects of its fold); None for all.
    threshold : float or None
        Threshold stored with it.
    """

    folder: Path
    text: str
    subjects: tuple[str, ...] | None
    threshold: float | None


def choose_fold(model: Path, windows: Windows, *, fold: int | None = None, recording: str | None = None) -> Source:
    """Find the model in a saved pipeline or a run folder.

    Parameters
    ----------
    model : Path
        Folder that ``save_pipeline`` wrote, or a run folder.
    windows : Windows
        To look up the subject of ``recording``.
    fold : int, optional
        Fold of a run; by default the first that tests the subject of ``recording``, or the first of
        all.
    recording : str, optional
        Recording of the window in question.

    Raises
    ------
    FileNotFoundError
        Neither a saved model nor a finished run.
    ValueError
        No such fold, no fold that tests the subject, or the fold holds no saved model.
    """
    if description_file(model) is not None:
        if fold is not None:
            raise ValueError(f"{model} is a saved model, not a run: it has no fold {fold}")
        record = read_record(model) or {}
        return Source(model, f"saved model {model}", None, (record.get("threshold") or {}).get("value"))
    if not (model / "run.json").is_file():
        raise FileNotFoundError(f"{model}: neither a saved model (pipeline.json) nor a run folder (run.json)")
    run = read_run(model)
    if (other := other_windows(run.data, windows)) is not None:
        warnings.warn(f"{model}: {other}", stacklevel=2)
    if fold is not None:
        found = run.fold(fold)
        if found is None:
            raise ValueError(f"{model}: no fold {fold}; there are {', '.join(str(f.number) for f in run.folds)}")
    elif recording is not None:
        subject = _subject_of(windows, recording)
        found = next((one for one in run.folds if subject in one.facts["test"]), None)
        if found is None:
            raise ValueError(f"{model}: no fold tests subject {subject}; choose one with --fold")
    elif run.folds:
        found = run.folds[0]
    else:
        raise ValueError(f"{model}: the run has no finished fold")
    if found.model is None:
        raise ValueError(f"{model}: fold {found.number} holds no saved model ({found.facts.get('model_reason')})")
    threshold = found.facts["threshold"]["value"]
    return Source(found.model, f"fold {found.number} of {model}", tuple(found.facts["test"]), threshold)


def _subject_of(windows: Windows, recording: str) -> str:
    metadata = windows.metadata
    subjects = metadata.loc[metadata["recording"] == recording, "subject"].unique()
    if not len(subjects):
        known = sorted(metadata["recording"].unique())
        more = "..." if len(known) > 8 else ""
        raise ValueError(f"no windows of recording {recording!r}; there are {', '.join(known[:8])}{more}")
    return str(subjects[0])


def choose_windows(
    windows: Windows,
    subjects: tuple[str, ...] | None,
    *,
    number: int = 1,
    recording: str | None = None,
    start_s: float | None = None,
) -> NDArray[np.int64]:
    """Return rows: one window by its start, or seizure windows evenly spread.

    Raises
    ------
    ValueError
        No such window, or no seizure window of these subjects.
    """
    if recording is not None and start_s is not None:
        _subject_of(windows, recording)
        try:
            return find_rows(windows, recording, [start_s])
        except StoreError:
            starts = np.sort(windows.metadata.loc[windows.metadata["recording"] == recording, "start_s"].to_numpy())
            near = starts[np.argmin(np.abs(starts - start_s))]
            raise ValueError(
                f"{recording}: no window starts at {start_s:g} s; the nearest starts at {near:g} s"
            ) from None
    mask = windows.y == 1
    if subjects is not None:
        mask &= np.isin(windows.groups.astype(str), subjects)
    rows = np.flatnonzero(mask)
    if not len(rows):
        whose = f" of the subjects {', '.join(subjects)}" if subjects else ""
        raise ValueError(f"there are no seizure windows{whose}; name a window with --recording and --start-s")
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(number, len(rows))).round().astype(int))]


def explain_to_folder(
    source: Source,
    windows: Windows,
    rows: NDArray[np.int64],
    probe: Any,
    folder: Path,
    *,
    probe_name: str,
    target: int | None = None,
) -> dict[str, Any]:
    """Explain windows and write ``explanation.npz``, ``.json`` and ``.html`` into a folder.

    Parameters
    ----------
    source : Source
        The model.
    windows : Windows
        In uV.
    rows : ndarray of int
        Which windows.
    probe : callable
        ``probe(module, x, target=None) -> Explanation``.
    folder : Path
        Made where missing; files of an earlier call are replaced.
    probe_name : str
        For the outputs.
    target : int, optional
        Class to explain.

    Returns
    -------
    dict
        The facts, as ``explanation.json`` holds them.
    """
    model = load_model(source.folder)
    chosen = windows[rows]
    explanation, ch_names = explain_windows(model, chosen, probe, target)
    proba = _seizure_probability(model, chosen)
    facts = to_jsonable(
        {
            "generated": bool(windows.generated),
            "model": model.size,
            "source": source.text,
            "probe": probe_name,
            "target": target,
            "dims": explanation.dims,
            "shape": explanation.values.shape,
            "layers": explanation.layers,
            "info": explanation.info,
            "ch_names": ch_names,
            "windows": _table(chosen, proba),
            "page": folder / "explanation.html",
            "arrays": folder / "explanation.npz",
        }
    )
    explanation.save(folder / "explanation.npz")
    page = _page(source, model, windows, rows, explanation, facts, _about(probe))
    write_text(folder / "explanation.html", render("explain.html.j2", page))
    write_json(folder / "explanation.json", facts)
    return facts


def plain_facts(info: dict[str, Any]) -> dict[str, str]:
    """Return those facts of a probe that fit on a line, without its name and the layout of
    tokens.
    """
    return {
        name: f"{value:.3g}" if isinstance(value, float) else str(value)
        for name, value in info.items()
        if isinstance(value, (str, int, float)) and name not in ("probe", "n_chans", "n_frames")
    }


def _seizure_probability(model: Model, windows: Windows) -> NDArray[np.float64]:
    classes = [int(label) for label in model.pipeline.classes_]
    return np.asarray(model.pipeline.predict_proba(windows), dtype=float)[:, classes.index(1)]


def _table(windows: Windows, proba: NDArray) -> list[dict[str, Any]]:
    table = windows.metadata[["recording", "subject", "start_s", "stop_s", "label"]].assign(proba=proba)
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _page(
    source: Source,
    model: Model,
    windows: Windows,
    rows: NDArray[np.int64],
    explanation: Explanation,
    facts: dict[str, Any],
    about: str | None,
) -> dict[str, Any]:
    duration_s = described(windows).duration_s
    maps = [maps_of(explanation, facts["ch_names"], duration_s, index) for index in range(len(facts["windows"]))]
    shown = [
        (
            window,
            _eeg(source, model, windows, int(rows[index]), f"eeg-{index}"),
            map_rows(f"map-{index}", maps[index]),
        )
        for index, window in enumerate(facts["windows"])
    ]
    return {
        "title": "What the model looked at",
        "lead": f"{facts['model']}; {facts['source']}; probe {facts['probe']}",
        "banners": ["Generated data: not a clinical result."] if facts["generated"] else [],
        "explained": facts,
        "info": plain_facts(facts["info"]),
        "threshold": _threshold(source),
        "attends": maps[0][0].ratio,
        "by_time": any(shown.kind == "time" for shown in maps[0]),
        "about": about,
        "windows": shown,
    }


def _threshold(source: Source) -> float:
    return 0.5 if source.threshold is None else source.threshold


def _about(probe: Any) -> str | None:
    """Return the first sentence of a probe's own description."""
    said = inspect.getdoc(probe if inspect.isfunction(probe) else type(probe))
    return None if not said else " ".join(said.split("\n\n")[0].replace("`", "").split())


def _eeg(source: Source, model: Model, windows: Windows, row: int, name: str) -> Any:
    """Draw a window amid its recording, with the model's probabilities of the windows around."""
    metadata = windows.metadata
    window = metadata.iloc[row]
    middle = (window["start_s"] + window["stop_s"]) / 2
    centres = (metadata["start_s"] + metadata["stop_s"]) / 2
    near = ((metadata["recording"] == window["recording"]) & ((centres - middle).abs() <= CONTEXT_S)).to_numpy()
    around = np.flatnonzero(near)
    threshold = _threshold(source)
    table = pd.DataFrame(metadata.iloc[around]).assign(
        fold=0, proba=_seizure_probability(model, windows[around]), threshold=threshold
    )
    this = table.iloc[int(np.flatnonzero(around == row)[0])]
    excerpt = excerpt_around(windows, table, Example("hit", this, 1), seizures_of(windows))
    return eeg_picture(name, f"{window['recording']} from {excerpt.start_s:g} to {excerpt.stop_s:g} s", excerpt)
