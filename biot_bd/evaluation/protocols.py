"""Protocols: presets that name everything a score depends on, from the split to the rule of the
threshold.

A preset (:data:`PROTOCOLS`) fixes how recordings are prepared, how subjects are split, how a neural
model is trained and selected, how the threshold is chosen and what is averaged.  A score without
one is ``"custom"``; no output leaves the name out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
from skorch.callbacks import LRScheduler

from biot_bd import registry
from biot_bd.evaluation.study_identity import describe, final_step, short
from biot_bd.exceptions import ProtocolError
from biot_bd.number_texts import score_text
from biot_bd.training import BIOTClassifier
from biot_bd.training.finetuning import Cosine
from biot_bd.windows import Windows
from biot_bd.windows.labels import make_label_rule, rule_name

CUSTOM = "custom"
"""Name of the protocol of a result that follows no preset."""

AVERAGING = {
    "subjects": "mean of the test subjects",
    "folds": "mean of the folds, each over its test windows at once",
}
OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
SCHEDULES = ("constant", "cosine")
PREPARED = ("labels", "window_s", "stride_s", "sfreq", "resample", "montage")
_METRICS = ("average_precision", "roc_auc", "balanced_accuracy")


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """All that a score depends on, apart from the model and the recordings.

    Parameters
    ----------
    name : str
        Stands beside every score.  A changed copy of a preset needs a name of its own
        (``dataclasses.replace(PROTOCOLS["ours"], name="ours-18", montage="biot-18")``).
    source : str
        Where the values come from.
    labels, montage, resample : str
        As in :func:`biot_bd.prepare`: label rule, channels, way of resampling.
    sfreq, window_s, stride_s : float
        Rate of the windows in Hz; length and distance of windows in seconds.
    cv : str
        Split by subject, see :func:`biot_bd.cross_validate`.
    validation_fraction : float
        Share of the training subjects that validate; fixed splits bring their own.
    optimizer : {"adam", "adamw", "sgd"}
        Its name.
    lr, weight_decay : float
        Learning rate (the first, with a schedule) and weight decay of the optimizer.
    batch_size, max_epochs : int
        Windows a batch, and most epochs to train.
    drop_last : bool
        Leave out a last incomplete batch of training windows.
    schedule : {"constant", "cosine"}
        Of the learning rate; cosine goes from ``lr`` to ``lr_min`` over ``max_epochs``, a step an
        epoch.
    lr_min : float
        Learning rate at the end of a cosine; not used with ``"constant"``.
    clip_norm : float or None
        Most that the norm of the gradients may be.
    loss : str
        Registered name.
    loss_parameters : tuple of (name, value)
        Its parameters, where they are not its defaults.
    monitor : str
        Validation score by which the epoch is selected.
    patience : int
        Epochs without a better one after which training stops; ``max_epochs`` never stops early.
    threshold : str or float
        Rule, see :func:`biot_bd.evaluation.choose_threshold`.
    averaging : {"subjects", "folds"}
        What the protocol's own number is the mean of.
    scoring : tuple of str
        Metrics.
    remarks : tuple of str
        What a reader of the numbers must know; goes into every result.

    Raises
    ------
    ValueError
        A value that is not among the choices.

    See Also
    --------
    run_protocol : A study under a protocol.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from biot_bd.evaluation import PROTOCOLS
    >>> PROTOCOLS["ours"].prepare_parameters()["stride_s"]
    5.0
    >>> replace(PROTOCOLS["ours"], name="ours-18", montage="biot-18").montage
    'biot-18'
    """

    name: str
    source: str
    labels: str
    montage: str
    sfreq: float
    window_s: float
    stride_s: float
    resample: str
    cv: str
    validation_fraction: float
    optimizer: str
    lr: float
    weight_decay: float
    batch_size: int
    max_epochs: int
    drop_last: bool
    schedule: str = "constant"
    lr_min: float = 0.0
    clip_norm: float | None = None
    loss: str
    loss_parameters: tuple[tuple[str, Any], ...] = ()
    monitor: str
    patience: int
    threshold: str | float
    averaging: str
    scoring: tuple[str, ...] = _METRICS
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.name or self.name == CUSTOM:
            raise ValueError(f"a protocol needs a name other than {CUSTOM!r}, got {self.name!r}")
        for what, choices in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES), ("averaging", AVERAGING)):
            if getattr(self, what) not in choices:
                raise ValueError(f"{what} must be one of {', '.join(choices)}; got {getattr(self, what)!r}")

    # --- what other parts are given ---

    def prepare_parameters(self) -> dict[str, Any]:
        """Return the parameters for :func:`biot_bd.prepare` (data set and folder are yours)."""
        return {name: getattr(self, name) for name in PREPARED}

    def classifier_parameters(self) -> dict[str, Any]:
        """Return the parameters for :class:`biot_bd.BIOTClassifier`; the module is yours.

        Training windows are those of the data, each once an epoch and unchanged: ``sampler`` and
        ``augment`` are None.
        """
        cosine = Cosine(final=round(self.lr_min / self.lr, 12), by_epoch=True) if self.schedule == "cosine" else None
        return {
            "optimizer": OPTIMIZERS[self.optimizer],
            "lr": self.lr,
            "optimizer__weight_decay": self.weight_decay,
            "batch_size": self.batch_size,
            "max_epochs": self.max_epochs,
            "iterator_train__drop_last": self.drop_last,
            "gradient_clip_norm": self.clip_norm,
            "criterion": self.loss,
            **{f"criterion__{name}": value for name, value in self.loss_parameters},
            "monitor": self.monitor,
            "patience": self.patience,
            "schedule": cosine,
            "sampler": None,
            "augment": None,
        }

    def cross_validate_parameters(self) -> dict[str, Any]:
        """Return the parameters for :func:`biot_bd.cross_validate`, which takes them from
        ``protocol=`` by itself.
        """
        return {name: getattr(self, name) for name in ("cv", "scoring", "threshold", "validation_fraction")}

    def as_dict(self) -> dict[str, Any]:
        """Return all values as JSON holds them, the form of ``run.json``."""
        return {**asdict(self), "loss_parameters": dict(self.loss_parameters)}

    # --- checks ---

    def check_windows(self, windows: Any) -> None:
        """Raise unless windows were prepared as the protocol says.

        Parameters
        ----------
        windows : Windows

        Raises
        ------
        ProtocolError
            Another label rule, window, stride, rate, resampling or montage (all differences are
            named), or data that do not say how they were prepared.
        """
        if not isinstance(windows, Windows):
            raise ProtocolError(
                f"protocol {self.name!r} needs Windows, which know how they were prepared; {type(windows).__name__} do not"
            )
        wanted = {**self.prepare_parameters(), "labels": rule_name(make_label_rule(self.labels))}
        lines = []
        for table in windows.tables:
            found = {name: getattr(table, name) for name in PREPARED[1:-1]}
            found |= {"labels": table.label_rule, "montage": self._montage(table.ch_names)}
            lines += [_difference(name, wanted[name], found[name]) for name in PREPARED if wanted[name] != found[name]]
        if lines:
            options = ", ".join(f"{name}={value!r}" for name, value in self.prepare_parameters().items())
            raise ProtocolError(
                f"these windows do not follow protocol {self.name!r}: {'; '.join(dict.fromkeys(lines))}. "
                f"Prepare them with {options}, or leave the protocol out (the result is then {CUSTOM!r})"
            )

    def _montage(self, ch_names: Sequence[str]) -> str:
        """Return the name of a montage by its channels, this protocol's first, or the channels."""
        names = [self.montage, *registry.montages]
        found = [n for n in names if tuple(registry.montages[n].ch_names) == tuple(ch_names)]
        return found[0] if found else ", ".join(ch_names)

    def check_pipeline(self, pipeline: Any) -> None:
        """Raise where a pipeline ends in a ``BIOTClassifier`` that is trained otherwise than the
        protocol says.

        Parameters
        ----------
        pipeline : estimator
            Not a neural model: nothing is checked, as optimiser, loss and selection do not apply.

        Raises
        ------
        ProtocolError
            Names the parameters that differ.
        """
        _, last = final_step(pipeline)
        if not isinstance(last, BIOTClassifier):
            return
        found = last.get_params(deep=False)
        lines = [
            _difference(name, value, found.get(name))
            for name, value in self.classifier_parameters().items()
            if describe(found.get(name)) != describe(value)
        ]
        entries = [entry[1] if isinstance(entry, tuple) else entry for entry in found.get("callbacks") or ()]
        lines += [f"{entry!r} changes the learning rate too" for entry in entries if isinstance(entry, LRScheduler)]
        if lines:
            raise ProtocolError(
                f"this pipeline does not follow protocol {self.name!r}: {'; '.join(lines)}. Use "
                "BIOTClassifier(**protocol.classifier_parameters(), ...), or a changed protocol of another name"
            )


