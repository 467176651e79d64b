"""Files of somebody who means harm, each with a harmless payload: it writes a marker."""

from pathlib import Path

from edf_files import write_edf

SCRIPT = "<script>window.bad=1</script>"


def _go_off(path):
    Path(path).write_text("unpickled")
    raise RuntimeError("unpickled")


class Marker:
    """Writes a file where it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return _go_off, (self.path,)


def edf_of(path, ch_names=("FP1-F7", "F7-T7"), seconds=5):
    """Write a small EDF file."""
    return write_edf(path, list(ch_names), seconds=seconds)
