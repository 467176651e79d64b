"""Explanations as matrices that can be drawn: channel x channel, channel x time, per layer.

Attention is given as a ratio to uniform attention (1 = uniform), because exact attention of BIOT
lies close to ``1 / n_tokens`` and would look empty otherwise; attributions keep their sign.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from biot_bd.models.attention.maps import attention_received, channel_attention, early_middle_late
from biot_bd.plots import UNKNOWN
from biot_bd.probes.base import Explanation
from biot_bd.report.drawing.svg import Picture

MOST_COLUMNS = 40


@dataclass(frozen=True)
class Map:
    """One matrix to draw.

    Parameters
    ----------
    layer : str
        Name of the layer, ``""`` for a probe of the whole model.
    kind : str
        ``"channels"`` (query channel x key channel), ``"time"`` (channel x time) or ``"channel"``
        (one value a channel).
    values : ndarray, shape (n_rows, n_columns)
        NaN for absent channels.
    rows, columns : list of str
        Labels.
    ratio : bool
        True: values are ratios to uniform; False: signed values around 0.
    """

    layer: str
    kind: str
    values: NDArray
    rows: list[str]
    columns: list[str]
    ratio: bool


def maps_of(explanation: Explanation, ch_names: Sequence[str], duration_s: float, window: int = 0) -> list[Map]:
    """Turn any probe's explanation of one window into maps; heads are averaged.

    Parameters
    ----------
    explanation : Explanation
        With attention (``query`` and ``key``) or with values by channel, and by frame or time where
        it has them.
    ch_names : sequence of str
        Channels of the window.
    duration_s : float
        Length of the window in seconds.
    window : int
        Which window of the explanation.

    Returns
    -------
    list of Map
        Of the early, the middle and the late layer where there are layers.

    Raises
    ------
    ValueError
        The explanation has no dimensions that can be drawn.
    """
    values, dims = np.asarray(explanation.values), list(explanation.dims)
    if "window" in dims:
        values = values.take(window, axis=dims.index("window"))
        dims.remove("window")
    if "head" in dims:
        values = values.mean(axis=dims.index("head"), dtype=np.float64)
        dims.remove("head")
    starts = explanation.info.get("frame_start_s")
    if "layer" not in dims:
        return _maps_of_layer("", values, tuple(dims), list(ch_names), duration_s, starts)
    values = np.moveaxis(values, dims.index("layer"), 0)
    dims.remove("layer")
    found: list[Map] = []
    for title, index in _layers_shown(explanation).items():
        found += _maps_of_layer(title, values[index], tuple(dims), list(ch_names), duration_s, starts)
    return found


def _layers_shown(explanation: Explanation) -> dict[str, int]:
    """Return the title and position of each layer to draw.

    By the roles that the probe gave, else three of all.
    """
    layers = list(explanation.layers or ())
    roles = explanation.info.get("roles") or {
        role: layers[number] for role, number in early_middle_late(len(layers)).items()
    }
    return {f"{role} layer ({name})": layers.index(name) for role, name in roles.items() if name in layers}


def _maps_of_layer(
    layer: str,
    values: NDArray,
    dims: tuple[str, ...],
    ch_names: list[str],
    duration_s: float,
    starts: Sequence[float] | None,
) -> list[Map]:
    n_chans = len(ch_names)
    if dims == ("query", "key"):
        n_frames, rest = divmod(values.shape[-1], n_chans)
        if rest:
            raise ValueError(
                f"{values.shape[-1]} tokens do not fit {n_chans} channels: not one row of tokens a channel"
            )
        # Times the number of channels present, so that 1 means uniform, as for the tokens.
        channels = channel_attention(values, n_chans, n_frames)
        channels = channels * (~np.isnan(channels)).sum(axis=-1).max()
        time = attention_received(values, n_chans, n_frames)
        return [
            Map(layer, "channels", channels, ch_names, ch_names, True),
            Map(layer, "time", time, ch_names, _times(n_frames, duration_s, starts), True),
        ]
    if dims in (("channel", "frame"), ("channel", "time")) and len(values) == n_chans:
        binned = _binned(values)
        columns = _times(binned.shape[1], duration_s, starts if dims[1] == "frame" else None)
        return [Map(layer, "time", binned, ch_names, columns, False)]
    if dims == ("channel",) and len(values) == n_chans:
        return [Map(layer, "channel", values[:, None], ch_names, [""], False)]
    raise ValueError(
        f"an explanation with the dimensions {dims} of shape {values.shape} cannot be drawn for {n_chans} channels; "
        "a probe gives query and key, or channel, or channel and frame or time"
    )


def _times(columns: int, duration_s: float, starts: Sequence[float] | None) -> list[str]:
    """Label columns by their start in seconds: as stored, else as equal shares of the window."""
    if starts is None or len(starts) != columns:
        starts = [duration_s * i / columns for i in range(columns)]
    return [f"{start:.1f}".removesuffix(".0") for start in starts]


def _binned(values: NDArray) -> NDArray:
    """Average neighbouring columns until at most MOST_COLUMNS are left."""
    if values.shape[1] <= MOST_COLUMNS:
        return values
    return np.stack([piece.mean(axis=1) for piece in np.array_split(values, MOST_COLUMNS, axis=1)], axis=1)


@dataclass(frozen=True)
class ColourScale:
    """Diverging colours: ratios around 1 (logarithmic) or signed values around 0.

    Parameters
    ----------
    limit : float
        Value at which the colour saturates; for ratios ``1 / limit`` saturates on the other side.
    ratio : bool
        Which of the two.
    """

    limit: float
    ratio: bool

    @classmethod
    def of(cls, maps: Sequence[Map]) -> ColourScale:
        """Choose one scale for all maps, so that their colours can be compared."""
        ratio = maps[0].ratio
        values = np.concatenate([m.values[np.isfinite(m.values)] for m in maps])
        if ratio:
            values = np.abs(np.log2(values[values > 0]))
            # A single extreme cell must not wash out all others.
            return cls(max(1.25, float(2 ** np.quantile(values, 0.995))) if values.size else 1.25, True)
        return cls(float(np.quantile(np.abs(values), 0.995)) or 1.0 if values.size else 1.0, False)

    def colour(self, value: float) -> str:
        """Return the colour of a value.

        White in the middle, red above, blue below, grey where unknown.
        """
        from matplotlib import colormaps
        from matplotlib.colors import to_hex

        if not np.isfinite(value):
            return UNKNOWN
        share = np.log2(max(value, 1e-12)) / np.log2(self.limit) if self.ratio else value / self.limit
        return str(to_hex(colormaps["RdBu_r"](0.5 + 0.5 * float(np.clip(share, -1, 1)))))

    def at(self, share: float) -> float:
        """Return the value at a place of the key, ``share`` from -1 (bottom) to 1 (top)."""
        return float(self.limit**share) if self.ratio else self.limit * share


def heat_map(
    name: str, title: str, shown: Map, scale: ColourScale, *, xlabel: str = "", ylabel: str = "", every: int = 1
) -> Picture:
    """Draw a map as coloured cells with a colour key.

    Parameters
    ----------
    name, title : str
        Identifier, unique in the page, and title.
    shown : Map
        What to draw.
    scale : ColourScale
        Colours.
    xlabel, ylabel : str
        What columns and rows are.
    every : int
        Label each ``every``-th column.
    """
    cell = 14.0
    rows, columns, values = shown.rows, shown.columns, shown.values
    if values.shape != (len(rows), len(columns)):
        raise ValueError(f"{title}: the map has shape {values.shape}, its labels {(len(rows), len(columns))}")
    long_names = max(map(len, columns), default=0) > 4
    left, top, below = 92.0, 26.0, 62.0 if long_names else 20.0
    width, height = cell * len(columns), cell * len(rows)
    picture = Picture(name, max(left + width + 62, 300), top + height + below + 22, title, _extremes(shown))
    picture.text(left, 15, title, css="label")
    for i, row in enumerate(rows):
        picture.text(left - 5, top + cell * i + 11, row, css="tick", anchor="end")
        for j, column in enumerate(columns):
            tip = ", ".join(filter(None, (row, column))) + f": {values[i, j]:.3g}"
            colour = f"fill:{scale.colour(float(values[i, j]))}"
            picture.rect(left + cell * j, top + cell * i, cell, cell, style=colour, tip=tip)
    picture.rect(left, top, width, height, css="frame")
    for j in range(0, len(columns), every):
        x = left + cell * (j + 0.5)
        if long_names:
            picture.text(x + 4, top + height + 5, columns[j], css="tick", anchor="end", turn=-90)
        else:
            picture.text(x, top + height + 14, columns[j], css="tick", anchor="middle")
    if xlabel:
        picture.text(left + width / 2, top + height + below + 14, xlabel, css="label", anchor="middle")
    if ylabel:
        picture.text(12, top + height / 2, ylabel, css="label", anchor="middle", turn=-90)
    _key(picture, left + width + 12, top, height, scale)
    return picture


def _extremes(shown: Map) -> str:
    """Say in words what the map shows, for those who cannot see it."""
    if not np.isfinite(shown.values).any():
        return "No known value."
    i, j = np.unravel_index(int(np.nanargmax(shown.values)), shown.values.shape)
    where = ", ".join(filter(None, (shown.rows[i], shown.columns[j])))
    return f"{len(shown.rows)} rows, {len(shown.columns)} columns; highest {shown.values[i, j]:.3g} at {where}."


def _key(picture: Picture, x: float, top: float, height: float, scale: ColourScale) -> None:
    """Draw the colour key with its highest, middle and lowest value."""
    steps = 32
    for k in range(steps):
        colour = scale.colour(scale.at(1 - 2 * (k + 0.5) / steps))
        picture.rect(x, top + height * k / steps, 10, height / steps + 0.3, style=f"fill:{colour}")
    picture.rect(x, top, 10, height, css="frame")
    for share in (1, 0, -1):
        picture.text(x + 14, top + height * (1 - share) / 2 + 4, f"{scale.at(share):.2g}", css="tick")


def map_rows(name: str, maps: Sequence[Map]) -> dict[str, list[Picture]]:
    """Draw maps, those of one layer side by side, all in one scale of colours.

    Parameters
    ----------
    name : str
        Identifier, unique in the page.
    maps : sequence of Map
        At least one.

    Returns
    -------
    dict of str to list of Picture
        By the title of the layer.
    """
    scale = ColourScale.of(maps)
    rows: dict[str, list[Picture]] = {}
    for index, shown in enumerate(maps):
        time = "Received, by channel and time" if shown.ratio else "By channel and time"
        title, xlabel, ylabel, every = {
            "channels": ("Channel to channel", "attends to", "channel", 1),
            "time": (time, "time (s)", "", max(1, len(shown.columns) // 9)),
            "channel": ("By channel", "", "", 1),
        }[shown.kind]
        picture = heat_map(f"{name}-{index}", title, shown, scale, xlabel=xlabel, ylabel=ylabel, every=every)
        rows.setdefault(shown.layer.capitalize() or "Whole model", []).append(picture)
    return rows
