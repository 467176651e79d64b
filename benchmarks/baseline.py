"""Beside the commit ``baseline-0``: what is slower now, and whether the numbers are the same.

The baseline is installed in an environment of its own.  Both run the same short programs in fresh
processes, in turning order; what a program times itself leaves out imports.  Numbers are compared
before anything is timed.  ``BIOT_BD_BASELINE`` names another commit.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

import numpy as np

from _bench import RESULTS, arguments, publish, summarise, target

ROOT = Path(__file__).resolve().parents[1]
COMMIT = os.environ.get("BIOT_BD_BASELINE", "fb8defb")  # the tag baseline-0, by its hash: tags get lost in copies
OWN_PATH = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}  # of the baseline's Python
WANTED = 0.85  # times as fast as the baseline, with the spread of processes that take a second

BEFORE = """
import json, sys, time, warnings
from pathlib import Path
warnings.simplefilter("ignore")
folder, own = Path(sys.argv[1]), Path(sys.argv[2])
def tell(seconds, value): print("ANSWER", json.dumps([seconds, value]))
"""

PROGRAMS = {
    "import biot_bd": """
start = time.perf_counter(); import biot_bd; tell(time.perf_counter() - start, 0)
""",
    "biot-bd --help": """
import contextlib, io
start = time.perf_counter()
from biot_bd.cli import main
with contextlib.redirect_stdout(io.StringIO()) as out:
    try: main(["--help"])
    except SystemExit: pass
assert "cv" in out.getvalue()
tell(time.perf_counter() - start, 0)
""",
    "load_scorer, score 8 windows": """
import numpy as np
start = time.perf_counter()
from biot_bd import load_scorer
p = load_scorer(folder / "model").predict_proba(np.load(folder / "windows.npy"))
tell(time.perf_counter() - start, p.astype(float).tolist())
""",
    "load_pipeline, score 8 windows": """
import numpy as np
start = time.perf_counter()
from biot_bd import load_pipeline
p = load_pipeline(folder / "model").predict_proba(np.load(folder / "windows.npy"))
tell(time.perf_counter() - start, p.astype(float).tolist())
""",
    "inference, BIOT, batch 64": """
import torch
from biot_bd import BIOT
torch.manual_seed(0)
model = BIOT(n_outputs=2, n_chans=16, n_times=2000, sfreq=200).eval()
x = torch.randn(64, 16, 2000)
with torch.inference_mode():
    model(x[:8])
    start = time.perf_counter()
    for _ in range(3): y = model(x)
    tell((time.perf_counter() - start) / 3, y.tolist())
""",
    "fit, one epoch of 128 windows": """
import numpy as np
from biot_bd import BIOTClassifier
x = np.random.default_rng(0).standard_normal((128, 16, 2000)).astype("float32")
net = BIOTClassifier(max_epochs=1, batch_size=32, train_split=None, random_state=0, device="cpu", micro_batch=None)
start = time.perf_counter(); net.fit(x, np.arange(128) % 2, groups=np.arange(128).astype(str))
tell(time.perf_counter() - start, net.predict_proba(x[:8]).astype(float).tolist())
""",
    "prepare 18 recordings of 6 min": """
import shutil
import numpy as np
from biot_bd import load_dataset, prepare
recordings = load_dataset("demo", folder / "demo")
shutil.rmtree(own / "store", ignore_errors=True)
start = time.perf_counter(); windows = prepare(recordings, own / "store")
tell(time.perf_counter() - start, [len(windows), int(windows.y.sum()), float(windows.read(np.arange(50)).astype("float64").sum())])
""",
    "prepare an EDF of an hour": """
import shutil
import numpy as np
from biot_bd import load_dataset, prepare
recordings = load_dataset("edf-folder", folder / "hour")
shutil.rmtree(own / "hour", ignore_errors=True)
start = time.perf_counter(); windows = prepare(recordings, own / "hour", n_jobs=1)
tell(time.perf_counter() - start, [len(windows), float(windows.read(np.arange(50)).astype("float64").sum())])
""",
    "detect an EDF of an hour, BIOT of one layer": """
import inspect
from biot_bd import Detector
word = "precision" if "precision" in inspect.signature(Detector.load).parameters else "compute"
detector = Detector.load(folder / "small", **{word: "fp32"})
start = time.perf_counter(); found = detector.detect(folder / "hour" / "P01" / "hour.edf")
tell(time.perf_counter() - start, found.probabilities.astype(float).tolist())
""",
    "read 1,278 shuffled windows": """
