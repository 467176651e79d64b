"""Write ``report.html``: one file, readable offline."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from biot_bd.exceptions import StoreError
from biot_bd.plots import css_colours
from biot_bd.probes.attention import AttentionProbe
from biot_bd.report.drawing.curves import eeg_picture
from biot_bd.report.drawing.heatmaps import ColourScale, Map, heat_map, maps_of
from biot_bd.report.drawing.svg import Picture
from biot_bd.report.events_page import events_page
from biot_bd.report.examples import (
    Example,
    choose_examples,
    described,
    excerpt_around,
    find_rows,
    open_store,
    seizures_of,
)
from biot_bd.report.gallery import gallery_page
from biot_bd.report.intervals import CERTAINTY, calibration_page, ends, sure_of
from biot_bd.report.model import Model, explain_windows, load_model
from biot_bd.report.run_folder import Run, read_run
from biot_bd.report.run_page import page_of
from biot_bd.report.text import number, run_facts
from biot_bd.runs import write_json, write_text
from biot_bd.windows import Windows

REPORT = "report.html"
TITLES = {"hit": "A detected seizure", "miss": "A missed seizure window", "false alarm": "A false alarm"}
KINDS = {
    "hit": "seizure windows that were found",
    "miss": "seizure windows that were missed",
    "false alarm": "false alarms",
}


def write_report(folder: str | Path, *, windows: Windows | None = None) -> Path:
    """Write ``report.html`` into a run folder, atomically, and the intervals and calibration that it shows as ``certainty.json``.

    Parameters
    ----------
    folder : path
        A finished run folder of :func:`biot_bd.evaluation.cross_validate`.
    windows : Windows, optional
        The windows that were scored, in uV, for the pictures of EEG; by default those at the place that ``run.json``
        names.  Where they are gone the report says so.

    Returns
    -------
    Path
        ``folder/report.html``.

    Raises
    ------
    FileNotFoundError
        The folder is no finished run.
    ValueError
        A file of the run is damaged.
    """
    run = read_run(folder)
    model, no_model = _first_model(run)
    sure = sure_of(run)
    page = page_of(run, model.monitor if model else None, sure)
    title = run.run.get("title") or f"Seizure detection by window: {page['data_name']}"
    seen = (
        "partly on subjects that its checkpoint saw, or may have"
        if page["contaminated"]
        else "on subjects that it never saw"
    )
    lead = f"{model.size if model else 'A model that is not stored'}, scored {seen}."
    title = f"CONTAMINATED: {title}" if page["contaminated"] else title
    page |= {"title": title, "lead": lead, "run_facts": run_facts(run, model.size if model else None)}
    page |= {"events": events_page(run, sure), "calibration": calibration_page(sure)}
    page |= _looked_into(run, windows, no_model)
    if sure is not None:
        write_json(run.folder / CERTAINTY, sure)
    return write_text(run.folder / REPORT, render("report.html.j2", page))


def render(template: str, page: dict[str, Any]) -> str:
    """Fill one of the package's templates; every value is escaped unless it is markup of ours."""
    environment = Environment(
        loader=PackageLoader("biot_bd.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # exact: the shortest text that gives the same float back
    environment.filters |= {"exact": repr, "number": number, "ends": ends}
    written = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return environment.get_template(template).render(
        colours=css_colours(), version=version("biot-bd"), written=written, **page
    )


def map_rows(name: str, maps: list[Map], unit: str = "s") -> list[dict[str, Any]]:
    """Draw maps, those of one layer side by side, all in one scale of colours.

    Parameters
    ----------
    name : str
        Identifier, unique in the page.
    maps : list of Map
        At least one.
    unit : str
        Unit of the columns of maps over time.

    Returns
    -------
    list of dict
        ``title`` and ``pictures``, one entry a layer.
    """
    scale = ColourScale.of(maps)
    rows: dict[str, list[Picture]] = {}
    for index, shown in enumerate(maps):
        title, xlabel, ylabel, every = {
            "channels": ("Channel to channel", "attends to", "channel", 1),
            "time": (
                "Received, by channel and time" if shown.ratio else "By channel and time",
                f"time ({unit})",
                "",
                2,
            ),
            "channel": ("By channel", "", "", 1),
        }[shown.kind]
        if shown.kind == "time":
            every = max(1, len(shown.columns) // 9)
        picture = heat_map(f"{name}-{index}", title, shown, scale, xlabel=xlabel, ylabel=ylabel, every=every)
        rows.setdefault(shown.layer, []).append(picture)
    return [
        {"title": layer.capitalize() if layer else "Whole model", "pictures": found} for layer, found in rows.items()
    ]


def _first_model(run: Run) -> tuple[Model | None, str | None]:
    """Load the model of the first fold that has one, for its name and size; or say why there is none."""
    for fold in run.folds:
        if fold.model is not None:
            try:
                return load_model(fold.model), None
            except (OSError, ValueError, LookupError, RuntimeError, ImportError) as error:
                return None, f"the model of fold {fold.number} cannot be loaded: {error}"
    reasons = sorted({str(fold.facts["model_reason"]) for fold in run.folds if fold.facts.get("model_reason")})
    return None, "; ".join(reasons) or "the folds hold no saved models"


def _looked_into(run: Run, windows: Windows | None, no_model: str | None) -> dict[str, Any]:
    """Return the examples with their EEG, and attention on the detected seizure."""
    chosen = choose_examples(run.test)
    page: dict[str, Any] = {"examples_message": None, "examples": [], "attention": {"message": None, "pictures": []}}
    try:
        windows = windows if windows is not None else open_store(run)
        page["examples"] = [_shown(run, example, windows) for example in chosen]
    except (StoreError, OSError) as error:
        page["examples_message"] = str(error)
        page["gallery"] = gallery_page(run, None, str(error))
        page["examples"] = [_told(example) for example in chosen]
        page["attention"]["message"] = f"they need the EEG, and {error}"
        return page
    page["gallery"] = gallery_page(run, windows, None)
    hit = next((example for example in chosen if example.kind == "hit"), None)
    if hit is None:
        page["attention"]["message"] = "no seizure window was detected"
    elif no_model is not None:
        page["attention"]["message"] = no_model
    else:
        page["attention"] = _attention(run, hit, windows)
    return page


def _told(example: Example) -> dict[str, Any]:
    window = example.window
    return {
        "title": f"{TITLES[example.kind]}: {example.place}",
        "picture": None,
        "caption": f"Subject {window['subject']}, fold {window['fold']}. Probability of a seizure {window['proba']:.3f}, threshold "
        f"{window['threshold']:.3f}. Chosen out of {example.of} {KINDS[example.kind]}: {example.how}.",
    }


def _shown(run: Run, example: Example, windows: Windows) -> dict[str, Any]:
    told = _told(example)
    name = f"eeg-{example.kind.replace(' ', '-')}"
    excerpt = excerpt_around(windows, run.test, example, seizures_of(windows))
    told["picture"] = eeg_picture(name, told["title"], excerpt)
    told["caption"] += (
        " Shaded: annotated seizure. Dashed box: the window. Below: probability of each window, at its middle; red dots reach "
        "the threshold. Traces lie without their median; as prepared for the model, in uV."
    )
    return told


def _attention(run: Run, hit: Example, windows: Windows) -> dict[str, Any]:
    """Return attention maps on the detected window, by the model of its own fold."""
    number = int(hit.window["fold"])
    fold = run.fold(number)
    if fold is None or fold.model is None:
        return {"message": f"fold {number} holds no saved model", "pictures": []}
    rows = find_rows(windows, hit.window["recording"], [hit.window["start_s"]])
    try:
        model = load_model(fold.model)
        explanation, ch_names = explain_windows(model, windows[rows], AttentionProbe())
        maps = maps_of(explanation, ch_names, described(windows).duration_s)
    except (ValueError, RuntimeError, NotImplementedError, TypeError) as error:
        return {"message": f"{type(error).__name__}: {error}", "pictures": []}
    return {
        "message": None,
        "text": f"Exact attention of the model of fold {number} ({model.size}) on the detected window above "
        f"({hit.place}), mean over heads, as a ratio to uniform "
        "attention: 1 (white) is uniform, 2 twice as much. Left: how much of its attention a channel (row) gives to each "
        "channel. Right: how much attention each channel and moment receives from all others.",
        "check": reconstruction_note(explanation.info),
        "pictures": map_rows("attention", maps),
    }


def reconstruction_note(info: dict[str, Any]) -> str:
    """Say how exactly the maps rebuild what the layers computed."""
    error = info.get("reconstruction_error")
    if error is None:
        return "These maps could not be checked against the layers' outputs."
    return f"Checked: the maps rebuild the layers' own outputs; largest relative error {error:.1e}."
