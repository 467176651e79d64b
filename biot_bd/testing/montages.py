"""Check a montage: its channels must come out of recordings, with the right sign."""

from __future__ import annotations

import numpy as np

from biot_bd.signals.montages import Montage, plan_montage
from biot_bd.testing._base import attempt, pickled, require


def check_montage(montage: Montage) -> None:
    """Check an object given to ``register_montages``.

    Parameters
    ----------
    montage : biot_bd.signals.montages.Montage
        The instance to register.

    Raises
    ------
    ConformanceError
        It is no ``Montage``; its channels are not found in a recording that has them by name, or do
        not become electrode differences (bipolar) or electrodes (referential) in a referential
        recording; a reversed channel keeps its sign; a missing electrode goes unnoticed; or it
        cannot be pickled.

    See Also
    --------
    biot_bd.hookspecs.register_montages : The hook for such objects.
    biot_bd.signals.Montage : What a montage is.

    Examples
    --------
    >>> from biot_bd.signals import Montage
    >>> from biot_bd.testing import check_montage
    >>> check_montage(Montage("temporal-4", ("F7-T7", "T7-P7", "F8-T8", "T8-P8"), "bipolar"))
    >>> check_montage(("F7-T7", "T7-P7"))
    Traceback (most recent call last):
    ...
    biot_bd.exceptions.ConformanceError: expected an instance of ...
    """
    require(
        isinstance(montage, Montage),
        f"expected an instance of biot_bd.signals.montages.Montage to register, got {montage!r}",
    )
    name = f"montage {montage.name!r}"
    rng = np.random.default_rng(0)
    potential = {electrode: rng.standard_normal(50) for electrode in montage.electrodes}
    wanted = [potential[plus] - (potential[minus] if minus else 0.0) for plus, minus in montage.pairs]
    direct = dict(zip(montage.ch_names, wanted, strict=True))
    _check_mapping(montage, direct, wanted, f"{name}: a recording with the same channel names")
    _check_mapping(montage, potential, wanted, f"{name}: a referential recording")
    _check_mapping(
        montage, {f"EEG {e.upper()}-REF": x for e, x in potential.items()}, wanted, f"{name}: names like 'EEG FP1-REF'"
    )
    if montage.kind == "bipolar":
        turned = {f"{minus}-{plus}": potential[str(minus)] - potential[plus] for plus, minus in montage.pairs}
        _check_mapping(montage, turned, wanted, f"{name}: a recording with every channel reversed")
    _check_missing(montage, potential, name)
    require(pickled(montage, name) == montage, f"{name}: is another montage after pickling")


def _check_mapping(montage: Montage, recording: dict[str, np.ndarray], wanted: list[np.ndarray], where: str) -> None:
    plan = attempt(where, plan_montage, montage, tuple(recording))
    require(not plan.missing, f"{where}: cannot make {', '.join(plan.missing)}")
    signals = list(recording.values())
    for channel, pair, expected in zip(plan.channels, montage.pairs, wanted, strict=True):
        made = sum(w * signals[i] for w, i in zip(channel.weights, channel.sources, strict=True))
        require(
            np.allclose(made, expected),
            f"{where}: {channel.name!r} ({channel.how}) is not the electrodes {pair}",
        )


def _check_missing(montage: Montage, potential: dict[str, np.ndarray], name: str) -> None:
    for electrode in montage.electrodes:
        rest = tuple(e for e in potential if e != electrode)
        plan = attempt(f"{name}: a recording without {electrode}", plan_montage, montage, rest)
        needing = {ch for ch, pair in zip(montage.ch_names, montage.pairs, strict=True) if electrode in pair}
        require(
            set(plan.missing) == needing and electrode in plan.missing_electrodes,
            f"{name}: without {electrode} the channels {sorted(needing)} cannot be made, reported are "
            f"{sorted(plan.missing)} for lack of {list(plan.missing_electrodes)}",
        )
