"""The demonstration model that comes with the package: where its version folder lies.

``experiments/make_demo_model.py`` made it, of generated data and a few public excerpts.  It is for
trying what detectors do, and never for clinical use; every output of it says so.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

__all__ = ["shipped"]

NAME, VERSION = "demo", "1.0.0"


def shipped() -> Path:
    """Return the version folder of the demonstration model inside the package.

    Returns
    -------
    Path
        To read, never to write: a detector, ``Registry.add`` and
        ``braindecode.models.BIOT.from_pretrained`` take it.

    Raises
    ------
    FileNotFoundError
        The installation lacks it.

    See Also
    --------
    biot_bd.Detector.load : Makes a detector of it.

    Examples
    --------
    >>> from biot_bd.deploy.demo_model import shipped
    >>> sorted(path.name for path in shipped().iterdir())[:2]
    ['README.md', 'artifact.json']
    """
    folder = Path(str(files(__name__) / VERSION))
    if not (folder / "pipeline.json").is_file():
        raise FileNotFoundError(f"{folder}: the demonstration model is not there; install biot-bd again")
    return folder
