"""Where channels are drawn: on a head seen from above, on its surface, or around a ring.

A direction from the middle of the head is drawn as by an azimuthal equidistant projection: the
vertex in the middle, the nose up, the ring of Fp1, T7, O1 just inside the circle of the head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Circle, Polygon
from numpy.typing import NDArray

from biot_bd.probes.figures._words import listed
from biot_bd.signals.names import ELECTRODES, parse_name
from biot_bd.signals.positions import channel_positions

LINE = "#8b949e"
_RIGHT_ANGLE = 0.86
"""Radius at which a direction stands that is at a right angle from the vertex."""
_MIDLINE = 0.03
"""How far from the middle, as a share of the head's radius, still counts as midline."""


@dataclass(frozen=True)
class Places:
    """Places of channels.

    Parameters
    ----------
    ch_names : tuple of str
        Names.
    xy : ndarray, shape (n_chans, 2)
        Seen from above, the head's circle having radius 1; where a name is of no electrode, beside
        the head or on a ring.
    xyz : ndarray, shape (n_chans, 3)
        On a sphere of radius 1; NaN where not known.
    ends : ndarray, shape (n_chans, 2, 2)
        Both electrodes of a derivation, seen from above; NaN for others.
    known : ndarray of bool, shape (n_chans,)
        Whether the place is that of the name.
    """

    ch_names: tuple[str, ...]
    xy: NDArray[np.float64]
    xyz: NDArray[np.float64]
    ends: NDArray[np.float64]
    known: NDArray[np.bool_]

    @property
    def on_head(self) -> bool:
        """Whether a head is drawn at all, not a ring."""
        return bool(self.known.mean() >= 0.5)

    @property
    def note(self) -> str | None:
        """What to say of channels that have no place."""
        if self.known.all():
            return None
        lost = listed([name for name, known in zip(self.ch_names, self.known, strict=True) if not known])
        if self.on_head:
            return f"No place on the head is known for {lost}: drawn beside it."
        return f"No place on the head is known for {lost}: channels stand on a schematic ring in their order."


def places_of(ch_names: Sequence[str]) -> Places:
    """Find the places of channels by their names."""
    names = tuple(map(str, ch_names))
    xyz = on_sphere(channel_positions(names))
    known: NDArray[np.bool_] = np.asarray(np.isfinite(xyz).all(axis=1))
    ends = np.full((len(names), 2, 2), np.nan)
    for row, name in enumerate(names):
        parsed = parse_name(name)
        if known[row] and parsed is not None and parsed.bipolar:
            ends[row] = flat(on_sphere(channel_positions([parsed.electrode, str(parsed.reference)])))
    xy = np.where(np.isfinite(ends).all(axis=(1, 2))[:, None], ends.mean(axis=1), flat(xyz))
    if known.mean() < 0.5:
        angles = np.pi / 2 - 2 * np.pi * np.arange(len(names)) / len(names)
        xy = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        ends[:] = np.nan
    elif not known.all():
        lost = np.flatnonzero(~known)
        xy[lost] = np.stack([(np.arange(len(lost)) - (len(lost) - 1) / 2) * 0.3, np.full(len(lost), -1.3)], axis=1)
    return Places(names, xy, xyz, ends, known)


@lru_cache(maxsize=1)
def template() -> tuple[NDArray[np.float64], float]:
    """Return the middle of the sphere through all electrodes with a position, and its radius."""
    found = channel_positions(ELECTRODES)
    found = found[np.isfinite(found).all(axis=1)]
    # |p - c|^2 = r^2 is linear in c and r^2 - |c|^2.
    solved, *_ = np.linalg.lstsq(np.c_[2 * found, np.ones(len(found))], (found**2).sum(axis=1), rcond=None)
    middle = solved[:3]
    return middle, float(np.sqrt(solved[3] + middle @ middle))


def on_sphere(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return directions of length 1 from the middle of the head; NaN stays."""
    away = positions - template()[0]
    return np.asarray(away / np.linalg.norm(away, axis=1, keepdims=True))


def flat(directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return directions as seen from above; the circle of the head has radius 1."""
    across = np.hypot(directions[:, 0], directions[:, 1])
    radius = np.arctan2(across, directions[:, 2]) / (np.pi / 2) * _RIGHT_ANGLE
    return np.asarray(directions[:, :2] / np.maximum(across, 1e-12)[:, None] * radius[:, None])


def around(places: Places) -> NDArray[np.float64]:
    """Return the angle of each channel on a circle: left ones at the left, front at the top, evenly
    apart; in their order where places are not known.
    """
    n = len(places.ch_names)
    order = list(range(n))
    first = 0.0
    if places.on_head:
        x, y = places.xy.T
        side = np.where(np.abs(x) < _MIDLINE, 0, np.sign(x))
        front = [k for k in order if side[k] == 0 and y[k] >= 0]
        back = [k for k in order if side[k] == 0 and y[k] < 0]
        # Of two channels as far to the front, the outer one comes first.
        right = sorted((k for k in order if side[k] > 0), key=lambda k: (-round(y[k], 3), -x[k]))
        left = sorted((k for k in order if side[k] < 0), key=lambda k: (round(y[k], 3), -x[k]))
        order = front + right + sorted(back, key=lambda k: -y[k]) + left
        first = 0.5 - len(front) / 2
    angles = np.empty(n)
    angles[order] = np.pi / 2 - 2 * np.pi * (np.arange(n) + first) / n
    return angles


def draw_head(axis: Axes) -> None:
    """Draw the outline of a head seen from above, nose up."""
    axis.add_patch(Polygon([(-0.12, 0.99), (0, 1.14), (0.12, 0.99)], closed=False, fill=False, edgecolor=LINE, lw=1.2))
    axis.add_patch(Circle((0, 0), 1, facecolor="none", edgecolor=LINE, lw=1.2))
    for side in (-1, 1):
        ear = np.array([(1.0, 0.12), (1.06, 0.14), (1.09, 0.0), (1.06, -0.14), (1.0, -0.12)])
        axis.add_patch(Polygon(ear * (side, 1), closed=False, fill=False, edgecolor=LINE, lw=1.2))
