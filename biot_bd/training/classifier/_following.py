"""How what ``fit`` learnt follows the weights that it tells of.

The facts hold a digest of each tensor.  Where they are claimed (provenance, subjects, saving, a
``partial_fit``) the digests are compared; a prediction looks only whether the tensors were touched.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from braindecode import EEGClassifier

from biot_bd.models.checkpoints.provenance import Provenance, some
from biot_bd.models.weight_identity import WeightsWatch, weight_digests
from biot_bd.training._validation import uncompiled
from biot_bd.training.fitted_facts import NEW_HEAD, RUNNING, FittedFacts
from biot_bd.training.input_data import InputInfo
from biot_bd.training.net.batches import NetBatches
from biot_bd.training.pretrained import CHANGED

_HEAD = "final_layer."  # of a BIOT


class WeightsFollowing(NetBatches, EEGClassifier):
    """Mark the facts of a classifier whose weights are others than when they were learnt."""

    facts_: FittedFacts
    _watch: WeightsWatch | None = None
    _unchecked: bool

    def _input(self) -> InputInfo | None:
        return self.facts_.input_info if hasattr(self, "facts_") else None

    def _learn(self, **facts: Any) -> None:
        self.facts_ = replace(self.facts_, **facts)

    def _note_weights(self) -> None:
        """Keep which weights the facts tell of."""
        module = uncompiled(self.module_)
        self._learn(weights=weight_digests(module))
        self._watch = WeightsWatch(module)

    def _claimed(self) -> FittedFacts:
        """Return the facts for whoever says them aloud: of the weights as they are."""
        self._follow_weights()
        return self.facts_

    def _follow_weights(self, thorough: bool = True) -> None:
        """Mark the facts, with a warning, where the weights are no longer those of ``fit``.

        Parameters
        ----------
        thorough : bool
            Whether to read the weights even where nobody seems to have touched them.
        """
        facts, module = self.__dict__.get("facts_"), uncompiled(self.__dict__.get("module_"))
        if module is None or facts is None or facts.weights is None or facts.stale == RUNNING:
            return
        if not thorough and self._watch is not None and self._watch.untouched(module):
            return
        now = weight_digests(module)
        self._watch = WeightsWatch(module)
        changed = sorted(name for name in now.keys() | facts.weights.keys() if now.get(name) != facts.weights.get(name))
        if not changed:
            return
        if _only_a_fresh_head(module, changed, now):
            self._learn(stale=NEW_HEAD, threshold=None, weights=now)
            return
        self._lose(f"the weights were changed after fit ({some(changed, 3)})", CHANGED, now)
        warnings.warn(
            f"{self.facts_.stale}: provenance is unknown from here on, threshold_ and subjects are dropped; "
            "after load_params or partial_fit this is known, other changes belong into a model of their own",
            stacklevel=3,
        )

    def _lose(self, why: str, provenance: Provenance, weights: Mapping[str, str], n_epochs: int = 0) -> None:
        """Keep what other weights leave true: the form of the input, the classes, the plans."""
        report = self.facts_.precision_report
        self._learn(
            stale=why,
            threshold=None,
            train_subjects=(),
            valid_subjects=(),
            training_note=None,
            n_epochs=n_epochs,
            precision_report=report | {"max_difference": None} if report else report,
            provenance=provenance,
            pretrained_report=None,
            seen=None,
            weights=weights,
        )
        self._unchecked = True  # low precision was compared with other weights
        module = uncompiled(self.module_)
        if getattr(module, "load_report", None) is not None:
            module.load_report = None

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_watch"}


def _only_a_fresh_head(module: Any, changed: list[str], now: Mapping[str, str]) -> bool:
    """Return whether all that changed is a head which ``reset_head`` made and nobody trained."""
    fresh = getattr(module, "fresh_head", None)
    if fresh is None or not all(name.startswith(_HEAD) for name in changed):
        return False
    return {name: digest for name, digest in now.items() if name.startswith(_HEAD)} == {
        _HEAD + name: digest for name, digest in fresh.items()
    }
