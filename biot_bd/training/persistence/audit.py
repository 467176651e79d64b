"""What a saved pipeline would import and build, told without importing or building any of it."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from biot_bd import registry
from biot_bd.exceptions import SavedPipelineError
from biot_bd.json_values import DAMAGE
from biot_bd.models.checkpoints.pipeline_folder import (
    CONFIG,
    WEIGHTS,
    description_file,
    inner_specs,
    weights_file,
)
from biot_bd.runs import read_json
from biot_bd.training.persistence.functions import is_named
from biot_bd.training.persistence.readers import read_description
from biot_bd.training.persistence.run_settings import without_run_settings, written_callbacks
from biot_bd.training.persistence.sizes import check_sizes
from biot_bd.training.persistence.values import KINDS, READERS, safe_bases

_NAMED_BY_TEXT = {"module": "models", "criterion": "losses", "callbacks": "callbacks", "montage": "montages"}
"""Parameters whose text is the name of a registry."""


@dataclass(frozen=True)
class Named:
    """One thing that a saved pipeline names.

    Parameters
    ----------
    what : {"class", "function", "registered", "checkpoint", "entry"}
        A class or function by address, an object of a registry, or an entry that no reader knows.
    name : str
        The address, ``registry:name``, the checkpoint, or the entry's tag.
    where : str
        The step, and its parameter or attribute.
    provided_by : str or None
        Package and version, or the plugin that registers it; None where it is not installed.
    problem : str or None
        Why it would not be loaded.
    """

    what: str
    name: str
    where: str
    provided_by: str | None
    problem: str | None = None


@dataclass
class Audit:
    """What :func:`audit` found.

    Parameters
    ----------
    folder : str
        As it was given.
    version : int or None
        Version of the format.
    named : list of Named
        Classes, registered objects and unknown entries, in the order of the steps.
    files : list of dict
        ``name``, ``size_bytes`` and ``role`` of each file.
    problems : list of str
        Why the model would not be loaded; empty where nothing speaks against it.
    left_out : list of str
        What belongs to the run that trained the model, and loading does not take over: callbacks
        that write files, folders, the compiler.
    """

    folder: str
    version: int | None = None
    named: list[Named] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON holds it, with ``packages`` that would be imported."""
        packages = sorted({one.provided_by for one in self.named if one.provided_by})
        return {**asdict(self), "packages": packages}


def audit(folder: str | os.PathLike[str]) -> Audit:
    """List what a saved pipeline would import and build; nothing of it is imported or built.

    Parameters
    ----------
    folder : path
        Written by :func:`biot_bd.save_pipeline`, in any format that can be read.

    Returns
    -------
    Audit

    Raises
    ------
    FileNotFoundError
        There is no saved pipeline.

    See Also
    --------
    biot_bd.load_pipeline : Loads it; what the audit refuses raises there.

    Notes
    -----
    Names of registries are looked up, so the installed plugins are asked what they register.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd import BIOTClassifier, save_pipeline
    >>> from biot_bd.training.persistence.audit import audit
    >>> x = np.random.default_rng(0).normal(size=(8, 2, 200)).astype("float32")
    >>> net = BIOTClassifier(
    ...     "shallow", max_epochs=1, train_split=None, device="cpu", random_state=0
    ... )
    >>> found = audit(save_pipeline(net.fit(x, [0, 1] * 4), "model"))
    >>> [one.name for one in found.named], found.problems
    (['biot_bd:BIOTClassifier', 'models:shallow', 'losses:focal', 'torch.optim:AdamW'], [])
    """
    folder = Path(folder)
    file = description_file(folder)
    try:
        stored = read_json(file) if file is not None else None
    except ValueError:  # the reader below says what is wrong
        stored = None
    found = Audit(str(folder), stored.get("version") if isinstance(stored, dict) else None)
    weights: Path | None = None
    try:
        description = read_description(folder)
        steps = inner_specs(description["pipeline"])
        found.named = [one for step in steps for one in _of_step(step)]
        found.problems = [f"{one.where}: {one.problem}" for one in found.named if one.problem]
        for spec in [step for step in steps if "weights" in step or step["kind"] == "classifier"]:
            weights = weights_file(folder, spec)
            if spec["kind"] == "classifier":
                found.left_out += without_run_settings(spec["params"])[1]
                check_sizes(spec, weights)
    except SavedPipelineError as error:
        found.problems.append(str(error))
        weights = None
    except DAMAGE as error:
        found.problems.append(f"{file}: damaged ({type(error).__name__}: {error})")
        weights = None
    roles = {
        file: "description",
        folder / CONFIG: "description" if file == folder / CONFIG else "Hub layout of the module",
        folder / WEIGHTS: "weights that the description does not mean",
        weights: "weights, checksum right",
    }
    found.files = [
        {"name": path.name, "size_bytes": path.stat().st_size, "role": roles.get(path, "not part of the pipeline")}
        for path in sorted(folder.iterdir())
        if path.is_file()
    ]
    return found


