"""Format 2, today's: public addresses, registered names, and what ``fit`` learnt as
``FittedFacts`` writes it.
"""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

from biot_bd.json_values import check_values
from biot_bd.models.checkpoints.pipeline_folder import classifier_spec, steps_of


class _Input(TypedDict):
    n_chans: int
    n_times: int
    ch_names: list[str] | None
    sfreq: float | None
    unit: str
    scale: NotRequired[str | None]


class _Classes(TypedDict):
    dtype: str
    labels: list[Any]


class Fitted(TypedDict):
    """What :meth:`FittedFacts.as_dict` gives."""

    input_info: _Input
    classes: _Classes
    class_weight: NotRequired[list[float] | None]
    class_counts: list[float]
    train_subjects: list[str]
    valid_subjects: list[str]
    threshold: float | None
    n_epochs: int
    training_note: NotRequired[str | None]
    training_plan: NotRequired[dict[str, Any] | None]
    inference_plan: NotRequired[dict[str, Any] | None]
    precision_report: NotRequired[dict[str, Any] | None]
    provenance: NotRequired[dict[str, Any] | None]
    pretrained_report: NotRequired[dict[str, Any] | None]
    module_config: NotRequired[dict[str, Any] | None]
    token_names: NotRequired[list[str] | None]


class _Step(TypedDict):
    name: str
    params: dict[str, Any]
    fitted: dict[str, Any]


def _number(value: Any) -> Any:
    """Return the number that stands in a tagged scalar of numpy: who reads sizes takes no other."""
    if isinstance(value, dict) and list(value) == ["$scalar"] and len(value["$scalar"]) == 2:
        return value["$scalar"][1]
    return value


def read(description: dict[str, Any]) -> dict[str, Any]:
    """Return the description, scalars of numpy among its parameters as numbers.

    Raises KeyError or ValueError where a part is missing or another than it must be.
    """
    spec = classifier_spec({"pipeline": description["pipeline"]})
    for step in steps_of(description["pipeline"]):
        check_step(step)
    if spec["kind"] != "classifier":
        raise ValueError(f"the last step is of kind {spec['kind']!r}, expected 'classifier'")
    check_values(spec["fitted"], Fitted, "fitted")
    check_values(description.get("record"), dict[str, Any] | None, "record")
    return description


def check_step(step: Any) -> None:
    """Check a transformer or classifier, and make its parameters plain numbers."""
    check_values(step, _Step, f"step {step.get('name')}")
    step["params"] = {key: _number(value) for key, value in step["params"].items()}
    if step["kind"] not in ("classifier", "transformer"):
        raise ValueError(f"step {step['name']!r} is of an unknown kind, {step['kind']!r}")
    step["class"]
