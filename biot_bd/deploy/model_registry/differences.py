"""In what two versions differ: facts, weights, probabilities, sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from biot_bd.deploy.model_registry.probe_batch import compute, open_window_model
from biot_bd.deploy.model_registry.tensor_file import TensorFile
from biot_bd.deploy.version_folder import RegisteredVersion, check_files
from biot_bd.exceptions import MissingExtraError, ModelRegistryError
from biot_bd.export.artifact import Probe
from biot_bd.json_values import naming
from biot_bd.models.checkpoints.pipeline_folder import WEIGHTS

COMPARED = (
    "model",
    "input",
    "classes",
    "positive_label",
    "threshold",
    "events",
    "training",
    "versions",
    "git_revision",
    "biot_bd",
    "licence",
    "generated",
    "anonymous",
    "exports",
)
"""Keys of ``artifact.json``; the others are other in each version, or follow from these."""
_MISSING = "(not there)"


@dataclass(frozen=True)
class FactDifference:
    """A value that differs.

    Parameters
    ----------
    key : str
        Keys that lead there, joined by dots.
    one, other : object
        The values; ``"(not there)"`` where one has none.

    See Also
    --------
    VersionDifference : Holds those of two versions.

    Examples
    --------
    >>> from biot_bd.deploy.model_registry import FactDifference
    >>> FactDifference("events.setting.threshold", 0.4, 0.6)
    FactDifference(key='events.setting.threshold', one=0.4, other=0.6)
    """

    key: str
    one: Any
    other: Any


@dataclass(frozen=True)
class VersionDifference:
    """In what two versions differ.

    Parameters
    ----------
    one, other : RegisteredVersion
        The versions.
    facts : tuple of FactDifference
        What they say of themselves.
    tensors : dict of str to float
        Largest difference of the values of each tensor that differs; infinite where one of the two
        is not finite.
    n_equal_tensors : int
        Tensors that are equal, bit by bit.
    other_tensors : tuple of str
        Tensors that only one has, or of another shape or type.
    probabilities : dict of str to float
        Largest difference of a probability on the probe batch of each version, by its label; empty
        where it could not be computed.
    not_computed : str or None
        Why not.
    size_bytes : tuple of (int, int)
        All files of each.

    See Also
    --------
    biot_bd.deploy.Registry.diff : Makes one.

    Examples
    --------
    >>> from pathlib import Path
    >>> from biot_bd.deploy import RegisteredVersion
    >>> from biot_bd.deploy.model_registry import VersionDifference
    >>> one, other = (RegisteredVersion("mine", v, Path(v), {}) for v in ("1.0.0", "1.1.0"))
    >>> tensors = {"final_layer.bias": 0.25}
    >>> VersionDifference(one, other, (), tensors, 41, (), {}, None, (7, 7)).same_weights
    False
    """

    one: RegisteredVersion
    other: RegisteredVersion
    facts: tuple[FactDifference, ...]
    tensors: dict[str, float]
    n_equal_tensors: int
    other_tensors: tuple[str, ...]
    probabilities: dict[str, float]
    not_computed: str | None
    size_bytes: tuple[int, int]

    @property
    def same_weights(self) -> bool:
        """Whether all tensors are equal."""
        return not self.tensors and not self.other_tensors


def compare_versions(one: RegisteredVersion, other: RegisteredVersion) -> VersionDifference:
    """Compare two versions, whose files are checked first.

    Parameters
    ----------
    one, other : RegisteredVersion
        Of :func:`biot_bd.deploy.version_folder.read_version`.

    Returns
    -------
    VersionDifference

    Raises
    ------
    ModelRegistryError
        A file is another than was registered.

    See Also
    --------
    biot_bd.deploy.Registry.diff : The same by name.

    Examples
    --------
    >>> from biot_bd.deploy import read_version
    >>> from biot_bd.deploy.model_registry import compare_versions
    >>> compare_versions(read_version("one"), read_version("other"))
    Traceback (most recent call last):
    ...
    FileNotFoundError: one: no version of the model registry here (no artifact.json); ...
    """
    for version in (one, other):
        check_files(version)
    facts = tuple(
        difference
        for key in COMPARED
        for difference in _differences(one.facts.get(key), other.facts.get(key), key)  # type: ignore[misc]  # a key
    )
    with naming(f"{one.folder} or {other.folder}", ModelRegistryError):
        facts += tuple(_differences(_scores(one), _scores(other), "results"))
    tensors, n_equal, others = _tensors(one, other)
    probabilities, why = _probabilities(one, other)
    return VersionDifference(
        one, other, facts, tensors, n_equal, others, probabilities, why, (one.size_bytes, other.size_bytes)
    )


def _differences(one: Any, other: Any, key: str) -> Iterator[FactDifference]:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for inner in dict.fromkeys((*one, *other)):
            if inner == "recordings":  # digests with a salt of each model's own
                continue
            yield from _differences(one.get(inner, _MISSING), other.get(inner, _MISSING), f"{key}.{inner}")
    elif one != other:
        yield FactDifference(key, one, other)


def _scores(version: RegisteredVersion) -> dict[str, Any]:
    """Return the results of a version by what they are of, so that each is compared by itself."""
    return {
        f"{of}.{row['what']}.{row['level']}.{row['score']}": row["value"]
        for of, found in (version.facts["results"] or {}).items()
        for row in (found or {}).get("rows", ())
    }


def _tensors(one: RegisteredVersion, other: RegisteredVersion) -> tuple[dict[str, float], int, tuple[str, ...]]:
    first, second = TensorFile(one.folder / WEIGHTS), TensorFile(other.folder / WEIGHTS)
    found, n_equal, others = {}, 0, []
    for name in sorted({*first.names, *second.names}):
        if name not in first.names or name not in second.names or first.shape(name) != second.shape(name):
            others.append(name)
            continue
        a, b = first.read(name), second.read(name)
        if a.dtype != b.dtype:
            others.append(name)
        elif a.tobytes() == b.tobytes():
            n_equal += 1
        else:
            difference = np.abs(a.astype(np.float64) - b.astype(np.float64)).max()
            found[name] = float(difference) if np.isfinite(difference) else float("inf")
    return found, n_equal, tuple(others)


def _probabilities(one: RegisteredVersion, other: RegisteredVersion) -> tuple[dict[str, float], str | None]:
    """Return the largest difference of a probability on each version's probe batch."""
    inputs = ("ch_names", "sfreq", "n_times")
    if any(one.facts["input"][key] != other.facts["input"][key] for key in inputs):  # type: ignore[literal-required]  # keys
        return {}, "they take other windows"
    if one.facts["classes"] != other.facts["classes"]:
        return {}, "they have other classes"
    probes = {version.label: _probe(version) for version in (one, other)}
    try:
        models = [open_window_model(version.folder, version.facts["probe"]["engine"]) for version in (one, other)]
    except MissingExtraError as error:
        return {}, str(error)
    both = one.facts["input"]["absent_channels"] and other.facts["input"]["absent_channels"]
    found = {}
    for label, probe in probes.items():
        rows = np.ones(len(probe.x), bool) if both else probe.present.all(axis=1)
        first, second = (compute(model, probe.x[rows], probe.present[rows]) for model in models)
        found[label] = float(np.abs(first - second).max())
    return found, None


def _probe(version: RegisteredVersion) -> Probe:
    facts = version.facts
    known = facts["input"]
    path = version.folder / facts["probe"]["file"]
    return Probe.read(path, len(known["ch_names"]), known["n_times"], len(facts["classes"]))
