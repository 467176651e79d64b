"""Where channels lie on the head, by their names, as models and splines want it told."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biot_bd.signals.names import parse_name

if TYPE_CHECKING:
    import mne


@lru_cache(maxsize=1)
def template_montage() -> mne.channels.DigMontage:
    """Return MNE's template of 10-05 positions (in the template's own axes, metres)."""
    import mne

    # MNE 1.13 renames its template montages.
    name = "colin27_1005" if "colin27_1005" in mne.channels.get_builtin_montages() else "standard_1005"
    return mne.channels.make_standard_montage(name)


def channel_positions(ch_names: Sequence[str]) -> NDArray[np.float64]:
    """Return the positions of channels, by their names.

    Parameters
    ----------
    ch_names : sequence of str
        Names of electrodes or of derivations, in any spelling that
        :func:`~biot_bd.signals.canonical_name` reads.

    Returns
    -------
    ndarray, shape (n_chans, 3)
        x to the right, y to the front, z up, in metres, in the axes of MNE's template of 10-05
        positions.  A derivation of two electrodes lies at their midpoint.  NaN where a name is of
        no electrode with a position.

    See Also
    --------
    make_chs_info : The same as models of braindecode take it.

    Examples
    --------
    >>> from biot_bd.signals import channel_positions
    >>> f7, t7, between, ecg = channel_positions(["F7", "T3", "F7-T7", "ECG"])
    >>> bool((between == (f7 + t7) / 2).all()), ecg.tolist()
    (True, [nan, nan, nan])
    """
    known = template_montage().get_positions()["ch_pos"]
    nowhere = np.full(3, np.nan)
    rows = []
    for name in ch_names:
        parsed = parse_name(name)
        sides: list[str | None] = [] if parsed is None else [parsed.electrode]
        if parsed is not None and parsed.bipolar:
            sides.append(parsed.reference)
        rows.append(np.mean([known.get(side, nowhere) for side in sides], axis=0) if sides else nowhere)
    return np.array(rows, dtype=float).reshape(len(rows), 3)


def make_chs_info(ch_names: Sequence[str]) -> list[dict[str, Any]]:
    """Return channels with their positions, as models of braindecode take them (``chs_info``).

    Parameters
    ----------
    ch_names : sequence of str
        Names of electrodes or of derivations.

    Returns
    -------
    list of dict
        ``ch_name``, ``kind`` (``"eeg"``) and ``loc``, the position as in
        :func:`channel_positions`: a derivation of two electrodes lies at their midpoint.

    Raises
    ------
    ValueError
        A channel has no position; the message names it.

    See Also
    --------
    channel_positions : The positions alone.

    Notes
    -----
    The interpolated models of braindecode place the channels that they were trained with in the
    axes of the template; positions of ``mne.Info`` are in those of the head, centimetres away.

    Examples
    --------
    >>> from biot_bd.signals import make_chs_info
    >>> first = make_chs_info(["Cz"])[0]
    >>> first["ch_name"], first["loc"].round(2).tolist()
    ('Cz', [0.0, -0.01, 0.1])
    """
    positions = channel_positions(ch_names)
    lost = [name for name, row in zip(ch_names, positions, strict=True) if np.isnan(row).any()]
    if lost:
        raise ValueError(
            f"no position is known for the channels {', '.join(lost)}; expected electrodes of the 10-20 system, such as T7, "
            "or derivations of them, such as F7-T7"
        )
    return [
        {"ch_name": name, "kind": "eeg", "loc": position} for name, position in zip(ch_names, positions, strict=True)
    ]
