"""From a plain EDF file to probabilities and events by an exported model: processor time, memory.

Each way is a fresh process on one thread; its processor time and peak memory are those that the
system counted.  The hour is compared with ``detect --compute auto`` of the commit ``baseline-0`` in
an environment of its own, which measures its precision before anything is timed.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from _bench import RESULTS, arguments, limit, publish, write_recording
from baseline import COMMIT, environment
from biot_bd.export import export_model
from biot_bd.export.artifact import read_artifact
from detect import save_model

WANTED_S, WANTED_MB, WANTED_SHARE = 0.8, 220.0, 0.5
STRIDE_S = 5
ENGINES = {
    "onnx": """
import sys, numpy as np, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1] + "/model.onnx", options)
""",
    "openvino": """
import sys
from biot_bd.export.telemetry import no_telemetry
with no_telemetry():
    import openvino
core = openvino.Core()
model = core.compile_model(core.read_model(sys.argv[1] + "/model.xml"), "CPU", {"INFERENCE_NUM_THREADS": 1})
""",
}
DETECT = """
import sys, time
from pathlib import Path
from biot_bd.deploy import Detector
from biot_bd.deploy.results import write_events
model, edf, table, words = sys.argv[1], sys.argv[2], Path(sys.argv[3]), dict(word.split("=") for word in sys.argv[4:])
detector = Detector.load(model, stride_s=5.0, **words)
start = time.process_time()
found = detector.detect(edf)
write_events(table, found, "tsv")
print("ANSWER", time.process_time() - start)
"""


class Cost(NamedTuple):
    """What a process took, and what of it was detecting."""

    cpu_s: float
    peak_mb: float
    detecting_s: float


def cost(python: Path | str, code: str, *given: object, path: str | None = None, cache: Path) -> Cost:
    """Run code in a fresh process on one thread; return its processor time and peak memory."""
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")}
    surroundings = os.environ | threads | {"BIOT_BD_CACHE": str(cache)} | ({"PYTHONPATH": path} if path else {})
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(
            [str(python), "-W", "ignore", "-c", code, *map(str, given)], stdout=out, env=surroundings, cwd=cache
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        answers = [line for line in out if line.startswith("ANSWER ")]
    if process.returncode:
        raise SystemExit(f"{python} failed:\n{code}")
    detecting_s = float(answers[-1].split()[1]) if answers else 0.0
    return Cost(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, detecting_s)


def baseline_model(python: Path, folder: Path) -> Path:
    """Save a full-size model by the baseline; no weights are faster than others."""
    code = "import sys; sys.path.insert(0, sys.argv[1])\nfrom pathlib import Path\nfrom detect import save_model\nsave_model(Path(sys.argv[2]))"
    subprocess.run([python, "-W", "ignore", "-c", code, Path(__file__).parent, folder], check=True, cwd=folder.parent)
    return folder


def fastest(folder: Path) -> str:
    """Return the fastest precision in which OpenVINO passed the gates."""
    return "bf16" if "bf16" in read_artifact(folder).precisions("openvino") else "fp32"


def spread(values: list[float]) -> list[float]:
    return [min(values), max(values)]


def main() -> None:
    options = arguments(__doc__ or "")
    path = os.environ.pop("PYTHONPATH", None)  # the baseline's own package comes first there
    before = environment(RESULTS / "baseline-environment")
    seconds = 600 if options.quick else 3600
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        model = save_model(base / "model")
        hour = write_recording(base / "hour.edf", seconds, seed=0)
        short = write_recording(base / "short.edf", 12, seed=0)
        table = base / "x.tsv"
        folders = {format: export_model(model, base / format, format=format) for format in ENGINES}
        bf16 = fastest(folders["openvino"])
        ours: dict[str, tuple[object, ...]] = {
            "to the first probability, onnx": (DETECT, folders["onnx"], short, table, "engine=onnx"),
            "to the first probability, openvino": (DETECT, folders["openvino"], short, table, "engine=openvino"),
            "to the first probability, torch": (DETECT, model, short, table, "engine=torch"),
            "onnxruntime alone, model loaded": (ENGINES["onnx"], folders["onnx"]),
            "OpenVINO alone, model compiled": (ENGINES["openvino"], folders["openvino"]),
            "hour, onnx fp32": (DETECT, folders["onnx"], hour, table, "engine=onnx", "precision=fp32"),
            f"hour, openvino {bf16}": (
                DETECT,
                folders["openvino"],
                hour,
                table,
                "engine=openvino",
                f"precision={bf16}",
            ),
            "hour, torch auto": (DETECT, model, hour, table, "engine=torch", "precision=auto"),
        }
        peer = f"hour, {COMMIT} auto"
        theirs = (DETECT, baseline_model(before, base / "before"), hour, table, "compute=auto")
        found: dict[str, list[Cost]] = {name: [] for name in [*ours, peer]}
        for turn in range(options.rounds + 1):  # the first one warms up, and chooses precisions
            for way in list(found)[:: 1 if turn % 2 else -1]:
                if way == peer:
                    one = cost(before, *theirs, cache=base)  # type: ignore[arg-type]
                else:
                    one = cost(sys.executable, *ours[way], path=path, cache=base)  # type: ignore[arg-type]
                found[way] += [one] if turn else []
    rows: list[dict[str, object]] = [
        {
            "way": way,
            "processor_s": statistics.median(one.cpu_s for one in costs),
            "of it detecting_s": statistics.median(one.detecting_s for one in costs),
            "range_s": spread([one.cpu_s for one in costs]),
            "peak_mb": max(one.peak_mb for one in costs),
        }
        for way, costs in found.items()
    ]
    goals = []
    for engine, alone in (("onnx", "onnxruntime alone, model loaded"), ("openvino", "OpenVINO alone, model compiled")):
        way = f"to the first probability, {engine}"
        own = [one.cpu_s - bare.cpu_s for one, bare in zip(found[way], found[alone], strict=True)]
        what = f"plain EDF {way}, less the engine's own start-up"
        goals.append(limit(what, statistics.median(own), WANTED_S, "s", spread=spread(own)))
        peak = [one.peak_mb for one in found[way]]
        goals.append(limit(f"plain EDF {way}: peak memory", max(peak), WANTED_MB, "MB", spread=spread(peak)))
    for way in (name for name in ours if name.startswith("hour")):
        shares = [one.detecting_s / other.detecting_s for one, other in zip(found[way], found[peer], strict=True)]
        what = f"EDF to events, {way}, {STRIDE_S} s stride, processor time to {COMMIT} auto"
        goal = limit(what, statistics.median(shares), WANTED_SHARE, "x", spread=spread(shares))
        goals += [goal] if "torch" not in way else []
        print(f"- {what}: {statistics.median(shares):.2f} ({min(shares):.2f} to {max(shares):.2f})")
    notes = [
        f"fresh processes, one thread; full-size BIOT; "
        f"a recording of {seconds} s with 23 channels at 256 Hz; events written as a table",
        "shares are of detecting and writing alone, without imports and loading, which the baseline takes longer for",
        f"OpenVINO in {bf16}, the fastest precision that passed the gates of this model",
    ]
    title = "From a plain EDF file to probabilities and events, by an exported model"
    publish("light_path", title, rows, notes, options.quick, goals)


if __name__ == "__main__":
    main()
