"""What a classifier does for its parameters ``precision`` and ``micro_batch``."""

from __future__ import annotations

import sys
import warnings
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from braindecode import EEGClassifier
from skorch.dataset import unpack_data
from skorch.utils import to_tensor
from torch import Tensor
from torch.utils.data import Dataset

from biot_bd.models.biot import BIOT
from biot_bd.models.inference_plan import PrecisionPlan, machine_key, measure_inference_plan
from biot_bd.training.callbacks import probabilities
from biot_bd.training.micro_batches import why_whole
from biot_bd.training.precision_plans import TOLERANCE, Plans, precision_context, training_plan
from biot_bd.training.resume import random_states, set_random_states
from biot_bd.windows.torch_dataset import PackedWindows, collate_windows

CHECKED_WINDOWS = 32
ENOUGH_TO_MEASURE = 64
"""Fewer windows are predicted with a plan as it was saved, rather than measured for on another machine."""


class Computed(EEGClassifier):
    """Plans of training and inference; see :class:`biot_bd.training.BIOTClassifier`."""

    precision: str
    micro_batch: Any
    plans_: Plans
    precision_report_: dict[str, Any]
    _unchecked = False

    @property
    def precision_(self) -> str:
        """The precision of predictions (and, unless it fell back, of training)."""
        return self.plans_.inference.precision

    def _plain_module(self) -> Any:
        return getattr(self.module_, "_orig_mod", self.module_)

    # --- plans --------------------------------------------------------------------------------------------

    def _choose_plans(self, dataset: Dataset[Any]) -> None:
        """Choose both plans with some windows of the training set; told by ``precision_report_``."""
        module = self._plain_module()
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
        self.precision_report_ = {
            "wanted": self._wanted(),
            "machine": machine_key(x.device),
            "seconds_a_window": {"training": seconds, **measured},
            "tolerance": TOLERANCE,
            "max_difference": None,
            "notes": notes,
        }
        self._take_plans(Plans(training, inference))

    def _inference_plan(self, x: Tensor, batch: int, training: PrecisionPlan) -> tuple[PrecisionPlan, dict[str, Any]]:
        module = self._plain_module()
        if not hasattr(module, "inference_plan") or training.micro_batch is None or self.micro_batch != "auto":
            return training, {}
        plan, facts = measure_inference_plan(
            module, batch, precision=self.precision, micro_batch="auto", device=x.device, sample=x, tolerance=TOLERANCE
        )
        return plan, {"inference": facts["times_s"]}

    def _wanted(self) -> dict[str, Any]:
        return {"precision": self.precision, "micro_batch": self.micro_batch}

    def _take_plans(self, plans: Plans) -> None:
        """Compute by these plans from now on."""
        self.plans_ = plans
        if not hasattr(self, "precision_report_"):  # a resumed fit: nothing was chosen anew
            self.precision_report_ = {
                "wanted": self._wanted(),
                "machine": machine_key(self.device),
                "seconds_a_window": {},
                "tolerance": TOLERANCE,
                "max_difference": None,
                "notes": [],
            }
        self.precision_report_ |= plans.as_dict()
        module = self._plain_module()
        if hasattr(module, "inference_plan"):
            module.inference_plan = plans.inference

    def _forget_plans(self) -> None:
        for name in ("plans_", "precision_report_", "_unchecked"):
            self.__dict__.pop(name, None)

    def _largest_batch(self, dataset: Any) -> int:
        size = int(self.get_params_for("iterator_train").get("batch_size", self.batch_size))
        return len(dataset) if size == -1 else min(size, len(dataset))

    def _some_windows(self, dataset: Any) -> Tensor:
        rows = np.unique(np.linspace(0, len(dataset) - 1, min(CHECKED_WINDOWS, len(dataset))).astype(int))
        x, _ = unpack_data(collate_windows(dataset.__getitems__(rows.tolist())))
        if isinstance(x, PackedWindows):
            return x.to(self.device).unpack()
        return to_tensor(x, device=self.device)

    def _plans(self) -> Plans:
        return self.__dict__.get("plans_") or Plans()

    # --- precision ----------------------------------------------------------------------------------------

    def _precision_context(self) -> AbstractContextManager[None]:
        """Return a context in which a module computes in the precision of training, or of inference."""
        plans = self._plans()
        if torch.is_grad_enabled():
            plan = plans.training
        else:  # BIOT follows its inference plan by itself
            plan = PrecisionPlan() if hasattr(self._plain_module(), "inference_plan") else plans.inference
        return precision_context(plan.precision, torch.device(self.device).type)

    def _classifier_splits_by(self) -> int | None:
        """Return the micro-batch of an inference that the module does not split by itself."""
        if torch.is_grad_enabled() or hasattr(self._plain_module(), "inference_plan"):
            return None
        return self._plans().inference.micro_batch

    def _check_precision(self, dataset: Any) -> None:
        """Compare probabilities in low precision with those in fp32; fall back, and say so, where they differ."""
        self._unchecked = False
        plans = self.plans_
        if plans.inference.precision == "fp32":
            return
        x = self._some_windows(dataset)
        low = self._probabilities_by(plans, x)
        exact = Plans(plans.training, PrecisionPlan("fp32", plans.inference.micro_batch))
        difference = float((low - self._probabilities_by(exact, x)).abs().max())
        self.precision_report_["max_difference"] = difference if np.isfinite(difference) else None
        if difference <= TOLERANCE:
            self._take_plans(plans)
            return
        text = (
            f"probabilities in {plans.inference.precision} differ by up to {difference:.2g} from those in fp32 (allowed: "
            f"{TOLERANCE:g}, on {len(x)} windows); predictions are made in fp32"
        )
        self.precision_report_["notes"].append(text)
        warnings.warn(text, stacklevel=3)

    def _probabilities_by(self, plans: Plans, x: Tensor) -> Tensor:
        self._take_plans(plans)
        state = random_states()
        self._set_training(False)
        with torch.no_grad():
            found = probabilities(self.infer(x))
        set_random_states(state)
        return found

    def _tell_plans(self) -> None:
        if not self.verbose:
            return
        training, inference = self.plans_.training, self.plans_.inference
        words = [f"training in {_words(training)}, prediction in {_words(inference)}", *self.precision_report_["notes"]]
        if self.precision_report_["max_difference"] is not None:
            words.append(
                f"largest difference of a probability from fp32: {self.precision_report_['max_difference']:.1e}"
            )
        print(f"precision: {'; '.join(words)}", file=sys.stderr)

    # --- prediction ---------------------------------------------------------------------------------------

    def _before_predicting(self, dataset: Any) -> None:
        """Choose anew where the parameters or the machine are others, and check a plan that was not checked here."""
        if not hasattr(self, "plans_"):
            return
        changed = self.precision_report_["wanted"] != self._wanted()
        if not changed and self._unchecked and "auto" in (self.precision, self.micro_batch):
            changed = len(dataset) >= ENOUGH_TO_MEASURE and self.precision_report_["machine"] != machine_key(
                self.device
            )
        if changed:
            trained = self.plans_.training
            self._choose_plans(dataset)
            self._take_plans(Plans(trained, self.plans_.inference))
            self._unchecked = True
        if self._unchecked:
            self._check_precision(dataset)

    def _restore_plans(self, facts: dict[str, Any] | None) -> None:
        """Take up a saved ``precision_report_``, if there is one; the precision is checked on the first windows to predict."""
        if facts is None:  # saved before there were plans
            plan = PrecisionPlan("fp32" if self.precision == "auto" else self.precision)
            self._take_plans(Plans(plan, plan))
        else:
            self.precision_report_ = dict(facts)
            self._take_plans(Plans.from_dict(facts))
        self._unchecked = True


def _words(plan: PrecisionPlan) -> str:
    return plan.precision if plan.micro_batch is None else f"{plan.precision} in micro-batches of {plan.micro_batch}"
