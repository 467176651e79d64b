"""How a classifier chooses and checks the precision and the micro-batches of training and of
prediction.
"""

from __future__ import annotations

import sys
import warnings
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from skorch.dataset import unpack_data
from skorch.utils import to_tensor
from torch import Tensor
from torch.utils.data import Dataset

from biot_bd.models.biot import BIOT
from biot_bd.models.inference_plan import PrecisionPlan, machine_key, measure_inference_plan
from biot_bd.training._validation import uncompiled
from biot_bd.training.callbacks import probabilities
from biot_bd.training.classifier._facts import FactKeeping
from biot_bd.training.micro_batches import why_whole
from biot_bd.training.precision_plans import TOLERANCE, precision_context, training_plan
from biot_bd.training.resume import kept_random_states
from biot_bd.windows.torch_dataset import DeviceBatch, collate_windows

CHECKED_WINDOWS = 32
ENOUGH_TO_MEASURE = 64
"""Fewer windows are predicted with a plan as it was saved, rather than measured for on another
machine.
"""


class PrecisionPlanning(FactKeeping):
    """Plans of training and inference; see :class:`biot_bd.training.BIOTClassifier`."""

    precision: str
    micro_batch: Any
    _unchecked = False  # whether the precision is to be checked on the first windows to predict

    @property
    def precision_report_(self) -> dict[str, Any]:
        """How precision and micro-batches were chosen, with both plans, as JSON holds it."""
        plans = {"training_plan": self.facts_.training_plan, "inference_plan": self.facts_.inference_plan}
        return {**self.facts_.precision_report, **{name: plan.as_dict() for name, plan in plans.items()}}

    @property
    def precision_(self) -> str:
        """The precision of predictions (and, unless it fell back, of training)."""
        return self.facts_.inference_plan.precision

    # --- plans ------------------------------------------------------------------------------------

    def _choose_plans(self, dataset: Dataset[Any]) -> None:
        """Choose both plans with some windows of the training set.

        Told by ``precision_report_``.
        """
        module = uncompiled(self.module_)
        x = self._some_windows(dataset)
        batch = self._largest_batch(dataset)
        notes = []
        # Of other modules nothing is known: "auto" leaves their batches whole.
        wanted = None if self.micro_batch == "auto" and not isinstance(module, BIOT) else self.micro_batch
        training, seconds = training_plan(module, x, batch, self.precision, wanted)
        if training.micro_batch is not None and type(module) is not BIOT:
            reason = why_whole(module, x)
            if reason is not None:
                notes.append(f"batches stay whole: {reason}")
                training = PrecisionPlan(training.precision)
        inference, measured = self._inference_plan(x, batch, training)
        report = {**self._new_report(), "seconds_a_window": {"training": seconds, **measured}, "notes": notes}
        self._learn(precision_report=report)
        self._take_plans(inference, training)

    def _inference_plan(self, x: Tensor, batch: int, training: PrecisionPlan) -> tuple[PrecisionPlan, dict[str, Any]]:
        module = uncompiled(self.module_)
        if not hasattr(module, "inference_plan") or training.micro_batch is None or self.micro_batch != "auto":
            return training, {}
        plan, facts = measure_inference_plan(module, batch, precision=self.precision, sample=x, tolerance=TOLERANCE)
        return plan, {"inference": facts["times_s"]}

    def _wanted(self) -> dict[str, Any]:
        return {"precision": self.precision, "micro_batch": self.micro_batch}

    def _new_report(self) -> dict[str, Any]:
        return {
            "wanted": self._wanted(),
            "machine": machine_key(self.device),
            "seconds_a_window": {},
            "tolerance": TOLERANCE,
            "max_difference": None,
            "notes": [],
        }

    def _take_plans(self, inference: PrecisionPlan, training: PrecisionPlan | None = None) -> None:
        """Compute by these plans from now on.

        Where nothing was chosen anew (a resumed fit) the report says so.
        """
        report = self.facts_.precision_report or self._new_report()
        training = training or self.facts_.training_plan
        self._learn(training_plan=training, inference_plan=inference, precision_report=report)
        module = uncompiled(self.module_)
        if hasattr(module, "inference_plan"):
            module.inference_plan = inference

    def _largest_batch(self, dataset: Any) -> int:
        size = int(self.get_params_for("iterator_train")["batch_size"])
        return len(dataset) if size == -1 else min(size, len(dataset))

    def _some_windows(self, dataset: Any) -> Tensor:
        rows = np.unique(np.linspace(0, len(dataset) - 1, min(CHECKED_WINDOWS, len(dataset))).astype(int))
        x, _ = unpack_data(collate_windows(dataset.__getitems__(rows.tolist())))
        if isinstance(x, DeviceBatch):
            return x.to(self.device).unpack()
        return to_tensor(x, device=self.device)

    def _plan(self, training: bool) -> PrecisionPlan:
        facts = getattr(self, "facts_", None)
        if facts is None:
            return PrecisionPlan()
        return facts.training_plan if training else facts.inference_plan

    # --- precision --------------------------------------------------------------------------------

    def _precision_context(self) -> AbstractContextManager[None]:
        """Return a context in which a module computes in the precision of training, or of
        inference.
        """
        training = torch.is_grad_enabled()
        own = not training and hasattr(uncompiled(self.module_), "inference_plan")  # BIOT follows its plan by itself
        plan = PrecisionPlan() if own else self._plan(training)
        return precision_context(plan.precision, torch.device(self.device).type)

    def _classifier_splits_by(self) -> int | None:
        """Return the micro-batch of an inference that the module does not split by itself."""
        if torch.is_grad_enabled() or hasattr(uncompiled(self.module_), "inference_plan"):
            return None
        return self._plan(training=False).micro_batch

    def _check_precision(self, dataset: Any) -> None:
        """Compare probabilities in low precision with those in fp32.

        Fall back, and say so, where they differ.
        """
        self._unchecked = False
        plan = self.facts_.inference_plan
        if plan.precision == "fp32":
            return
        x = self._some_windows(dataset)
        low = self._probabilities_by(plan, x)
        exact = PrecisionPlan("fp32", plan.micro_batch)
        difference = float((low - self._probabilities_by(exact, x)).abs().max())
        report = self.facts_.precision_report | {"max_difference": difference if np.isfinite(difference) else None}
        self._learn(precision_report=report)
        if difference <= TOLERANCE:
            self._take_plans(plan)
            return
        text = (
            f"probabilities in {plan.precision} differ by up to {difference:.2g} from those in fp32 (allowed: "
            f"{TOLERANCE:g}, on {len(x)} windows); predictions are made in fp32"
        )
        self._learn(precision_report=report | {"notes": [*report["notes"], text]})
        warnings.warn(text, stacklevel=3)

    def _probabilities_by(self, plan: PrecisionPlan, x: Tensor) -> Tensor:
        self._take_plans(plan)
        self._set_training(False)
        with kept_random_states(), torch.no_grad():
            return probabilities(self.infer(x))

    def _tell_plans(self) -> None:
        if not self.verbose:
            return
        facts, report = self.facts_, self.facts_.precision_report
        plans = f"training in {_words(facts.training_plan)}, prediction in {_words(facts.inference_plan)}"
        words = [plans, *report["notes"]]
        if report["max_difference"] is not None:
            words.append(f"largest difference of a probability from fp32: {report['max_difference']:.1e}")
        print(f"precision: {'; '.join(words)}", file=sys.stderr)

    # --- prediction -------------------------------------------------------------------------------

    def _before_predicting(self, dataset: Any) -> None:
        """Choose anew where the parameters or the machine are others, and check a plan that was
        not checked here.
        """
        report = self.facts_.precision_report if hasattr(self, "facts_") else None
        if not report:
            return
        changed = report["wanted"] != self._wanted()
        if not changed and self._unchecked and "auto" in (self.precision, self.micro_batch):
            changed = len(dataset) >= ENOUGH_TO_MEASURE and report["machine"] != machine_key(self.device)
        if changed:
            trained = self.facts_.training_plan
            self._choose_plans(dataset)
            self._take_plans(self.facts_.inference_plan, trained)
            self._unchecked = True
        if self._unchecked:
            self._check_precision(dataset)


def _words(plan: PrecisionPlan) -> str:
    return plan.precision if plan.micro_batch is None else f"{plan.precision} in micro-batches of {plan.micro_batch}"
