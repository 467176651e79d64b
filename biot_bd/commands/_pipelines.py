"""Build the pipeline that the options of ``cv`` and ``train`` describe, and read ``KEY=VALUE`` options."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biot_bd import registry

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

    from biot_bd import Windows

__all__ = [
    "SMALL_BIOT",
    "build_pipeline",
    "describe_model",
    "montage_of",
    "number_or_name",
    "open_windows",
    "parse_assignments",
    "print_json",
]

SMALL_BIOT: dict[str, Any] = {
    "module__embed_dim": 64,
    "module__num_heads": 4,
    "module__num_layers": 3,
    "module__hop_length": 200,
}
"""Parameters of the BIOT that trains within minutes on a laptop; outputs must name it as small.

Frames do not overlap, which halves the tokens; three layers have an early, a middle and a late one.
"""


def parse_assignments(texts: Sequence[str] | None, option: str = "--param") -> dict[str, Any]:
    """Parse ``KEY=VALUE`` texts; a value is JSON where it reads as such, else text.

    Parameters
    ----------
    texts : sequence of str or None
        For instance ``["module__num_layers=2", "optimizer__weight_decay=1e-5", "module=eegnet"]``.
    option : str
        The option's name, for the message.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        No ``=``, no key, or a key given twice.
    """
    out: dict[str, Any] = {}
    for text in texts or ():
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals or not key:
            raise ValueError(f"{option} {text!r}: expected KEY=VALUE, e.g. {option} module__num_layers=2")
        if key in out:
            raise ValueError(f"{option} {key} is given twice")
        try:
            out[key] = json.loads(value)
        except json.JSONDecodeError:
            out[key] = value
    return out


def open_windows(folder: Path) -> Windows:
    """Open a window store, with an error that says how to make one.

    Raises
    ------
    FileNotFoundError
        There is no store.
    """
    from biot_bd.windows import Windows

    if not (folder / "manifest.json").is_file():
        raise FileNotFoundError(
            f"{folder}: no prepared windows here (no manifest.json); make them with `biot-bd prepare DATASET ROOT -o {folder}`"
        )
    return Windows.open(folder)


def montage_of(windows: Windows) -> str | None:
    """Return the name of the registered montage whose channels ``windows`` have, or None."""
    for name in registry.montages:
        if tuple(getattr(registry.montages[name], "ch_names", ())) == tuple(windows.ch_names or ()):
            return name
    return None


def build_pipeline(
    windows: Windows,
    *,
    model: str = "biot",
    loss: str | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    patience: int | None = None,
    params: Mapping[str, Any] | None = None,
) -> Pipeline:
    """Build montage mapper, percentile scaler and classifier for prepared windows.

    Parameters
    ----------
    windows : Windows
        Says the montage, so that the saved pipeline maps other recordings to it.
    model, loss : str
        Registered names.
    epochs, batch_size, lr, patience : optional
        Settings of the classifier; its defaults where None.
    params : mapping, optional
        Further parameters of :class:`~biot_bd.BIOTClassifier` in skorch's style (``module__num_layers``).

    Returns
    -------
    sklearn.pipeline.Pipeline
        Steps ``montagemapper`` (where the montage has a name), ``percentilescaler``, ``biotclassifier``.

    Raises
    ------
    biot_bd.registry.UnknownNameError
        No such model or loss.
    ValueError
        A parameter that the classifier does not know, or one given twice.
    """
    from sklearn.pipeline import make_pipeline

    from biot_bd import BIOTClassifier, MontageMapper, PercentileScaler

    if model not in registry.models:
        registry.models[model]
    if loss is not None and loss not in registry.losses:
        registry.losses[loss]
    options = {
        "criterion": loss,
        "max_epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "patience": patience,
    }
    settings: dict[str, Any] = {"module": model} | {name: value for name, value in options.items() if value is not None}
    double = sorted(set(settings) & set(params or {}))
    if double:
        raise ValueError(f"--param {double[0]}: this parameter has an option of its own; give it there")
    try:
        classifier = BIOTClassifier(**settings, **(params or {}))
    except TypeError as error:
        raise ValueError(f"the classifier does not take these parameters: {error}") from error
    _check_module_params(model, params or {})
    montage = montage_of(windows)
    steps = [] if montage is None else [MontageMapper(montage)]
    return make_pipeline(*steps, PercentileScaler(), classifier)


def _check_module_params(model: str, params: Mapping[str, Any]) -> None:
    """Raise for a ``module__*`` that the model's constructor does not have, before anything is trained."""
    known = inspect.signature(registry.models[model]).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
        return
    unknown = [key for key in params if key.startswith("module__") and key.removeprefix("module__") not in known]
    if unknown:
        raise ValueError(f"--param {unknown[0]}: {model} takes {', '.join(f'module__{name}' for name in known)}")


def describe_model(model: str, params: Mapping[str, Any] | None = None) -> str:
    """Return a title for outputs, which names every BIOT of other than full size as small or changed."""
    changed = {k.removeprefix("module__"): v for k, v in (params or {}).items() if k.startswith("module__")}
    if not changed:
        return "BIOT, full size" if model == "biot" else model
    listed = ", ".join(f"{name} {value}" for name, value in changed.items())
    return f"{'small BIOT' if _is_small(model, params or {}) else model} ({listed})"


def _is_small(model: str, params: Mapping[str, Any]) -> bool:
    sizes = {"module__embed_dim": 256, "module__num_layers": 4, "module__num_heads": 8}
    return model == "biot" and any(params[name] < full for name, full in sizes.items() if name in params)


def number_or_name(text: str) -> str | float:
    """Return a number where ``text`` is one, else the text."""
    try:
        return float(text)
    except ValueError:
        return text


def print_json(facts: Mapping[str, Any]) -> None:
    """Print facts as JSON on stdout, nothing else."""
    import typer

    from biot_bd.runs import to_jsonable

    typer.echo(json.dumps(to_jsonable(dict(facts)), indent=1, ensure_ascii=False, allow_nan=False))
