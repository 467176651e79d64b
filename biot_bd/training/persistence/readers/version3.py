"""Format 3, of models with several parts that have weights: probes behind embedders, and ensembles.

Classifiers and transformers inside are as in format 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from biot_bd.json_values import check_values
from biot_bd.models.checkpoints.pipeline_folder import steps_of
from biot_bd.training.persistence.readers import version2

DEEPEST = 8
"""Levels of members in members, embedders among them."""


class _Weights(TypedDict):
    file: str
    sha256: str
    prefix: str


class _Learnt(TypedDict):
    train_subjects: list[str]
    attributes: dict[str, Any]


class _Part(TypedDict):
    name: str
    params: dict[str, Any]
    weights: _Weights


def read(description: dict[str, Any]) -> dict[str, Any]:
    """Return the description, scalars of numpy among its parameters as numbers.

    Raises KeyError or ValueError where a part is missing or another than it must be.
    """
    last = _check(description["pipeline"], 0)
    if last not in ("probe", "ensemble"):
        raise ValueError(f"the last step is of kind {last!r}, expected 'probe' or 'ensemble'")
    check_values(description.get("record"), dict[str, Any] | None, "record")
    return description


def _check(spec: dict[str, Any], depth: int) -> str:
    """Check a step, or a pipeline of them; return the kind that it ends in."""
    if depth > DEEPEST:
        raise ValueError(f"models in models, more than {DEEPEST} deep")
    steps = steps_of(spec)
    if not steps:
        raise ValueError("a pipeline without a step")
    before = None
    for step in steps[:-1]:
        before = _check_step(step, depth)
        if before not in ("transformer", "embedder"):
            raise ValueError(f"step {step['name']!r} is of kind {before!r}, and others stand behind it")
    last = _check_step(steps[-1], depth)
    if last == "probe" and before != "embedder":
        raise ValueError(f"the probe {steps[-1]['name']!r} stands behind no embedder")
    return last


def _check_step(step: Mapping[str, Any], depth: int) -> str:
    kind = step.get("kind")
    where = f"step {step.get('name')}"
    if kind == "transformer" or kind == "classifier":
        version2.check_step(step)
        if kind == "classifier":
            check_values(step["weights"], _Weights, f"{where}: weights")
            check_values(step["fitted"], version2.Fitted, f"{where}: fitted")
        return str(kind)
    if kind not in ("embedder", "probe", "ensemble"):
        raise ValueError(f"{where} is of an unknown kind, {kind!r}")
    check_values(step, _Part, where)
    step["class"]
    if kind == "embedder":
        if _check(step["classifier"], depth + 1) != "classifier":
            raise ValueError(f"{where}: its model is of kind {step['classifier'].get('kind')!r}, expected 'classifier'")
        return kind
    check_values(step["fitted"], _Learnt, f"{where}: fitted")
    if kind == "ensemble":
        check_values(step["members"], list[dict[str, Any]], f"{where}: members")
        for member in step["members"]:
            if _check(member, depth + 1) not in ("classifier", "probe"):
                raise ValueError(f"{where}: a member is of kind {member.get('kind')!r}")
        if not step["members"]:
            raise ValueError(f"{where}: an ensemble without members")
    return str(kind)
