"""Which channel of the recordings reaches which input of a model, measured instead of believed.

What enters the module is caught in a forward pass and compared with the signals as they lie in the
store, read here anew.  Names of channels are only what the findings are compared with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample
from skorch import NeuralNet
from torch import Tensor, nn

from biot_bd.bounded_files import read_npy
from biot_bd.models.biot import BIOT
from biot_bd.models.checkpoints.published import KNOWN
from biot_bd.models.contract import ModelContract
from biot_bd.probes.fitted_parts import parts_of
from biot_bd.signals import FixedScaler, PercentileScaler, Resampler, Standardizer
from biot_bd.signals.names import canonical_name, parse_name
from biot_bd.training import BIOTClassifier
from biot_bd.training._validation import uncompiled
from biot_bd.training.fitted_facts import FittedFacts
from biot_bd.training.input_data import SignalData
from biot_bd.windows import Windows

SURE = 0.5
"""Correlation from which on a slot holds a channel; filters in front of a model lower it."""
SAME = 1e-3
"""Channels whose correlations differ by less are copies of one another."""
TOLERANCE = 0.1
"""How far a scale may be from the contract's, relatively."""


@dataclass(frozen=True, kw_only=True)
class Slot:
    """One channel of a model's input.

    Parameters
    ----------
    position : int
        From 0.
    name : str or None
        Channel that the data say stands there.
    token : str or None
        Channel that the model takes it for; None where the model knows channels by position only.
    holds : str or None
        Channel of the store that what entered the model is most like; None where nothing is.
    correlation : float or None
        With it, the mean over the windows; negative where the sign is turned.
    before_uv : float or None
        Median absolute value of ``holds`` in the store, in microvolts.
    after : float or None
        The same of what entered the model.
    absent, constant : float
        Share of the windows where the slot is NaN throughout; where it is one value throughout.
    problem : str or None
        What is wrong.

    See Also
    --------
    check_slots : Finds them.

    Examples
    --------
    >>> from biot_bd.probes import Slot
    >>> Slot(position=0, name="Fp1-F7", holds="F7-T7", correlation=1.0).holds
    'F7-T7'
    """

    position: int
    name: str | None
    token: str | None = None
    holds: str | None = None
    correlation: float | None = None
    before_uv: float | None = None
    after: float | None = None
    absent: float = 0.0
    constant: float = 0.0
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class SlotReport:
    """What :func:`check_slots` found.

    Parameters
    ----------
    model : str
        Its name.
    contract : dict or None
        The :class:`biot_bd.models.ModelContract` of a registered model.
    n_windows, n_chans, n_times : int
        What entered the model.
    sfreq : float or None
        In Hz.
    scale : str
        What the data say of the scale.
    slots : tuple of Slot
        One a channel.
    problems : tuple of str
        All that is wrong, a line each; empty where all is well.

    See Also
    --------
    check_slots : Makes it.

    Examples
    --------
    >>> from biot_bd.probes import SlotReport
    >>> report = SlotReport(model="mine", n_windows=1, n_chans=2, n_times=200, scale="uV")
    >>> report.problems, report.as_dict()["n_chans"]
    ((), 2)
    """

    model: str
    contract: dict[str, Any] | None = None
    n_windows: int
    n_chans: int
    n_times: int
    sfreq: float | None = None
    scale: str
    slots: tuple[Slot, ...] = ()
    problems: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the facts as JSON holds them."""
        return asdict(self)


def open_model(
    name: str, windows: Windows, *, steps: Sequence[Any] | None = None, params: Mapping[str, Any] | None = None
) -> Any:
    """Return a pipeline, not trained, of a registered model or a published checkpoint.

    Parameters
    ----------
    name : str
        In ``biot_bd.registry.models``, or of a checkpoint such as ``"prest-16"``.
    windows : Windows
        Their rate and scale decide which steps the model's contract needs in front of it.
    steps : sequence of WindowTransformer, optional
        To stand in front of the model, in place of those.
    params : mapping, optional
        Of :class:`biot_bd.BIOTClassifier`, e.g. ``pretrained`` or ``module__num_layers``.

    Returns
    -------
    sklearn.pipeline.Pipeline
        Steps, and a :class:`biot_bd.BIOTClassifier` whose module is built.

    Raises
    ------
    ContractError
        Steps alone cannot make such windows what the model expects.

    See Also
    --------
    check_slots : What to do with it.

    Examples
    --------
    >>> from biot_bd import load_dataset, prepare
    >>> from biot_bd.probes import check_slots, open_model
    >>> recordings = load_dataset("demo", "edf", n_subjects=1, recordings=1)
    >>> windows = prepare(recordings, "store")
    >>> [type(step).__name__ for _, step in open_model("signaljepa", windows).steps]
    ['Resampler', 'BIOTClassifier']
    """
    from sklearn.pipeline import make_pipeline

    given = {"pretrained": name} if name in KNOWN else {"module": name}
    net = BIOTClassifier(**{**given, **(params or {}), "device": "cpu"})
    contract = net._contract()
    if steps is None:
        steps = [] if contract is None else steps_for(contract, windows)
    mapped = windows
    for step in steps:
        mapped = mapped.map(step)
    info = SignalData(mapped[:1]).info
    net._check_contract(info)
    net.facts_ = FittedFacts(info, np.array([0, 1]))
    net.initialize()
    return make_pipeline(*steps, net)


def steps_for(contract: ModelContract, windows: Windows) -> list[Any]:
    """Return the steps that bring windows to a model's rate and scale.

    Parameters
    ----------
    contract : ModelContract
        What the model expects.
    windows : Windows
        What there is.

    Returns
    -------
    list of WindowTransformer
        Empty where all is well.
    """
    steps: list[Any] = []
    if contract.sfreq is not None and windows.sfreq != contract.sfreq:
        steps.append(Resampler(contract.sfreq))
    scalers: dict[str, Any] = {
        "percentile-95": PercentileScaler(95, on_bad="drop"),
        "uV/100": FixedScaler(100),
        "uV/1000": FixedScaler(1000),
        "z-score": Standardizer(),
    }
    if contract.scale in scalers and windows.unit == "uV":
        steps.append(scalers[contract.scale])
    return steps


def check_slots(model: Any, windows: Windows, *, n_windows: int = 16, name: str | None = None) -> SlotReport:
    """Say which channel of a store reaches which input of a model.

    Parameters
    ----------
    model : Pipeline or BIOTClassifier
        Its module is built: fitted, loaded or from :func:`open_model`.
    windows : Windows
        Of one store, without steps, in microvolts.
    n_windows : int
        How many to send through the model, evenly spread.
    name : str, optional
        The model's name for the report.

    Returns
    -------
    SlotReport
        Problems are told, not raised.

    Raises
    ------
    ValueError
        Windows of several stores, or windows that the model refuses to take.

    See Also
    --------
    open_model : A model by name.

    Examples
    --------
    >>> from biot_bd import load_dataset, prepare
    >>> from biot_bd.probes import check_slots, open_model
    >>> recordings = load_dataset("demo", "edf", n_subjects=1, recordings=1)
    >>> windows = prepare(recordings, "store")
    >>> report = check_slots(open_model("signaljepa", windows), windows)
    >>> report.problems, report.sfreq, report.slots[0].holds
    ((), 128.0, 'Fp1-F7')
    """
    tables = windows.tables
    if len(tables) != 1 or windows.unit != "uV":
        raise ValueError("check_slots compares windows of one store, without steps, with that store")
    rows = np.unique(np.linspace(0, len(windows) - 1, min(n_windows, len(windows))).round().astype(int))
    chosen = windows[rows]
    steps, net = parts_of(model)
    mapped: Any = chosen
    for step in steps:
        mapped = step.transform(mapped)
    entered, inner = _caught(net, mapped)
    stored, stored_names = _stored(chosen)
    info = net.facts_.input_info
    names: Sequence[str | None] = info.ch_names or [None] * entered.shape[1]
    contract = net._contract()
    label = str(name or (net.module if isinstance(net.module, str) else getattr(net.module, "__name__", "the module")))
    problems = [] if contract is None else _contract_problems(contract, net, SignalData(mapped).info, label)
    candidates = _candidates(stored, stored_names, [one for one in names if one], entered.shape[-1])
    tokens = _tokens(uncompiled(net.module_), len(names), net.facts_.token_names)
    slots = [
        _slot(position, entered[:, position], names[position], tokens[position], candidates)
        for position in range(entered.shape[1])
    ]
    problems += [f"slot {slot.position}: {slot.problem}" for slot in slots if slot.problem]
    problems += _inner_problems(inner)
    if contract is not None and contract.scale is not None:
        problems += _scale_problems(contract.scale, entered, slots, label, weights=_wants_scale(contract, net))
    return SlotReport(
        model=label,
        contract=None if contract is None else contract.as_dict(),
        n_windows=len(entered),
        n_chans=entered.shape[1],
        n_times=entered.shape[2],
        sfreq=info.sfreq,
        scale=info.unit if info.unit == "uV" else info.scale or info.unit,
        slots=tuple(slots),
        problems=tuple(problems),
    )


def _wants_scale(contract: ModelContract, net: BIOTClassifier) -> bool:
    return contract.scale_from_scratch or net.pretrained is not None


def _contract_problems(contract: ModelContract, net: BIOTClassifier, info: Any, name: str) -> list[str]:
    given = net.get_params_for("module")
    return contract.problems(info, name, given, scratch=not _wants_scale(contract, net))


def _caught(net: BIOTClassifier, windows: Any) -> tuple[NDArray[np.float32], Tensor | None]:
    """Return what enters the module for some windows, and what a layer in it that interpolates
    channels makes of it.
    """
    module = uncompiled(net.module_)
    caught: list[Tensor] = []
    inner: list[Tensor] = []
    hooks = [module.register_forward_pre_hook(lambda _, args: caught.append(args[0].detach().cpu()))]
    layer = getattr(module, "interpolation_layer", None)
    if isinstance(layer, nn.Module):
        hooks.append(layer.register_forward_hook(lambda _, args, out: inner.append(out.detach().cpu())))
    try:
        NeuralNet.predict_proba(net, net.get_dataset(windows))
    finally:
        for hook in hooks:
            hook.remove()
    entered = np.concatenate([part.float().numpy() for part in caught])
    if entered.ndim != 3 or len(entered) != len(windows):
        raise ValueError(f"the module was given {entered.shape}, expected {len(windows)} windows (n, n_chans, n_times)")
    return entered, inner[0] if inner else None


def _inner_problems(inner: Tensor | None) -> list[str]:
    if inner is None:
        return []
    silent = [str(i) for i in range(inner.shape[1]) if float(inner[:, i].abs().max()) == 0.0]
    return [f"the interpolated channels {', '.join(silent)} of the model are zero throughout"] if silent else []


def _stored(windows: Windows) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Read windows, in uV, from the files of signals, without the code that models are given by."""
    table = windows.tables[0]
    recordings = {one.recording: one for one in table.recordings}
    signals = {}
    found = []
    frame = table.frame.set_index(["recording", "start_s"])
    chosen = windows.metadata
    for recording, start_s in zip(chosen["recording"].astype(str), chosen["start_s"], strict=True):
        place = frame.loc[(recording, start_s)]
        start, length = int(place["start_sample"]), int(place["n_samples"])
        entry = recordings[recording]
        if recording not in signals:
            signals[recording] = read_npy(table.store / entry.file)
        x = np.asarray(signals[recording][:, start : start + length], dtype=np.float64)
        if signals[recording].dtype == np.int16:
            x *= np.asarray(entry.steps_uv)[:, None]
        x[~np.asarray(entry.present)] = np.nan
        found.append(x)
    return np.stack(found), table.ch_names