def _difference(name: str, wanted: Any, found: Any) -> str:
    said, meant = (short(getattr(value, "__name__", value), 120) for value in (found, wanted))
    return f"{name} is {said}, not {meant}"


_WRONG_LABELS = (
    "label rule 'biot-official' calls windows wholly inside a seizure background and repeats windows around seizures, in "
    "the test too: comparable with published numbers only, never with scores under correct labels"
)
_ALL_CASES = "the published preprocessing leaves out chb12, chb13 and chb17; here they train"
_PUBLISHED: dict[str, Any] = {
    "labels": "biot-official",
    "montage": "biot-16",
    "sfreq": 200.0,
    "window_s": 10.0,
    "stride_s": 10.0,
    "resample": "fft-window",
    "validation_fraction": 0.25,
    "monitor": "valid_roc_auc",
    "averaging": "folds",
}
_BIOT: dict[str, Any] = {
    **_PUBLISHED,
    "optimizer": "adam",
    "lr": 1e-3,
    "weight_decay": 1e-5,
    "batch_size": 512,
    "max_epochs": 100,
    "drop_last": True,
    "threshold": "matched-prevalence",
}

PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="biot-paper",
            source="Yang et al. (2023), BIOT, NeurIPS; training values of the BIOT repository",
            cv="biot-paper",
            loss="focal",
            loss_parameters=(("alpha", 0.8), ("gamma", 0.7)),
            patience=100,
            remarks=(
                _WRONG_LABELS,
                _ALL_CASES,
                "validation and test subjects are exchanged once; the two are averaged",
            ),
            **_BIOT,
        ),
        Protocol(
            name="biot-code",
            source="BIOT repository, run_binary_supervised.py",
            cv="biot-code",
            loss="cross-entropy",
            patience=5,
            remarks=(_WRONG_LABELS, _ALL_CASES),
            **_BIOT,
        ),
        Protocol(
            name="cbramod",
            source="CBraMod repository, fine-tuning on CHB-MIT",
            cv="biot-code",
            optimizer="adamw",
            lr=1e-4,
            weight_decay=0.05,
            batch_size=64,
            max_epochs=50,
            drop_last=False,
            schedule="cosine",
            lr_min=1e-6,
            clip_norm=1.0,
            loss="cross-entropy",
            patience=50,
            threshold=0.5,
            remarks=(
                _WRONG_LABELS,
                _ALL_CASES,
                "the published code steps its cosine every batch and trains the head at five times the learning rate; "
                "here the step is an epoch and all weights have one rate",
            ),
            **_PUBLISHED,
        ),
        Protocol(
            name="ours",
            source="biot_bd: correct labels, by subject, selected and reported by AUC-PR",
            labels="overlap",
            montage="biot-16",
            sfreq=200.0,
            window_s=10.0,
            stride_s=5.0,
            resample="fft",
            cv="subject-loo",
            validation_fraction=0.25,
            optimizer="adamw",
            lr=1e-3,
            weight_decay=1e-2,
            batch_size=128,
            max_epochs=50,
            drop_last=False,
            clip_norm=1.0,
            loss="focal",
            loss_parameters=(("gamma", 2.0),),
            monitor="valid_average_precision",
            patience=10,
            threshold="balanced-accuracy",
            averaging="subjects",
        ),
    )
}
"""Presets by name."""