def _of_step(step: Mapping[str, Any]) -> Iterator[Named]:
    where = f"step {step['name']}"
    yield from _of_value(step["class"], where)
    for key, value in step["params"].items():
        kind, place = _NAMED_BY_TEXT.get(key), f"{where}, parameter {key}"
        for text in written_callbacks(value) if key == "callbacks" else [value]:
            if kind is not None and isinstance(text, str):
                yield _registered(kind, text, place)
        if key == "optimizer" and isinstance(value, str):
            yield _class(f"torch.optim:{value}", place)
        yield from _of_value(value, place)
    pretrained = step["params"].get("pretrained")
    if isinstance(pretrained, str):
        told = step.get("classifier", step)["fitted"].get("module_config")
        problem = None if told else f"started from {pretrained!r}, and the model does not say its own sizes"
        yield Named("checkpoint", pretrained, f"{where}, parameter pretrained", None, problem)
    if step["kind"] in ("transformer", "probe", "ensemble"):
        for key, value in (step["fitted"] if step["kind"] == "transformer" else step["fitted"]["attributes"]).items():
            yield from _of_value(value, f"{where}, attribute {key}")


def _of_value(value: Any, where: str) -> Iterator[Named]:
    """Yield what a value names, at any depth."""
    if isinstance(value, list):
        for one in value:
            yield from _of_value(one, where)
    elif isinstance(value, dict) and len(value) > 1 and set(value) != {"$object", "params"}:
        tags = ", ".join(map(repr, value))
        yield Named("entry", tags, where, None, f"an entry of {tags}, expected one tag: not written by save_pipeline")
    elif isinstance(value, dict) and "$object" in value:
        yield from _of_value(value["$object"], where)
        yield from _of_value(list(value.get("params", {}).values()), where)
    elif isinstance(value, dict) and "$class" in value:
        yield _class(str(value["$class"]), where)
    elif isinstance(value, dict) and "$function" in value:
        yield _function(str(value["$function"]), where)
    elif isinstance(value, dict) and ("$registered" in value or "$value_of" in value):
        kind, name = value.get("$registered") or value["$value_of"]
        yield _registered(kind, name, where)
    elif isinstance(value, dict):
        for tag, content in value.items():
            if tag not in (*READERS, "$tensor"):
                yield Named("entry", str(tag), where, None, f"unknown entry {tag!r}: written by another version")
            yield from _of_value(content, where)


def _class(address: str, where: str) -> Named:
    package = address.partition(":")[0].partition(".")[0]
    if not safe_bases(address):
        return Named("class", address, where, None, f"{address!r} may not be loaded")
    if find_spec(package) is None:
        return Named("class", address, where, None, f"{address!r} needs the package {package}, which is not installed")
    return Named("class", address, where, _release(package))


def _function(address: str, where: str) -> Named:
    if not is_named(address):
        return Named("function", address, where, None, f"{address!r} may not be loaded")
    package = address.partition(":")[0].partition(".")[0]
    return Named("function", address, where, "Python" if package == "builtins" else _release(package))


def _registered(kind: str, name: str, where: str) -> Named:
    full = f"{kind}:{name}"
    if kind not in KINDS:
        return Named("registered", full, where, None, f"there is no registry {kind!r} that a pipeline may name")
    names = registry.registries[kind]
    if name in names:
        return Named("registered", full, where, f"plugin {names.owner(name)} ({names.path(name)})")
    if kind == "callbacks" and _is_scorer(name):
        return Named("registered", full, where, _release("sklearn"))
    if kind == "models" and name.isidentifier():  # braindecode's own names need no registry
        return _class(f"braindecode.models:{name}", where)
    return Named("registered", full, where, None, f"no plugin registers {name!r} of {kind}")


def _is_scorer(name: str) -> bool:
    from biot_bd.training.scorers import is_scorer_name  # it imports scikit-learn; most audits need none

    return is_scorer_name(name)


_distributions = functools.cache(packages_distributions)  # it reads the metadata of all that is installed


def _release(package: str) -> str:
    distribution = _distributions().get(package, [package])[0]
    try:
        return f"{package} ({distribution} {version(distribution)})"
    except PackageNotFoundError:
        return package
