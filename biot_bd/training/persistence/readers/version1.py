"""Format 1: classes by the module that defined them, "person" for subject, "compute" for
precision.
"""

from __future__ import annotations

from typing import Any

from biot_bd.training.persistence.addresses import OURS, today
from biot_bd.training.persistence.readers import version2

WORDS = {
    "person": "subject",
    "persons": "subjects",
    "n_persons": "n_subjects",
    "by_person": "by_subject",
    "train_persons": "train_subjects",
    "valid_persons": "valid_subjects",
    "contaminated_persons": "contaminated_subjects",
    "valid_fraction": "validation_fraction",
    "compute": "precision",
}
"""Keys of version 1, of models and of run folders, former word -> word."""
_BRAINDECODE = ("BIOT", "EEGNet", "BDTCN", "EEGConformer", "SPARCNet", "ContraWR")
"""Names of models that meant braindecode's; in today's registry some of them mean others."""
_SETTINGS = {"train_split": {"person": "subject"}, "sampler": {"person-balanced": "subject-balanced"}}


def read(description: dict[str, Any]) -> dict[str, Any]:
    """Return the description in format 2."""
    record = description.get("record") or {}
    # A record is ours, word for word, where it says who trained; others belong to whoever wrote
    # them.
    ours = isinstance(record.get("persons"), dict)
    return version2.read(
        {
            **description,
            "pipeline": _step(description["pipeline"]),
            "record": in_todays_words(record) if ours else record,
        }
    )


def in_todays_words(value: Any) -> Any:
    """Return facts of biot_bd with today's words as keys, at any depth."""
    if isinstance(value, list):
        return [in_todays_words(v) for v in value]
    if not isinstance(value, dict):
        return value
    return {WORDS.get(key, key): in_todays_words(v) for key, v in value.items()}


def _step(spec: dict[str, Any]) -> dict[str, Any]:
    if spec["kind"] == "pipeline":
        return {**spec, "steps": [_step(step) for step in spec["steps"]]}
    if spec["kind"] not in ("classifier", "transformer"):
        return spec
    params = {key: _value(value) for key, value in spec["params"].items()}
    step = {**spec, "class": _value(spec["class"]), "params": params}
    if spec["kind"] == "transformer":
        return {**step, "fitted": {key: _value(value) for key, value in spec["fitted"].items()}}
    params = {WORDS.get(key, key): value for key, value in params.items()}
    if "mixed_precision" in params:  # the parameter's name until precision took its place
        params["precision"] = params.pop("mixed_precision") or "fp32"
    if params.get("module") in _BRAINDECODE:  # registered names had their case then
        params["module"] = {"$class": f"braindecode.models:{params['module']}"}
    for key, names in _SETTINGS.items():
        if isinstance(params.get(key), str):
            params[key] = names.get(params[key], params[key])
    return {**step, "params": params, "fitted": _facts(in_todays_words(spec["fitted"]))}


def _value(value: Any) -> Any:
    """Translate addresses, and the names of parameters where the class is ours."""
    if isinstance(value, list):
        return [_value(v) for v in value]
    if not isinstance(value, dict) or "$array" in value:
        return value
    if "$class" in value:
        return {"$class": today(str(value["$class"]))}
    if "$object" in value and str(value["$object"].get("$class")).startswith(f"{OURS}."):
        params = {WORDS.get(key, key): _value(v) for key, v in value["params"].items()}
        return {"$object": _value(value["$object"]), "params": params}
    return {key: _value(v) for key, v in value.items()}


def _facts(old: dict[str, Any]) -> dict[str, Any]:
    """Turn what a classifier kept, in today's words, into :class:`FittedFacts` as JSON."""
    dtype, _, labels = old["classes"]["$array"]
    report = dict(old.pop("precision", None) or {})  # none: saved before there were plans
    plans = {f"{part}_plan": report.pop(part) for part in ("training", "inference") if part in report}
    return {**old, **plans, "precision_report": report, "classes": {"dtype": dtype, "labels": labels}}
