"""From the channels of a recording to a montage, with what is to be done about missing ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from biot_bd.registry import montages
from biot_bd.signals.interpolation import interpolate_missing
from biot_bd.signals.montages import Montage, MontagePlan, plan_montage

OnMissing = Literal["raise", "drop", "interpolate"]


def resolve_montage(montage: str | Montage) -> Montage:
    """Return a montage by its name, or as it was given.

    Raises
    ------
    biot_bd.exceptions.UnknownNameError
        No montage of that name.
    TypeError
        What is registered, or given, is no :class:`~biot_bd.signals.montages.Montage`.
    """
    found = montages[montage] if isinstance(montage, str) else montage
    if not isinstance(found, Montage):
        raise TypeError(f"montage must be a name or a biot_bd.signals.montages.Montage, found {type(found).__name__}")
    return found


def plan_recording(
    montage: str | Montage,
    ch_names: Sequence[str],
    on_missing: OnMissing = "raise",
    where: str = "",
    unusable: Mapping[str, str] | None = None,
) -> MontagePlan:
    """Plan the way from channels to a montage, all of whose channels can be made or may be absent.

    Parameters
    ----------
    montage : str or Montage
        The target.
    ch_names : sequence of str
        Channels of the input.
    on_missing : {"raise", "drop", "interpolate"}
        What to do about channels that cannot be made.
    where : str
        Put in front of error messages, e.g. the recording's name.
    unusable : mapping of str to str, optional
        Channels that are never used, and why (:func:`~biot_bd.signals.montages.plan_montage`).

    Returns
    -------
    MontagePlan

    Raises
    ------
    MissingChannelsError
        Channels cannot be made and ``on_missing`` does not help; names the electrodes.
    ValueError
        ``on_missing`` is none of the three.

    See Also
    --------
    biot_bd.signals.MontageMapper : The step that does the same with windows.
    """
    if on_missing not in ("raise", "drop", "interpolate"):
        raise ValueError(f"on_missing must be 'raise', 'drop' or 'interpolate', found {on_missing!r}")
    plan = plan_montage(resolve_montage(montage), ch_names, unusable)
    if on_missing == "interpolate":
        return interpolate_missing(plan, where)
    # A recording of which nothing can be used is no recording of this montage.
    if on_missing == "raise" or len(plan.missing) == plan.montage.n_chans:
        plan.raise_if_missing(where)
    return plan
