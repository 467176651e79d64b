"""What ``fit`` learns beside the weights, in one object that a saved model keeps.

The classifier writes it when ``fit`` ends, reads it everywhere, and drops or marks it as soon as
weights or parameters are others than those that it tells of.  It is plain data: a scorer reads it
without skorch and braindecode.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biot_bd.models.checkpoints.provenance import Provenance
from biot_bd.models.checkpoints.report import LoadReport
from biot_bd.models.inference_plan import PrecisionPlan
from biot_bd.runs import to_jsonable
from biot_bd.training.input_data import InputInfo
from biot_bd.training.seen_windows import SeenWindows

RUNNING = "fit has not ended"
"""Why the facts of a running fit are stale."""
NEW_HEAD = "its head was reset since, and nobody has trained the new one"
"""Why those of a classifier are stale that cannot predict before it is trained on."""
_NOT_SAVED = ("seen", "weights", "stale")
_LABELS = "biufUO"  # kinds of dtypes that plain labels have


@dataclass(frozen=True, eq=False)
class FittedFacts:
    """What a classifier learnt in ``fit``, apart from its weights.

    Parameters
    ----------
    input_info : InputInfo
        Shape, channels, rate and unit of the windows.
    classes : ndarray, shape (n_classes,)
        Labels in the order of the module's outputs, the positive one last of two.
    class_weight : list of float or None
        Weights of the classes in the loss.
    class_counts : list of float
        Training windows of each class in an epoch.
    train_subjects, valid_subjects : tuple of str
        Empty where subjects are unknown or nobody validates.
    threshold : float or None
        Probability from which ``predict`` says the positive class; None: the most probable one.
    n_epochs : int
        Epochs that were trained.
    training_note : str or None
        What to know of training scores with a sampler or augmentation.
    training_plan, inference_plan : PrecisionPlan
        Precision and micro-batches of training and of prediction.
    precision_report : dict
        What was wanted, on which machine, measured seconds a window, the largest difference of a
        probability from fp32, notes; JSON.
    provenance : Provenance or None
        All that the weights have seen.
    pretrained_report : LoadReport or None
        What was loaded, with ``pretrained``.
    module_config : dict or None
        Architecture of a BIOT, from which it is built again without its checkpoint.
    token_names : tuple of str or None
        Channel names of a BIOT's tokens.
    seen : SeenWindows or None
        The windows that ``fit`` was given, where they tell their subjects; not saved.
    weights : mapping or None
        Digest of each tensor of the module that the facts tell of (see
        :mod:`biot_bd.models.weight_identity`); not saved.
    stale : str or None
        Why the facts no longer (or not yet) tell of the classifier as it is; None: they do.

    See Also
    --------
    biot_bd.training.BIOTClassifier : Keeps it as ``facts_``.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd.training.fitted_facts import FittedFacts
    >>> from biot_bd.training.input_data import InputInfo
    >>> facts = FittedFacts(
    ...     InputInfo(2, 400, ("Fp1", "Fp2"), 200.0, "uV"), np.array([0, 1]), stale=None
    ... )
    >>> again = FittedFacts.from_dict(facts.as_dict())
    >>> again.input_info.ch_names, again.classes.tolist(), again.inference_plan.precision
    (('Fp1', 'Fp2'), [0, 1], 'fp32')
    """

    input_info: InputInfo
    classes: NDArray[Any]
    class_weight: list[float] | None = None
    class_counts: list[float] = field(default_factory=list)
    train_subjects: tuple[str, ...] = ()
    valid_subjects: tuple[str, ...] = ()
    threshold: float | None = None
    n_epochs: int = 0
    training_note: str | None = None
    training_plan: PrecisionPlan = field(default_factory=PrecisionPlan)
    inference_plan: PrecisionPlan = field(default_factory=PrecisionPlan)
    precision_report: dict[str, Any] = field(default_factory=dict)
    provenance: Provenance | None = None
    pretrained_report: LoadReport | None = None
    module_config: dict[str, Any] | None = None
    token_names: tuple[str, ...] | None = None
    seen: SeenWindows | None = None
    weights: Mapping[str, str] | None = None
    stale: str | None = RUNNING

    def as_dict(self) -> dict[str, Any]:
        """Return the facts as JSON holds them, for :meth:`from_dict`.

        Raises
        ------
        ValueError
            The facts are stale, or the labels are neither numbers nor texts: there is nothing true
            to save.
        """
        if self.stale is not None:
            raise ValueError(f"what fit learnt is no longer known: {self.stale}; fit again")
        if self.classes.dtype.kind not in _LABELS:
            raise ValueError(f"classes must be numbers or texts to be saved, found dtype {self.classes.dtype}")
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _NOT_SAVED}
        values["classes"] = {"dtype": self.classes.dtype.str, "labels": self.classes.tolist()}
        for name in ("input_info", "training_plan", "inference_plan"):
            values[name] = values[name].as_dict()
        for name in ("provenance", "pretrained_report"):
            values[name] = None if values[name] is None else values[name].to_dict()
        return to_jsonable(values)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FittedFacts:
        """Make them again from :meth:`as_dict`.

        Raises
        ------
        ValueError
            An entry is unknown.
        KeyError
            An entry without a default is missing.
        """
        unknown = sorted(set(values) - {f.name for f in fields(cls)} | set(values) & {"seen", "weights"})
        if unknown:
            raise ValueError(f"fitted facts do not have {', '.join(unknown)}; they were written by another version")
        taken: dict[str, Any] = {**values, "stale": None}
        taken["input_info"] = InputInfo.from_dict(values["input_info"])
        taken["classes"] = _labels(**values["classes"])
        makers = {
            "training_plan": PrecisionPlan.from_dict,
            "inference_plan": PrecisionPlan.from_dict,
            "provenance": Provenance.from_dict,
            "pretrained_report": LoadReport.from_dict,
            "train_subjects": tuple,
            "valid_subjects": tuple,
            "token_names": tuple,
        }
        return cls(**taken | {k: make(values[k]) for k, make in makers.items() if values.get(k) is not None})  # type: ignore[operator]


def _labels(dtype: str, labels: list[Any]) -> NDArray[Any]:
    found = np.dtype(dtype)
    longest = max((len(str(label)) for label in labels), default=0)
    if found.kind not in _LABELS or found.itemsize > max(64, 4 * longest + 64):
        raise ValueError(f"classes.dtype is {dtype!r}, expected one of numbers or texts")
    made = np.array(labels, dtype=found)
    if made.ndim != 1 or len(set(labels)) != len(labels):
        raise ValueError(f"classes.labels must be a list of labels, each once; found {labels!r}")
    return made
