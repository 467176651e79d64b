"""Which of braindecode's models can be trained on EEG windows: all of them, run one by one.

    python benchmarks/models_table.py                # all; writes docs/models.md anew
    python benchmarks/models_table.py EEGNet CBraMod # some; prints their rows

Each model is fitted for one epoch by ``BIOTClassifier``, predicts, is saved and loaded again, in a
process of its own with a time limit, on noise: 16 bipolar channels, and where it refuses these 19
electrodes, both 10 s at 200 Hz.  Steps that its contract asks for stand in front of it.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import multiprocessing
import os
import platform
import re
import tempfile
import time
import warnings
from importlib import import_module
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import edfio
import numpy as np

PAGE = Path(__file__).parents[1] / "docs" / "models.md"
BEGIN, END = "<!-- table: made by benchmarks/models_table.py -->", "<!-- end of the table -->"
CONTRACTS, CONTRACTS_END = "<!-- contracts: made by benchmarks/models_table.py -->", "<!-- end of the contracts -->"
MONTAGES = {
    "biot-16": "Fp1-F7 F7-T7 T7-P7 P7-O1 Fp2-F8 F8-T8 T8-P8 P8-O2 Fp1-F3 F3-C3 C3-P3 P3-O1 Fp2-F4 F4-C4 C4-P4 P4-O2".split(),
    "szcore-19": "Fp1 F3 C3 P3 O1 F7 T3 T5 Fz Cz Pz Fp2 F4 C4 P4 O2 F8 T4 T6".split(),
}
LIMIT_S = 240
# Sizes of the large ones, so that a processor fits them in seconds; what they need does not change.
SMALL: dict[str, dict[str, Any]] = {
    "BrainModule": {"hidden_dim": 32, "depth": 2},
    "BENDR": {"encoder_h": 64, "contextualizer_hidden": 64, "transformer_layers": 1},
    "CBraMod": {"n_layer": 1},
    "CodeBrain": {"num_res_layers": 1},
    "EEGPT": {"depth": 1, "embed_dim": 64, "num_heads": 2},
    "LUNA": {"depth": 1},
    "Labram": {"num_layers": 1},
    "MEDFormer": {"num_layers": 1},
    "REVE": {"depth": 1, "embed_dim": 64},
    "InterpolatedBENDR": {"encoder_h": 64, "contextualizer_hidden": 64, "transformer_layers": 1},
    "InterpolatedEEGPT": {"depth": 1, "embed_dim": 64, "num_heads": 2},
    "InterpolatedLaBraM": {"num_layers": 1},
}
# What a model needs for windows of 10 s at 200 Hz; told in the table.
NEEDS: dict[str, dict[str, Any]] = {
    "AttnSleep": {"d_model": 54, "n_attn_heads": 6},
}
NOT_BY_CLASS = {"Labram": "labram", "SignalJEPA": "signaljepa", "InterpolatedSignalJEPA": "interpolated-signaljepa"}


def prepare_windows(folder: Path, sfreq: float = 200) -> dict[str, Any]:
    """Write recordings of noise, louder in the seizures, and prepare a few windows a montage."""
    from biot_bd import load_dataset, prepare

    rng = np.random.default_rng(0)
    stores = {}
    for montage, names in MONTAGES.items():
        for subject in ("P01", "P02"):
            x = rng.normal(0, 20, (len(names), 120 * 200))
            x[:, 40 * 200 : 80 * 200] *= 4
            place = folder / montage / subject
            place.mkdir(parents=True)
            suffix = "" if "-" in names[0] else "-REF"
            signals = [
                edfio.EdfSignal(row, 200, label=name + suffix, physical_dimension="uV", physical_range=(-800, 800))
                for name, row in zip(names, x.clip(-800, 800), strict=True)
            ]
            edfio.Edf(signals).write(place / "r1.edf")
            (place / "r1_events.tsv").write_text("onset\tduration\teventType\n40\t40\tsz\n")
        recordings = load_dataset("recordings-folder", folder / montage)
        windows = prepare(
            recordings, folder / f"{montage}-store", montage=montage, window_s=10, stride_s=10, sfreq=sfreq
        )
        loud, quiet = np.flatnonzero(windows.y == 1)[:3], np.flatnonzero(windows.y == 0)[:3]
        stores[montage] = windows[np.sort(np.r_[loud, quiet])]
    return stores


def registered_name(cls: type) -> str | None:
    """Return the name that biot_bd registers a class of braindecode under."""
    from biot_bd import registry

    return NOT_BY_CLASS.get(cls.__name__) or registry.models.name_of(cls)


def run_model(cls: type, windows: Any, folder: Path) -> tuple[str, list[str]]:
    """Fit, predict, save and load one model; return how it went and the steps in front of it."""
    from sklearn.pipeline import make_pipeline

    from biot_bd import BIOTClassifier, PercentileScaler, load_pipeline, registry, save_pipeline
    from biot_bd.probes.slots import steps_for

    name, needed = registered_name(cls), NEEDS.get(cls.__name__, {})
    contract = None if name is None else registry.models.contract(name)
    steps = [PercentileScaler(95)] if contract is None else steps_for(contract, windows)
    net = BIOTClassifier(
        name or cls.__name__,
        max_epochs=1,
        batch_size=8,
        train_split=None,
        patience=None,
        random_state=0,
        device="cpu",
        micro_batch=None,
        **{f"module__{key}": value for key, value in {**SMALL.get(cls.__name__, {}), **needed}.items()},
    )
    pipeline = make_pipeline(*steps, net) if steps else net
    said = [type(step).__name__ for step in steps] + [f"module__{key}={value!r}" for key, value in needed.items()]
    proba = pipeline.fit(windows, windows.y).predict_proba(windows)
    if not np.isfinite(proba).all():
        return "probabilities are not finite", said
    try:
        again = load_pipeline(save_pipeline(pipeline, folder)).predict_proba(windows)
    except Exception as error:
        return f"trains, but cannot be saved or loaded: {first_line(error)}", said
    worst = float(np.abs(again - proba).max())
    return ("fits" if worst <= 1e-6 else f"trains, but differs by {worst:.2g} after loading"), said


def first_line(error: BaseException) -> str:
    """Return what an error says, on one line."""
    text = re.sub(r"/\S*/(?=[^/\s]+\.safetensors)", "", " ".join(str(error).split()))
    return ("refused: " if type(error).__name__ == "ContractError" else f"{type(error).__name__}: ") + text[:250]


def _child(pipe: Connection, name: str, windows: Any, folder: Path) -> None:
    warnings.simplefilter("ignore")
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        try:
            pipe.send(run_model(all_models()[name], windows, folder))
        except Exception as error:  # whatever a foreign model raises belongs into the table
            pipe.send((first_line(error), None))


def run_apart(name: str, windows: Any, folder: Path) -> tuple[str, list[str] | None]:
    """Run one model in a process of its own, for at most ``LIMIT_S`` seconds."""
    # Forked from a process without threads: a lock that one of ours holds would stay locked.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["biot_bd.probes.slots", "braindecode.models"])
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(theirs, name, windows, folder))
    process.start()
    theirs.close()
    try:
        return ours.recv() if ours.poll(LIMIT_S) else (f"not done after {LIMIT_S} s", None)
    except EOFError:
        return f"the process ended ({process.exitcode})", None
    finally:
        process.kill()
        process.join()


def all_models() -> dict[str, type]:
    """Return braindecode's models by name, the interpolated ones last."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # what wants a download says so at once
    import_module("biot_bd.probes.slots")  # before braindecode, and once for all child processes
    from braindecode.models.util import interpolated_models_dict, models_dict

    return {**dict(sorted(models_dict.items())), **dict(sorted(interpolated_models_dict.items()))}


