"""Which registered models can be exported, to which format, and whether engines give their numbers.

    python benchmarks/export_table.py                # all; writes docs/models.md anew
    python benchmarks/export_table.py biot eegnet    # some; prints their rows

Each model is fitted for an epoch on noise, as in ``models_table.py``, saved, exported in every
format, and computed by every engine of the format in batches of 1, 3 and all windows; a cell is the
largest difference of a probability from torch, or why there is none.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from models_table import PAGE, SMALL, prepare_windows

BEGIN, END = "<!-- export: made by benchmarks/export_table.py -->", "<!-- end of the export table -->"
ENGINES = {"onnx": ("onnx", "openvino"), "openvino": ("openvino",), "pt2": ("pt2",)}
BOUND = 1e-5
LONGEST = 130


def save_model(name: str, stores: dict[str, Any], folder: Path) -> Path:
    """Fit a registered model on the first montage that it takes, and save it."""
    from sklearn.pipeline import make_pipeline

    from biot_bd import BIOTClassifier, registry, save_pipeline
    from biot_bd.probes.slots import steps_for

    contract, cls = registry.models.contract(name), registry.models[name]
    parameters = {f"module__{key}": value for key, value in SMALL.get(cls.__name__, {}).items()}
    if name in ("biot", "biot-braindecode"):
        parameters = {"module__embed_dim": 32, "module__num_heads": 4, "module__num_layers": 2}
    for last, windows in enumerate(stores.values(), start=1 - len(stores)):
        net = BIOTClassifier(
            name, max_epochs=1, batch_size=8, train_split=None, patience=None, random_state=0, device="cpu",
            micro_batch=None, verbose=0, **parameters,
        )  # fmt: skip
        steps = steps_for(contract, windows) if contract else []
        try:
            return save_pipeline(make_pipeline(*steps, net).fit(windows, windows.y), folder)
        except Exception:
            if not last:
                raise
    raise AssertionError("there is a store")


def export_cells(folder: Path, base: Path) -> list[str]:
    """Return what became of each format and engine."""
    from biot_bd import registry
    from biot_bd.export.gate_inputs import make_inputs
    from biot_bd.export.source import read_source

    source = read_source(folder)
    absent = source.takes_absent_channels
    made = make_inputs(source.n_chans, source.n_times, float(source.info.sfreq or 0), absent, n_plain=8)
    expected = source.probabilities(made.x, made.present)
    cells = []
    for format, engines in ENGINES.items():
        try:
            written = registry.exporters[format](source, base / f"{folder.name}-{format}")
        except Exception as error:
            cells += [_line(error)] * len(engines)
            continue
        file = next(path for path in sorted(written.iterdir()) if path.suffix in (".onnx", ".xml", ".pt2"))
        for engine in engines:
            module = import_module(f"biot_bd.export.engines.{engine}")
            try:
                run = module.build(file, ["x", "present"][: 1 + absent], "fp32")
                sizes = (1, 3, len(made.x))
                worst = max(float(np.abs(run(made.x[:n], made.present[:n])[0] - expected[:n]).max()) for n in sizes)
            except Exception as error:
                cells.append(_line(error))
                continue
            cells.append(f"{worst:.0e}" if worst <= BOUND else f"differs by {worst:.1g}: refused")
    return cells


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split()).replace("|", "/")
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def main() -> None:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="*", help="registered names; all by default")
    options = parser.parse_args()
    warnings.simplefilter("ignore")

    from biot_bd import registry

    head = "| name | ONNX, onnxruntime | ONNX, OpenVINO | OpenVINO | pt2, torch |\n|---|---|---|---|---|\n"
    rows = []
    with tempfile.TemporaryDirectory() as base:
        stores: dict[float, Any] = {}
        for name in options.models or [name for name in registry.models if registry.models.owner(name) == "biot_bd"]:
            start = time.perf_counter()
            contract = registry.models.contract(name)
            sfreq = (contract.sfreq if contract else None) or 200.0
            if sfreq not in stores:
                stores[sfreq] = prepare_windows(Path(base, f"data-{sfreq:g}"), sfreq)
            try:
                cells = export_cells(save_model(name, stores[sfreq], Path(base, name)), Path(base))
            except Exception as error:
                cells = [f"not fitted: {_line(error)}", "-", "-", "-"]
            rows.append(f"| `{name}` | {' | '.join(cells)} |")
            print(f"{rows[-1]} ({time.perf_counter() - start:.0f} s)", flush=True)
    if not options.models:
        text = PAGE.read_text(encoding="utf-8")
        before, rest = text.split(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n{head}" + "\n".join(rows) + f"\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
