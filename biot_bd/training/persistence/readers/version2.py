"""Format 2, today's: public addresses, registered names, and what ``fit`` learnt as
``FittedFacts`` writes it.
"""

from __future__ import annotations

from typing import Any

from biot_bd.models.checkpoints.pipeline_folder import classifier_spec

NEEDED = {"input_info", "classes", "class_counts", "threshold", "train_subjects", "valid_subjects", "n_epochs"}
"""Facts without which a model is not what was saved."""


def read(description: dict[str, Any]) -> dict[str, Any]:
    """Return the description as it is; raises KeyError where a part is missing."""
    spec = classifier_spec({"pipeline": description["pipeline"]})
    missing = NEEDED - set(spec["fitted"] if spec["kind"] == "classifier" else NEEDED)
    if missing:
        raise KeyError(", ".join(sorted(missing)))
    return description
