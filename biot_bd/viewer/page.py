"""What a viewer shows of a recording, and the page's parts: data, style, script, markup."""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import ArrayLike

from biot_bd.runs import write_text
from biot_bd.viewer.encoding import encode_series, fitting_pieces
from biot_bd.viewer.traces import Traces

VERSION = 1
PROBABILITY_STEP = 1e-4
FIRST_PAGE_S = 8.0  # around the first event: what the first page and its filters need
BUDGET_BYTES = 4_500_000
HOUR_BUDGET_BYTES = 12_000_000  # more would only be finer steps than a screen has, and opens slower
CLOCK_NOTE = "clock as the file's header tells it; headers of anonymised files often hold invented dates"


@dataclass(frozen=True)
class ViewedRecording:
    """What a viewer says of a recording beside its signal.

    Parameters
    ----------
    name : str
        Of the recording, as the page's title has it.
    duration_s : float
        Its length, pauses included.
    start_time : str, optional
        When it began, in ISO form.
    clock_note : str
        Said beside the clock time.
    sfreq : float, optional
        Rate of the recording in Hz: the page's own may be lower, and says so.
    events : sequence of mapping
        What a detector (or a reviewer) marked: ``onset_s``, ``offset_s``, and where there is one
        ``confidence``, ``label`` (by default ``"detected"``) and ``kind`` (``"detected"``,
        ``"reference"``, ``"confirmed"``, ``"rejected"``), which decides how it is drawn.
    reference : sequence of mapping
        Annotations of the file, of the same form; drawn in another colour and line.
    gaps : sequence of (float, float)
        Stretches (start_s, stop_s) without a probability.
    curve_times_s, curve : array_like, shape (n,)
        The smoothed curve that the threshold meets; a value holds from its time to the next, at
        most for the usual distance of two.
    window_times_s, window_probabilities : array_like, shape (n_windows,)
        The windows' centres and probabilities, NaN where there is none.
    threshold : float, optional
        What decides on the curve.
    notes : sequence of str
        What a reader should know.

    Raises
    ------
    ValueError
        Times and values do not fit, or a number makes no sense.

    See Also
    --------
    viewer_json : Encodes it with stretches of EEG.
    write_viewer : Writes a page of it.

    Examples
    --------
    >>> from biot_bd.viewer import ViewedRecording
    >>> night = ViewedRecording(
    ...     "night", 60.0, events=[{"onset_s": 12.0, "offset_s": 30.0}], threshold=0.8
    ... )
    >>> night.events[0]["onset_s"]
    12.0
    """

    name: str
    duration_s: float
    start_time: str | None = None
    clock_note: str = CLOCK_NOTE
    sfreq: float | None = None
    events: Sequence[Mapping[str, Any]] = ()
    reference: Sequence[Mapping[str, Any]] = ()
    gaps: Sequence[tuple[float, float]] = ()
    curve_times_s: ArrayLike = ()
    curve: ArrayLike = ()
    window_times_s: ArrayLike = ()
    window_probabilities: ArrayLike = ()
    threshold: float | None = None
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not (math.isfinite(self.duration_s) and self.duration_s > 0):
            raise ValueError(f"duration_s must be a number above 0, found {self.duration_s}")
        for times, values, name in (
            (self.curve_times_s, self.curve, "curve"),
            (self.window_times_s, self.window_probabilities, "window_probabilities"),
        ):
            n_times, n_values = np.size(np.asarray(times)), np.size(np.asarray(values))
            if n_times != n_values:
                raise ValueError(f"{name} has {n_values} values for {n_times} times; give one for each")
        for event in (*self.events, *self.reference):
            if not event["onset_s"] <= event["offset_s"]:
                raise ValueError(f"an event ends before it begins: onset {event['onset_s']} s, {event['offset_s']} s")


