"""Write ``report.html``: one file, readable offline."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from markupsafe import Markup

from biot_bd.evaluation.data import other_windows
from biot_bd.evaluation.run_facts import FORMER_INTERVALS, INTERVALS, write_facts
from biot_bd.exceptions import RunFolderError, StoreError
from biot_bd.json_values import naming
from biot_bd.report import examples
from biot_bd.report.classes_page import classes_of
from biot_bd.report.events_page import events_page
from biot_bd.report.explain.model import Model, load_model, model_input, model_input_uv, signal_of
from biot_bd.report.explain.pictures import Album, layers_picture, traces_picture
from biot_bd.report.explain.probe_runs import run_probes
from biot_bd.report.intervals import calibration_page, intervals_of
from biot_bd.report.run_folder import Run, read_run
from biot_bd.report.run_page import page_of
from biot_bd.report.search_page import search_of, search_page, search_tables
from biot_bd.report.tables import run_tables, write_tables
from biot_bd.report.text import render
from biot_bd.runs import write_text
from biot_bd.viewer import viewer_assets
from biot_bd.windows import Windows

REPORT = "report.html"


def write_report(folder: str | Path, *, windows: Windows | None = None) -> Path:
    """Write ``report.html`` into a run folder, atomically, the intervals and calibration that it
    shows as ``intervals.json``, and its tables and curves as ``tables/*.csv``.

    Parameters
    ----------
    folder : path
        A finished run folder of :func:`biot_bd.evaluation.cross_validate`.
    windows : Windows, optional
        The windows that were scored, in uV, for the pictures of EEG; by default those at the place
        that ``run.json`` names.  Where they are gone or others, the report says so.

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

    See Also
    --------
    biot_bd.cross_validate : Writes the run folder.
    biot_bd.report.write_comparison : The page of a study of several regimes.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.dummy import DummyClassifier
    >>> from biot_bd import cross_validate, write_report
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(size=(60, 2, 100)).astype(np.float32), np.arange(60) % 2
    >>> subjects = np.repeat(["site/01", "site/02", "site/03"], 20)
    >>> _ = cross_validate(DummyClassifier(), X, y=y, groups=subjects, folder="run")
    >>> write_report("run").name
    'report.html'
    """
    run = read_run(folder)
    with naming(run.folder, RunFolderError):
        return _write(run, windows)


def _write(run: Run, windows: Windows | None) -> Path:
    model, no_model = _first_model(run)
    assessed = intervals_of(run)
    page = page_of(run, model.monitor if model else None, assessed)
    several = classes_of(run)
    what = f"Windows of {len(several)} classes" if several else "Seizure detection by window"
    title = run.run.get("title") or f"{what}: {page['data_name']}"
    seen = (
        "partly on subjects that its checkpoint saw, or may have"
        if page["contaminated"]
        else "on subjects that it never saw"
    )
    lead = f"{model.size if model else 'A model that is not stored'}, scored {seen}."
    title = f"CONTAMINATED: {title}" if page["contaminated"] else title
    page |= {
        "anonymous": bool(run.data.get("anonymous")),
        "title": title,
        "lead": lead,
        "model_size": model.size if model else None,
    }
    if not several:
        page |= {"events": events_page(run, assessed), "calibration": calibration_page(assessed)}
        page |= _looked_into(run, windows, no_model)
    if assessed is not None:
        write_facts(run.folder / INTERVALS, assessed)
        (run.folder / FORMER_INTERVALS).unlink(missing_ok=True)
    page["viewer_css"], page["viewer_js"] = map(Markup, viewer_assets())
    record = search_of(run.folder)
    page["search"] = None if record is None else search_page(record, run.folds)
    searched = {} if record is None else search_tables(record, run.folds)
    page["csv"] = write_tables(run.folder, run_tables(run, assessed) | searched)
    return write_text(run.folder / REPORT, render("classes.html.j2" if several else "report.html.j2", page))


def _first_model(run: Run) -> tuple[Model | None, str | None]:
    """Load the model of the first fold that has one, for its name and size.

    Or say why there is none.
    """
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
    chosen = examples.choose_examples(run.test)
    page: dict[str, Any] = {"example_kinds": examples.EXAMPLES, "examples_message": None, "attention": {"pictures": []}}
    try:
        windows = windows if windows is not None else examples.open_store(run)
        if (other := other_windows(run.data, windows)) is not None:
            warnings.warn(f"{run.folder}: {other}; the page shows no EEG", stacklevel=5)
            raise StoreError(other)
        page["examples"] = [(example, examples.example_picture(example, run, windows)) for example in chosen]
    except (StoreError, OSError) as error:
        page["examples_message"] = str(error)
        page["gallery"] = examples.gallery_page(run, None, str(error))
        page["examples"] = [(example, None) for example in chosen]
        page["attention"]["message"] = f"they need the EEG, and {error}"
        return page
    page["gallery"] = examples.gallery_page(run, windows, None)
    hit = next((example for example in chosen if example.kind == "hit"), None)
    if hit is None:
        page["attention"]["message"] = "no seizure window was detected"
    elif no_model is not None:
        page["attention"]["message"] = no_model
    else:
        page["attention"] = _attention(run, hit, windows)
    return page


def _attention(run: Run, hit: examples.Example, windows: Windows) -> dict[str, Any]:
    """Return pictures of attention on the detected window, by the model of its own fold."""
    fold = run.fold(int(hit.window["fold"]))
    if fold is None or fold.model is None:
        return {"message": f"fold {hit.window['fold']} holds no saved model", "pictures": []}
    rows = examples.find_rows(windows, hit.window["recording"], [hit.window["start_s"]])
    try:
        model = load_model(fold.model)
        signal = signal_of(windows[rows])
        runs = run_probes(model, model_input(model, signal), ["attention"])
        found, signal_uv = runs.found["attention"], model_input_uv(model, signal)
        pictures = [traces_picture(Album(), "attention", "Attention received", found, signal_uv)]
        if runs.attention is not None:
            pictures.append(layers_picture(Album(), runs.attention, signal_uv))
    except (ValueError, RuntimeError, TypeError) as error:
        return {"message": f"{type(error).__name__}: {error}", "pictures": []}
    return {
        "message": None,
        "model": f"fold {fold.number} ({model.size})",
        "place": hit.place,
        "error": found.info.get("reconstruction_error"),
        "pictures": [one for one in pictures if one is not None],
    }