def as_protocol(protocol: str | Protocol) -> Protocol:
    """Return a preset by its name, or a protocol as it is.

    Raises
    ------
    ValueError
        No preset of that name, or a changed preset that kept its name.
    TypeError
        Neither a name nor a protocol.
    """
    if isinstance(protocol, str):
        if protocol not in PROTOCOLS:
            raise ValueError(f"no protocol named {protocol!r}; there are {', '.join(PROTOCOLS)}")
        return PROTOCOLS[protocol]
    if not isinstance(protocol, Protocol):
        raise TypeError(f"a protocol is a name ({', '.join(PROTOCOLS)}) or a Protocol, not {type(protocol).__name__}")
    preset = PROTOCOLS.get(protocol.name)
    if preset is not None and preset != protocol:
        changed = [f.name for f in fields(Protocol) if getattr(preset, f.name) != getattr(protocol, f.name)]
        raise ValueError(
            f"this protocol is called {protocol.name!r} but differs from that preset in {', '.join(changed)}; "
            "give it a name of its own: dataclasses.replace(..., name=...)"
        )
    return protocol


def averaged(metrics: Mapping[str, Any], averaging: str) -> dict[str, dict[str, Any]]:
    """Return a study's own number by metric, averaged as a protocol says.

    Parameters
    ----------
    metrics : mapping
        Content of ``metrics.json``.
    averaging : {"subjects", "folds"}

    Returns
    -------
    dict
        ``{metric: {"value", "n", "reason"}}``; n counts subjects or folds.  A mean of folds is
        undefined as soon as it is in one fold, with the reason; a mean of subjects leaves out
        subjects for whom it is undefined.
    """
    if averaging not in AVERAGING:
        raise ValueError(f"averaging must be one of {', '.join(AVERAGING)}; got {averaging!r}")
    out: dict[str, dict[str, Any]] = {}
    for name in metrics["scoring"]:
        if averaging == "subjects":
            macro = metrics["macro"][name]
            out[name] = {"value": macro["value"], "n": macro["n_subjects"], "reason": macro.get("reason")}
            continue
        folds = metrics["folds"]
        missing = [f"fold {fold['fold']}: {fold[name]['reason']}" for fold in folds if fold[name]["value"] is None]
        value = None if missing else float(np.mean([fold[name]["value"] for fold in folds]))
        out[name] = {"value": value, "n": len(folds), "reason": "; ".join(missing) or None}
    return out


def protocol_notes(run: Mapping[str, Any], metrics: Mapping[str, Any] | None = None) -> list[str]:
    """Return what outputs say of a study's protocol: its name, its own numbers and its remarks.

    Parameters
    ----------
    run : mapping
        Content of ``run.json``; one without ``"protocol"`` is custom.
    metrics : mapping, optional
        Content of ``metrics.json``.
    """
    protocol = run.get("protocol") or {"name": CUSTOM}
    if protocol["name"] == CUSTOM:
        return [f"protocol: {CUSTOM} (no preset; see the parameters)"]
    lines = [f"protocol: {protocol['name']} ({protocol['source']})"]
    if metrics is not None:
        cells = averaged(metrics, protocol["averaging"])
        shown = ", ".join(f"{name} {_cell(cell)}" for name, cell in cells.items())
        lines.append(f"by {protocol['name']}, {AVERAGING[protocol['averaging']]}: {shown}")
    return lines + [str(remark) for remark in protocol.get("remarks") or ()]


def _cell(cell: Mapping[str, Any]) -> str:
    if cell["value"] is None:
        return f"undefined ({cell['reason']})"
    return f"{score_text(cell['value'])} (n={cell['n']})"