def _candidates(
    stored: NDArray[np.float64], stored_names: Sequence[str], wanted: Sequence[str], n_times: int
) -> dict[str, NDArray[np.float64]]:
    """Return channels of the store, and derivations of them that a slot is named after.

    All as long as what entered the model.
    """
    if stored.shape[-1] != n_times:
        stored = resample(stored, n_times, axis=-1)
    by_name = {canonical_name(name) or name: stored[:, i] for i, name in enumerate(stored_names)}
    for name in wanted:
        parsed = parse_name(name)
        key = canonical_name(name) or name
        if key in by_name or parsed is None or not parsed.bipolar:
            continue
        plus, minus = by_name.get(parsed.electrode), by_name.get(str(parsed.reference))
        if plus is not None and minus is not None:
            by_name[key] = plus - minus
    return by_name


def _correlation(x: NDArray[Any], other: NDArray[Any]) -> float:
    """Return the mean over windows of the correlation; NaN where no window has both."""
    x = x.astype(np.float64)
    usable = np.isfinite(x).all(axis=1) & np.isfinite(other).all(axis=1)
    x, other = (
        x[usable] - x[usable].mean(axis=1, keepdims=True),
        other[usable] - other[usable].mean(axis=1, keepdims=True),
    )
    norm = np.sqrt((x**2).sum(axis=1) * (other**2).sum(axis=1))
    live = norm > 0
    return float(((x * other).sum(axis=1)[live] / norm[live]).mean()) if live.any() else float("nan")


