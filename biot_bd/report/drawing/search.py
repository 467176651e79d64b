"""The pictures of a search: inner scores by value, on a plane, across axes, by rung, by trial.

Every one takes the table of a :class:`~biot_bd.evaluation.searching.search_record.SearchRecord`,
a row a candidate of an outer fold.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from biot_bd.number_texts import count_text, score_text
from biot_bd.report.drawing.svg import Panel, Picture, line_style, nice_ticks

OTHER_COLUMNS = ("fold", "candidate", "mean", "std", "n_defined", "n_inner", "rung", "rank", "state", "chosen")
"""What a table of candidates has beside its parameters."""
NOT_SET = "not set"
LOG_FROM = 20.0
"""Positive values whose largest is so many times the smallest lie on a logarithmic axis."""
MOST_LABELS = 8
MOST_CELLS = 12
LONGEST = 14
MIDDLE = 0.5


def parameters_of(table: pd.DataFrame) -> list[str]:
    """Return the columns of a table of candidates that are parameters."""
    return [str(name) for name in table.columns if name not in OTHER_COLUMNS]


def varied(table: pd.DataFrame) -> list[str]:
    """Return the parameters of which more than one value was tried."""
    return [name for name in parameters_of(table) if len({value_text(value) for value in table[name]}) > 1]


def comparable(table: pd.DataFrame) -> pd.DataFrame:
    """Return the candidates whose score is that of all inner folds: who was pruned has a part."""
    return table[table["mean"].notna() & (table["state"] != "pruned")]


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Return parameters by the last part of their names, where that tells them apart."""
    last = {name: name.rpartition("__")[2] for name in names}
    twice = {text for text in last.values() if list(last.values()).count(text) > 1}
    return {name: name if text in twice else text for name, text in last.items()}


def value_text(value: Any) -> str:
    """Return a value of a parameter as tables and axes show it.

    Examples
    --------
    >>> from biot_bd.report.drawing.search import value_text
    >>> value_text(0.0003), value_text(16384), value_text(None), value_text([1, 2])
    ('0.0003', '16384', 'None', '[1, 2]')
    """
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool | np.bool_):
        return str(value)
    if isinstance(value, Integral):
        return str(int(value))
    if isinstance(value, Real):
        return NOT_SET if math.isnan(value) else f"{float(value):.4g}"
    if value is pd.NA:
        return NOT_SET
    return json.dumps(value, default=str)


@dataclass(frozen=True)
class ValueAxis:
    """Places of a parameter's values along an axis.

    Parameters
    ----------
    name : str
        What stands below it.
    values : tuple
        Distinct, in order.
    numeric : bool
        False: one place a value, in the order in which they were tried.
    log : bool
        Places are decimal logarithms.
    """

    name: str
    values: tuple[Any, ...]
    numeric: bool
    log: bool

    @classmethod
    def of(cls, name: str, values: Sequence[Any]) -> ValueAxis:
        """Choose the axis for values as they were tried."""
        distinct = list({value_text(value): value for value in values}.values())
        numeric = all(isinstance(v, Real) and not isinstance(v, bool | np.bool_) and math.isfinite(v) for v in distinct)
        if not numeric:
            return cls(name, tuple(value_text(value) for value in distinct), False, False)
        ordered = tuple(sorted(float(value) for value in distinct))
        return cls(name, ordered, True, ordered[0] > 0 and ordered[-1] / ordered[0] >= LOG_FROM)

    def place(self, value: Any) -> float:
        """Return where a value lies, in units of the panel's limits."""
        if not self.numeric:
            return float(self.values.index(value_text(value)))
        return math.log10(float(value)) if self.log else float(value)

    @property
    def limits(self) -> tuple[float, float]:
        """The ends of the axis, a little outside the values."""
        low, high = self.place(self.values[0]), self.place(self.values[-1])
        margin = 0.5 if not self.numeric else 0.06 * (high - low) or 0.5 * abs(low) or 1.0
        return low - margin, high + margin

    @property
    def labels(self) -> dict[float, str]:
        """Tick -> text: the values where they are few, else round ones."""
        few = len(self.values) <= MOST_LABELS
        if few or not self.numeric:
            step = math.ceil(len(self.values) / MOST_LABELS)
            return {self.place(value): shortened(value_text(value)) for value in self.values[::step]}
        if not self.log:
            return {tick: f"{tick:g}" for tick in nice_ticks(*self.limits)}
        low, high = self.limits
        powers = range(math.ceil(low), math.floor(high) + 1)
        if len(powers) > 1:
            return {float(power): f"{10.0**power:g}" for power in powers}
        return {self.place(value): value_text(value) for value in (self.values[0], self.values[-1])}


