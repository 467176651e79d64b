"""A study under a protocol in one call, and several studies side by side."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from biot_bd.evaluation.cross_validation import cross_validate
from biot_bd.evaluation.protocols import CUSTOM, Protocol, as_protocol, averaged
from biot_bd.evaluation.result import Result
from biot_bd.evaluation.studies.baselines import BASELINES, baseline, is_neural, neural_pipeline
from biot_bd.evaluation.study_identity import comparable_facts
from biot_bd.exceptions import MixedTableError


def model_pipeline(
    model: Any, windows: Any, *, protocol: str | Protocol | None = None, params: Mapping[str, Any] | None = None
) -> Any:
    """Return the pipeline of a model or baseline, with the training values of a protocol.

    Parameters
    ----------
    model : str or estimator
        A name in ``biot_bd.registry.models``, a word of :data:`~biot_bd.evaluation.BASELINES`, or a
        pipeline of your own, which is returned as it is.
    windows : Windows
        What it is for.
    protocol : str or Protocol, optional
        Gives optimiser, learning rate, loss, selection and so on to a neural model.
    params : mapping, optional
        Further parameters of :class:`~biot_bd.BIOTClassifier`, e.g. ``module__num_layers`` or
        ``pretrained``.

    Raises
    ------
    ValueError
        A parameter that the protocol fixes, or parameters for a model that takes none.
    """
    if not isinstance(model, str):
        if params:
            raise ValueError(f"params are for models by name; set {sorted(params)[0]!r} on the pipeline itself")
        return model
    if model in BASELINES and not is_neural(model):
        return baseline(model, windows, params=params)
    fixed = {} if protocol is None else as_protocol(protocol).classifier_parameters()
    double = sorted(set(fixed) & set(params or {}))
    if double and protocol is not None:
        name = as_protocol(protocol).name
        raise ValueError(f"protocol {name!r} fixes {double[0]} at {fixed[double[0]]!r}; leave it out")
    return neural_pipeline(model, windows, {**fixed, **(params or {})})


def run_protocol(
    protocol: str | Protocol,
    windows: Any,
    *,
    model: Any = "biot",
    folder: str | os.PathLike[str] | None = None,
    params: Mapping[str, Any] | None = None,
    splits_from: Any = None,
    random_state: int = 0,
    n_jobs: int = 1,
    title: str | None = None,
    notes: Sequence[str] = (),
    progress: bool = True,
    allow_contaminated: bool = False,
) -> Result:
    """Score one model under a protocol: :func:`cross_validate` with its values and its checks.

    Parameters
    ----------
    protocol : str or Protocol
        A preset, see :data:`~biot_bd.evaluation.PROTOCOLS`.
    windows : Windows
        Prepared with ``protocol.prepare_parameters()``.
    model : str or estimator
        A name in ``biot_bd.registry.models``, a word of :data:`~biot_bd.evaluation.BASELINES`, or a
        pipeline of your own, which is taken as it is.
    folder : path, optional
        The run folder, as in :func:`cross_validate`.
    params : mapping, optional
        Further parameters of :class:`~biot_bd.BIOTClassifier`, e.g. ``module__num_layers`` or
        ``pretrained``, for a model by name.
    splits_from : Result or path, optional
        Another study whose stored folds are used, as in :func:`cross_validate`.
    random_state : int
        Seed of the split and of the folds.
    n_jobs : int
        Folds computed at once.
    title : str, optional
        Stands above every output; made of model and protocol by default.
    notes : sequence of str
        Remarks that go into every output.
    progress : bool
        Show a progress bar and a line for each finished fold.
    allow_contaminated : bool
        Score a model whose checkpoint saw test subjects, as in :func:`cross_validate`.

    Returns
    -------
    Result
        ``result.metrics["protocol"]`` has the protocol's own averages.

    Raises
    ------
    ProtocolError
        The windows, or a pipeline of your own, are not what the protocol says.

    See Also
    --------
    cross_validate : Without a preset.

    Examples
    --------
    >>> import tempfile
    >>> from dataclasses import replace
    >>> from biot_bd import load_dataset, prepare
    >>> from biot_bd.evaluation import PROTOCOLS, run_protocol
    >>> quick = replace(PROTOCOLS["ours"], name="quick", stride_s=10.0, cv="subject-kfold-2")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     dataset = load_dataset("demo", folder, n_subjects=4, minutes=2, recordings=1)
    ...     windows = prepare(dataset, folder + "/store", **quick.prepare_parameters())
    ...     result = run_protocol(quick, windows, model="line-length", progress=False)
    >>> result.protocol
    'quick'
    """
    preset = as_protocol(protocol)
    preset.check_windows(windows)
    pipeline = model_pipeline(model, windows, protocol=preset, params=params)
    changed = ", ".join(f"{key.removeprefix('module__')} {value}" for key, value in (params or {}).items())
    name = (model if isinstance(model, str) else type(model).__name__) + (f" ({changed})" if changed else "")
    return cross_validate(
        pipeline,
        windows,
        folder=folder,
        protocol=preset,
        splits_from=splits_from,
        random_state=random_state,
        n_jobs=n_jobs,
        title=title or f"{name}, protocol {preset.name}",
        notes=notes,
        progress=progress,
        allow_contaminated=allow_contaminated,
    )


def compare_table(
    results: Mapping[str, Any] | Sequence[Any], *, averaging: str | None = None, mark_mixed: bool = False
) -> pd.DataFrame:
    """Put several results side by side, if they may stand side by side.

    Parameters
    ----------
    results : mapping of name to result, or sequence
        Results or run folders; without names their titles are taken.
    averaging : {"subjects", "folds"}, optional
        What the scores are means of; the protocol's own by default, subjects for ``"custom"``.
    mark_mixed : bool
        Mark rows that differ from the first in the column ``not_comparable``, instead of raising.

    Returns
    -------
    pandas.DataFrame
        Index ``model``; columns ``protocol``, ``label_rule``, ``data`` (fingerprint),
        ``averaging``, ``n`` (subjects or folds, of the first metric), ``prevalence`` (of all test
        windows), one column a metric (``Float64``, ``<NA>`` where undefined), ``contaminated``,
        ``not_a_result`` and ``not_comparable`` (why, or empty).

    Raises
    ------
    MixedTableError
        Other label rules, data, splits (test subjects), protocols or metrics than in the first
        result, unless ``mark_mixed``; the message names all.
    ValueError
        No results, or two of one name.

    See Also
    --------
    compare_regimes : Runs that are made for a comparison, with paired tests.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.evaluation import baseline, cross_validate
    >>> subjects = np.repeat(["site/01", "site/02", "site/03", "site/04"], 20)
    >>> y = np.tile(np.arange(20) % 4 == 0, 4).astype(int)
    >>> X = np.random.default_rng(0).normal(0, 20, (80, 2, 200)) * (1 + y[:, None, None])
    >>> pipeline = baseline("line-length", X)
    >>> result = cross_validate(pipeline, X, y=y, groups=subjects, progress=False)
    >>> from biot_bd.evaluation import compare_table
    >>> never = cross_validate(
    ...     baseline("always-off", X), X, y=y, groups=subjects, progress=False
    ... )
    >>> table = compare_table({"line length": result, "never": never})
    >>> table["n"].tolist(), table["protocol"].tolist()
    ([4, 4], ['custom', 'custom'])
    """
    named = _named(results)
    first_name, first = next(iter(named.items()))
    mixed = {name: _mixed(first, result) for name, result in named.items()}
    if any(mixed.values()) and not mark_mixed:
        said = "; ".join(f"{name}: {', '.join(lines)}" for name, lines in mixed.items() if lines)
        raise MixedTableError(
            f"these results cannot stand in one table beside {first_name!r}: {said}. "
            "Make one table for each, or pass mark_mixed=True to mark the rows"
        )
    rows = {
        name: {**_row(result, averaging), "not_comparable": "; ".join(mixed[name])} for name, result in named.items()
    }
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index.name = "model"
    scoring = list(dict.fromkeys(metric for result in named.values() for metric in result.scoring))
    last = ["contaminated", "not_a_result", "not_comparable"]
    columns = ["protocol", "label_rule", "data", "averaging", "n", "prevalence", *scoring, *last]
    return table.reindex(columns=columns).astype(dict.fromkeys(("prevalence", *scoring), "Float64"))


def _named(results: Mapping[str, Any] | Sequence[Any]) -> dict[str, Result]:
    if isinstance(results, (str, os.PathLike, Result)):
        raise TypeError("compare_table takes several results, in a list or a mapping of names")
    if isinstance(results, Mapping):
        found = [(str(name), _opened(result)) for name, result in results.items()]
    else:
        opened = [_opened(result) for result in results]
        found = [(str(r.run.get("title") or r.folder or f"result {i}"), r) for i, r in enumerate(opened)]
    if not found:
        raise ValueError("nothing to compare: give at least one result")
    names = [name for name, _ in found]
    double = sorted({name for name in names if names.count(name) > 1})
    if double:
        raise ValueError(f"two results are called {double[0]!r}; give names: compare_table({{name: result, ...}})")
    return dict(found)


def _opened(result: Any) -> Result:
    if isinstance(result, Result):
        return result
    if isinstance(result, (str, os.PathLike)):
        return Result.open(Path(result))
    raise TypeError(f"compare_table takes Results and run folders, not {type(result).__name__}")


def _mixed(first: Result, other: Result) -> list[str]:
    """Name what of two results differs."""
    wanted, found = (comparable_facts(result.run, result.scoring) for result in (first, other))
    lines = []
    for name, value in found.items():
        if value == wanted[name]:
            continue
        if name == "protocol":
            same_name = value["name"] == wanted[name]["name"]
            lines.append(
                f"protocol {value['name']!r} with other values"
                if same_name
                else f"protocol {value['name']!r}, not {wanted[name]['name']!r}"
            )
        elif name == "subjects of the folds":
            lines.append("other subjects in the folds (use splits_from=)")
        else:
            lines.append(f"{name} {value!r}, not {wanted[name]!r}")
    return lines


def _row(result: Result, averaging: str | None) -> dict[str, Any]:
    protocol = result.run.get("protocol") or {"name": CUSTOM}
    kind = averaging or protocol.get("averaging", "subjects")
    cells = averaged(result.metrics, kind)
    row: dict[str, Any] = {
        "protocol": protocol["name"],
        "label_rule": result.run["data"]["label_rule"] or "unknown",
        "data": result.run["data"]["fingerprint"],
        "averaging": kind,
        "n": next(iter(cells.values()))["n"],
        "prevalence": result.metrics["prevalence"],
        "contaminated": result.contamination or "",
        "not_a_result": result.run.get("not_a_result") or "",
    }
    return {**row, **{name: cell["value"] for name, cell in cells.items()}}
