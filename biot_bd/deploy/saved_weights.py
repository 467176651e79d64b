"""Which weights a model's folder names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from biot_bd.export.artifact import read_facts
from biot_bd.models.checkpoints.pipeline_folder import classifier_spec, description_file, is_exported
from biot_bd.runs import read_json


def saved_weights(model: str | os.PathLike[str]) -> str | None:
    """Return the SHA-256 of the weights that a saved or exported model names.

    Parameters
    ----------
    model : path
        The folder; what is wrong with it is said on loading.

    Returns
    -------
    str or None
        None: it names none.

    Examples
    --------
    >>> from biot_bd.deploy.saved_weights import saved_weights
    >>> saved_weights("nowhere") is None
    True
    """
    folder = Path(model)
    try:
        if is_exported(folder):
            return read_facts(folder).facts["source"]["weights_sha256"]
        described = description_file(folder)
        found = None if described is None else classifier_spec(read_json(described)).get("weights")
        weights = found.get("sha256") if isinstance(found, Mapping) else None
    except (OSError, ValueError, LookupError, AttributeError, TypeError):
        return None  # an engine may read folders of its own
    return weights if isinstance(weights, str) else None
