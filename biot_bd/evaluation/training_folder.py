"""The folder of a training: the model appears in it whole, and a killed training goes on there.

While it works, a training keeps its restart points, curves and the model to be in ``.training``
inside the folder.  What it made is then moved to its place, the model's description last; so a
folder with a description holds all that belongs to it.
"""

from __future__ import annotations

from typing import Any

from biot_bd.evaluation.run_facts import METRICS
from biot_bd.events.detector import EVENTS_JSON
from biot_bd.models.checkpoints.pipeline_folder import CONFIG, PIPELINE, WEIGHTS, description_file
from biot_bd.runs import read_json
from biot_bd.training.work_folder import WorkFolder

WORK = ".training"


class TrainingFolder(WorkFolder):
    """The folder that ``biot-bd train`` makes a model in; see its base."""

    name = WORK
    what = "a model"

    def record(self) -> dict[str, Any] | None:
        """Return the record of the model that stands in the folder; None where there is none."""
        description = description_file(self.folder)
        return None if description is None else read_json(description).get("record") or {}

    def publish(self) -> None:
        """Move the model, its curves and its scores to their place."""
        self._publish((WEIGHTS, CONFIG, EVENTS_JSON, METRICS), PIPELINE)
