"""Results of a cross-validation as rows of MOABB's table, for its statistics and plots."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from biot_bd.evaluation.result import Result
from biot_bd.evaluation.run_facts import FOLD, Cells, FoldFacts, SplitFacts, read_facts

if TYPE_CHECKING:
    from moabb.datasets.base import BaseDataset

COLUMNS = ("score", "time", "samples", "samples_test", "n_classes")
"""Those of MOABB's that are numbers, in its order."""


def to_moabb_table(
    result: Result, *, dataset: str | BaseDataset, pipeline: str, undefined: str = "raise"
) -> pd.DataFrame:
    """Return one row a test subject, as MOABB's evaluations do.

    Tables of several pipelines and data sets, ours and MOABB's, go together with
    ``pandas.concat`` into ``moabb.analysis``.

    Parameters
    ----------
    result : Result
        Of :func:`biot_bd.cross_validate` or :func:`biot_bd.evaluation.search`.
    dataset : str or MOABB data set
        Its code, or what has one, e.g. :class:`SeizureWindows` of the same windows.
    pipeline : str
        Name of the pipeline in tables and plots.
    undefined : {"raise", "leave-out"}
        What happens to a subject without a score (no seizure): MOABB's statistics take none.

    Returns
    -------
    pandas.DataFrame
        MOABB's columns: ``score`` (the first metric), ``time`` (seconds of the subject's fold,
        scoring included; NaN without a run folder), ``samples`` (windows that trained or
        validated), ``samples_test``, ``n_classes`` (in the test windows), ``score_<metric>`` for
        each, ``subject``, ``session`` ("0"), ``channels``, ``n_sessions`` (1), ``dataset``,
        ``pipeline``.  Of a subject that several folds tested, means over these.

    Raises
    ------
    ValueError
        A subject has no score, or ``undefined`` is another word.

    See Also
    --------
    SeizureDetection : The paradigm for scores by MOABB itself.

    Notes
    -----
    The balanced accuracy is that at the threshold which validation subjects chose; MOABB's is that
    of the pipeline's own ``predict``.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.evaluation import baseline, cross_validate, to_moabb_table
    >>> subjects = np.repeat(["site/01", "site/02", "site/03", "site/04"], 20)
    >>> y = np.tile(np.arange(20) % 4 == 0, 4).astype(int)
    >>> X = np.random.default_rng(0).normal(0, 20, (80, 2, 200)) * (1 + y[:, None, None])
    >>> result = cross_validate(
    ...     baseline("line-length", X), X, y=y, groups=subjects, progress=False
    ... )
    >>> table = to_moabb_table(result, dataset="Site", pipeline="line length")
    >>> print(*table[["subject", "samples", "samples_test", "dataset"]].iloc[0])
    site/01 60.0 20.0 Site
    """
    if undefined not in ("raise", "leave-out"):
        raise ValueError(f"undefined={undefined!r}: expected 'raise' or 'leave-out'")
    first = result.scoring[0]
    scores = result.metrics["subjects"]
    without = {name: one[first]["reason"] for name, one in scores.items() if one[first]["value"] is None}
    if without and undefined == "raise":
        told = "; ".join(f"{name}: {reason}" for name, reason in list(without.items())[:3])
        raise ValueError(
            f"{len(without)} of {len(scores)} subjects have no {first} ({told}), and MOABB's statistics take none; "
            "undefined='leave-out' leaves them out"
        )
    code = dataset if isinstance(dataset, str) else dataset.code
    rows = [_row(result, subject, code, pipeline) for subject in scores if subject not in without]
    return pd.DataFrame(rows, columns=_columns(result))


def _columns(result: Result) -> list[str]:
    named = [f"score_{metric}" for metric in result.scoring]
    return [*COLUMNS, *named, "subject", "session", "channels", "n_sessions", "dataset", "pipeline"]


def _row(result: Result, subject: str, code: str, pipeline: str) -> Cells:
    scores, data = result.metrics["subjects"][subject], result.run["data"]
    values = {
        metric: np.nan if scores[metric]["value"] is None else scores[metric]["value"] for metric in result.scoring
    }
    folds = [_training(result, split) for split in result.run["splits"] if subject in split["test"]]
    test = result.predictions
    test = test[(test["part"] == "test") & (test["subject"] == subject)]
    return {
        "score": values[result.scoring[0]],
        "time": float(np.mean([time_s for time_s, _ in folds])),
        "samples": float(np.mean([n_windows for _, n_windows in folds])),
        "samples_test": float(scores["n_windows"]),
        "n_classes": float(test["y_true"].nunique()),
        **{f"score_{metric}": value for metric, value in values.items()},
        "subject": subject,
        "session": "0",
        "channels": np.nan if data["ch_names"] is None else len(data["ch_names"]),
        "n_sessions": 1,
        "dataset": code,
        "pipeline": pipeline,
    }


def _training(result: Result, split: SplitFacts) -> tuple[float, float]:
    """Return the seconds of a fold and how many windows it was fitted on."""
    if result.folder is not None:
        facts: FoldFacts = read_facts(result.folder / "folds" / f"{split['fold']:02d}" / FOLD, FoldFacts)
        return facts["wall_s"], facts["n_windows"]["train"] + facts["n_windows"]["valid"]
    windows = result.run["data"]["subjects"]
    return np.nan, sum(windows[name]["n_windows"] for name in (*split["train"], *split["valid"]))