def viewer_about(
    viewed: ViewedRecording, ch_names: Sequence[str], file_names: Sequence[str], sfreq: float
) -> dict[str, Any]:
    """Return what a page must know beside the samples, as JSON holds it.

    Parameters
    ----------
    viewed : ViewedRecording
        The recording.
    ch_names, file_names : sequence of str
        Of its traces.
    sfreq : float
        Rate of the traces in Hz.

    Returns
    -------
    dict
        ``about`` of a source in the page (``fetchSource``).

    See Also
    --------
    viewer_json : The same with the samples, for a page that stands alone.
    samples_message : The samples, for a page that asks for them.

    Examples
    --------
    >>> from biot_bd.viewer import ViewedRecording, viewer_about
    >>> about = viewer_about(ViewedRecording("night", 60.0), ["Cz"], ["EEG Cz"], 128.0)
    >>> about["ch_names"], about["curve"]
    (['Cz'], None)
    """
    return {
        "format": "biot_bd viewer",
        "version": VERSION,
        "name": viewed.name,
        "duration_s": viewed.duration_s,
        "start_time": viewed.start_time,
        "clock_note": viewed.clock_note,
        "recorded_hz": viewed.sfreq,
        "sfreq": sfreq,
        "ch_names": list(ch_names),
        "file_names": list(file_names),
        "events": [dict(event) for event in viewed.events],
        "reference": [dict(event) for event in viewed.reference],
        "gaps": [[float(a), float(b)] for a, b in viewed.gaps],
        "threshold": viewed.threshold,
        "curve": _series(viewed.curve_times_s, viewed.curve),
        "windows": _series(viewed.window_times_s, viewed.window_probabilities),
        "notes": list(viewed.notes),
        "resolution": None,
    }


def _series(times_s: ArrayLike, values: ArrayLike) -> dict[str, Any] | None:
    """Return a curve as the page reads it; regular times as start and step."""
    times = np.asarray(times_s, np.float64)
    if not times.size:
        return None
    step_s = float(np.median(np.diff(times))) if times.size > 1 else 1.0
    regular = np.allclose(times, times[0] + step_s * np.arange(times.size), rtol=0, atol=1e-3)
    where: dict[str, Any] = (
        {"from_s": round(float(times[0]), 6)} if regular else {"times_s": np.round(times, 3).tolist()}
    )
    return where | {"step_s": round(step_s, 6)} | encode_series(np.asarray(values, np.float64), PROBABILITY_STEP)


def viewer_json(viewed: ViewedRecording, pieces: Sequence[Traces], *, budget_bytes: int = BUDGET_BYTES) -> str:
    """Encode a recording's stretches for a viewer in a page that stands alone.

    Amplitudes are kept in the smallest step of 0.1, 0.2, 0.5, 1 and 2 uV with which all stretches
    fit into the budget; then, in loud channels, to a share of their amplitude.  Where that does not
    fit the last stretches are left out.  The page says which.

    Parameters
    ----------
    viewed : ViewedRecording
        The recording.
    pieces : sequence of Traces
        Stretches of its EEG of the same channels and rate, most important first; they do not
        overlap.
    budget_bytes : int
        What the text may take.

    Returns
    -------
    str
        JSON in which no ``<``, ``>`` or ``&`` stands, so that it can lie in a script element.

    Raises
    ------
    ValueError
        Stretches of several channels or rates, or that overlap; or not even the first one fits.

    See Also
    --------
    viewer_fragment : Puts it into a page.

    Examples
    --------
    >>> import json, numpy as np
    >>> from biot_bd.viewer import Traces, ViewedRecording, viewer_json
    >>> text = viewer_json(
    ...     ViewedRecording("</script>", 60.0), [Traces(np.zeros((1, 256)), 128.0, 0.0, ["Cz"])]
    ... )
    >>> json.loads(text)["about"]["resolution"], "<" in text
    ('amplitudes to 0.1 µV', False)
    """
    pieces = list(pieces)
    if not pieces:
        raise ValueError("no stretch of EEG to show; give at least one Traces")
    first = pieces[0]
    for traces in pieces:
        if (traces.ch_names, traces.file_names, traces.sfreq) != (first.ch_names, first.file_names, first.sfreq):
            raise ValueError("the stretches have several channels or rates; a viewer shows those of one")
    ordered = sorted(pieces, key=lambda traces: traces.start_s)
    for before, after in itertools.pairwise(ordered):
        if after.start_s < before.stop_s - 0.5 / first.sfreq:
            raise ValueError(f"stretches overlap at {after.start_s:g} s; join them first")
    about = viewer_about(viewed, first.ch_names, first.file_names, first.sfreq)
    resolution, encoded, kept = fitting_pieces(pieces, budget_bytes - len(_text(about)))
    about["resolution"] = resolution.text
    if len(kept) < len(pieces):
        about["notes"].append(
            f"EEG of {len(pieces) - len(kept)} of {len(pieces)} stretches is left out, as the page would be too large"
        )
    encoded.sort(key=lambda piece: piece["start_s"])
    return _text({"about": about, "step_uv": resolution.step_uv, "pieces": encoded})


