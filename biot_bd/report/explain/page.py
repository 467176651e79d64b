"""What the page of an explanation shows, as its template takes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from biot_bd.models.attention.token_map import TokenMap
from biot_bd.report.drawing.curves import eeg_picture
from biot_bd.report.explain.agreement import Agreement, compare, top_channels, top_moment_s
from biot_bd.report.explain.model import Model, Signal
from biot_bd.report.explain.pictures import Album, Shown, layers_picture, links_pictures, scalp_picture, traces_picture
from biot_bd.report.explain.probe_runs import AttentionFlow, ProbeRuns, about, plain_facts, title_of
from biot_bd.report.explain.source import Source
from biot_bd.report.explain.window import ExplainedWindow


@dataclass(frozen=True)
class ProbeSection:
    """What a page says of one probe.

    Parameters
    ----------
    name, title, about : str
        As registered, in words for clinicians, and what it measures.
    reading : str
        How its colours are read.
    top : str
        Where it points, in words.
    caution : str or None
        Tests that it failed.
    pictures : list of Shown
    info : dict of str to str
        Its own facts.
    """

    name: str
    title: str
    about: str
    reading: str
    top: str
    caution: str | None
    pictures: list[Shown]
    info: dict[str, str]


def page_of(
    model: Model,
    source: Source,
    window: ExplainedWindow,
    runs: ProbeRuns,
    signal_uv: Signal,
    table: Any,
    facts: dict[str, Any],
    album: Album,
) -> dict[str, Any]:
    """Draw everything and return what the template shows.

    Parameters
    ----------
    model, source, window, runs
        What was explained, and what probes said.
    signal_uv : Signal
        The window in microvolts, in the channels that the network sees.
    table : ProbeTable or None
        Tests of the probes, where they were made.
    facts : dict
        As ``explain.json`` holds them.
    album : Album
        Takes the pictures.

    Returns
    -------
    dict
    """
    threshold = 0.5 if source.threshold is None else source.threshold
    means = None if facts["target"] is None else facts["target"]["means"]
    sections = [
        _section(name, runs.shown(name), runs.probes[name], signal_uv, window, table, means, album)
        for name in runs.found
    ]
    flow = None if runs.attention is None else _flow(album, runs.attention, signal_uv, table)
    return {
        "title": "What the model looked at",
        "lead": f"{model.size}; {source.text}",
        "banners": _banners(facts),
        "place": window.place,
        "threshold": threshold,
        "threshold_known": source.threshold is not None,
        "called": window.probability >= threshold,
        "eeg": eeg_picture("eeg", f"EEG around {window.place}", window.excerpt(model, threshold)),
        "means": means,
        "sections": sections,
        "flow": flow,
        "agreement": _agreement_rows(runs),
        "tests": None if table is None else _tests(table, runs),
        "left_out": runs.left_out,
        "modules": [] if runs.attention is None else list(runs.attention.maps),
    }


def _banners(facts: dict[str, Any]) -> list[str]:
    if not facts["means_nothing_because"]:
        return []
    return [f"This evidence means nothing clinically: {'; '.join(facts['means_nothing_because'])}."]


def _section(
    name: str,
    found: TokenMap,
    probe: Any,
    signal_uv: Signal,
    window: ExplainedWindow,
    table: Any,
    means: str | None,
    album: Album,
) -> ProbeSection:
    title, caution = title_of(probe, name), None if table is None else table.caution(name)
    words = {"target_name": means, "caution": caution, "footnote": f"probe {name}, {found.unit}"}
    pictures = [
        traces_picture(album, name, title, found, signal_uv, window, **words),
        scalp_picture(album, name, title, found, **words),
    ]
    return ProbeSection(
        name=name,
        title=title,
        about=about(probe),
        reading=_reading(found, means),
        top=points_to(found),
        caution=caution,
        pictures=[one for one in pictures if one is not None],
        info=plain_facts(found.info),
    )


def _flow(album: Album, flow: AttentionFlow, signal_uv: Signal, table: Any) -> dict[str, Any]:
    caution = None if table is None else table.caution("attention")
    by_layer = layers_picture(album, flow, signal_uv, caution)
    links, head = links_pictures(album, flow, signal_uv, caution)
    return {"pictures": [] if by_layer is None else [by_layer, *links], "head": head}


def _reading(found: TokenMap, means: str | None) -> str:
    if not found.signed:
        return f"Values are sizes ({found.unit}): a high one says that something is there, not that it speaks for a seizure."
    what = "the explained class" if means is None else means
    return f"Values above 0 speak for {what}, values below 0 against it ({found.unit})."


def points_to(found: TokenMap) -> str:
    """Say in words where a map of one window is highest."""
    values = found.without_bands().by_channel()[0]
    known = values[np.isfinite(values)]
    if not len(known) or np.ptp(known) <= 1e-9 * np.abs(known).max(initial=0):
        return "All channels have the same value."
    said = f"Highest in {_listed(top_channels(found))}"
    if (moment := top_moment_s(found)) is not None:
        said += f"; highest moment {moment[0]:.3g} to {moment[1]:.3g} s after the window's start"
    if found.bands is not None:
        bands = found.by_band()[0]
        said += f"; highest band {found.bands[int(np.nanargmax(bands))]}"
    return f"{said}."


def _listed(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _agreement_rows(runs: ProbeRuns) -> dict[str, Any]:
    """Return the table of pairs: rows and columns are probes."""
    pairs = compare(runs.found)
    names = list(runs.found)
    cells: dict[tuple[str, str], Agreement] = {**pairs, **{(b, a): one for (a, b), one in pairs.items()}}
    return {
        "names": names,
        "titles": {name: title_of(runs.probes[name], name) for name in names},
        "tops": {name: _listed(top_channels(runs.found[name])) for name in names},
        "cells": cells,
        "some_by_channel": any(one.by == "channel" for one in pairs.values()),
        "control": {name for name in names if getattr(runs.probes[name], "control", False)},
    }


def _tests(table: Any, runs: ProbeRuns) -> dict[str, Any]:
    return {
        "names": [name for name in runs.probes if name in table.probes],
        "titles": {row.test: row.title or row.test for row in table.rows},
        "cells": {(row.probe, row.test): row for row in table.rows},
    }
