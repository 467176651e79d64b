"""Whether a version is what was registered: its files by their hashes, its probabilities by
computing them again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from biot_bd.deploy.engine_candidates import Candidate, find_candidates
from biot_bd.deploy.model_registry.described import (
    event_facts,
    export_facts,
    model_facts,
    preparing_steps,
    training_facts,
)
from biot_bd.deploy.model_registry.probe_batch import difference, open_window_model
from biot_bd.deploy.model_registry.results import results_of
from biot_bd.deploy.version_folder import RegisteredVersion, VersionFacts, check_files, read_version
from biot_bd.exceptions import MissingExtraError, ModelRegistryError
from biot_bd.export.artifact import PROBE, Probe, read_artifact
from biot_bd.json_values import naming
from biot_bd.models.checkpoints.anonymous_model import is_anonymous_model
from biot_bd.models.checkpoints.demonstration import demonstration_note
from biot_bd.models.checkpoints.pipeline_folder import ARTIFACT, PIPELINE
from biot_bd.runs import read_json, to_jsonable

_REPEATED = ("subjects", "seed", "n_epochs", "title", "contamination", "notes", "environment")
"""Of the training, what ``artifact.json`` has word for word from ``pipeline.json``."""


@dataclass(frozen=True)
class Replay:
    """An engine that computed the probe batch of a version again.

    Parameters
    ----------
    engine, precision : str
        What computed.
    largest_difference : float
        Of a probability to the one that was registered.
    bound : float
        How large it may be.

    See Also
    --------
    Verification : Holds those of a version.

    Examples
    --------
    >>> from biot_bd.deploy.model_registry import Replay
    >>> replay = Replay("onnx", "fp32", 2e-7, 1e-5)
    >>> replay.largest_difference <= replay.bound
    True
    """

    engine: str
    precision: str
    largest_difference: float
    bound: float


@dataclass(frozen=True)
class Verification:
    """What was compared when a version was verified, and nothing differed.

    Parameters
    ----------
    version : RegisteredVersion
        The version.
    digest : str
        Of ``artifact.json``: it tells the whole version.
    n_files, size_bytes : int
        What was hashed.
    replayed : tuple of Replay
        Engines that computed the probe batch again.
    not_replayed : tuple of str
        Engines that did not, each with the reason; without any replay, hashes alone were compared.

    See Also
    --------
    verify_version : Makes one.

    Examples
    --------
    >>> from pathlib import Path
    >>> from biot_bd.deploy import RegisteredVersion
    >>> from biot_bd.deploy.model_registry import Verification
    >>> version = RegisteredVersion("mine", "1.0.0", Path("mine/1.0.0"), {})
    >>> found = Verification(version, "0a" * 32, 6, 645_000, (), ("not asked for",))
    >>> found.version.label, found.not_replayed
    ('mine/1.0.0', ('not asked for',))
    """

    version: RegisteredVersion
    digest: str
    n_files: int
    size_bytes: int
    replayed: tuple[Replay, ...]
    not_replayed: tuple[str, ...]


def verify_version(folder: str | os.PathLike[str], *, expected: str | None = None, replay: bool = True) -> Verification:
    """Verify a version, wherever it lies.

    Parameters
    ----------
    folder : path
        Of :meth:`biot_bd.deploy.Registry.save`, or a copy of it.
    expected : str, optional
        The digest that the version must have, as whoever made it says.
    replay : bool
        Whether the probe batch is computed again by every engine that is installed.

    Returns
    -------
    Verification

    Raises
    ------
    FileNotFoundError
        No version is there.
    ModelRegistryError
        A ``ValueError``: a file is another, missing, a link, or none of the version;
        ``artifact.json`` says another thing than the model's own files; an engine computes other
        probabilities; or the digest is not the expected one.

    See Also
    --------
    biot_bd.deploy.Registry.verify : The same for a version by its name.

    Notes
    -----
    Whoever can write all of a version can make another one that agrees with itself: only
    ``expected``, which came another way than the files, tells that nobody did.

    Examples
    --------
    >>> from biot_bd.deploy.model_registry import verify_version
    >>> verify_version("nowhere")
    Traceback (most recent call last):
    ...
    FileNotFoundError: nowhere: no version of the model registry here (no artifact.json); ...
    """
    version = read_version(folder)
    digest = version.digest
    check_digest(version, digest, expected)
    check_files(version)
    check_description(version)
    replayed, not_replayed = [], [] if replay else ["not asked for"]
    for candidate in _engines(version.folder, not_replayed) if replay else ():
        replayed.append(_replay(version, candidate))
    return Verification(version, digest, len(version.files), version.size_bytes, tuple(replayed), tuple(not_replayed))


def check_digest(version: RegisteredVersion, digest: str, expected: str | None) -> None:
    """Raise where a version has another digest than the expected one.

    Raises
    ------
    ModelRegistryError
        Both are named.
    """
    if expected is not None and digest != expected.lower().removeprefix("sha256:"):
        raise ModelRegistryError(
            f"{version.folder / ARTIFACT}: its SHA-256 is {digest}, expected {expected}: this is another version than the one "
            "that was meant; get it again from whoever told the digest"
        )


def check_description(version: RegisteredVersion) -> None:
    """Raise where ``artifact.json`` says another thing than the files of the model do.

    Parameters
    ----------
    version : RegisteredVersion
        Its files are those that were registered.

    Raises
    ------
    ModelRegistryError
        Names the key.
    """
    folder, facts = version.folder, version.facts
    with naming(folder / PIPELINE, ModelRegistryError):
        description = read_json(folder / PIPELINE)
        events, said = event_facts(folder), facts["events"]
        # What any version of biot_bd reads of the files, not the words that one has for it.
        own = {
            "model.hub_class": model_facts(description, folder, "")["hub_class"],
            "events": events if events is None or said is None else {key: events["setting"].get(key) for key in said["setting"]},
            "training.trained_on": _seen(training_facts(description, folder)["trained_on"]),
            "exports": [one["folder"] for one in export_facts(folder)],
            **_own_words(description, facts, folder),
        }  # fmt: skip
    with naming(folder / ARTIFACT, ModelRegistryError):
        told = {
            "model.hub_class": facts["model"]["hub_class"],
            "events": None if said is None else said["setting"],
            "training.trained_on": _seen(facts["training"]["trained_on"]),
            "exports": [one["folder"] for one in facts["exports"]],
            **_told_words(facts),
        }
    for key, value in own.items():
        if to_jsonable(value) != told[key]:
            raise ModelRegistryError(
                f"{folder / ARTIFACT}: {key} is not what the model's own files say; expected {_short(value)}, "
                f"found {_short(told[key])}"
            )
    for export in facts["exports"]:
        read_artifact(folder / export["folder"])
    if (n_windows := len(_probe(version).x)) != facts["probe"]["n_windows"]:
        raise ModelRegistryError(
            f"{folder / ARTIFACT}: probe.n_windows is {facts['probe']['n_windows']}, {PROBE} holds {n_windows}"
        )


def _own_words(description: Mapping[str, Any], facts: VersionFacts, folder: Path) -> dict[str, Any]:
    """Return what the record of a model says that ``artifact.json`` and the card repeat."""
    record, said = description.get("record") or {}, facts["training"]
    training = training_facts(description, folder)
    data = training["data"]
    found = {
        "demonstration": demonstration_note(record) is not None,
        "anonymous": is_anonymous_model(description),
        "generated": (data or {}).get("generated"),
        "input.steps": preparing_steps(description),
        # A later biot_bd may know more of the data.
        "training.data": data if data is None or said["data"] is None else {key: data.get(key) for key in said["data"]},
        "training.split": _counts(training["split"]),
        **{f"training.{key}": training[key] for key in _REPEATED},  # type: ignore[literal-required]  # keys
    }
    if "fold" not in record:  # a fold's scores are in its run
        found["results.own"] = _scores(results_of(record, None))
    return found


def _told_words(facts: VersionFacts) -> dict[str, Any]:
    """Return what ``artifact.json`` says of what :func:`_own_words` finds."""
    return {
        **{key: facts[key] for key in ("demonstration", "anonymous", "generated")},  # type: ignore[literal-required]
        "input.steps": facts["input"]["steps"],
        **{f"training.{key}": facts["training"][key] for key in ("data", *_REPEATED)},  # type: ignore[literal-required]
        "training.split": _counts(facts["training"]["split"]),
        "results.own": _scores(facts["results"]),
    }


def _counts(split: Mapping[str, Any] | None) -> Any:
    """Return how many subjects each part of a split has."""
    return None if split is None else {key: split[f"n_{key}_subjects"] for key in ("train", "valid", "test")}


def _scores(results: Mapping[str, Any] | None) -> Any:
    """Return what was measured of a model itself."""
    own = (results or {}).get("own")
    return None if own is None else {key: own[key] for key in ("n_subjects", "prevalence", "rows")}


def _seen(trained_on: Mapping[str, Any] | None) -> Any:
    return None if trained_on is None else [trained_on["trained_on"], trained_on["known"]]


def _short(value: Any) -> str:
    text = repr(to_jsonable(value))
    return text if len(text) <= 200 else text[:200] + "..."


def _probe(version: RegisteredVersion) -> Probe:
    known, path = version.facts["input"], version.folder / PROBE
    with naming(path, ModelRegistryError):
        return Probe.read(path, len(known["ch_names"]), known["n_times"], len(version.facts["classes"]))


def _engines(folder: Path, not_replayed: list[str]) -> Iterator[Candidate]:
    """Yield what is installed and can compute a version, and tell what is not."""
    try:
        candidates, left_out = find_candidates(folder, "auto", "auto")
    except MissingExtraError as error:
        not_replayed.append(str(error))
        return
    not_replayed += left_out
    seen = set()
    for candidate in candidates:
        # Torch's own choice of a precision is no other model.
        asked = replace(candidate, precision="fp32") if candidate.precision == "auto" else candidate
        if candidate.engine == "pt2":
            not_replayed.append(f"{candidate.name} (a pt2 file can run code, so nothing here opens it)")
        elif asked not in seen:
            seen.add(asked)
            yield asked


def _replay(version: RegisteredVersion, candidate: Candidate) -> Replay:
    facts = version.facts
    bound = facts["probe"]["bounds"].get(candidate.precision)
    if bound is None:
        raise ModelRegistryError(
            f"{version.folder / ARTIFACT}: no bound for {candidate.precision}, there are {', '.join(facts['probe']['bounds'])}"
        )
    model = open_window_model(candidate.folder, candidate.engine, candidate.precision)
    what = f"{version.folder}: computed by {candidate.name}"
    known = facts["input"]
    found = [list(model.montage.ch_names), model.sfreq, model.n_times, model.classes]
    registered: list[Any] = [known["ch_names"], known["sfreq"], known["n_times"], facts["classes"]]
    for key in ("positive_label", "threshold"):
        found.append(getattr(model.classifier, f"{key}_", None))
        registered.append(facts[key])  # type: ignore[literal-required]  # both are keys
    if found != registered:
        raise ModelRegistryError(f"{what}: takes or gives other things than {ARTIFACT} says: {found}, not {registered}")
    try:
        largest = difference(model, _probe(version))
    except (ValueError, RuntimeError) as error:  # also of steps, or a network, that do not fit each other
        raise ModelRegistryError(f"{what}: {error}") from error
    if not largest <= bound:
        raise ModelRegistryError(
            f"{what}: probabilities of {PROBE} differ by {largest:.2g} from those that were registered, they may by {bound:g}; "
            "another model, or an engine that computes otherwise on this machine: try another one, or export again"
        )
    return Replay(candidate.engine, candidate.precision, largest, bound)
