"""What a saved classifier says of the run that trained it: no loading takes it over.

Folders to write, services to report to and a compiler belong to whoever trained; a model folder
comes from anybody.  Told from the description alone, so nothing of it is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NOT_SAVED: dict[str, Any] = {"log_dir": None, "restart_dir": None, "accelerator": "auto"}
"""Parameters of the classifier that belong to one run, and what they are in a saved model."""
_NOT_LOADED = {**NOT_SAVED, "compile": False}
QUIET = frozenset(
    (
        "BatchScoring",
        "Callback",
        "EarlyStopping",
        "EpochScoring",
        "EpochTimer",
        "Freezer",
        "GradientNormClipping",
        "Initializer",
        "InputShapeSetter",
        "LRScheduler",
        "ParamMapper",
        "PassthroughScoring",
        "PrintLog",
        "ProgressBar",
        "Unfreezer",
        "WarmRestartLR",
    )
)
"""Callbacks of skorch that write no file, read none and speak to no service."""
_OUR_WRITERS = ("TensorBoardLogger", "tensorboard")


def reaches_out(address: str) -> bool:
    """Return whether the class at an address is a callback of skorch's, or of ours, that reaches
    files or services.
    """
    module, _, name = address.partition(":")
    if module.partition(".")[0] == "skorch":
        return name not in QUIET
    return module.partition(".")[0] == "biot_bd" and name in _OUR_WRITERS


def without_run_settings(params: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the written parameters of a classifier as loading takes them, and what was left out.

    Parameters
    ----------
    params : mapping
        As a description of the newest format holds them.

    Returns
    -------
    params : dict
        Without callbacks that reach files or services, folders to write, and the wish to compile.
    left_out : list of str
        What is missing, in words; empty where everything is taken.
    """
    kept, left_out = dict(params), []
    for name, neutral in _NOT_LOADED.items():
        if kept.get(name) not in (None, neutral):
            left_out.append(f"{name}={kept[name]!r}")
        if name in kept:
            kept[name] = neutral
    gone = set()
    callbacks = written_callbacks(params.get("callbacks"))
    writers = [found for one in callbacks if (found := _writer_in(one)) is not None]
    if writers:
        kept["callbacks"] = [one for one in callbacks if _writer_in(one) is None]
        gone |= {name for pair in writers for name in pair}
        left_out += [f"callback {writer}" for writer, _ in writers]
    for key in list(kept):
        parts = key.split("__")
        if parts[0] != "callbacks" or len(parts) < 2:
            continue
        if len(parts) == 2 and (found := _writer_in(kept[key])) is not None:
            gone |= {parts[1]}
            left_out.append(f"callback {found[0]} ({key})")
    for key in [key for key in kept if key.startswith("callbacks__") and key.split("__")[1] in gone]:
        del kept[key]
    return kept, left_out


def written_callbacks(callbacks: Any) -> list[Any]:
    """Return the written callbacks one by one: a list, a tuple, or one alone."""
    if isinstance(callbacks, Mapping):
        return list(callbacks["$tuple"]) if "$tuple" in callbacks else [callbacks]
    return callbacks if isinstance(callbacks, list) else []


def _writer_in(item: Any) -> tuple[str, str] | None:
    """Return the class and the name of a written callback that reaches files or services."""
    name = None
    if isinstance(item, Mapping) and "$tuple" in item:
        item = item["$tuple"]
    if isinstance(item, list) and len(item) == 2:
        name, item = item
    if isinstance(item, str):
        return (item, str(name or item)) if item in _OUR_WRITERS else None
    written = item
    if isinstance(written, Mapping) and "$object" in written:
        written = written["$object"]
    if not isinstance(written, Mapping):
        return None
    if "$registered" in written or "$value_of" in written:
        _, registered = written.get("$registered") or written["$value_of"]
        return (registered, str(name or registered)) if registered in _OUR_WRITERS else None
    address = str(written.get("$class"))
    cls = address.partition(":")[2]
    return (cls, str(name or cls)) if reaches_out(address) else None
