"""Which recordings chose a model's operating point, as ``biot-bd tune`` wrote it down."""

from __future__ import annotations

import os
from pathlib import Path

from biot_bd.json_values import naming
from biot_bd.models.checkpoints.seen_recordings import SeenRecordings
from biot_bd.runs import read_json

TUNING_JSON = "tuning.json"


def tuned_on(model: str | os.PathLike[str]) -> SeenRecordings | None:
    """Return the recordings on which ``biot-bd tune`` chose a model's operating point.

    Parameters
    ----------
    model : path
        Folder of a saved model.

    Returns
    -------
    SeenRecordings or None
        Salted digests; None where the point was chosen in training.

    Raises
    ------
    ValueError
        The file is damaged.

    See Also
    --------
    biot_bd.deploy.tuning.save_tuned : Writes it.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tuned_on(folder) is None
    True
    """
    path = Path(model) / TUNING_JSON
    if not path.is_file():
        return None
    with naming(path):
        return SeenRecordings.from_dict(read_json(path)["recordings"])
