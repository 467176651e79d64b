"""Montages: which channels a model sees, and how a recording's channels become them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from biot_bd import registry
from biot_bd.exceptions import MissingChannelsError
from biot_bd.signals.label_sets import NameJudgement, judge_names
from biot_bd.signals.names import DERIVATIONS, ELECTRODES, parse_name

Pair = tuple[str, str | None]


@dataclass(frozen=True)
class Montage:
    """A named, ordered set of channels.

    Parameters
    ----------
    name : str
        Name in the registry.
    ch_names : tuple of str
        Channels in order: ``"Fp1-F7"`` in a bipolar montage, ``"Fp1"`` in a referential one.
    kind : {"bipolar", "referential"}
        Whether channels are differences of two electrodes that have names.
    pairs : tuple of (str, str or None), optional
        The two electrodes of every channel (None behind a referential one); read from the names
        where left out.
    description : str
        One line for lists.

    Raises
    ------
    ValueError
        Channels twice, an unknown electrode, or pairs that do not fit names and kind.

    See Also
    --------
    plan_montage : How the channels of a recording become a montage's.
    MontageMapper : The step that brings windows to it.

    Examples
    --------
    >>> from biot_bd.signals import Montage
    >>> chain = Montage("left chain", ("Fp1-F7", "F7-T7", "T7-P7"), "bipolar")
    >>> chain.n_chans, chain.electrodes
    (3, ('Fp1', 'F7', 'T7', 'P7'))
    """

    name: str
    ch_names: tuple[str, ...]
    kind: Literal["bipolar", "referential"]
    pairs: tuple[Pair, ...] = ()
    description: str = ""

    def __post_init__(self) -> None:
        if not self.ch_names:
            raise ValueError(f"montage {self.name!r} has no channels")
        object.__setattr__(self, "ch_names", tuple(self.ch_names))
        if len(set(self.ch_names)) < len(self.ch_names):
            raise ValueError(f"montage {self.name!r} has a channel twice: {', '.join(self.ch_names)}")
        if self.kind not in ("bipolar", "referential"):
            raise ValueError(f"montage {self.name!r}: kind must be 'bipolar' or 'referential', found {self.kind!r}")
        pairs = self.pairs or tuple(self._pair(name) for name in self.ch_names)
        object.__setattr__(self, "pairs", tuple((plus, minus) for plus, minus in pairs))
        if len(self.pairs) != len(self.ch_names):
            raise ValueError(f"montage {self.name!r}: {len(self.pairs)} pairs for {len(self.ch_names)} channels")
        for plus, minus in self.pairs:
            if (minus is not None) != (self.kind == "bipolar"):
                raise ValueError(f"montage {self.name!r}: pair {(plus, minus)} does not fit a {self.kind} montage")
            unknown = [e for e in (plus, minus) if e is not None and e not in (*ELECTRODES, *DERIVATIONS)]
            if unknown:
                raise ValueError(
                    f"montage {self.name!r}: unknown electrode {unknown[0]!r}; write 10-10 names such as Fp1, T7, P8"
                )

    def _pair(self, name: str) -> Pair:
        parsed = parse_name(name)
        if parsed is None:
            raise ValueError(f"montage {self.name!r}: {name!r} names no electrode of the 10-10 system; give pairs=")
        return parsed.electrode, parsed.reference if self.kind == "bipolar" else None

    @property
    def n_chans(self) -> int:
        """Number of channels."""
        return len(self.ch_names)

    @property
    def electrodes(self) -> tuple[str, ...]:
        """All electrodes, in the order of their first use."""
        return tuple(dict.fromkeys(e for pair in self.pairs for e in pair if e is not None))


@dataclass(frozen=True)
class PlannedChannel:
    """How one channel of a montage comes about.

    Parameters
    ----------
    name : str
        The montage's name of the channel.
    how : {"direct", "reversed", "difference", "interpolated", "missing"}
        Taken as it is, with its sign changed, as the first source minus the second, as a weighted
        sum, or not at all.
    sources : tuple of int
        Positions among the recording's channels.
    weights : tuple of float
        What each source is multiplied with before the sum.
    """

    name: str
    how: Literal["direct", "reversed", "difference", "interpolated", "missing"]
    sources: tuple[int, ...] = ()
    weights: tuple[float, ...] = ()


@dataclass(frozen=True)
class MontagePlan:
    """How the channels of a recording become those of a montage.

    Parameters
    ----------
    montage : Montage
        The target.
    ch_names : tuple of str
        The recording's channels.
    channels : tuple of PlannedChannel
        One for each channel of the montage, in its order.
    electrodes : dict of str to int
        Electrodes recorded against the one common reference that serves the montage best, and
        where.
    unusable : dict of str to str
        Channels that would have been used and cannot be, and why.
    """

    montage: Montage
    ch_names: tuple[str, ...]
    channels: tuple[PlannedChannel, ...]
    electrodes: dict[str, int]
    unusable: dict[str, str] = field(default_factory=dict)

    @property
    def missing(self) -> tuple[str, ...]:
        """Channels of the montage that cannot be made."""
        return tuple(c.name for c in self.channels if c.how == "missing")

    @property
    def missing_electrodes(self) -> tuple[str, ...]:
        """Electrodes of the missing channels that the common reference does not have."""
        wanted = dict(zip(self.montage.ch_names, self.montage.pairs, strict=True))
        needed = dict.fromkeys(e for name in self.missing for e in wanted[name] if e is not None)
        return tuple(e for e in needed if e not in self.electrodes)

    @property
    def names(self) -> NameJudgement:
        """What the recording's labels are, judged together."""
        return judge_names(self.ch_names, self.montage.electrodes)

    @property
    def _used(self) -> list[int]:
        return sorted({source for channel in self.channels for source in channel.sources})

    @property
    def needed(self) -> tuple[str, ...]:
        """The recording's channels that the plan reads, in the recording's order."""
        return tuple(self.ch_names[source] for source in self._used)

    @property
    def unusable_text(self) -> str:
        """The unusable channels with their reasons, in one phrase; empty where there are none."""
        return told_reasons(self.unusable)

    @property
    def origins(self) -> dict[str, str]:
        """How each channel comes about, e.g. ``"FP1-F7"``, ``"F7 minus T3"`` or ``"missing"``."""
        texts = {"direct": "{}", "reversed": "{}, sign changed", "difference": "{} minus {}"}
        return {
            channel.name: texts.get(channel.how, channel.how).format(*(self.ch_names[s] for s in channel.sources))
            for channel in self.channels
        }

    def reduced(self) -> MontagePlan:
        """Return the plan for a recording of which only :attr:`needed` channels were read."""
        position = {source: i for i, source in enumerate(self._used)}
        channels = tuple(replace(c, sources=tuple(position[s] for s in c.sources)) for c in self.channels)
        electrodes = {e: position[s] for e, s in self.electrodes.items() if s in position}
        return MontagePlan(self.montage, self.needed, channels, electrodes, self.unusable)

    def apply(self, x: NDArray[Any]) -> NDArray[Any]:
        """Make the montage's channels.

        Parameters
        ----------
        x : ndarray, shape (..., n_chans, n_times), float
            Signals of the recording's channels, in the order of ``ch_names``.

        Returns
        -------
        ndarray, shape (..., montage.n_chans, n_times)
            In the dtype and unit of ``x``; NaN throughout where a channel is missing.

        Raises
        ------
        ValueError
            ``x`` has another number of channels than the plan.
        """
        if x.ndim < 2 or x.shape[-2] != len(self.ch_names):
            raise ValueError(f"signals of shape {x.shape}; expected (..., {len(self.ch_names)}, n_times)")
        out = np.empty((*x.shape[:-2], self.montage.n_chans, x.shape[-1]), x.dtype)
        for i, channel in enumerate(self.channels):
            target = out[..., i, :]
            sources = [x[..., source, :] for source in channel.sources]
            if channel.how == "missing":
                target[...] = np.nan
            elif channel.how == "direct":
                target[...] = sources[0]
            elif channel.how == "reversed":
                np.negative(sources[0], out=target)
            elif channel.how == "difference":
                np.subtract(sources[0], sources[1], out=target)
            else:
                weights = np.asarray(channel.weights, x.dtype)
                np.einsum("...ct,c->...t", x[..., list(channel.sources), :], weights, out=target)
        return out

    def raise_if_missing(self, where: str = "") -> None:
        """Raise MissingChannelsError where a channel of the montage cannot be made.

        Parameters
        ----------
        where : str
            Put in front of the message, e.g. the recording's name.
        """
        if not self.missing:
            return
        montage = self.montage
        named = list(zip(self.ch_names, self.names.channels, strict=True))
        found = [name for name, parsed in named if parsed is not None]
        others = [name for name, parsed in named if parsed is None]
        if self.missing_electrodes:
            usable = [p for name, p in named if p is not None and name not in self.unusable]
            seen = {e for p in usable for e in (p.electrode, p.reference)}
            elsewhere = [e for e in self.missing_electrodes if e in seen]
            why = f"missing electrodes: {', '.join(self.missing_electrodes)}"
            why += f" (only in other derivations: {', '.join(elsewhere)})" if elsewhere else ""
        else:
            why = "their electrodes have no common reference"
        why += f"; {self.names.reason}" if self.names.reason else ""
        why += f"; cannot be used: {self.unusable_text}" if self.unusable else ""
        raise MissingChannelsError(
            f"{where + ': ' if where else ''}montage {montage.name!r} needs {montage.n_chans} channels and "
            f"{len(self.missing)} cannot be made: {', '.join(self.missing)}; {why}; "
            f"found EEG channels: {', '.join(found) or 'none'}; not EEG: {', '.join(others) or 'none'}; "
            "choose on_missing='drop' (models that can mask) or 'interpolate' (referential recordings), or another montage",
            self.missing,
            self.missing_electrodes,
        )


