"""How well a masked objective reconstructs what it hid, on subjects that never trained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from skorch.dataset import unpack_data
from skorch.utils import to_tensor
from torch.utils.data import DataLoader

from biot_bd.models.inference_plan import precision_context
from biot_bd.models.own_modes import own_modes
from biot_bd.models.token_stages import token_stages
from biot_bd.pretraining.batch_random import PositionRandom
from biot_bd.pretraining.reconstruction import Reconstruction
from biot_bd.signals.features import BANDS
from biot_bd.training.input_data import SignalData
from biot_bd.windows.torch_dataset import OnDevice, collate_windows

UNKNOWN_SUBJECT = "unknown"
_SUMS = ("n", "error", "guessed", "x", "y", "xx", "yy", "xy")
_TINY = 1e-12  # rounding of sums, relative


@dataclass(frozen=True)
class ReconstructionScores:
    """Scores of reconstructed tokens, hidden ones only.

    Parameters
    ----------
    table : DataFrame
        A row for each subject and channel, and rows with ``"all"`` in place of either or both:
        ``subject``, ``channel``, ``n_values`` (hidden samples or bins), ``mse``,
        ``mse_interpolation``, ``skill``, ``correlation``, ``reason`` (why a score is None).
        All channels of a subject are pooled; rows of all subjects are means over subjects.
    by_feature : DataFrame
        ``feature``, ``hz`` (NaN where features are no frequencies), ``mse``,
        ``mse_interpolation``, ``skill``, over all subjects.
    kind, unit : str
        As in :class:`biot_bd.pretraining.Reconstruction`.
    n_windows : int
        Windows that were scored.
    seen_subjects : tuple of str
        Subjects that trained, or that were looked at without knowing whether they did; empty where
        scores are honest.

    See Also
    --------
    score_reconstruction : Makes them of a net.
    scores_of : Makes them of reconstructions.

    Notes
    -----
    ``skill = 1 - mse / mse_interpolation``: 1 is perfect, 0 as good as the guess from visible
    neighbours, negative worse.  ``correlation`` is Pearson's over hidden values.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.pretraining import Reconstruction, scores_of
    >>> x, hidden = torch.randn(3, 2, 4, 25), torch.ones(3, 2, 4, dtype=torch.bool)
    >>> found = Reconstruction(x, 0.9 * x, 0 * x, hidden, None, "signal", "scaled")
    >>> scores = scores_of([found], ["site/01"] * 3, ch_names=["C3", "C4"])
    >>> scores.rows("channel")["skill"].round(4).tolist()
    [0.99, 0.99]
    """

    table: pd.DataFrame
    by_feature: pd.DataFrame
    kind: str
    unit: str
    n_windows: int
    seen_subjects: tuple[str, ...] = field(default=())

    def rows(self, by: Literal["subject", "channel"]) -> pd.DataFrame:
        """Return the rows of single subjects, or of single channels, other things together."""
        other = "channel" if by == "subject" else "subject"
        found = self.table[(self.table[other] == "all") & (self.table[by] != "all")]
        return found.reset_index(drop=True)

    @property
    def overall(self) -> dict[str, Any]:
        """The row of all subjects and channels."""
        chosen = (self.table["subject"] == "all") & (self.table["channel"] == "all")
        return _as_dict(self.table[chosen].iloc[0])

    def by_band(self, bands: Sequence[tuple[str, float, float]] = BANDS) -> pd.DataFrame:
        """Return skill by frequency band, for spectra.

        Parameters
        ----------
        bands : sequence of (name, low_hz, high_hz)
            By default delta to gamma; from the lower edge up to, not including, the upper one.

        Returns
        -------
        DataFrame
            ``band``, ``mse``, ``mse_interpolation``, ``skill`` (None where no feature lies in it).

        Raises
        ------
        ValueError
            Features are no frequencies.
        """
        if self.by_feature["hz"].isna().all():
            raise ValueError(f"what was reconstructed is a {self.kind} without known frequencies: it has no bands")
        rows = []
        for name, low_hz, high_hz in bands:
            part = self.by_feature[(self.by_feature["hz"] >= low_hz) & (self.by_feature["hz"] < high_hz)]
            mse, guessed = part["mse"].mean(), part["mse_interpolation"].mean()
            rows.append({"band": name, "mse": mse, "mse_interpolation": guessed, "skill": _skill(mse, guessed)[0]})
        return pd.DataFrame(rows)

    def as_dict(self) -> dict[str, Any]:
        """Return the scores as JSON holds them, undefined ones None."""
        return {
            "kind": self.kind,
            "unit": self.unit,
            "n_windows": self.n_windows,
            "seen_subjects": list(self.seen_subjects),
            "table": _records(self.table),
            "by_feature": _records(self.by_feature),
        }

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> ReconstructionScores:
        """Make them again from :meth:`as_dict`."""
        frames = {name: pd.DataFrame(facts[name]) for name in ("table", "by_feature")}
        numbers = ["mse", "mse_interpolation", "skill"]
        frames["table"] = frames["table"].astype(dict.fromkeys([*numbers, "correlation"], float))
        frames["by_feature"] = frames["by_feature"].astype(dict.fromkeys(["hz", *numbers], float))
        plain: dict[str, Any] = {name: facts[name] for name in ("kind", "unit", "n_windows")}
        table, by_feature = frames["table"], frames["by_feature"]
        return cls(table, by_feature, **plain, seen_subjects=tuple(facts["seen_subjects"]))


def score_reconstruction(
    net: Any,
    X: Any,
    groups: ArrayLike | None = None,
    *,
    objective: str | None = None,
    on_seen: Literal["raise", "mark"] = "raise",
) -> ReconstructionScores:
    """Score what a pretrained model says of hidden tokens, under masks that are always the same.

    Parameters
    ----------
    net : biot_bd.Pretrainer
        Fitted, with an objective that reconstructs.
    X : Windows, mne.Epochs or ndarray (n, n_chans, n_times)
        Of subjects that did not train; as the net takes them (scaled by the steps in front).
    groups : array-like of str, shape (n,), optional
        Subjects, where ``X`` does not carry them.
    objective : str, optional
        Which one, by name, where several reconstruct.
    on_seen : {"raise", "mark"}
        What to do with subjects that trained, or where subjects are not known: refuse, or score
        and say so (``seen_subjects``).

    Returns
    -------
    ReconstructionScores

    Raises
    ------
    ValueError
        Subjects trained or are not known, nothing was hidden, or hidden values are not finite.
    TypeError
        No objective of the net reconstructs.
    LookupError
        There is no such objective.

    See Also
    --------
    biot_bd.pretraining.reconstruction_figures : Pictures of the same.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd import Pretrainer
    >>> from biot_bd.pretraining import score_reconstruction
    >>> x = np.random.default_rng(0).normal(size=(16, 2, 800)).astype("float32")
    >>> net = Pretrainer(
    ...     "biot",
    ...     "masked-spectrum",
    ...     module__embed_dim=16,
    ...     module__num_heads=2,
    ...     module__num_layers=1,
    ...     module__sfreq=200,
    ...     train_split=None,
    ...     max_epochs=1,
    ...     batch_size=8,
    ...     device="cpu",
    ... )
    >>> net = net.fit(x, groups=["site/01"] * 16)
    >>> scores = score_reconstruction(net, x[:4], groups=["site/02"] * 4)
    >>> scores.rows("channel")["channel"].tolist()
    ['channel 0', 'channel 1']
    """
    data = SignalData(X)
    subjects = _subjects(data, groups)
    seen = _seen(net, subjects)
    if seen and on_seen == "raise":
        said = "are not known: give groups" if seen == (UNKNOWN_SUBJECT,) else f"trained: {', '.join(seen[:5])}"
        raise ValueError(
            f"reconstruction is scored on subjects that never trained; these {said} (or ask for on_seen='mark')"
        )
    found = reconstructions(net, data, objective=objective)
    hz = token_stages(net.module_.backbone).feature_hz
    return scores_of(found, subjects, ch_names=data.info.ch_names, feature_hz=hz, seen_subjects=seen)


def scores_of(
    found: Iterable[Reconstruction],
    subjects: ArrayLike,
    *,
    ch_names: Sequence[str] | None = None,
    feature_hz: ArrayLike | None = None,
    seen_subjects: Sequence[str] = (),
) -> ReconstructionScores:
    """Score reconstructions that are there.

    Parameters
    ----------
    found : iterable of Reconstruction
        Batches, in the order of ``subjects``.
    subjects : array-like of str, shape (n_windows,)
        Subject of each window.
    ch_names : sequence of str, optional
        Of the rows of the reconstructions.
    feature_hz : array-like, shape (n_features,), optional
        Frequencies of the features of spectra.
    seen_subjects : sequence of str
        Those that trained.

    Returns
    -------
    ReconstructionScores

    Raises
    ------
    ValueError
        There are more or fewer windows than subjects, none at all, nothing was hidden, or hidden
        values are not finite.

    See Also
    --------
    score_reconstruction : Reconstructs and scores.

    Examples
    --------
    >>> import torch
    >>> from biot_bd.pretraining import Reconstruction, scores_of
    >>> x, hidden = torch.randn(3, 2, 4, 25), torch.ones(3, 2, 4, dtype=torch.bool)
    >>> found = Reconstruction(x, 0.9 * x, 0 * x, hidden, None, "signal", "scaled")
    >>> scores = scores_of([found], ["site/01"] * 3)
    >>> f"{scores.overall['skill']:.4f}"  # 1 - 0.1 ** 2
    '0.9900'
    """
    names, total, row = np.asarray(subjects).astype(str), None, 0
    for batch in found:
        own = names[row : row + len(batch.original)]
        if len(own) < len(batch.original):
            raise ValueError(f"there are more reconstructed windows than the {len(names)} subjects given")
        total = _Sums(sorted(set(names.tolist())), batch, feature_hz) if total is None else total
        total.add(batch, own)
        row += len(own)
    if total is None or row < len(names):
        raise ValueError(f"{row} windows were reconstructed, and there are subjects of {len(names)}")
    return total.scores(_names(ch_names, total.n_chans), row, tuple(seen_subjects))


def reconstructions(net: Any, X: Any, *, objective: str | None = None) -> Iterator[Reconstruction]:
    """Yield what an objective reconstructs, batch by batch, under masks that are always the same.

    Parameters
    ----------
    net : biot_bd.Pretrainer
        Fitted.
    X : as the net takes it
    objective : str, optional
        Which one, by name; by default the first that reconstructs.

    Yields
    ------
    Reconstruction
        Of a batch, on the CPU.

    Raises
    ------
    TypeError
        No objective reconstructs.
    LookupError
        There is no such objective.
    """
    module, device = net.module_, net.device
    chosen = _objective(module, objective)
    stages, was_training = token_stages(module.backbone), module.training
    module.eval()
    try:
        start = 0
        dataset = net.get_dataset(X)
        # Not the net's own loader, which deals batches out to processes.
        loader = DataLoader(dataset, batch_size=net.batch_size, collate_fn=collate_windows)
        with torch.random.fork_rng(devices=[]):  # it draws a seed, which would change a training
            batches = iter(loader)
        for batch in OnDevice(batches, device):
            x = to_tensor(unpack_data(batch)[0], device=device)
            rng = PositionRandom(start, len(x), device)
            start += len(x)
            with torch.no_grad(), own_modes(device), precision_context(_precision(net), torch.device(device).type):
                found = _on_cpu(chosen.reconstruct(stages, x, rng))
            yield found
    finally:
        module.train(was_training)


def reconstructing(module: Any) -> dict[str, Any]:
    """Return the objectives of a pretext module that reconstruct, by name."""
    from biot_bd.pretraining.objective import Objective

    return {
        name: one
        for name, one in module.objectives.items()
        if getattr(type(one), "reconstruct", None) is not Objective.reconstruct
    }


def joined(parts: list[Reconstruction]) -> Reconstruction:
    """Return batches of reconstructed windows as one.

    Parameters
    ----------
    parts : list of Reconstruction
        One or more.

    Returns
    -------
    Reconstruction
    """

    def whole(name: str) -> Any:
        values = [getattr(part, name) for part in parts]
        return torch.cat(values) if isinstance(values[0], torch.Tensor) else values[0]

    every = [
        torch.ones(part.hidden.shape[:2], dtype=torch.bool) if part.present is None else part.present for part in parts
    ]
    facts = {name: whole(name) for name in vars(parts[0]) if name != "present"}
    some = any(part.present is not None for part in parts)
    return Reconstruction(**facts, present=torch.cat(every) if some else None)


@dataclass(frozen=True)
class ShownFacts:
    """What pictures of a net's reconstructions say beside values.

    Parameters
    ----------
    window : dict
        Keywords of :func:`biot_bd.pretraining.reconstruction_figure`.
    spectra : dict
        Keywords of :func:`biot_bd.pretraining.reconstruction_spectra_figure`.
    """

    window: dict[str, Any]
    spectra: dict[str, Any]


def shown_facts(net: Any) -> ShownFacts:
    """Return channel names, length of a window and frequencies of a fitted net, where known."""
    info, stages = net.input_info_, token_stages(net.module_.backbone)
    sfreq = info.sfreq or getattr(net.module_.backbone, "sfreq", None)
    hz = stages.feature_hz
    rising = hz is not None and bool((np.diff(hz) > 0).all())
    window = {
        "ch_names": _names(info.ch_names, info.n_chans),
        "window_s": info.n_times / sfreq if sfreq else None,
        "top_hz": float(hz[-1]) if hz is not None and rising else None,
    }
    return ShownFacts(window, {"feature_hz": hz, "sfreq": sfreq})


def _objective(module: Any, name: str | None) -> Any:
    found = reconstructing(module)
    if name is not None and name not in module.objectives:
        raise LookupError(f"no objective {name!r}; there are {', '.join(module.objectives)}")
    if not found or (name is not None and name not in found):
        asked = name or ", ".join(module.objectives)
        raise TypeError(
            f"{asked} reconstructs nothing; masked objectives do (masked-spectrum, masked-patch, masked-vae)"
        )
    return found[next(iter(found)) if name is None else name]


def _precision(net: Any) -> str:
    """Return fp32 where training was in a half precision: scores are of the weights."""
    return "fp32" if net.precision in ("bf16", "fp16", "auto") else str(net.precision)


def _on_cpu(found: Reconstruction) -> Reconstruction:
    moved: dict[str, Any] = {
        name: value.cpu() if isinstance(value, torch.Tensor) else value for name, value in vars(found).items()
    }
    return Reconstruction(**moved)


def _subjects(data: SignalData, groups: ArrayLike | None) -> NDArray[np.str_]:
    n = len(data.windows)
    found = data.groups if groups is None else np.asarray(groups)
    if found is None:
        return np.full(n, UNKNOWN_SUBJECT)
    if found.shape != (n,):
        raise ValueError(f"groups must name the subject of each of {n} windows, found shape {found.shape}")
    return np.asarray(found).astype(str)


def _seen(net: Any, subjects: NDArray[np.str_]) -> tuple[str, ...]:
    """Return the subjects that the weights were trained on, or that nobody knows; validation does
    not count.
    """
    names = sorted(set(subjects.tolist()))
    before = set(net.provenance_.saw(names)) - set(net.valid_subjects_)
    return tuple(one for one in names if one == UNKNOWN_SUBJECT or one in net.train_subjects_ or one in before)


def _names(ch_names: Sequence[str] | None, n_chans: int) -> list[str]:
    if ch_names is not None and len(ch_names) == n_chans:
        return list(ch_names)
    return ["all channels"] if n_chans == 1 else [f"channel {number}" for number in range(n_chans)]


class _Sums:
    """Sums over hidden values, by subject and channel, and by feature."""

    def __init__(self, subjects: list[str], first: Reconstruction, feature_hz: Any) -> None:
        _, self.n_chans, _, n_features = first.original.shape
        self.subjects, self.kind, self.unit = subjects, first.kind, first.unit
        self.cells = np.zeros((len(_SUMS), len(subjects), self.n_chans))
        self.features = np.zeros((3, n_features))
        self.hz = np.full(n_features, np.nan) if feature_hz is None else np.asarray(feature_hz, dtype=float)

    def add(self, found: Reconstruction, subjects: NDArray[np.str_]) -> None:
        """Add a batch."""
        hidden = found.hidden.numpy()
        x, y, guess = (
            np.where(hidden[..., None], part.double().numpy(), 0.0)
            for part in (found.original, found.predicted, found.interpolated)
        )
        for what, values in (("originals", x), ("predictions", y), ("interpolations", guess)):
            if not np.isfinite(values).all():
                raise ValueError(f"{what} of hidden tokens are not finite: this objective cannot be scored")
        n = np.broadcast_to(hidden[..., None], x.shape).astype(float)
        error, guessed = (y - x) ** 2, (guess - x) ** 2
        sums = np.stack([part.sum(axis=(2, 3)) for part in (n, error, guessed, x, y, x * x, y * y, x * y)])
        place = np.searchsorted(self.subjects, subjects)
        for total, own in zip(self.cells, sums, strict=True):
            np.add.at(total, place, own)
        self.features += np.stack([part.sum(axis=(0, 1, 2)) for part in (n, error, guessed)])

    def scores(self, names: list[str], n_windows: int, seen: tuple[str, ...]) -> ReconstructionScores:
        """Return what the sums say."""
        if not self.cells[0].any():
            raise ValueError("no token was hidden: there is nothing to score")
        singles = [
            {"subject": subject, "channel": channel, **_scored(self.cells[:, i, own])}
            for i, subject in enumerate(self.subjects)
            for own, channel in [*((slice(k, k + 1), name) for k, name in enumerate(names)), (slice(None), "all")]
        ]
        frame = pd.DataFrame(singles)
        means = [_mean_row(channel, frame[frame["channel"] == channel]) for channel in [*names, "all"]]
        table = pd.concat([frame, pd.DataFrame(means)], ignore_index=True)
        return ReconstructionScores(table, self._by_feature(), self.kind, self.unit, n_windows, seen)

    def _by_feature(self) -> pd.DataFrame:
        n, error, guessed = self.features
        mse, mse_guessed = error / n, guessed / n
        skill = [_skill(a, b)[0] for a, b in zip(mse, mse_guessed, strict=True)]
        columns = {"feature": np.arange(len(n)), "hz": self.hz, "mse": mse, "mse_interpolation": mse_guessed}
        return pd.DataFrame({**columns, "skill": np.array(skill, dtype=float)})


def _scored(cells: NDArray[np.float64]) -> dict[str, Any]:
    """Return the scores of channels pooled, from their sums (n_sums, n_chans)."""
    n, error, guessed, x, y, xx, yy, xy = cells.sum(axis=1)
    if n == 0:
        undefined = dict.fromkeys(("mse", "mse_interpolation", "skill", "correlation"), np.nan)
        return {"n_values": 0, **undefined, "reason": "absent, or nothing of it was hidden"}
    skill, no_skill = _skill(error / n, guessed / n)
    correlation, no_correlation = _correlation(n, x, y, xx, yy, xy)
    reason = "; ".join(filter(None, (no_skill, no_correlation))) or None
    return {
        "n_values": int(n),
        "mse": error / n,
        "mse_interpolation": guessed / n,
        "skill": np.nan if skill is None else skill,
        "correlation": np.nan if correlation is None else correlation,
        "reason": reason,
    }


def _skill(mse: float, guessed: float) -> tuple[float | None, str]:
    if not np.isfinite(guessed):
        return None, "nothing was hidden"
    if guessed <= 0:
        return None, "skill: interpolation makes no error"
    return 1 - mse / guessed, ""


def _correlation(n: float, x: float, y: float, xx: float, yy: float, xy: float) -> tuple[float | None, str]:
    spread_x, spread_y = xx - x * x / n, yy - y * y / n
    if spread_x <= _TINY * max(xx, _TINY):
        return None, "correlation: the signal is constant"
    if spread_y <= _TINY * max(yy, _TINY):
        return None, "correlation: the prediction is constant"
    return float((xy - x * y / n) / np.sqrt(spread_x * spread_y)), ""


def _mean_row(channel: str, rows: pd.DataFrame) -> dict[str, Any]:
    """Return the means over subjects; skill is that of the mean errors."""
    known = rows[rows["n_values"] > 0]
    if known.empty:
        return {**_as_dict(rows.iloc[0]), "subject": "all"}
    mse, guessed = known["mse"].mean(), known["mse_interpolation"].mean()
    skill, reason = _skill(mse, guessed)
    no_correlation = "" if known["correlation"].notna().any() else "correlation: undefined for every subject"
    return {
        "subject": "all",
        "channel": channel,
        "n_values": int(known["n_values"].sum()),
        "mse": mse,
        "mse_interpolation": guessed,
        "skill": np.nan if skill is None else skill,
        "correlation": known["correlation"].mean(),
        "reason": "; ".join(filter(None, (reason, no_correlation))) or None,
    }


def _as_dict(row: pd.Series) -> dict[str, Any]:
    return {str(name): value for name, value in row.items()}


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    plain = frame.astype(object).where(frame.notna(), None)
    return [{str(key): value for key, value in row.items()} for row in plain.to_dict("records")]