def make_row(name: str, cls: type, stores: dict[str, Any], folder: Path) -> tuple[str, str, str, str, str]:
    """Return model, registered name, how it goes on bipolar channels and on electrodes, steps."""
    went, steps = run_apart(name, stores["biot-16"], folder / f"{name}-16")
    other = "-"
    if went != "fits" and not went.startswith("not done"):
        other, other_steps = run_apart(name, stores["szcore-19"], folder / f"{name}-19")
        steps = steps or other_steps
    known = registered_name(cls)
    return name, "-" if known is None else f"`{known}`", went, other, ", ".join(steps or []) or "-"


def to_markdown(rows: list[tuple[str, ...]]) -> str:
    """Return the table with versions and date."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("biot-bd", "braindecode", "skorch", "torch", "mne"))
    n_fit = sum(row[2] == "fits" or row[3] == "fits" for row in rows)
    head = (
        f"{n_fit} of {len(rows)} models can be trained, predict, and are the same after saving and loading. "
        f"{datetime.date.today():%Y-%m-%d}, Python {platform.python_version()}, {packages}.\n\n"
        "| model of braindecode | registered as | 16 bipolar channels | else: 19 electrodes | steps in front, parameters |\n"
        "|---|---|---|---|---|\n"
    )
    return head + "".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |\n" for row in rows)


def contracts_table() -> str:
    """Return the contracts of the registered models as rows of a table."""
    from biot_bd import registry

    rows = []
    for name in registry.models:
        one = registry.models.contract(name)
        if one is None or registry.models.owner(name) != "biot_bd":
            continue
        rate = "any" if one.sfreq is None else f"{one.sfreq:g} Hz"
        window = [f"multiple of {one.multiple_samples} samples"] if one.multiple_samples > 1 else []
        window += [f"at least {one.min_window_s:g} s"] if one.min_window_s else []
        channels = [one.reference] if one.reference else []
        channels += [f"{'exactly' if one.all_channels else 'some of'} its {len(one.ch_names)}"] if one.ch_names else []
        channels += [f"at least {one.min_chans}"] if one.min_chans > 1 else []
        channels += ["with positions"] if one.positions == "required" else []
        more = [text for text in (one.weights, one.needs and f"needs {one.needs}", *one.notes) if text]
        cells = [
            f"`{name}`",
            one.scale or "any",
            rate,
            ", ".join(window) or "any",
            ", ".join(channels) or "any",
            "; ".join(more),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    head = "| name | scale | rate | window | channels | pretrained weights, and what nothing checks |\n|---|---|---|---|---|---|\n"
    return head + "\n".join(rows) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="*", help="names in braindecode.models; all by default")
    options = parser.parse_args()
    models = all_models()
    unknown = [name for name in options.models if name not in models]
    if unknown:
        parser.error(f"no models {', '.join(unknown)}; there are {', '.join(models)}")
    chosen = {name: models[name] for name in options.models or models}
    with tempfile.TemporaryDirectory() as base:
        stores = prepare_windows(Path(base, "data"))
        rows = []
        for i, (name, cls) in enumerate(chosen.items(), 1):
            start = time.perf_counter()
            rows.append(make_row(name, cls, stores, Path(base)))
            print(f"{i}/{len(chosen)} {' | '.join(rows[-1])} ({time.perf_counter() - start:.0f} s)", flush=True)
    if options.models:
        print(to_markdown(rows))
        return
    write_page(rows)
    print(f"wrote {PAGE}")


def write_page(rows: list[tuple[str, ...]]) -> None:
    """Put the table into the page of models."""
    text = PAGE.read_text()
    for begin, end, made in ((CONTRACTS, CONTRACTS_END, contracts_table()), (BEGIN, END, to_markdown(rows))):
        before, after = text.partition(begin)[0], text.partition(end)[2]
        text = f"{before}{begin}\n{made}{end}{after}"
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