def told_reasons(unusable: Mapping[str, str]) -> str:
    """Return channels with their reasons in one phrase, those of one reason together.

    Parameters
    ----------
    unusable : mapping of str to str
        Channel -> why it cannot be used.

    Returns
    -------
    str
        Empty where there is none.

    Examples
    --------
    >>> from biot_bd.signals.montages import told_reasons
    >>> told_reasons(
    ...     {"Fp1": "its unit is blank", "F7": "no samples", "F3": "its unit is blank"}
    ... )
    'Fp1, F3: its unit is blank; F7: no samples'
    """
    reasons: dict[str, list[str]] = {}
    for name, reason in unusable.items():
        reasons.setdefault(reason, []).append(name)
    return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in reasons.items())


def montage_of(ch_names: Sequence[str] | None) -> Montage | None:
    """Return the registered montage of exactly these channels.

    Parameters
    ----------
    ch_names : sequence of str or None
        Channels in order, as :attr:`biot_bd.Windows.ch_names` has them.

    Returns
    -------
    Montage or None
        None where no registered montage has them, or nothing is known of them.

    See Also
    --------
    plan_montage : How other channels become a montage's.

    Examples
    --------
    >>> from biot_bd import registry
    >>> montage_of(registry.montages["szcore-19"].ch_names).name
    'szcore-19'
    >>> montage_of(["Cz"]) is None
    True
    """
    found = (registry.montages[name] for name in registry.montages)
    return next((m for m in found if isinstance(m, Montage) and m.ch_names == tuple(ch_names or ())), None)


