"""Missing electrodes from their neighbours, by the spherical splines of MNE.

Positions are those of the 10-20 system by name (MNE's template of 10-05 positions), so only
referential channels can take part.  Reference: Perrin et al. (1989), Spherical splines for scalp
potential and current density mapping, Electroencephalography and Clinical Neurophysiology 72,
184-187.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from biot_bd.exceptions import MissingChannelsError
from biot_bd.signals.montages import MontagePlan, PlannedChannel
from biot_bd.signals.positions import template_montage

FEWEST_ELECTRODES = 4


def interpolate_missing(plan: MontagePlan, where: str = "") -> MontagePlan:
    """Fill what is missing in a plan with channels interpolated from recorded electrodes.

    Parameters
    ----------
    plan : MontagePlan
        As :func:`~biot_bd.signals.montages.plan_montage` returns it.
    where : str
        Put in front of error messages, e.g. the recording's name.

    Returns
    -------
    MontagePlan
        Without missing channels.

    Raises
    ------
    MissingChannelsError
        The recording is not referential, or holds fewer than half of the montage's electrodes (at
        least 4).
    """
    if not plan.missing:
        return plan
    prefix = f"{where}: " if where else ""
    placed = frozenset(template_montage().ch_names)
    good = tuple(e for e in plan.electrodes if e in placed)
    wanted = plan.montage.electrodes
    enough = max(FEWEST_ELECTRODES, -(-len(wanted) // 2))
    if len(set(good) & set(wanted)) < enough:
        raise MissingChannelsError(
            f"{prefix}montage {plan.montage.name!r}: interpolation needs a referential recording with at least {enough} of the "
            f"{len(wanted)} electrodes against one reference, found {len(set(good) & set(wanted))}; cannot be made: "
            f"{', '.join(plan.missing)}; missing electrodes: {', '.join(plan.missing_electrodes)}"
            + (f"; {plan.names.reason}" if plan.names.reason else "")
            + (f"; cannot be used: {plan.unusable_text}" if plan.unusable else ""),
            plan.missing,
            plan.missing_electrodes,
        )
    absent = tuple(e for e in wanted if e not in good)
    unplaced = [e for e in absent if e not in placed]
    if unplaced:
        raise MissingChannelsError(
            f"{prefix}montage {plan.montage.name!r}: no position is known for the missing electrodes {', '.join(unplaced)}",
            plan.missing,
            tuple(unplaced),
        )
    rows = {e: np.eye(len(good))[i] for i, e in enumerate(good)}
    rows |= dict(zip(absent, spline_weights(good, absent), strict=True))
    sources = tuple(plan.electrodes[e] for e in good)
    channels = []
    for channel, (plus, minus) in zip(plan.channels, plan.montage.pairs, strict=True):
        if channel.how == "missing":
            weights = rows[plus] if minus is None else rows[plus] - rows[minus]
            channel = PlannedChannel(channel.name, "interpolated", sources, tuple(float(w) for w in weights))
        channels.append(channel)
    return replace(plan, channels=tuple(channels))


@lru_cache(maxsize=64)
def spline_weights(good: tuple[str, ...], absent: tuple[str, ...]) -> NDArray[np.float64]:
    """Return the weights with which MNE interpolates electrodes.

    Parameters
    ----------
    good : tuple of str
        Electrodes that were recorded.
    absent : tuple of str
        Electrodes to interpolate.

    Returns
    -------
    ndarray, shape (n_absent, n_good)
        ``signals_absent = weights @ signals_good``; read only.
    """
    import mne

    # Interpolation is linear, so interpolating unit signals gives its weights.
    signals = np.zeros((len(good) + len(absent), len(good)))
    signals[: len(good)] = np.eye(len(good))
    info = mne.create_info([*good, *absent], 1.0, "eeg")
    raw = mne.io.RawArray(signals, info, verbose="error")
    raw.set_montage(template_montage(), verbose="error")
    raw.info["bads"] = list(absent)
    raw.interpolate_bads(method={"eeg": "spline"}, verbose="error")
    weights = raw.get_data()[len(good) :]
    weights.flags.writeable = False
    return weights