def _tokens(module: nn.Module, n_chans: int, learnt: Sequence[str] | None) -> list[str | None]:
    """Return the channel that a module takes each slot for, where it knows channels by name."""
    if isinstance(module, BIOT):
        known = module.token_names or learnt
        return [None] * n_chans if known is None else [known[i] for i in module.channel_ids]
    names = getattr(module, "ch_names", None)
    return list(names) if names is not None and len(names) == n_chans else [None] * n_chans


def _same_channel(one: str, other: str) -> bool:
    return (canonical_name(one) or one).upper() == (canonical_name(other) or other).upper()


def _slot(
    position: int, x: NDArray[np.float32], name: str | None, token: str | None, candidates: Mapping[str, NDArray[Any]]
) -> Slot:
    missing: NDArray[np.bool_] = np.all(np.isnan(x), axis=1)
    constant = ~missing & (x.max(axis=1) == x.min(axis=1))
    found = {channel: _correlation(x, signal) for channel, signal in candidates.items()}
    found = {channel: r for channel, r in found.items() if np.isfinite(r)}
    holds, r = max(found.items(), key=lambda one: abs(one[1]), default=(None, None))
    if name is not None and holds is not None and r is not None:
        named = next((channel for channel in found if _same_channel(channel, name)), None)
        if named is not None and abs(found[named]) >= abs(r) - SAME:
            holds, r = named, found[named]
    if r is not None and abs(r) < SURE:
        holds = None
    live = x[~missing & ~constant]
    return Slot(
        position=position,
        name=name,
        token=token,
        holds=holds,
        correlation=r,
        before_uv=None if holds is None else float(np.nanmedian(np.abs(candidates[holds]))),
        after=float(np.median(np.abs(live))) if len(live) else None,
        absent=float(missing.mean()),
        constant=float(constant.mean()),
        problem=_problem(name, token, holds, r, float(missing.mean()), float(constant.mean())),
    )


