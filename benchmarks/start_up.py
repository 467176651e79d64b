"""Start-up, page cache warm.

Imports, the command line, and a saved pipeline that scores one window in a fresh process.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from _bench import arguments, interleave, limit, publish, summarise

WANTED_S = 6.0
CHANNELS = "Fp1 F3 C3 P3 O1 F7 T3 T5 Fz Cz Pz Fp2 F4 C4 P4 O2 F8 T4 T6".split()
SCORE = """
import sys, numpy as np
from biot_bd import {load}
print(*{load}(sys.argv[1]).predict_proba(np.load(sys.argv[2]))[0])
"""


def save_model(folder: Path) -> tuple[Path, Path]:
    """Save a pipeline with a BIOT of the published size, fitted for one epoch on noise, and one
    window.
    """
    from sklearn.pipeline import make_pipeline

    from biot_bd import BIOTClassifier, MontageMapper, PercentileScaler, save_pipeline

    rng = np.random.default_rng(0)
    x = (40 * rng.standard_normal((8, len(CHANNELS), 2000))).astype(np.float32)
    net = BIOTClassifier(max_epochs=1, batch_size=8, train_split=None, random_state=0, device="cpu")
    pipeline = make_pipeline(MontageMapper("biot-16", ch_names=CHANNELS), PercentileScaler(), net)
    pipeline.fit(x, np.arange(8) % 2, biotclassifier__groups=np.arange(8).astype(str))
    np.save(folder / "window.npy", x[:1])
    return save_pipeline(pipeline, folder / "model"), folder / "window.npy"


def run(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def score(load: str, model: Path, window: Path) -> list[float]:
    code = SCORE.format(load=load)
    return [float(word) for word in run(sys.executable, "-W", "ignore", "-c", code, str(model), str(window)).split()]


def main() -> None:
    options = arguments(__doc__ or "")
    command = str(Path(sys.executable).parent / "biot-bd")
    guarded = "import biot_bd, braindecode"
    with_braindecode, without = "load_pipeline, score one window", "load_scorer (no braindecode), score one window"
    with tempfile.TemporaryDirectory() as folder:
        model, window = save_model(Path(folder))
        difference = np.abs(np.subtract(score("load_pipeline", model, window), score("load_scorer", model, window)))
        if difference.max() > 1e-6:
            raise SystemExit(f"the probabilities differ by {difference.max():.1e}")
        times = interleave(
            {
                "python -c pass": lambda: run(sys.executable, "-c", "pass"),
                "import biot_bd": lambda: run(sys.executable, "-c", "import biot_bd"),
                "biot-bd --help": lambda: run(command, "--help"),
                "biot-bd plugins": lambda: run(command, "plugins"),
                "import torch": lambda: run(sys.executable, "-c", "import torch"),
                "import braindecode": lambda: run(sys.executable, "-c", guarded),
                with_braindecode: lambda: score("load_pipeline", model, window),
                without: lambda: score("load_scorer", model, window),
            },
            min(options.rounds, 3),
        )
    rows = summarise(times, ["import braindecode"])
    by_way = {row["way"]: row for row in rows}
    found = by_way[without]
    least = by_way["import torch"]["median_s"]
    goal = limit(f"a fresh process: {without}", found["median_s"], WANTED_S, "s", spread=found["range_s"], floor=least)
    notes = [
        f"probabilities of both ways differ by {difference.max():.1e}",
        f"with braindecode's import, by load_pipeline: {by_way[with_braindecode]['median_s']:.1f} s",
        "the floor is `import torch`, without which nothing can be scored",
    ]
    publish("start_up", "Start-up, warm page cache, seconds", rows, notes, options.quick, [goal])


if __name__ == "__main__":
    main()