def _text(value: Any) -> str:
    """Return JSON that stays text inside of a script element."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@cache
def _static(name: str) -> str:
    return files("biot_bd.viewer").joinpath("static", name).read_text("utf-8")


def viewer_assets() -> tuple[str, str]:
    """Return style and script of the viewer, to stand once in a page.

    Returns
    -------
    css, js : str
        For a ``style`` and a ``script`` element; neither asks for anything else.

    See Also
    --------
    viewer_fragment : The viewer itself.

    Examples
    --------
    >>> css, js = viewer_assets()
    >>> "class EegViewer" in js
    True
    """
    return _static("viewer.css"), _static("traces.js") + _static("viewer.js")


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("biot_bd.viewer"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def viewer_fragment(data: str, label: str) -> Markup:
    """Return the markup of one viewer; the page has the assets once, the script behind it.

    Parameters
    ----------
    data : str
        What :func:`viewer_json` returned.
    label : str
        Names the viewer for screen readers, e.g. the recording.

    Returns
    -------
    markupsafe.Markup
        Safe in a Jinja template as it is.

    See Also
    --------
    viewer_assets : Style and script.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.viewer import Traces, ViewedRecording, viewer_fragment, viewer_json
    >>> traces = Traces(np.zeros((1, 256)), 128.0, 0.0, ["Cz"])
    >>> "a &lt;b&gt;" in viewer_fragment(
    ...     viewer_json(ViewedRecording("r", 2.0), [traces]), "a <b>"
    ... )
    True
    """
    return _fragment(data, label, start="")


def _fragment(data: str, label: str, *, start: str) -> Markup:
    """Return a viewer's markup with each chunk in an element of its own.

    What is looked at first comes first, then the script ``start``: a large page is drawn while the
    rest of it is read.
    """
    page = json.loads(data)
    about = page["about"]
    texts: list[tuple[float, int, Markup]] = []
    first_s = min((event["onset_s"] for event in about["events"] or about["reference"]), default=0.0)
    for piece in page["pieces"]:
        begin_s = piece["start_s"]
        for chunk in piece["chunks"]:
            length_s = chunk["n"] / about["sfreq"]
            chunk["at"] = len(texts)
            away_s = max(0.0, abs(begin_s + length_s / 2 - first_s) - length_s / 2)
            texts.append((away_s, chunk["at"], Markup(chunk.pop("data"))))
            begin_s += length_s
    template = _environment().get_template("viewer.html.j2")
    texts.sort()
    n_first = max(1, sum(away_s < FIRST_PAGE_S for away_s, _, _ in texts))
    parts = {"data": Markup(_text(page)), "texts": texts, "n_first": n_first, "start": Markup(start)}
    return Markup(template.render(label=label, **parts))


def write_viewer(
    path: str | os.PathLike[str],
    viewed: ViewedRecording,
    pieces: Sequence[Traces],
    *,
    budget_bytes: int = HOUR_BUDGET_BYTES,
    links: Sequence[tuple[str, str]] = (),
) -> Path:
    """Write a page with one viewer, atomically; it is one file, readable offline.

    Parameters
    ----------
    path : path-like
        The file to write.
    viewed : ViewedRecording
        The recording.
    pieces : sequence of Traces
        Stretches of its EEG, see :func:`viewer_json`.
    budget_bytes : int
        What the signals may take.
    links : sequence of (str, str)
        Address and text of other pages, shown above the viewer.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ValueError
        See :func:`viewer_json`.

    See Also
    --------
    viewer_fragment : A viewer in a page of one's own.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from pathlib import Path
    >>> from biot_bd.viewer import Traces, ViewedRecording, write_viewer
    >>> traces = Traces(np.zeros((1, 2560)), 128.0, 0.0, ["Cz"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = write_viewer(
    ...         Path(folder, "page.html"), ViewedRecording("night", 20.0), [traces]
    ...     )
    ...     "EegViewer" in page.read_text("utf-8")
    True
    """
    css, js = viewer_assets()
    data = viewer_json(viewed, pieces, budget_bytes=budget_bytes)
    fragment = _fragment(data, viewed.name, start="startViewers();")
    text = (
        _environment()
        .get_template("page.html.j2")
        .render(
            name=viewed.name,
            links=links,
            css=Markup(css),
            js=Markup(js),
            viewer=fragment,
            version=version("biot-bd"),
        )
    )
    return write_text(Path(path), text)
