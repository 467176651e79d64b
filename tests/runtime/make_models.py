"""Make what ``try_runtime.py`` needs, where torch is: a model, its exports, recordings, and what torch finds in them.

``PYTHONPATH=tests python tests/runtime/make_models.py FOLDER [RECORDING...]``: generated recordings,
and those that are named.
"""

import os
import shutil
import sys
from pathlib import Path

import numpy as np
from deploy_files import BIPOLAR, ELECTRODES, REFERENTIAL, write_edf
from small_model import save_small_model

from biot_bd import EventDetector
from biot_bd.cli import main
from biot_bd.deploy import Detector
from biot_bd.events import save_event_detector, write_event_file
from biot_bd.export.export import export_model


def middle_of_the_widest_gap(values):
    """Return a threshold that no engine's last digits decide."""
    inner = np.unique(values)[len(values) // 4 : -len(values) // 4]
    number = int(np.argmax(np.diff(inner)))
    return float(inner[number : number + 2].mean())


def make(folder: Path, recordings: list[Path]) -> None:
    """Write models, recordings, tables for scoring and torch's results."""
    data = folder / "recordings"
    write_edf(data / "p01" / "quiet.edf", seconds=300, seed=1)
    write_edf(data / "p01" / "loud.edf", seconds=300, seed=2, loud=(100, 200))
    write_edf(data / "p02" / "few.edf", REFERENTIAL[:12], seconds=120, seed=3, loud=(30, 60))
    write_edf(data / "p02" / "flat.edf", seconds=120, seed=4, sfreq=200, flat=BIPOLAR[:2])
    # As the check of the public board has it, and one of each montage for the model that comes with the package.
    write_edf(folder / "board" / "unipolar.edf", [f"{name}-Avg" for name in ELECTRODES], seconds=2)
    write_edf(folder / "board" / "bipolar.edf", seconds=60, seed=5)
    write_edf(folder / "board" / "referential.edf", REFERENTIAL, seconds=60, seed=6)
    for path in recordings:
        target = data / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    model = save_small_model(folder / "model")
    paths = sorted(data.rglob("*.edf"))
    detections = [Detector.load(model, engine="torch", on_missing="drop").detect(path) for path in paths]
    threshold = middle_of_the_widest_gap(np.concatenate([found.probabilities for found in detections]))
    setting = {"threshold": threshold, "smoothing_s": 0, "min_duration_s": 0, "merge_gap_s": 0, "target": None}
    save_event_detector(EventDetector(**setting), model, causal=EventDetector(causal=True, **setting))
    for path, found in zip(paths, detections, strict=True):
        truth = folder / "reference" / path.relative_to(data).with_name(f"{path.stem}_events.tsv")
        write_event_file(truth, [(10, 40)], found.duration_s)
    for name in ("onnx", "openvino"):
        export_model(model, folder / name, format=name)
    options = ["--on-missing", "drop", "--engine", "torch", "--probabilities"]
    status = main(["detect", str(model), str(data), "-o", str(folder / "torch"), *options])
    loud = [str(data / "p01"), "-o", str(folder / "torch-causal" / "p01"), "--causal"]
    status |= main(["detect", str(model), *loud, *options])
    if status:
        raise SystemExit(status)


if __name__ == "__main__":
    os.environ.setdefault("MNE_LOGGING_LEVEL", "ERROR")
    make(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