def parameter_picture(
    identity: str, table: pd.DataFrame, name: str, shown: str, score: str, *, greater: bool
) -> Picture:
    """Draw the inner score by the values of one parameter.

    Where values repeat, a thin line an outer fold (mean over the other parameters) and a thick
    one for the mean of the folds; else a dot a candidate.  Rings are what folds chose.

    Parameters
    ----------
    identity : str
        Unique in the page.
    table : DataFrame
        Candidates, as above.
    name : str
        The parameter, a column.
    shown, score : str
        What parameter and score are called.
    greater : bool
        Whether a higher score is better.
    """
    scored = comparable(table)
    axis = ValueAxis.of(shown, list(scored[name]))
    lines = len(axis.values) <= max(MOST_LABELS, len(scored) // 3)
    keys = scored[name].map(axis.place)
    by_fold = scored["mean"].astype(float).groupby([scored["fold"], keys]).mean().unstack(level=0)
    means = by_fold.mean(axis=1)
    best: Any = means.idxmax() if greater else means.idxmin()
    texts = {axis.place(value): value_text(value) for value in axis.values}
    how = "A thin line an outer fold, a thick one for their mean" if lines else "A dot a candidate of an outer fold"
    picture = Picture(
        identity,
        340,
        236,
        f"Inner {score} by {shown}",
        f"{how}; rings are what folds chose. Best mean {score_text(float(means[best]))} at {shown} {texts[best]}.",
    )
    panel = Panel(50, 14, 278, 182, axis.limits, score_limits(scored["mean"]))
    picture.axes(panel, shown, f"Inner {score}", xticks=list(axis.labels), xlabels=axis.labels)
    if lines:
        for index, fold in enumerate(by_fold.columns):
            own = by_fold[fold].dropna()
            picture.path(
                panel.x(own.index), panel.y(own), css="line thin", style=line_style(index), tip=f"outer fold {fold}"
            )
        picture.path(panel.x(means.index), panel.y(means), css="line pooled", tip="mean of the outer folds")
    else:
        for at, value in zip(keys, scored["mean"].astype(float), strict=True):
            picture.dot(float(panel.x(at)), float(panel.y(value)), 2.4)
    for _, row in scored[scored["chosen"].astype(bool)].iterrows():
        _ring(picture, panel, axis.place(row[name]), row, value_text(row[name]))
    return picture


def plane_picture(
    identity: str, table: pd.DataFrame, names: tuple[str, str], shown: tuple[str, str], score: str, *, greater: bool
) -> Picture | None:
    """Draw the inner score on the grid of two parameters, mean over the outer folds.

    Parameters
    ----------
    identity : str
        Unique in the page.
    table : DataFrame
        Candidates.
    names, shown : tuple of str
        Of the parameter to the right and the one upwards: column, and what it is called.
    score : str
        What the score is called.
    greater : bool
        Whether a higher score is better.

    Returns
    -------
    Picture or None
        None where values are too many for cells, or most cells were not tried.
    """
    across, up = (ValueAxis.of(label, list(table[name])) for name, label in zip(names, shown, strict=True))
    n_across, n_up = len(across.values), len(up.values)
    scored = comparable(table)
    keys = [scored[name].map(value_text) for name in names]
    means = scored["mean"].astype(float).groupby(keys).mean()
    if max(n_across, n_up) > MOST_CELLS or 2 * len(means) < n_across * n_up or not len(means):
        return None
    chosen = scored[scored["chosen"].astype(bool)]
    counts = chosen.groupby([chosen[name].map(value_text) for name in names]).size()
    best: Any = means.idxmax() if greater else means.idxmin()
    width, height = max(54.0, 300 / n_across), 38.0
    ylabels = _numbered(up)
    left = 44 + 6.2 * max(map(len, ylabels.values()))
    picture = Picture(
        identity,
        left + 16 + width * n_across,
        70 + height * n_up,
        f"Inner {score} by {shown[0]} and {shown[1]}",
        f"A cell a pair of values, mean over the outer folds, more colour where it is {'higher' if greater else 'lower'}. Best: "
        f"{score_text(float(means[best]))} at {shown[0]} {best[0]}, {shown[1]} {best[1]}. Below the score: how many outer folds "
        "chose the pair.",
    )
    panel = Panel(left, 10, width * n_across, height * n_up, (-0.5, n_across - 0.5), (-0.5, n_up - 0.5))
    low, high = float(means.min()), float(means.max())
    picture.axes(
        panel,
        shown[0],
        "",
        xticks=list(range(n_across)),
        yticks=list(range(n_up)),
        xlabels=_numbered(across),
        ylabels=ylabels,
    )
    for column, right in enumerate(across.values):
        for row, upwards in enumerate(up.values):
            at = (value_text(right), value_text(upwards))
            _cell(picture, panel, (column, row), means.get(at), int(counts.get(at, 0)), (low, high), greater)
    picture.text(14, panel.top + panel.height / 2, shown[1], css="label", anchor="middle", turn=-90)
    return picture


def parallel_picture(
    identity: str, table: pd.DataFrame, shown: Mapping[str, str], score: str, *, greater: bool
) -> Picture:
    """Draw each candidate as a line across the axes of its parameters to its inner score.

    Parameters
    ----------
    identity : str
        Unique in the page.
    table : DataFrame
        Candidates.
    shown : mapping of str to str
        Parameter -> what it is called, in the order of the axes.
    score : str
        What the score is called.
    greater : bool
        Whether a higher score is better.
    """
    scored = comparable(table)
    axes = {name: ValueAxis.of(label, list(scored[name])) for name, label in shown.items()}
    low, high = score_limits(scored["mean"])
    left, top, height, step = 60.0, 34.0, 230.0, max(110.0, 560 / max(1, len(axes)))
    places = [left + step * index for index in range(len(axes) + 1)]
    order = list(scored["mean"].astype(float).sort_values(ascending=greater).index)
    best = scored.loc[order[-1]]
    values = ", ".join(f"{label} {value_text(best[name])}" for name, label in shown.items())
    picture = Picture(
        identity,
        places[-1] + 70,
        top + height + 20,
        f"Inner {score} across {count_text(len(axes), 'parameter')}",
        f"{count_text(len(scored), 'line')}, one a candidate of an outer fold; thick lines are what folds chose. Best: "
        f"{score_text(float(best['mean']))} at {values}.",
    )
    unit = Panel(left, top, 1, height, (0, 1))
    for index in order:  # the best last, above the others
        row = scored.loc[index]
        heights = [(axis.place(row[name]) - axis.limits[0]) / np.diff(axis.limits)[0] for name, axis in axes.items()]
        heights.append((float(row["mean"]) - low) / (high - low))
        chosen = bool(row["chosen"])
        css = "line pooled" if chosen else "line thin"
        style = "" if chosen else f"stroke:var(--colour0);opacity:{0.15 + 0.6 * _rank(heights[-1], greater):.2f}"
        tip = f"candidate {row['candidate']}, outer fold {row['fold']}: {score_text(float(row['mean']))}"
        picture.path(places, unit.y(heights), css=css, style=style, tip=tip)
    for x, axis in zip(places, axes.values(), strict=False):
        _upright(picture, x, Panel(x, top, 1, height, (0, 1), axis.limits), shortened(axis.name), axis.labels)
    _upright(
        picture,
        places[-1],
        Panel(places[-1], top, 1, height, (0, 1), (low, high)),
        f"Inner {score}",
        {tick: f"{tick:g}" for tick in nice_ticks(low, high)},
    )
    return picture


def rung_picture(identity: str, trials: pd.DataFrame, table: pd.DataFrame, score: str) -> Picture:
    """Draw the mean inner score of each candidate by rung of a halving search.

    Parameters
    ----------
    identity : str
        Unique in the page.
    trials : DataFrame
        One row a fit: ``fold``, ``candidate``, ``rung``, ``score``.
    table : DataFrame
        Candidates, which says what was chosen.
    score : str
        What the score is called.
    """
    scored = trials[trials["score"].notna()]
    means = scored["score"].astype(float).groupby([scored["fold"], scored["candidate"], scored["rung"]]).mean()
    n_left = means.groupby(level=[0, 2]).size().groupby(level=1).mean()
    rungs = [int(rung) for rung in n_left.index]
    said = ", ".join(f"rung {rung}: {n_left[rung]:g}" for rung in rungs)
    picture = Picture(
        identity,
        440,
        256,
        f"Inner {score} by rung",
        f"A line a candidate of an outer fold, which ends where it was left; thick lines were chosen. Candidates a fold: {said}.",
    )
    panel = Panel(54, 14, 370, 190, (rungs[0] - MIDDLE, rungs[-1] + MIDDLE), score_limits(means))
    labels = {float(rung): f"{rung} ({n_left[rung]:g})" for rung in rungs}
    picture.axes(panel, "Rung (candidates a fold)", f"Inner {score}", xticks=list(labels), xlabels=labels)
    chosen = {(row["fold"], row["candidate"]) for _, row in table[table["chosen"].astype(bool)].iterrows()}
    folds = list(dict.fromkeys(scored["fold"]))
    lines: Any = means.groupby(level=[0, 1])
    for (fold, candidate), own in lines:
        at = own.index.get_level_values(2)
        tip = f"candidate {candidate}, outer fold {fold}"
        css = "line" if (fold, candidate) in chosen else "line thin"
        style = line_style(folds.index(fold)) + (";stroke-width:3" if (fold, candidate) in chosen else ";opacity:.45")
        picture.path(panel.x(at), panel.y(own), css=css, style=style, tip=tip)
        picture.dot(float(panel.x(at[-1])), float(panel.y(own.iloc[-1])), 2.2, tip=tip)
    return picture


def history_picture(identity: str, table: pd.DataFrame, score: str, *, greater: bool) -> Picture:
    """Draw the inner score by trial, in the order of trials, and the best so far.

    Parameters
    ----------
    identity : str
        Unique in the page.
    table : DataFrame
        Candidates; their numbers are the order in which a fold tried them.
    score : str
        What the score is called.
    greater : bool
        Whether a higher score is better.
    """
    ordered = table.sort_values(["fold", "candidate"])
    ordered = ordered.assign(trial=ordered.groupby("fold").cumcount() + 1)
    pruned, scored = ordered[ordered["state"] == "pruned"], ordered[ordered["mean"].notna()]
    n_trials = int(ordered["trial"].max())
    picture = Picture(
        identity,
        440,
        256,
        f"Inner {score} by trial",
        f"{count_text(n_trials, 'trial')} a fold; dots are trials, crosses those that were pruned ({len(pruned)}), a line an "
        "outer fold its best so far.",
    )
    panel = Panel(54, 14, 370, 190, (0.5, n_trials + 0.5), score_limits(scored["mean"]))
    ticks = [tick for tick in nice_ticks(1, n_trials + 1, 8) if tick == int(tick) and 1 <= tick <= n_trials]
    picture.axes(panel, "Trial", f"Inner {score}", xticks=ticks or [1])
    for index, (fold, own) in enumerate(scored.groupby("fold")):
        done = own[own["state"] != "pruned"]
        values = done["mean"].astype(float)
        so_far = values.cummax() if greater else values.cummin()
        steps = np.repeat([*done["trial"], n_trials + 0.5], 2)[1:-1]
        picture.path(
            panel.x(steps), panel.y(np.repeat(so_far, 2)), style=line_style(index), tip=f"outer fold {fold}, best"
        )
    for _, row in scored.iterrows():
        x, y = float(panel.x(row["trial"])), float(panel.y(float(row["mean"])))
        tip = f"trial {row['trial']}, outer fold {row['fold']}: {score_text(float(row['mean']))}"
        if row["state"] == "pruned":
            picture.path(
                [x - 3, x + 3, np.nan, x - 3, x + 3], [y - 3, y + 3, np.nan, y + 3, y - 3], tip=f"{tip}, pruned"
            )
        else:
            picture.dot(x, y, 2.4, tip=tip)
    return picture


def inner_outer_picture(identity: str, choices: Sequence[Mapping[str, Any]], score: str) -> Picture | None:
    """Draw the outer score of each fold against the inner score of what it chose.

    Parameters
    ----------
    identity : str
        Unique in the page.
    choices : sequence of dict
        ``fold``, ``inner``, ``outer`` (None where undefined).
    score : str
        What the score is called.

    Returns
    -------
    Picture or None
        None where no fold has both.
    """
    known = [row for row in choices if row["inner"] is not None and row["outer"] is not None]
    if not known:
        return None
    below = sum(row["outer"] < row["inner"] for row in known)
    limits = score_limits([row[side] for row in known for side in ("inner", "outer")])
    picture = Picture(
        identity,
        340,
        330,
        f"Inner and outer {score}",
        f"A dot an outer fold; in {below} of {len(known)} the outer score lies below the inner one, by which the "
        "parameters were chosen. The dashed line is where both are equal.",
    )
    panel = Panel(54, 14, 272, 272, limits, limits)
    picture.axes(panel, f"Inner {score} of the choice", f"Outer {score}")
    picture.path(panel.x(limits), panel.y(limits), css="reference", tip="equal")
    for row in known:
        tip = f"outer fold {row['fold']}: inner {score_text(row['inner'])}, outer {score_text(row['outer'])}"
        picture.dot(float(panel.x(row["inner"])), float(panel.y(row["outer"])), 4, tip=tip)
    return picture


def score_limits(values: Any) -> tuple[float, float]:
    """Return the ends of an axis of scores, a little outside the finite ones."""
    known: NDArray[np.float64] = np.asarray(pd.Series(values, dtype=float).dropna(), dtype=float)
    if not known.size:
        return 0.0, 1.0
    low, high = float(known.min()), float(known.max())
    margin = 0.08 * (high - low) or 0.05 * abs(low) or 0.05
    return low - margin, high + margin


def shortened(text: str) -> str:
    """Return a text that fits below a tick."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _numbered(axis: ValueAxis) -> dict[float, str]:
    return {index: shortened(value_text(value)) for index, value in enumerate(axis.values)}


def _ring(picture: Picture, panel: Panel, place: float, row: pd.Series, value: str) -> None:
    tip = f"chosen by outer fold {row['fold']}: {value}, {score_text(float(row['mean']))}"
    picture.dot(float(panel.x(place)), float(panel.y(float(row["mean"]))), 4.5, css="ring", tip=tip)


def _cell(
    picture: Picture,
    panel: Panel,
    at: tuple[int, int],
    mean: float | None,
    n_chosen: int,
    limits: tuple[float, float],
    greater: bool,
) -> None:
    x, y = float(panel.x(at[0])), float(panel.y(at[1]))
    if mean is None:
        picture.text(x, y + 4, "not tried", anchor="middle", css="absent")
        return
    width, height = float(np.diff(panel.x([0, 1]))[0]), float(np.diff(panel.y([1, 0]))[0])
    low, high = limits
    share = _rank((mean - low) / (high - low), greater) if high > low else MIDDLE
    picture.rect(
        x - width / 2,
        y - height / 2,
        width,
        height,
        style=f"fill:var(--colour0);fill-opacity:{0.04 + 0.36 * share:.2f}",
    )
    picture.text(x, y - 2 if n_chosen else y + 4, score_text(mean), anchor="middle", css="label")
    if n_chosen:
        picture.text(x, y + 13, f"{n_chosen} ×", anchor="middle", css="label")


def _rank(share: float, greater: bool) -> float:
    return share if greater else 1 - share


def _upright(picture: Picture, x: float, panel: Panel, label: str, ticks: Mapping[float, str]) -> None:
    picture.path([x, x], [panel.top, panel.bottom], css="frame")
    picture.text(x, panel.top - 12, label, css="label", anchor="middle")
    for tick, text in ticks.items():
        y, width = float(panel.y(tick)), 6.0 * len(text) + 4
        picture.rect(x - 4 - width, y - 7, width, 14, style="fill:var(--paper);fill-opacity:.85")
        picture.text(x - 5, y + 4, text, anchor="end")
