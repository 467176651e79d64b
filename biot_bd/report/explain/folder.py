"""An explanation as a folder: pictures, ``maps.npz``, ``explain.json`` and ``explain.html``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from biot_bd.models.attention.token_map import TokenMap
from biot_bd.probes.explained_maps import ExplainedMaps
from biot_bd.report.explain.agreement import compare, top_channels, top_moment_s
from biot_bd.report.explain.model import Model, Signal, device_of, model_input, model_input_uv
from biot_bd.report.explain.page import page_of
from biot_bd.report.explain.pictures import Album
from biot_bd.report.explain.probe_runs import ProbeRuns, about, default_target, run_probes, title_of
from biot_bd.report.explain.source import Source
from biot_bd.report.explain.window import ExplainedWindow
from biot_bd.report.text import render
from biot_bd.runs import atomic_path, environment, read_json, to_jsonable, write_json, write_text

FORMAT, VERSION = "biot_bd explanation", 1
JSON, PAGE, MAPS = "explain.json", "explain.html", "maps.npz"
MOST_TESTED = 8
"""Windows that the tests of probes are made on: the explained one and its neighbours."""


@dataclass(frozen=True)
class Wanted:
    """What is asked of an explanation.

    Parameters
    ----------
    probes : sequence of str or None
        Registered names; None: those that the model can take.
    target : int or None
        Output that is explained; None: that of a seizure.
    tested : bool
        Whether the probes are put to the test as well.
    command : str
        The command line, for the page.
    """

    probes: Sequence[str] | None = None
    target: int | None = None
    tested: bool = False
    command: str = ""


def check_place(folder: Path) -> None:
    """Raise where a folder holds something else than an earlier explanation.

    Raises
    ------
    FileExistsError
        It is not empty, and what is in it would be lost.
    """
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    try:
        kind = read_json(folder / JSON).get("format")
    except (OSError, ValueError, AttributeError):
        kind = None
    if kind != FORMAT:
        names = sorted(path.name for path in folder.iterdir())
        shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        raise FileExistsError(f"{folder} is no explanation and not empty ({shown}); name a new folder")


def explain_to_folder(
    model: Model,
    source: Source,
    window: ExplainedWindow,
    folder: Path,
    wanted: Wanted,
    *,
    step: Callable[[str], None] = lambda what: None,
) -> dict[str, Any]:
    """Explain a window and write the folder, as a whole or not at all.

    Parameters
    ----------
    model : Model
        What is explained.
    source : Source
        Where it comes from.
    window : ExplainedWindow
        What it is asked about.
    folder : Path
        New, empty, or an earlier explanation, which is replaced.
    wanted : Wanted
        Probes, target, tests.
    step : callable
        Told what is done next.

    Returns
    -------
    dict
        The facts, as ``explain.json`` holds them.

    Raises
    ------
    FileExistsError
        The folder holds something else.
    ValueError
        A probe that was named cannot be asked of this model, or the target does not exist.
    """
    check_place(folder)
    if window.anonymous:
        source = replace(source, text="a saved model")  # not where it lies
    x = model_input(model, window.explained())
    signal_uv = model_input_uv(model, window.explained())
    target = _target(model, wanted.target)
    runs = run_probes(model, x, wanted.probes, target=target, step=step)
    table = None
    if wanted.tested:
        from biot_bd.probes import evaluate

        step("tests")
        table = evaluate(model.module, _tested(model, window), runs.probes, target=target)
    facts = _facts(model, source, window, runs, target, wanted)
    maps = _maps(runs, signal_uv, facts)
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        step("pictures")
        page = page_of(model, source, window, runs, signal_uv, table, facts, Album(temporary))
        step("files")
        maps.save(temporary / MAPS)
        if table is not None:
            facts["tests"] = [asdict(row) for row in table.rows]
        facts["files"] = sorted(str(p.relative_to(temporary)) for p in temporary.rglob("*") if p.is_file())
        facts["files"] += [JSON, PAGE]
        facts = to_jsonable(facts)
        write_text(
            temporary / PAGE, render("explain.html.j2", page | {"explained": facts, "anonymous": window.anonymous})
        )
        write_json(temporary / JSON, facts)
    return facts


def _target(model: Model, target: int | None) -> int | None:
    if target is None:
        return default_target(model)
    if not 0 <= target < len(model.classes):
        named = ", ".join(f"{i} ({name})" for i, name in enumerate(model.classes))
        raise ValueError(f"--target {target}: the model has the outputs {named}")
    return target


def _tested(model: Model, window: ExplainedWindow) -> torch.Tensor:
    """Return the explained window and its nearest neighbours as the network gets them."""
    near = np.argsort(np.abs(window.start_s - window.begin_s), kind="stable")
    near = near[np.isfinite(window.proba[near])][:MOST_TESTED]
    x = model_input(model, Signal(window.around.x[near], window.around.info)).x
    return torch.from_numpy(x).to(device_of(model.module))


def _maps(runs: ProbeRuns, signal_uv: Signal, facts: dict[str, Any]) -> ExplainedMaps:
    flow = runs.attention
    return ExplainedMaps(
        probes=runs.found,
        attention={} if flow is None else flow.maps,
        layouts={} if flow is None else flow.layouts,
        eeg_uv=signal_uv.x[0],
        ch_names=tuple(signal_uv.ch_names),
        sfreq=signal_uv.info.sfreq,
        facts={name: facts[name] for name in ("model", "source", "weights_sha256", "target", "window", "generated")},
    )


def _facts(
    model: Model, source: Source, window: ExplainedWindow, runs: ProbeRuns, target: int | None, wanted: Wanted
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "generated": window.generated or source.generated,
        "means_nothing_because": reasons(model, source, window),
        "model": model.size,
        "source": source.text,
        "weights_sha256": source.weights_sha256,
        "target": None if target is None else {"output": target, "means": model.classes[target]},
        "window": {
            "recording": window.recording,
            "subject": window.subject,
            "start_s": window.begin_s,
            "stop_s": window.end_s,
            "label": window.label,
            "probability": window.probability,
            "threshold": source.threshold,
            "chosen": window.how,
        },
        "probes": {name: _of_probe(runs, name, found) for name, found in runs.found.items()},
        "left_out": runs.left_out,
        "attention": [] if runs.attention is None else list(runs.attention.maps),
        "agreement": [
            {"probes": pair, "rank_correlation": one.correlation, "by": one.by, "shared": one.shared, "of": one.of}
            for pair, one in compare(runs.found).items()
        ],
        "tests": None,
        "notes": list(window.notes),
        "command": wanted.command,
        "environment": environment(),
    }


def _of_probe(runs: ProbeRuns, name: str, found: TokenMap) -> dict[str, Any]:
    return {
        "title": title_of(runs.probes[name], name),
        "about": about(runs.probes[name]),
        "unit": found.unit,
        "signed": found.signed,
        "dims": found.dims,
        "shape": found.values.shape,
        "top_channels": top_channels(found),
        "top_moment_s": top_moment_s(runs.shown(name)),
        "info": found.info,
    }


def reasons(model: Model, source: Source, window: ExplainedWindow) -> list[str]:
    """Return why the evidence says nothing of a patient; empty where a study tested the model."""
    found = []
    if window.generated:
        found.append("the recording was made by a program, not by a brain")
    if source.generated:
        found.append("the model was trained on generated recordings: a demonstration, never for clinical use")
    if not source.scored:
        found.append("nothing beside the model says how it does on patients that it never saw")
    # Said above, of recording and model.
    doubts = [why for why in (source.not_a_result or "").split(", ") if why and why != "generated data"]
    if doubts:
        found.append(f"the model's scores are no result ({', '.join(doubts)})")
    trained_on = getattr(model.classifier, "train_subjects_", None) or ()
    if window.subject is not None and window.subject in trained_on:
        found.append(f"the model was trained on subject {window.subject}")
    return found