import numpy as np
from biot_bd import Windows
windows = Windows.open(own / "store")
order = np.random.default_rng(0).permutation(len(windows))
batches = np.array_split(order, 20)
windows.read(batches[0])
start = time.perf_counter(); total = sum(float(windows.read(b).astype("float64").sum()) for b in batches)
tell(time.perf_counter() - start, total)
""",
}


def environment(folder: Path) -> Path:
    """Install the baseline in an environment with our other packages; return its Python."""
    python = folder / "bin" / "python"
    if not (folder / ".done").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
        own = Path(subprocess.run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
                                  capture_output=True, text=True, check=True).stdout.strip())  # fmt: skip
        with tempfile.TemporaryDirectory() as source:
            archive = subprocess.run(["git", "-C", ROOT, "archive", COMMIT], capture_output=True, check=True).stdout
            subprocess.run(["tar", "-x", "-C", source], input=archive, check=True)
            (own / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
            words = ["-m", "pip", "install", "--quiet", "--no-deps", "--ignore-installed", source]
            subprocess.run([python, *words], check=True)
        (folder / ".done").touch()
    where = subprocess.run(
        [python, "-c", "import biot_bd; print(biot_bd.__file__)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
        env=OWN_PATH,
    )
    if not Path(where.stdout.strip()).is_relative_to(folder):
        raise SystemExit(f"{folder}: its biot_bd is {where.stdout.strip()}; delete the folder and run again")
    return python


def run(python: Path, program: str, folder: Path, own: Path) -> tuple[float, object]:
    """Run a program in a fresh process; return its seconds and its numbers."""
    own.mkdir(exist_ok=True)
    env = os.environ if python == Path(sys.executable) else OWN_PATH
    done = subprocess.run(
        [python, "-c", BEFORE + program, folder, own], capture_output=True, text=True, cwd=own, env=env
    )
    answers = [line for line in done.stdout.splitlines() if line.startswith("ANSWER ")]
    if done.returncode or not answers:
        raise SystemExit(f"{python} failed:\n{program}\n{done.stderr[-2000:]}")
    seconds, value = json.loads(answers[-1].removeprefix("ANSWER "))
    return seconds, value


def main() -> None:
    options = arguments(__doc__ or "")
    pythons = {"now": Path(sys.executable), "baseline": environment(RESULTS / "baseline-environment")}
    rows, targets = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make = """
import numpy as np
from sklearn.pipeline import make_pipeline
from biot_bd import BIOTClassifier, PercentileScaler, load_dataset, save_pipeline
load_dataset("demo", folder / "demo")
x = (40 * np.random.default_rng(0).standard_normal((8, 16, 2000))).astype("float32")
np.save(folder / "windows.npy", x)
net = BIOTClassifier(max_epochs=1, batch_size=8, train_split=None, random_state=0, device="cpu")
pipeline = make_pipeline(PercentileScaler(), net)
pipeline.fit(x, np.arange(8) % 2, biotclassifier__groups=np.arange(8).astype(str))
save_pipeline(pipeline, folder / "model")
from _bench import write_recording
from detect import save_model
edf = write_recording(folder / "hour" / "P01" / "hour.edf", 3600, seed=0)
edf.with_name("hour_events.tsv").write_text(EVENTS)
save_model(folder / "small", embed_dim=16, num_heads=2, num_layers=1); tell(0, 0)
"""
        table = "onset\tduration\teventType\n1000.0\t60.0\tsz\n"
        make = f"sys.path.insert(0, {str(Path(__file__).parent)!r})\nEVENTS = {table!r}\n" + make
        run(pythons["baseline"], make, folder, folder / "made")  # what the baseline wrote, both read
        for what, program in PROGRAMS.items():
            found = {who: run(python, program, folder, folder / who)[1] for who, python in pythons.items()}
            np.testing.assert_allclose(found["now"], found["baseline"], rtol=1e-5, atol=1e-6, err_msg=what)
            times: dict[str, list[float]] = {who: [] for who in pythons}
            for turn in range(options.rounds):
                for who in list(pythons)[:: 1 if turn % 2 else -1]:
                    times[who].append(run(pythons[who], program, folder, folder / who)[0])
            now, before = summarise(times, ["baseline"])
            ratio = now["times as fast as baseline"]
            rows.append({"what": what, "now_s": now["median_s"], "baseline_s": before["median_s"],
                         "times as fast": ratio})  # fmt: skip
            targets.append(target(f"{what}, against {COMMIT}", now, "baseline", WANTED))
    notes = [
        f"baseline: commit {COMMIT} in an environment of its own; its files are read by both; equal numbers checked"
    ]
    publish("baseline", "This checkout against the baseline", rows, notes, options.quick, targets)


if __name__ == "__main__":
    main()
