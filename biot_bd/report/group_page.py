"""Maps of many windows as a folder: arrays, tables, pictures and ``group.html``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from biot_bd.evaluation.data import other_windows
from biot_bd.models.checkpoints.pipeline_folder import description_file
from biot_bd.probes import GroupComparison, MapGroup, explain_group, figures
from biot_bd.probes.group_comparison import Cells
from biot_bd.report.explain.pictures import DESK_PX, SQUARE_PX, Album, Shown
from biot_bd.report.run_folder import read_run
from biot_bd.report.text import generated_banners, render
from biot_bd.runs import atomic_path, make_folder, write_json, write_text
from biot_bd.training import load_pipeline
from biot_bd.windows import Windows

PAGE, JSON, MAPS, TABLES = "group.html", "group.json", "maps", "tables"


@dataclass(frozen=True)
class ExplainedGroup:
    """What :func:`explain_group_to_folder` made.

    Parameters
    ----------
    group : MapGroup
        The maps.
    comparison : GroupComparison or None
        None where there is nothing to compare; a note says why.
    facts : dict
        As ``group.json`` holds them.
    page : Path
        The page.
    """

    group: MapGroup
    comparison: GroupComparison | None
    facts: dict[str, Any]
    page: Path


def explain_group_to_folder(
    model: Path,
    windows: Windows,
    folder: Path,
    *,
    probe: str = "attention",
    compare: tuple[str, str] = ("label == 1", "label == 0"),
    bands: tuple[str, ...] = (),
    conditions: Mapping[str, str] | None = None,
    per_subject: int | None = None,
    fold: int | None = None,
    progress: bool = False,
) -> ExplainedGroup:
    """Explain the windows of a store, compare two conditions, and write all into a folder.

    Parameters
    ----------
    model : Path
        Saved model, or run folder: then each fold's model explains its test subjects.
    windows : Windows
        In microvolts.
    folder : Path
        New, or that of the same call, which goes on.
    probe : str
        Registered name.
    compare : tuple of two str
        Expressions over the group's table (see :meth:`biot_bd.probes.MapGroup.compare`).
    bands, conditions, per_subject, progress
        As for :func:`biot_bd.probes.explain_group`.
    fold : int, optional
        One fold of a run; by default all.

    Returns
    -------
    ExplainedGroup

    Raises
    ------
    ValueError
        There is no such fold, no fold holds a model, or nothing can be explained.
    """
    sources, notes = _sources(model, windows, fold)
    parts = []
    for name, saved, subjects in sources:
        own = windows if subjects is None else windows[np.flatnonzero(np.isin(windows.groups.astype(str), subjects))]
        if not len(own):
            notes.append(f"{name}: none of its test subjects has windows here.")
            continue
        pipeline = load_pipeline(saved)
        notes += _seen(name, pipeline, own)
        place = folder / MAPS if len(sources) == 1 else folder / "maps-by-fold" / saved.parent.name
        parts.append(
            explain_group(
                pipeline,
                own,
                probe,
                folder=place,
                bands=bands,
                conditions=conditions,
                per_subject=per_subject,
                progress=progress,
            )
        )
    if not parts:
        raise ValueError(f"{model}: no model explains any of these windows ({' '.join(notes) or 'there are none'})")
    group = parts[0] if len(sources) == 1 else MapGroup.concat(parts)
    if len(sources) > 1:
        group.save(folder / MAPS)
    return _written(group, folder, compare, notes, [name for name, _, _ in sources])


def _sources(
    model: Path, windows: Windows, fold: int | None
) -> tuple[list[tuple[str, Path, list[str] | None]], list[str]]:
    """Return (words, saved model, subjects that it may explain or None for all), and notes."""
    if description_file(model) is not None:
        if fold is not None:
            raise ValueError(f"{model} is a saved model, not a run: it has no fold {fold}")
        return [(f"saved model {model}", model, None)], []
    run = read_run(model)
    notes = [] if (other := other_windows(run.data, windows)) is None else [f"{other}."]
    folds = [one for one in run.folds if fold is None or one.number == fold]
    found: list[tuple[str, Path, list[str] | None]] = [
        (f"fold {one.number} of {model}", one.model, [str(subject) for subject in one.facts["test"]])
        for one in folds
        if one.model is not None
    ]
    if not found:
        numbers = ", ".join(str(one.number) for one in run.folds) or "none"
        raise ValueError(
            f"{model}: no saved model in {'any fold' if fold is None else f'fold {fold}'}; folds: {numbers}"
        )
    notes += [
        f"Fold {one.number} holds no saved model, so its subjects are left out." for one in folds if not one.model
    ]
    return found, notes


def _seen(name: str, pipeline: Any, windows: Windows) -> list[str]:
    """Say which subjects the model was trained on."""
    classifier = pipeline[-1] if hasattr(pipeline, "steps") else pipeline
    seen = sorted(set(classifier.train_subjects_) & set(windows.groups.astype(str)))
    if not seen:
        return []
    shown = ", ".join(seen[:4]) + (", ..." if len(seen) > 4 else "")
    return [f"{name} was trained on {len(seen)} of these subjects ({shown}): its maps of them are no test of it."]


def _written(
    group: MapGroup, folder: Path, compare: tuple[str, str], notes: list[str], sources: list[str]
) -> ExplainedGroup:
    folder = make_folder(folder)
    compared: dict[Cells, GroupComparison] = {}
    for cells in _cells_of(group):
        try:
            compared[cells] = group.compare(*compare, cells=cells)
        except ValueError as error:
            notes.append(f"Nothing was compared: {error}.")
            break
    first = next(iter(compared.values()), None)
    notes = list(dict.fromkeys([*notes, *(first.notes if first else ())]))
    generated = bool(group.info.get("generated"))
    facts: dict[str, Any] = {
        "generated": generated,
        "model": group.info.get("model"),
        "sources": ["a saved model" for _ in sources] if group.info.get("anonymous") else sources,
        "probe": group.probe,
        "title": group.title,
        "unit": group.unit,
        "subjects": group.subjects,
        "bands": group.bands,
        "n_maps": len(group),
        "counts": _counts(group),
        "comparisons": [one.as_dict() for one in compared.values()],
        "notes": notes,
    }
    tables = _tables(group, compared, make_folder(folder / TABLES))
    page = {
        "anonymous": bool(group.info.get("anonymous")),
        "title": "What the model looks at, over many windows",
        "lead": f"{facts['model']}; {group.title}",
        "banners": generated_banners(generated, None, "maps"),
        "group": facts,
        "subjects": _subject_rows(group),
        "compared": first,
        "n_marked": 0 if first is None else int(first.marked().sum()),
        "pictures": _pictures(group, compared, compare, folder),
        "tables": tables,
    }
    write_text(folder / PAGE, render("group.html.j2", page))
    write_json(folder / JSON, facts)
    return ExplainedGroup(group, first, facts, folder / PAGE)


def _cells_of(group: MapGroup) -> list[Cells]:
    own: Cells = "channel-frame" if group.layout.n_frames > 1 else "channel"
    return [own] if group.matrices is None else [own, "channel-channel"]


def _counts(group: MapGroup) -> dict[str, int]:
    table = group.table[group.table["band"] == "all"]
    found = table["outcome"] if "outcome" in table else table["label"]
    return {str(name): int(number) for name, number in found.value_counts().items()}


def _subject_rows(group: MapGroup) -> list[dict[str, Any]]:
    whole = group.select("band == 'all'")
    maps = whole.by_subject()
    rows = []
    for subject, part in whole.table.groupby("subject"):
        by_channel = maps[subject].by_channel()[0]
        known = np.isfinite(by_channel).any() and group.layout.n_chans > 1
        rows.append(
            {
                "subject": subject,
                "windows": len(part),
                "seizure windows": int((part["label"] == 1).sum()),
                "mean probability": float(part["probability"].mean()) if "probability" in part else None,
                "highest channel": group.layout.ch_names[int(np.nanargmax(by_channel))] if known else None,
            }
        )
    return rows


def _tables(group: MapGroup, compared: Mapping[Cells, GroupComparison], folder: Path) -> dict[str, str]:
    """Write CSV files; return their names relative to the page."""
    found = {"maps": group.as_frame()}
    for cells, one in compared.items():
        found[f"comparison-{cells}"] = _cell_table(one)
    for name, table in found.items():
        with atomic_path(folder / f"{name}.csv") as temporary:
            table.to_csv(temporary, index=False)
    return {name: f"{TABLES}/{name}.csv" for name in found}


def _cell_table(compared: GroupComparison) -> pd.DataFrame:
    layout, found = compared.layout, compared.difference
    rows = []
    for place in np.ndindex(found.mean.shape):
        where: dict[str, Any] = {"channel": layout.ch_names[place[0]]}
        if compared.cells == "channel-channel":
            where["attended channel"] = layout.ch_names[place[1]]
        elif compared.cells == "channel-frame":
            where |= {"start_s": layout.frame_start_s[place[1]], "stop_s": layout.frame_stop_s[place[1]]}
        rows.append({**where, "difference": found.mean[place], "t": found.t[place], "p": found.p[place]})
    return pd.DataFrame(rows)


def _pictures(
    group: MapGroup, compared: Mapping[Cells, GroupComparison], compare: tuple[str, str], folder: Path
) -> list[Shown]:
    album, footnote = Album(folder), f"probe {group.probe}"
    shown = []
    for cells, one in compared.items():
        first, second = one.conditions
        what = "attention flow between channels" if cells == "channel-channel" else group.title
        title = _sentence(f"{what}: {first} minus {second}")
        shown.append(
            album.add(f"difference-{cells}", title, partial(one.figure, title=title, footnote=footnote), DESK_PX)
        )
    if group.layout.n_chans > 1:
        for number, (words, found) in enumerate(_means(group, compare).items()):
            title = _sentence(f"{group.title}, mean over subjects: {words}")
            draw = partial(figures.scalp_figure, found, title=title, footnote=footnote)
            shown.append(album.add(f"mean-{number + 1}", title, draw, SQUARE_PX))
        if len(group.bands) > 1:
            title = _sentence(f"{group.title}, windows limited to one frequency band")
            draw = partial(figures.scalp_figure, group.by_band(), title=title, footnote=footnote)
            shown.append(album.add("bands", title, draw, DESK_PX))
    return shown


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _means(group: MapGroup, compare: tuple[str, str]) -> dict[str, Any]:
    """Return the mean map of each condition, and of each named one."""
    found = {}
    whole = group.select("band == 'all'")
    for expr, words in zip(compare, ("first condition", "second condition"), strict=True):
        try:
            found[{"label == 1": "seizure", "label == 0": "no seizure"}.get(expr, f"{words} ({expr})")] = whole.select(
                expr
            ).mean_map()
        except ValueError:
            continue
    if "condition" in whole.table and whole.table["condition"].notna().any():
        found |= {str(name): one for name, one in whole.by_condition().items()}
    return found
