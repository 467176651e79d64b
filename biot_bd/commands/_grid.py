"""What ``--grid`` says: parameters with the values, or the range, that a search tries.

Read before anything heavy is imported; :func:`check_grid` then builds what can be built.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from biot_bd.commands._names import unknown

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

    from biot_bd import Windows
    from biot_bd.commands._options import TrainingOptions

FILES = (".toml", ".json")
ENGINES = ("grid", "random", "halving", "optuna")
_FEW = 16  # windows of a class: more than the parts of anything that is divided again
EXAMPLE = "--grid lr=1e-4,1e-3 or --grid lr=1e-5..1e-3:log"


class Bounds(NamedTuple):
    """The ends of a range, both in it; whole numbers where both are."""

    low: float
    high: float
    log: bool

    def __str__(self) -> str:
        return f"{self.low:g}..{self.high:g}{':log' if self.log else ''}"


Grid = dict[str, list[Any] | Bounds]


def read_grid(texts: Sequence[str] | None) -> Grid:
    """Read ``KEY=V1,V2,...``, ``KEY=LOW..HIGH``, ``KEY=LOW..HIGH:log`` and files of them.

    Parameters
    ----------
    texts : sequence of str
        A value is JSON where it reads as such, else text, as in ``--param``; a text without ``=``
        that ends in .toml or .json is a file with a list of values, or a range as text, a key.

    Returns
    -------
    dict
        Parameter -> list of values, or :class:`Bounds`.

    Raises
    ------
    ValueError
        No grid, one that cannot be read, a parameter given twice, a value given twice.
    """
    found: Grid = {}
    for text in texts or ():
        for key, values in _entries(text):
            if key in found:
                raise ValueError(f"--grid {key} is given twice")
            found[key] = values
    if not found:
        raise ValueError(f"--grid: which parameters, and which values of each? For instance {EXAMPLE}")
    return found


def check_engine(
    engine: str, trials: int | None, resource: str | None, prune: bool, grid: Mapping[str, list[Any] | Bounds]
) -> None:
    """Raise where the engine, its options and the grid do not go together.

    Raises
    ------
    ValueError
        An option of another engine, or a range that the engine cannot draw from.
    """
    ranges = [key for key, values in grid.items() if isinstance(values, Bounds)]
    if engine == "grid" and ranges:
        raise ValueError(
            f"--grid {ranges[0]}={grid[ranges[0]]}: a range cannot be tried value by value; give values, or --engine random "
            "or optuna"
        )
    if engine == "grid" and trials is not None:
        raise ValueError(f"--trials {trials}: a grid is tried whole; leave it out, or give --engine random or optuna")
    if resource is not None and engine != "halving":
        raise ValueError(f"--resource {resource}: only --engine halving has one, this is {engine}; leave it out")
    if prune and engine != "optuna":
        raise ValueError(f"--prune: only --engine optuna gives candidates up early, this is {engine}; leave it out")
    if engine == "halving" and ranges and trials is None:
        raise ValueError(
            f"--engine halving: {ranges[0]} is a range, so --trials must say how many candidates to begin with"
        )


def space_of(grid: Mapping[str, list[Any] | Bounds], last_step: str, steps: Sequence[str]) -> dict[str, Any]:
    """Return the grid as :func:`biot_bd.evaluation.search` takes it.

    Parameters
    ----------
    grid : mapping
    last_step : str
        Whose parameters are those that name no step.
    steps : sequence of str
        Names of the pipeline's steps.
    """
    from biot_bd.evaluation import Range

    return {
        _full_name(key, last_step, steps): Range(*values) if isinstance(values, Bounds) else values
        for key, values in grid.items()
    }


def check_grid(
    grid: Mapping[str, list[Any] | Bounds],
    pipeline: Pipeline,
    windows: Windows,
    options: TrainingOptions,
    params: Mapping[str, Any],
) -> None:
    """Raise for a parameter that the pipeline does not have, and a value of which nothing can be
    made.

    Every value is tried once, beside the first value of the others, on a few windows; so all that
    is refused belongs to the grid.

    Parameters
    ----------
    grid : mapping
    pipeline : Pipeline
        Of ``options`` and ``params``.
    windows : Windows
    options : TrainingOptions
    params : mapping
        Of ``--param``.

    Raises
    ------
    ValueError
        As above.
    """
    from sklearn.base import clone

    from biot_bd.commands._pipelines import build_pipeline, given_options
    from biot_bd.training import BIOTClassifier

    steps, last = [name for name, _ in pipeline.steps], pipeline.steps[-1][0]
    neural = isinstance(pipeline[-1], BIOTClassifier)
    both = sorted(set(grid) & set(params))
    if both:
        raise ValueError(f"--grid {both[0]}: --param gives it one value; leave one out")
    given = given_options(options)
    twice = next((key for key in grid if _own_name(key, last) in given), None)
    if twice is not None:
        raise ValueError(f"--grid {twice}: {given[_own_name(twice, last)]} gives it one value; leave one out")
    elsewhere = {key for key in grid if not neural or key.partition("__")[0] in steps[:-1]}
    known = set(pipeline.get_params())
    for key in elsewhere:
        if _full_name(key, last, steps) not in known:
            listed = sorted(name for name in known if "__" in name and not name.endswith("__verbose"))
            raise unknown(f"--grid {key}", _full_name(key, last, steps), listed)
    for candidate in _one_by_one(grid):
        others = {_full_name(key, last, steps): value for key, value in candidate.items() if key in elsewhere}
        own = {_own_name(key, last): value for key, value in candidate.items() if key not in elsewhere}
        if own:
            try:
                build_pipeline(windows, options, params={**params, **own})
            except ValueError as error:
                text = str(error).replace("--param", "--grid")
                raise type(error)(text if "--grid" in text else f"--grid {_text(own)}: {text}") from error
        if others:
            tried = clone(pipeline).set_params(**others)
            try:
                _try_on_few(tried[:-1] if neural else tried, windows)
            except (ValueError, TypeError) as error:
                raise ValueError(f"--grid {_text(others)}: {error}") from error


def _text(candidate: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in candidate.items()
    )


def _try_on_few(pipeline: Pipeline, windows: Windows) -> None:
    """Fit on the first windows of each class: scikit-learn looks at parameters in ``fit``."""
    import warnings

    import numpy as np

    rows = np.concatenate([np.flatnonzero(windows.y == label)[:_FEW] for label in np.unique(windows.y)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of so few windows they say nothing
        pipeline.fit(windows[rows], windows.y[rows])


def _one_by_one(grid: Mapping[str, list[Any] | Bounds]) -> Iterator[dict[str, Any]]:
    """Yield the first candidate, then each further value beside the first ones."""
    ends = {key: [values.low, values.high] if isinstance(values, Bounds) else values for key, values in grid.items()}
    first = {key: values[0] for key, values in ends.items()}
    yield first
    for key, values in ends.items():
        for value in values[1:]:
            yield {**first, key: value}


def _full_name(key: str, last_step: str, steps: Sequence[str]) -> str:
    return key if key.partition("__")[0] in steps else f"{last_step}__{_own_name(key, last_step)}"


def _own_name(key: str, last_step: str) -> str:
    """Return a parameter of the last step by its own name; options may name it by their word."""
    own = key.removeprefix(f"{last_step}__")
    return {"loss": "criterion", "epochs": "max_epochs"}.get(own, own)


def _entries(text: str) -> list[tuple[str, list[Any] | Bounds]]:
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals and Path(text).suffix in FILES:
        return _file_entries(Path(text))
    if not equals or not key or not value.strip():
        raise ValueError(f"--grid {text!r}: expected KEY=VALUE,VALUE,... or a .toml or .json file, e.g. {EXAMPLE}")
    return [(key, _bounds(key, value) or _values(key, _listed(value)))]


def _file_entries(path: Path) -> list[tuple[str, list[Any] | Bounds]]:
    try:
        content = path.read_text(encoding="utf-8")
        read = tomllib.loads(content) if path.suffix == ".toml" else json.loads(content)
    except FileNotFoundError:
        raise FileNotFoundError(f"--grid {path}: no such file") from None
    except ValueError as error:  # of both formats, and of text that is none
        raise ValueError(f"--grid {path}: cannot be read as {path.suffix[1:]}: {error}") from error
    if not isinstance(read, dict) or not read:
        raise ValueError(f"--grid {path}: expected a table of parameters, each with a list of values")
    found: list[tuple[str, list[Any] | Bounds]] = []
    for key, values in read.items():
        bounds = _bounds(key, values) if isinstance(values, str) else None
        if bounds is None and not isinstance(values, list):
            raise ValueError(
                f"--grid {path}: {key} is {values!r}; expected a list of values, or a range as text, e.g. '1e-5..1e-3:log'"
            )
        found.append((key, bounds or _values(key, values)))
    return found


def _listed(text: str) -> list[Any]:
    try:
        return list(json.loads(f"[{text}]"))  # so that lists can be values: 1,[1,2]
    except json.JSONDecodeError:
        return [_value(part.strip()) for part in text.split(",")]


def _value(text: str) -> Any:
    if not text:
        raise ValueError("--grid: a value is missing between two commas, or at an end")
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _values(key: str, values: list[Any]) -> list[Any]:
    if not values:
        raise ValueError(f"--grid {key}: no values; give some, e.g. {EXAMPLE}")
    texts = [json.dumps(value) for value in values]
    twice = next((text for text in texts if texts.count(text) > 1), None)
    if twice is not None:
        raise ValueError(f"--grid {key}: the value {twice} is given twice")
    return values


def _bounds(key: str, text: str) -> Bounds | None:
    """Return a range; None of a text that is none."""
    ends, colon, how = text.partition(":")
    low, dots, high = ends.partition("..")
    if not dots:
        return None
    try:
        numbers = [_number(low), _number(high)]
    except ValueError:
        return None
    if colon and how != "log":
        raise ValueError(
            f"--grid {key}={text}: expected LOW..HIGH or LOW..HIGH:log, found {':' + how!r} behind the range"
        )
    if not numbers[0] < numbers[1]:
        raise ValueError(
            f"--grid {key}={text}: the range ends before it begins; expected LOW..HIGH with LOW below HIGH"
        )
    if colon and numbers[0] <= 0:
        raise ValueError(f"--grid {key}={text}: a logarithmic range must begin above 0")
    return Bounds(numbers[0], numbers[1], bool(colon))


def _number(text: str) -> float:
    try:
        return int(text)
    except ValueError:
        value = float(text)
        if value - value != 0:
            raise ValueError(f"{text} is not finite") from None
        return value
