"""What a version says of its model: gathered from the files of the saved model, nothing invented.

What is not recorded is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from biot_bd.deploy.model import WindowModel
from biot_bd.deploy.version_folder import (
    EXPORTS,
    EventFacts,
    ExportFacts,
    InputFacts,
    ModelFacts,
    TrainingFacts,
)
from biot_bd.events.detector import EVENTS_JSON, load_event_detector
from biot_bd.export.artifact import read_facts
from biot_bd.models.checkpoints.config import provenance_of
from biot_bd.models.checkpoints.pipeline_folder import ARTIFACT, CONFIG, classifier_spec, inner_specs, steps_of
from biot_bd.runs import to_jsonable
from biot_bd.signals.montages import montage_of

_OF_DATA = ("fingerprint", "label_rule", "generated", "n_windows", "n_seizure_windows", "prevalence", "hours", "sfreq")


def model_facts(description: Mapping[str, Any], folder: Path, weights_sha256: str) -> ModelFacts:
    """Return what computes, and what plain braindecode can load of it."""
    last = classifier_spec(description)
    hub_class = (last.get("weights") or {}).get("hub_class") if (folder / CONFIG).is_file() else None
    return {
        "name": _named(last),
        "kind": str(last.get("kind")),
        "weights_sha256": weights_sha256,
        "hub_class": hub_class,
        "hub_reason": None if hub_class else _why_not(last),
    }


def _why_not(last: Mapping[str, Any]) -> str:
    if last.get("kind") != "classifier":
        return f"of several parts ({last.get('kind')}), which braindecode has no class for"
    own = (last.get("fitted") or {}).get("module_config") or {}
    ids, size = own.get("channel_ids"), own.get("n_channel_tokens")
    if own.get("class_token"):
        return "a BIOT with a class token, which braindecode's has not"
    if ids is not None and ids != list(range(size or 0)):
        return f"a BIOT with {size} channel tokens of which it uses {len(ids)}; braindecode's has one for each channel, in order"
    return "its network is not one of braindecode's, or was changed after it was built"


def _named(last: Mapping[str, Any]) -> str | None:
    """Return the registered name of the network, else its class; of a composite that of a part."""
    for one in (last, *inner_specs(last)):
        module = (one.get("params") or {}).get("module")
        if isinstance(module, Mapping):
            registered = module.get("$registered")
            module = registered[1] if isinstance(registered, list) else module.get("$class")
        if isinstance(module, str):
            return module
    return None


def input_facts(description: Mapping[str, Any], model: WindowModel, absent_channels: bool) -> InputFacts:
    """Return the windows that the model takes, and what its steps do with them."""
    last = steps_of(description["pipeline"])[-1]
    known = montage_of(model.montage.ch_names)
    return {
        "ch_names": list(model.montage.ch_names),
        "montage": None if known is None else known.name,
        "sfreq": model.sfreq,
        "n_times": model.n_times,
        "window_s": model.window_s,
        "unit": "uV",
        "scale": ((last.get("fitted") or {}).get("input_info") or {}).get("scale"),
        "steps": preparing_steps(description),
        "absent_channels": absent_channels,
    }


def preparing_steps(description: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the steps before the network, with their parameters."""
    *before, _ = steps_of(description["pipeline"])
    return [{"name": _class_name(step), "params": step.get("params") or {}} for step in before]


def _class_name(step: Mapping[str, Any]) -> str:
    cls = step.get("class") or {}
    registered = cls.get("$registered")
    return str(registered[1] if isinstance(registered, list) else cls.get("$class", step.get("name"))).rpartition(":")[
        2
    ]


def event_facts(folder: Path) -> EventFacts | None:
    """Return what makes events of probabilities; None where the model has no ``events.json``."""
    if not (folder / EVENTS_JSON).is_file():
        return None
    detector = load_event_detector(folder)
    chosen_on = getattr(detector, "chosen_on_", None)
    setting = {**detector.setting(), "smoothing": detector.smoothing, "window_s": detector.window_s}
    return {"file": EVENTS_JSON, "setting": setting, "chosen_on": to_jsonable(chosen_on)}


def training_facts(description: Mapping[str, Any], folder: Path) -> TrainingFacts:
    """Return what is recorded of the training."""
    record = description.get("record") or {}
    data, subjects = record.get("data"), record.get("subjects")
    seen = provenance_of(folder)
    split = {
        "what": "one fold of a cross-validation" if "fold" in record else "all subjects but a hold-out",
        "fold": record.get("fold"),
        "study": record.get("study"),
        **{f"n_{part}_subjects": len(subjects.get(part) or ()) for part in ("train", "valid", "test")},
    } if isinstance(subjects, Mapping) else None  # fmt: skip
    return {
        "trained_on": {key: value for key, value in seen.to_dict().items() if key != "source"}
        if seen.known or seen.trained_on
        else None,
        "subjects": dict(subjects) if isinstance(subjects, Mapping) else None,
        "data": {key: data[key] for key in _OF_DATA if key in data} if isinstance(data, Mapping) else None,
        "split": split,
        "protocol": None,
        "seed": record.get("seed", _seed(description)),
        "n_epochs": record.get("n_epochs", (classifier_spec(description).get("fitted") or {}).get("n_epochs")),
        "title": record.get("title"),
        "contamination": record.get("contamination"),
        "notes": [str(note) for note in record.get("notes") or ()],
        "environment": description.get("environment"),
    }


def _seed(description: Mapping[str, Any]) -> int | None:
    """Return the seed that the classifier was given, where it was one number."""
    found = (classifier_spec(description).get("params") or {}).get("random_state")
    return found if type(found) is int else None


def export_facts(folder: Path) -> list[ExportFacts]:
    """Return the engines beside a model."""
    found: list[ExportFacts] = []
    for file in sorted((folder / EXPORTS).glob(f"*/{ARTIFACT}")):
        facts = read_facts(file.parent).facts
        found.append(
            {
                "folder": f"{EXPORTS}/{file.parent.name}",
                "format": facts["graph"]["format"],
                "precision": facts["graph"]["precision"],
                "runs": [dict(run) for run in facts["runs"]],
            }
        )
    return found