def plan_montage(montage: Montage, ch_names: Sequence[str], unusable: Mapping[str, str] | None = None) -> MontagePlan:
    """Plan how a recording's channels become a montage's.

    A bipolar channel is taken as it is, else turned round with a sign change, else made as the
    difference of two channels with the same reference.  A referential channel is taken from the
    common reference that gives most of the montage's electrodes.  Of duplicates (``T8-P8-0`` and
    ``T8-P8-1``) the first is taken.

    Parameters
    ----------
    montage : Montage
        The target.
    ch_names : sequence of str
        The recording's channels, as it writes them; dummies and other signals are passed over, and
        so are contacts that bear the name of an electrode (:func:`judge_names`).
    unusable : mapping of str to str, optional
        Channels that are never used, and why, as :func:`biot_bd.io.unusable_channels` tells them.

    Returns
    -------
    MontagePlan
        With ``missing`` naming what cannot be made; nothing is raised.

    See Also
    --------
    MontageMapper : The same on windows and recordings.
    judge_names : Which labels are scalp electrodes.

    Examples
    --------
    >>> from biot_bd.signals import Montage, plan_montage
    >>> chain = Montage("left chain", ("Fp1-F7", "F7-T7", "T7-P7"), "bipolar")
    >>> plan = plan_montage(chain, ["EEG Fp1-REF", "EEG F7-REF", "T7-F7"])
    >>> [channel.how for channel in plan.channels], plan.missing
    (['difference', 'reversed', 'missing'], ('T7-P7',))
    """
    where: dict[tuple[str, str | None], int] = {}
    for position, parsed in enumerate(judge_names(ch_names, montage.electrodes).channels):
        if parsed is not None and ch_names[position] not in (unusable or ()):
            where.setdefault((parsed.electrode, parsed.reference), position)
    reference = _best_reference(montage, where)
    channels = tuple(
        _plan_channel(name, plus, minus, where, reference)
        for name, (plus, minus) in zip(montage.ch_names, montage.pairs, strict=True)
    )
    electrodes = {e: position for (e, r), position in where.items() if r == reference}
    wished = plan_montage(montage, ch_names).needed if unusable else ()
    missed = {name: unusable[name] for name in wished if unusable and name in unusable}
    return MontagePlan(montage, tuple(ch_names), channels, electrodes, missed)


