"""The methods paragraph of a report: what a reader must be told to judge the numbers, from what the run stores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from biot_bd.evaluation.protocols import CUSTOM
from biot_bd.events.scoring import scorer_text
from biot_bd.report.run_folder import Run
from biot_bd.report.text import data_name, window_and_stride

PACKAGES = ("biot-bd", "torch", "braindecode", "scikit-learn", "mne", "timescoring")
NAMES = {"biot-bd": "biot_bd"}


def methods_paragraph(run: Run, sure: Mapping[str, Any] | None) -> str:
    """Return the paragraph; what a run does not store is not claimed."""
    said = [*_data(run), *_protocol(run), *_events(run), *_intervals(sure), *_versions(run)]
    return " ".join(said)


def _data(run: Run) -> list[str]:
    data, subjects = run.data, run.metrics["subjects"]
    length, stride = window_and_stride(run.predictions)
    hours = f", {data['hours']:.1f} h" if data.get("hours") is not None else ""
    made = " generated (not recorded)" if run.generated else ""
    rule = data.get("label_rule")
    labels = f"labelled by the rule {rule}" if rule else "with labels that were handed over"
    return [
        f"Windows of {length} every {stride} of{made} EEG ({data_name(run)}, {len(subjects)} subjects{hours}) were {labels}.",
    ]


def _protocol(run: Run) -> list[str]:
    parameters = run.run.get("parameters") or {}
    name = (run.run.get("protocol") or {}).get("name", CUSTOM)
    seed = run.run.get("seed", parameters.get("random_state"))
    n = len(run.folds)
    said = [
        f"Protocol {name}: split {parameters.get('cv', 'not stored')} in {n} fold{'' if n == 1 else 's'} of whole subjects, seed "
        f"{'not stored' if seed is None else seed}."
    ]
    if any(fold.facts.get("valid") for fold in run.folds):
        said.append(
            "Validation subjects, apart from training and test subjects, chose the epoch, the threshold "
            f"(rule {parameters.get('threshold', 'not stored')}) and the parameters of the event detector; test subjects were scored once."
        )
    else:
        said.append("There were no validation subjects: epochs and thresholds were fixed beforehand.")
    return said


def _events(run: Run) -> list[str]:
    events = run.metrics.get("events") or {}
    if not events.get("subjects"):
        return ["Events were not scored."]
    return [
        f"Seizure events were scored by {scorer_text(events['scorer'])}; counts were summed over each subject's recordings and scores averaged "
        "over the subjects for whom they are defined."
    ]


def _intervals(sure: Mapping[str, Any] | None) -> list[str]:
    if sure is None:
        return []
    calibration = sure["calibration"]
    return [
        f"Intervals: {sure['level']:.0%}, {sure['method']} of {sure['n_resamples']} resamples of {sure['resampled']}, seed "
        f"{sure['random_state']}; undefined resamples were left out and counted.",
        f"Calibration: Brier score, and expected calibration error in {calibration['binning']}, on all test windows.",
    ]


def _versions(run: Run) -> list[str]:
    environment = run.run.get("environment") or {}
    packages = environment.get("packages") or {}
    known = [f"{NAMES.get(name, name)} {packages[name]}" for name in PACKAGES if packages.get(name)]
    python = [f"Python {environment['python']}"] if environment.get("python") else []
    return [f"Software: {', '.join([*known, *python])}."] if known or python else []