def _problem(
    name: str | None, token: str | None, holds: str | None, r: float | None, absent: float, constant: float
) -> str | None:
    called = name or "a channel without a name"
    if absent == 1:
        return None  # marked as absent, so the model leaves it out
    if constant > 0:
        return f"{called} is one value throughout in {constant:.0%} of the windows; an absent channel must be NaN, not zeros"
    if holds is None:
        return f"{called} is like no channel of the store" + (
            "" if r is None else f" (the closest has a correlation of {r:.2f})"
        )
    if name is not None and not _same_channel(name, holds):
        return f"{called} holds {holds} (correlation {r:.2f})"
    if r is not None and r < 0:
        return f"{called} has its sign turned (correlation {r:.2f})"
    if token is not None and not _same_channel(token, holds):
        return f"the model takes {holds} for its channel {token}"
    return None


def _scale_problems(
    scale: str, x: NDArray[np.float32], slots: Sequence[Slot], name: str, *, weights: bool
) -> list[str]:
    """Measure the scale of what entered the model."""
    if not weights:
        return []
    live = x[np.isfinite(x).all(axis=-1)]
    live = live[live.max(axis=-1) > live.min(axis=-1)].astype(np.float64)
    if not len(live):
        return [f"{name}: no channel with a signal entered the model"]
    if scale == "percentile-95":
        found, wanted, what = float(np.median(np.quantile(np.abs(live), 0.95, axis=-1))), 1.0, "95th percentile"
    elif scale == "z-score":
        found, wanted, what = float(np.median(live.std(axis=-1))), 1.0, "standard deviation"
    else:
        ratios = [slot.after / slot.before_uv for slot in slots if slot.after and slot.before_uv]
        if not ratios:
            return []
        found, what = float(np.median(ratios)), "size, relative to microvolts,"
        wanted = 1.0 if scale == "uV" else 1 / float(scale.removeprefix("uV/"))
    if abs(found / wanted - 1) <= TOLERANCE:
        return []
    return [
        f"{name} expects signals scaled to {scale}, but the {what} of what enters it is {found:.3g}, not {wanted:.3g}"
    ]