def _best_reference(montage: Montage, where: dict[tuple[str, str | None], int]) -> str | None:
    """Return the reference against which most of the montage's electrodes are recorded.

    The first of equals.
    """
    wanted = set(montage.electrodes)
    counts = Counter(reference for electrode, reference in where if electrode in wanted)
    # In a bipolar chain an electrode is behind two or three others and still no common reference.
    common = {r: n for r, n in counts.items() if r not in ELECTRODES or n > 3}
    return max(common, key=lambda reference: common[reference], default=None)


def _plan_channel(
    name: str, plus: str, minus: str | None, where: dict[tuple[str, str | None], int], reference: str | None
) -> PlannedChannel:
    if minus is None:
        source = where.get((plus, reference))
        return PlannedChannel(name, "missing") if source is None else PlannedChannel(name, "direct", (source,), (1.0,))
    if (plus, minus) in where:
        return PlannedChannel(name, "direct", (where[plus, minus],), (1.0,))
    if (minus, plus) in where:
        return PlannedChannel(name, "reversed", (where[minus, plus],), (-1.0,))
    shared = [r for e, r in where if e == plus and (minus, r) in where]
    if not shared:
        return PlannedChannel(name, "missing")
    best = reference if reference in shared else shared[0]
    return PlannedChannel(name, "difference", (where[plus, best], where[minus, best]), (1.0, -1.0))


BIOT_16 = Montage(
    "biot-16",
    tuple(
        "Fp1-F7 F7-T7 T7-P7 P7-O1 Fp2-F8 F8-T8 T8-P8 P8-O2 Fp1-F3 F3-C3 C3-P3 P3-O1 Fp2-F4 F4-C4 C4-P4 P4-O2".split()
    ),
    "bipolar",
    description="16 bipolar channels in the order of BIOT's pretrained encoders (PREST)",
)
BIOT_18 = Montage(
    "biot-18",
    (*BIOT_16.ch_names, "C3-A2", "C4-A1"),
    "bipolar",
    description="biot-16 with C3-A2 and C4-A1, as BIOT's 18-channel encoders",
)
DOUBLE_BANANA_18 = Montage(
    "double-banana-18",
    tuple(
        "Fp1-F3 F3-C3 C3-P3 P3-O1 Fp1-F7 F7-T7 T7-P7 P7-O1 Fz-Cz Cz-Pz Fp2-F4 F4-C4 C4-P4 P4-O2 Fp2-F8 F8-T8 T8-P8 P8-O2".split()
    ),
    "bipolar",
    description="longitudinal bipolar montage of clinical reading, with Fz-Cz and Cz-Pz",
)
SZCORE_19 = Montage(
    "szcore-19",
    tuple("Fp1 F3 C3 P3 O1 F7 T7 P7 Fz Cz Pz Fp2 F4 C4 P4 O2 F8 T8 P8".split()),
    "referential",
    description="the 19 electrodes of the 10-20 system against a common reference, in SzCORE's order",
)
BTE_3 = Montage(
    "bte-3",
    ("BTEleft", "BTEright", "CROSStop"),
    "referential",
    description="derivations behind the left ear, behind the right ear and across (SeizeIT2, which has two of them)",
)
