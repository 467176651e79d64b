"""From the channels of a recording to those of a montage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from biot_bd.io.unusable import unusable_channels
from biot_bd.registry import montages
from biot_bd.signals.base import Marked, check_windows
from biot_bd.signals.info import SignalInfo
from biot_bd.signals.montages import Montage, MontagePlan, plan_montage
from biot_bd.signals.planning import OnMissing, plan_recording, resolve_montage
from biot_bd.signals.recordings import RecordingStep

if TYPE_CHECKING:
    import mne

# Stands in for an absent channel's name: it names no electrode, so no plan uses it.
ABSENT = "-"


@dataclass(eq=False, repr=False)
class MontageMapper(RecordingStep):
    """Bring windows to the channels of a montage.

    Bipolar channels are taken as they are, turned round with a sign change where only the reverse
    exists, or derived from two channels with the same reference.  Names match as in
    :mod:`biot_bd.signals.names`.

    Parameters
    ----------
    montage : str or Montage
        Name in ``biot_bd.registry.montages`` (``"biot-16"``, ``"biot-18"``, ``"double-banana-18"``,
        ``"szcore-19"``), or a montage.
    ch_names : sequence of str, optional
        Channels of the input, needed for arrays; a disagreement with what the data carry raises.
    on_missing : {"raise", "drop", "interpolate"}
        What to do about channels that cannot be made from the input's channels: raise naming their
        electrodes; leave them absent (NaN, False in ``present``; for models that mask, the channel
        keeps its place); interpolate from the neighbours with MNE's spherical splines (referential
        input, standard positions of the 10-20 system). A channel that the input has but that is
        absent in a window stays absent, or is interpolated.

    See Also
    --------
    biot_bd.signals.plan_montage : The plan behind it, from channels to a montage.
    PercentileScaler : Comes after it.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.zeros((1, 19, 2000))
    >>> names = "Fp1 F3 C3 P3 O1 F7 T3 T5 Fz Cz Pz Fp2 F4 C4 P4 O2 F8 T4 T6".split()
    >>> MontageMapper("biot-16", ch_names=names).transform(x).shape
    (1, 16, 2000)
    """

    montage: str | Montage = "biot-16"
    ch_names: Sequence[str] | None = None
    on_missing: OnMissing = "raise"

    def resolve(self) -> Montage:
        """Return the montage itself.

        Raises
        ------
        biot_bd.exceptions.UnknownNameError
            No montage of that name.
        TypeError
            What is registered, or given, is no :class:`~biot_bd.signals.montages.Montage`.
        """
        return resolve_montage(self.montage)

    def plan(self, ch_names: Sequence[str], where: str = "", unusable: Mapping[str, str] | None = None) -> MontagePlan:
        """Plan the way from channels to the montage, ``on_missing`` included.

        Parameters
        ----------
        ch_names : sequence of str
            Channels of the input.
        where : str
            Put in front of error messages, e.g. the recording's name.
        unusable : mapping of str to str, optional
            Channels that are never used, and why
            (:func:`~biot_bd.signals.montages.plan_montage`).

        Returns
        -------
        MontagePlan
            ``plan.needed`` are the channels to read, ``plan.apply(x)`` makes the montage's
            channels.

        Raises
        ------
        MissingChannelsError
            Channels cannot be made and ``on_missing`` does not help; names the electrodes.
        ValueError
            ``on_missing`` is none of the three.
        """
        return plan_recording(self.montage, ch_names, self.on_missing, where, unusable)

    def output_info(self, info: SignalInfo) -> SignalInfo:
        """Say what comes out: the montage's channels.

        Raises as :meth:`plan` does, or where names are unknown.
        """
        plan = self.plan(self._names(info))
        mixed = [c.name for c in plan.channels if c.how in ("difference", "interpolated")]
        if info.unit is None and mixed:
            raise ValueError(
                f"channels {', '.join(mixed)} would be computed from scaled signals; put MontageMapper before PercentileScaler"
            )
        return replace(info, ch_names=plan.montage.ch_names, n_chans=plan.montage.n_chans)

    def apply(self, x: NDArray[Any], present: NDArray[np.bool_], info: SignalInfo) -> Marked:
        """Make the montage's channels.

        One that needs an absent channel is absent, or interpolated.
        """
        names = self._names(info)
        plan = self.plan(names)
        check_windows(x, present, info)
        if present.all():
            made = np.array([c.how != "missing" for c in plan.channels])
            return plan.apply(x), np.broadcast_to(made, (len(x), made.size)).copy()
        out = np.empty((len(x), self.resolve().n_chans, x.shape[2]), x.dtype)
        out_present = np.zeros(out.shape[:2], bool)
        # Judged once, by all labels: those of a window in which some are absent would tell less.
        names = tuple(n if p else ABSENT for n, p in zip(names, plan.names.channels, strict=True))
        patterns, which = np.unique(present, axis=0, return_inverse=True)
        for i, pattern in enumerate(patterns):
            rows = np.flatnonzero(which.reshape(-1) == i)
            left = [name if there else ABSENT for name, there in zip(names, pattern, strict=True)]
            if self.on_missing == "interpolate":
                plan = self.plan(left, f"window {rows[0]}")
            else:  # names were judged by output_info; what is absent here was left out on purpose before
                plan = plan_montage(self.resolve(), left)
            out[rows] = plan.apply(x[rows])
            out_present[rows] = [c.how != "missing" for c in plan.channels]
        return out, out_present

    def is_identity(self, info: SignalInfo) -> bool:
        """Return True where the channels are the montage's already, in name and order."""
        if info.ch_names is None or self._names(info) != self.resolve().ch_names:
            return False
        return self.on_missing != "interpolate"  # absent channels are still to be filled in

    def _names(self, info: SignalInfo) -> tuple[str, ...]:
        carried, given = info.ch_names, info.ch_names if self.ch_names is None else tuple(self.ch_names)
        if given is None:
            raise ValueError(
                f"the input has {info.n_chans} channels without names; give MontageMapper(..., ch_names=[...])"
            )
        if len(given) != info.n_chans:
            raise ValueError(f"ch_names names {len(given)} channels, the input has {info.n_chans}")
        if carried is not None and given != carried:
            different = [f"{a} / {b}" for a, b in zip(given, carried, strict=True) if a != b]
            raise ValueError(
                f"ch_names disagrees with the channels that the data carry: {', '.join(different[:5])}; leave ch_names out"
            )
        return given

    def _pick(self, raw: mne.io.BaseRaw) -> mne.io.BaseRaw:
        names = self._names(SignalInfo(tuple(raw.ch_names), None, raw.n_times, "uV"))
        return raw.copy().pick(list(self.plan(names, unusable=unusable_channels(raw)).needed))

    def _plain_params(self) -> dict[str, Any]:
        params = self.get_params(deep=False)
        # By its name where it has one, so that braindecode can write the step as JSON.
        if not isinstance(self.montage, str):
            params["montage"] = montages.name_of(self.montage) or self.montage
        return params
