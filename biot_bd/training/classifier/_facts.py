"""What a classifier learnt in ``fit``.

The one place that writes it, and the one that drops or marks it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skorch.exceptions import NotInitializedError
from skorch.history import History
from skorch.utils import to_numpy

from biot_bd.models.inference_plan import PrecisionPlan
from biot_bd.models.weight_identity import WeightsWatch, weight_digests
from biot_bd.training._validation import uncompiled
from biot_bd.training.classifier._following import WeightsFollowing
from biot_bd.training.finetuning.base import FinetuneOption
from biot_bd.training.fitted_facts import NEW_HEAD, RUNNING, FittedFacts
from biot_bd.training.labels import LabelsOf, output_labels, positive_label
from biot_bd.training.pretrained import LOADED, restore_module
from biot_bd.training.resume import describe

DESCRIBED = ("criterion", "classes", "class_weight", "pretrained", "finetune", "sampler", "augment")
"""Parameters that the facts tell of.

Another value makes them stale (``module`` makes new weights, so it drops them).
"""


def _fact(name: str) -> property:
    return property(lambda self: getattr(self._claimed(), name), doc=f"``facts_.{name}``.")


class FactKeeping(WeightsFollowing):
    """Keep what ``fit`` learnt as ``facts_``; see :class:`biot_bd.training.BIOTClassifier`."""

    _loaded = False  # whether the weights are those of load_params
    _made_with: dict[str, Any] | None = None
    _n_epochs_before = 0  # epochs in the history when the running fit began
    _module_config: dict[str, Any] | None = None  # of a module that is restored without its checkpoint

    input_info_ = _fact("input_info")
    classes_inferred_ = _fact("classes")
    class_weight_ = _fact("class_weight")
    class_counts_ = _fact("class_counts")
    train_subjects_ = _fact("train_subjects")
    valid_subjects_ = _fact("valid_subjects")
    training_note_ = _fact("training_note")
    provenance_ = _fact("provenance")

    # --- labels -----------------------------------------------------------------------------------

    @property
    def _outputs(self) -> NDArray[Any]:
        """Labels in the order of the module's outputs, those of the weights where known."""
        if hasattr(self, "facts_"):
            return self.facts_.classes
        if self.classes is None or len(self.classes) == 0:
            raise AttributeError("classes are not known before fit: there is no classes_")
        return output_labels(self.classes)

    @property
    def classes_(self) -> NDArray[Any]:
        """Sorted labels: the columns of ``predict_proba``."""
        return np.sort(self._outputs)

    @property
    def positive_label_(self) -> Any:
        """The positive one of two classes, else None."""
        return positive_label(self._outputs)

    def _check_same_classes(self) -> None:
        """Raise where training goes on with other classes than those of the weights."""
        if not hasattr(self, "facts_") or self.classes is None:
            return
        given, known = output_labels(self.classes).tolist(), self.facts_.classes.tolist()
        if set(given) != set(known):
            raise ValueError(
                f"the weights were trained for the classes {sorted(known)}, but classes={given} now; fit from the beginning"
            )

    @contextmanager
    def _scored_by_label(self) -> Iterator[None]:
        """Give scorers of skorch's callbacks labels to compare predictions with.

        Batches hold positions, which only look like labels where these are 0, 1, ...  Predictions
        are those of the epoch's own passes: skorch finds no labels for others.
        """
        outputs = self._outputs
        told = [callback for _, callback in self.callbacks_ if getattr(callback, "target_extractor", None) is to_numpy]
        for callback in told:
            callback.target_extractor = LabelsOf(outputs)
        self.__dict__["use_caching"] = True
        try:
            yield
        finally:
            self.__dict__["use_caching"] = "auto"
            for callback in told:
                callback.target_extractor = to_numpy

    @property
    def threshold_(self) -> float | None:
        """``facts_.threshold``; may be set."""
        return self._claimed().threshold

    @threshold_.setter
    def threshold_(self, value: float | None) -> None:
        self._follow_weights()
        self._learn(threshold=value)

    @property
    def pretrained_report_(self) -> Any:
        """What was loaded into the module, with ``pretrained``."""
        report = None if self.pretrained is None else getattr(uncompiled(self.module_), "load_report", None)
        if report is None:
            raise AttributeError("nothing was loaded: there is no pretrained_report_")
        return report

    # --- what changes afterwards ------------------------------------------------------------------

    def _drop_facts(self) -> None:
        """Forget everything: the weights are new, or half trained."""
        self.__dict__.pop("facts_", None)
        self._loaded = False
        self._watch = None

    def _mark_facts(self, why: str) -> None:
        """Say that the facts no longer tell of this classifier; a running fit learns them anew."""
        if hasattr(self, "facts_") and self.facts_.stale not in (RUNNING, NEW_HEAD):
            self._learn(stale=why)

    def _runs_fit(self) -> bool:
        return hasattr(self, "facts_") and self.facts_.stale == RUNNING

    def initialize(self) -> Any:
        """Build module, loss, optimizer and callbacks anew.

        Outside of ``fit`` the classifier is not fitted afterwards.
        """
        in_fit = self._runs_fit()
        self._loaded = False
        try:
            return super().initialize()  # with the shapes of the last data
        finally:
            if not in_fit:
                self._drop_facts()

    def load_params(
        self,
        f_params: Any = None,
        f_optimizer: Any = None,
        f_criterion: Any = None,
        f_history: Any = None,
        checkpoint: Any = None,
        use_safetensors: bool = False,
        **kwargs: Any,
    ) -> None:
        """Load weights, optimizer, loss or history as in skorch.

        What other weights than those of ``fit`` have seen is unknown: they have no subjects and no
        ``threshold_``, and ``provenance_.known`` is False.  The same weights change nothing.

        Parameters
        ----------
        f_params, f_optimizer, f_criterion, f_history, checkpoint, use_safetensors, **kwargs
            See :meth:`skorch.NeuralNet.load_params`.
        """
        wanted, n_epochs, loaded = self.__dict__["device"], len(self.history_ or ()), False
        self._follow_weights()
        try:
            super().load_params(f_params, f_optimizer, f_criterion, f_history, checkpoint, use_safetensors, **kwargs)
            loaded = True
        finally:
            if wanted == "auto":  # skorch writes down the device that it found
                self.__dict__["device"] = wanted
            running = hasattr(self, "facts_") and self.facts_.stale == RUNNING
            given = any(source is not None for source in (f_params, checkpoint, kwargs.get("f_module")))
            if given and (loaded or hasattr(self, "facts_")) and not (running and self._is_own(checkpoint, n_epochs)):
                with_history = f_history is not None or getattr(checkpoint, "f_history", None) is not None
                self._take_loaded(len(self.history_ or ()) if with_history else 0)

    def _is_own(self, checkpoint: Any, n_epochs: int) -> bool:
        """Return whether a checkpoint is of the running fit: a callback of it, after an epoch."""
        own = any(callback is checkpoint for _, callback in self.callbacks_)
        return own and n_epochs > self._n_epochs_before

    def _take_loaded(self, n_epochs: int) -> None:
        """Say that weights were loaded, where they are others (half of them, if loading failed)."""
        if not hasattr(self, "facts_") or self.facts_.stale == RUNNING:
            self._loaded = True
            return
        module = uncompiled(self.module_)
        weights = weight_digests(module)
        if weights != self.facts_.weights:
            self._loaded = True
            self._lose("load_params replaced the weights", LOADED, weights, n_epochs)
        self._watch = WeightsWatch(module)

    def set_params(self, **kwargs: Any) -> Any:
        """Set parameters.

        ``finetune__*`` and ``schedule__*`` belong to these options, or to the one that ``finetune``
        names.

        Those that ``facts_`` tells of make it stale, and another value of one of the module (new
        weights) drops it, with a warning; ``compile`` keeps weights and facts.
        """
        module, was_fitted = uncompiled(getattr(self, "module_", None)), hasattr(self, "facts_") or self._loaded
        before = self._described(kwargs)
        owners = ("finetune", "schedule")
        nested = {key: kwargs.pop(key) for key in list(kwargs) if "__" in key and key.partition("__")[0] in owners}
        try:
            self._set(kwargs, nested)
        except BaseException:
            # Half of the parameters may be set: neither weights nor facts are surely theirs.
            if any(name.partition("__")[0] == "module" for name in kwargs):
                self._drop_facts()
            raise
        finally:
            if uncompiled(getattr(self, "module_", None)) is not module:
                self._forget_module(was_fitted, [name for name in kwargs if name.partition("__")[0] == "module"])
            changed = [name for name, value in self._described(before).items() if value != before[name]]
            if changed:
                self._mark_facts(f"set_params changed {', '.join(changed)}")
        return self

    def _forget_module(self, was_fitted: bool, names: list[str]) -> None:
        """Drop what is known of a module that another one replaced, its epochs included."""
        self._drop_facts()
        self.history_ = History()
        if was_fitted:
            warnings.warn(
                f"set_params({', '.join(names)}) made a new module with new weights: what fit learnt is dropped; fit again",
                stacklevel=3,
            )

    def _set(self, own: dict[str, Any], nested: dict[str, Any]) -> None:
        self._set_own(own)
        for key, value in nested.items():
            owner, _, name = key.partition("__")
            if isinstance(getattr(self, owner), FinetuneOption):
                getattr(self, owner).set_params(**{name: value})
            elif owner == "schedule":
                raise ValueError(
                    f"{key}: give an object, e.g. schedule=Cosine({name}={value!r}); found schedule={self.schedule!r}"
                )
            else:
                self.__dict__[key] = value
        if nested:
            self._recipe()

    def _described(self, names: Any) -> dict[str, Any]:
        """Describe those of some parameters that the facts tell of.

        Nothing where there are none.
        """
        if not hasattr(self, "facts_"):
            return {}
        owners = {name: name.partition("__")[0] for name in names}
        own = vars(self)
        return {name: describe([own.get(owner), own.get(name)]) for name, owner in owners.items() if owner in DESCRIBED}

    def _origins(self) -> dict[str, Any]:
        """Describe the parameters that only a fit from the beginning, or a new loss, can follow."""
        return {name: describe(getattr(self, name)) for name in ("class_weight", "pretrained")}

    def _changed_since(self) -> set[str]:
        """Return those of :meth:`_origins` that are others than when the weights were made."""
        now = self._origins()
        return {name for name, value in (self._made_with or now).items() if value != now[name]}

    # --- is it fitted -----------------------------------------------------------------------------

    def check_is_fitted(self, attributes: Any = None, *args: Any, **kwargs: Any) -> None:
        """Raise unless the classifier is fitted, or has weights of ``load_params``.

        Raises
        ------
        skorch.exceptions.NotInitializedError
            A ``NotFittedError`` of scikit-learn: it was never fitted, ``fit`` failed, or the module
            is new since.
        """
        super().check_is_fitted(attributes, *args, **kwargs)
        if attributes is None and hasattr(self, "facts_") and self.facts_.stale == NEW_HEAD:
            raise NotInitializedError(f"this {type(self).__name__} is not fitted: {NEW_HEAD}; call partial_fit")
        if attributes is None and not hasattr(self, "facts_") and not self._loaded:
            raise NotInitializedError(
                f"this {type(self).__name__} is not fitted: its module is new since, or fit did not end; call fit, or load_params"
            )

    def _restore(self, facts: FittedFacts) -> None:
        """Build a classifier that was fitted once, all but its weights.

        Its precision is checked on the first windows to predict.

        Parameters
        ----------
        facts : FittedFacts
            Saved ones.
        """
        self.facts_ = replace(facts, stale=RUNNING)
        self._module_config = facts.module_config if self.pretrained is not None else None
        self._own_callbacks_only = True
        try:
            self.initialize()
        finally:
            self._module_config = None
            self._own_callbacks_only = False
        restore_module(self, facts)
        plans = facts.inference_plan, facts.training_plan
        if not facts.precision_report:  # saved before there were plans
            plans = (PrecisionPlan("fp32" if self.precision == "auto" else self.precision),) * 2
        self._take_plans(*plans)
        self._learn(stale=None)
        self._made_with = self._origins()
        self._unchecked = True
