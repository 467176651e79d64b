"""Where a class can be found by everybody.

The address that a saved pipeline names, and those of former versions.

An address is ``package:Class`` for the shortest package that shows the class:
``biot_bd:BIOTClassifier``, ``biot_bd.training:FixedSubjects``, ``torch.optim:AdamW``,
``sklearn.preprocessing:StandardScaler``.  Files may move behind it; whoever renames a public class
adds a line to :data:`RENAMED`.
"""

from __future__ import annotations

import sys
from importlib import import_module

from biot_bd.exceptions import SavedPipelineError

OURS = "biot_bd"

RENAMED = {
    "FixedPersons": "FixedSubjects",
    "PersonBalanced": "SubjectBalanced",
    "PersonSplit": "SubjectSplit",
    "PersonValidSplit": "SubjectValidSplit",
    "Rule": "FinetuneOption",
}
"""Classes that format 1 knew by another name."""

_ROOMS = {
    "deploy": (".deploy.live",),
    "evaluation": (".evaluation", ".events"),
    "losses": (),
    "models": (".models",),
    "probes": (".probes",),
    "signals": (".signals",),
    "training": (".training", ".training.finetuning"),
    "windows": (".windows",),
}
"""Rooms whose classes format 1 could name, and the packages that show them today where biot_bd
itself does not.
"""

_BELOW = ("torch.optim.lr_scheduler", "torch.optim.swa_utils")
_PACKAGES = (*_BELOW, "torch.optim", "torch.nn", "braindecode.models", "braindecode.augmentation", "skorch.callbacks")


def public_address(cls: type) -> str | None:
    """Return the address of a class, or None where no package shows it.

    Parameters
    ----------
    cls : type
        Of biot_bd (public is what a package's list of names holds) or of another package (public is
        what a module without an underscore holds).
    """
    name, parts = cls.__qualname__, cls.__module__.split(".")
    for number in range(1, len(parts) + 1):
        module = ".".join(parts[:number])
        if shows(module, name) and getattr(sys.modules.get(module), name, None) is cls:
            return f"{module}:{name}"
    return None


def shows(module: str, name: str) -> bool:
    """Return whether a module may be the public place of a name.

    Of others than biot_bd it is not imported to tell.
    """
    if not name.isidentifier() or any(part.startswith("_") for part in (name, *module.split("."))):
        return False
    if module.partition(".")[0] != OURS:
        return True
    try:  # only packages with a list of names count, and those import nothing by themselves
        found = import_module(module)
    except ImportError:
        return False
    return hasattr(found, "__path__") and name in getattr(found, "__all__", ())


def today(former: str) -> str:
    """Return the public address of what format 1 named by the module that defines it.

    Raises
    ------
    SavedPipelineError
        It was never a part of a pipeline.
    """
    module, _, name = former.partition(":")
    parts = module.split(".")
    if parts[0] == OURS:
        name = RENAMED.get(name, name)
        rooms = ("", *_ROOMS[parts[1]]) if parts[1:] and parts[1] in _ROOMS else ()
        found = next((f"{OURS}{room}" for room in rooms if shows(f"{OURS}{room}", name)), None)
        if found is None:
            raise SavedPipelineError(
                f"the saved pipeline names {former!r}, which may not be loaded: it is no public class that a pipeline is made of"
            )
        return f"{found}:{name}"
    if parts[0] == "sklearn":
        return f"{'.'.join(parts[: next((n for n, part in enumerate(parts) if part[0] == '_'), None)])}:{name}"
    return next((f"{root}:{name}" for root in _PACKAGES if f"{module}.".startswith(f"{root}.")), former)
