"""BIOT on a GPU: windows a second of inference, training and pretraining by batch size and
precision, memory, and the floor.

The floor is the time of the matrix products alone, of the same shapes in the same precision.  The
share of the data path is the time to read and transfer a batch over the time of its step; windows
that lie on the device are gathered there.  At last a whole leave-one-subject-out study runs
(``_gpu_study.py``).  All of it takes less than 8 minutes.  Without a GPU the script says so and
ends well; ``--device cpu`` runs the same code on a tiny model, to test it.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from _bench import interleave, publish, summarise, write_recording
from _gpu_study import QUICK_STUDY, TINY_STUDY, StudySizes, study_rows
from biot_bd.models.inference_plan import precision_context

N_CHANS, N_TIMES, FRAMES, FREQS = 16, 2000, 19, 101
DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}
PEER, FLOOR = "braindecode, fp32", "matrix products alone"
LEAST_S = 0.05  # a timing repeats a call until it lasts this long


@dataclass(frozen=True)
class Sizes:
    """What is measured, and for how long."""

    embed_dim: int = 256
    num_layers: int = 4
    inference: tuple[int, ...] = (16, 64, 256, 1024)
    training: tuple[int, ...] = (16, 64, 256, 512)
    pretraining: tuple[int, ...] = (64, 256)
    compiled: int = 256
    seconds: float = 150.0


QUICK = Sizes(inference=(64, 512), training=(64,), pretraining=(64,), compiled=64, seconds=45.0)
TINY = Sizes(32, 1, (2, 8), (2, 4), (4,), 4, 60.0)


# --- models and steps -----------------------------------------------------------------------------


def models(sizes: Sizes, device: torch.device) -> tuple[nn.Module, nn.Module]:
    """Return our BIOT and braindecode's with the same weights."""
    from braindecode.models import BIOT as BraindecodeBIOT

    from biot_bd import BIOT

    common = {"n_chans": N_CHANS, "n_times": N_TIMES, "n_outputs": 2, "sfreq": 200, "drop_prob": 0.1}
    torch.manual_seed(0)
    ours = BIOT(embed_dim=sizes.embed_dim, num_layers=sizes.num_layers, **common)
    peer = BraindecodeBIOT(embed_dim=sizes.embed_dim, num_layers=sizes.num_layers, **common)
    peer.load_state_dict(ours.state_dict())
    return ours.to(device), peer.to(device)


def follow(model: nn.Module, name: str) -> None:
    """Have our BIOT infer whole batches in this precision, where it has plans of its own."""
    if hasattr(model, "inference_plan"):
        model.inference_plan = type(model.inference_plan)(name, None)


def infer(model: nn.Module, x: torch.Tensor, name: str) -> torch.Tensor:
    with torch.no_grad(), precision_context(name, x.device.type):
        return model(x)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor, name: str) -> None:
    optimizer.zero_grad(set_to_none=True)
    with precision_context(name, x.device.type):
        loss = nn.functional.cross_entropy(model(x).float(), y)
    loss.backward()
    optimizer.step()


def products(sizes: Sizes, batch: int, name: str, device: torch.device, training: bool) -> Callable[[], None]:
    """Return the matrix products of a forward pass.

    Of training those of both gradients too (three times as many).
    """
    width, tokens, heads = sizes.embed_dim, N_CHANS * FRAMES, 8
    dtype = DTYPES[name]

    def made(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, device=device, dtype=dtype)

    rows, per_head = made(batch * tokens, width), made(batch * heads, tokens, width // heads)
    spectra, wide = made(batch * tokens, FREQS), made(batch * tokens, 4 * width)
    once = [(spectra, made(FREQS, width))]
    layer = [
        (rows, made(width, 3 * width)),
        (per_head.transpose(1, 2), per_head),
        (per_head, made(batch * heads, width // heads, width // heads)),
        (rows, made(width, width)),
        (rows, made(width, 4 * width)),
        (wide, made(4 * width, width)),
    ]
    pairs = [*once, *layer * sizes.num_layers]

    def run() -> None:
        with precision_context("tf32" if name == "tf32" else "fp32", device.type), torch.no_grad():
            for a, b in pairs:
                out = a @ b
                if training:
                    _ = out @ b.transpose(-1, -2), a.transpose(-1, -2) @ out

    return run


# --- measuring ------------------------------------------------------------------------------------


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(call: Callable[[], object], device: torch.device) -> tuple[Callable[[], None], int]:
    """Return a call that repeats ``call`` for at least ``LEAST_S`` and waits for the device, and
    how often it does.
    """
    call()
    synchronize(device)
    start = time.perf_counter()
    call()
    synchronize(device)
    often = int(np.clip(np.ceil(LEAST_S / (time.perf_counter() - start)), 1, 200))

    def repeated() -> None:
        for _ in range(often):
            call()
        synchronize(device)

    return repeated, often


def peak_mb(call: Callable[[], object], device: torch.device) -> float | None:
    """Return the memory on the device at the peak of a call above what lay there before.

    None on a CPU.
    """
    if device.type != "cuda":
        return None
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    call()
    synchronize(device)
    return (torch.cuda.max_memory_allocated(device) - before) / 2**20


def measure(
    kind: str, batch: int, ways: dict[str, tuple[str, Callable[[], object]]], floors: dict, device: torch.device, n: int
) -> list[dict[str, object]]:
    """Time ways (name: precision and call) of one batch size in turns with the floors of their
    precisions.
    """
    calls, often, peaks, rows = {}, {}, {}, []
    for name, (_, call) in ways.items():
        try:
            peaks[name] = peak_mb(call, device)
            calls[name], often[name] = timed(call, device)
        except RuntimeError as error:
            short = isinstance(error, torch.cuda.OutOfMemoryError)
            if not short and "compiled" not in name:
                raise
            note = "does not fit the memory" if short else f"cannot be compiled here: {str(error).splitlines()[0]}"
            rows.append({"way": f"{kind}, {name}", "batch": batch, "note": note})
        if device.type == "cuda":
            torch.cuda.empty_cache()
    for name in dict.fromkeys(found for found, _ in ways.values()):
        key = f"{FLOOR}, {name}"
        calls[key], often[key] = timed(floors[name], device)
    times = interleave(calls, n)
    seconds = {name: [t / often[name] for t in found] for name, found in times.items()}
    peers = [PEER] if PEER in seconds else []
    by_way = {str(row["way"]): row for row in summarise(seconds, peers)}
    for name, row in by_way.items():
        used = ways[name][0] if name in ways else None
        floor = None if used is None else by_way[f"{FLOOR}, {used}"]["median_s"] / row["median_s"]
        ratio = {key: value for key, value in row.items() if key.startswith("times")}
        facts = {"batch": batch, "windows a second": batch / row["median_s"], "share of the floor": floor}
        rows.append({"way": f"{kind}, {name}", **facts, "peak MB": peaks.get(name), **ratio})
    return rows


def inference_rows(sizes: Sizes, device: torch.device, n: int, spare: Callable[[], bool], compiled: bool) -> list:
    ours, peer = (model.eval() for model in models(sizes, device))
    fast = torch.compile(ours) if compiled else None
    rows = []
    for batch in sizes.inference:
        x = torch.randn(batch, N_CHANS, N_TIMES, device=device)
        ways = {PEER: ("fp32", lambda x=x: infer(peer, x, "fp32"))}
        for name in precisions(device):
            ways[f"biot_bd, {name}"] = (name, lambda x=x, name=name: (follow(ours, name), infer(ours, x, name)))
        if fast is not None and batch == sizes.compiled and spare():
            ways["biot_bd, bf16, compiled"] = ("bf16", lambda x=x: infer(fast, x, "bf16"))
        floors = {name: products(sizes, batch, name, device, training=False) for name in precisions(device)}
        rows += measure("inference", batch, ways, floors, device, n)
        if not spare():
            break
    return rows


def training_rows(sizes: Sizes, device: torch.device, n: int, spare: Callable[[], bool], compiled: bool) -> list:
    ours, peer = (model.train() for model in models(sizes, device))
    fast = torch.compile(ours) if compiled else None
    optimizers = {id(model): torch.optim.AdamW(model.parameters()) for model in (ours, peer)}
    rows = []
    for batch in sizes.training:
        x = torch.randn(batch, N_CHANS, N_TIMES, device=device)
        y = torch.randint(2, (batch,), device=device)

        def step(model: nn.Module, name: str, x: torch.Tensor = x, y: torch.Tensor = y) -> Callable[[], None]:
            optimizer = optimizers[id(getattr(model, "_orig_mod", model))]
            return lambda: train(model, optimizer, x, y, name)

        ways = {PEER: ("fp32", step(peer, "fp32"))}
        ways |= {f"biot_bd, {name}": (name, step(ours, name)) for name in precisions(device)}
        if fast is not None and batch == sizes.compiled and spare():
            ways["biot_bd, bf16, compiled"] = ("bf16", step(fast, "bf16"))
        floors = {name: products(sizes, batch, name, device, training=True) for name in precisions(device)}
        rows += measure("training step", batch, ways, floors, device, n)
        if not spare():
            break
    return rows


def pretraining_step(backbone: nn.Module, objective: str, x: torch.Tensor) -> Callable[[str], None]:
    """Return a step of an objective, in a precision that it is told."""
    from biot_bd import registry
    from biot_bd.models import token_stages
    from biot_bd.pretraining import BatchRandom
    from biot_bd.pretraining.pretext_module import PretextModule

    heads = registry.objectives[objective](token_stages(backbone).sizes)
    module = PretextModule(backbone, {objective: heads}, {objective: 1.0}).to(x.device).train()
    optimizer = torch.optim.AdamW(module.parameters())

    def step(name: str) -> None:
        optimizer.zero_grad(set_to_none=True)
        with precision_context(name, x.device.type):
            loss = module(x, BatchRandom(0, len(x), device=x.device))["loss"]
        loss.backward()
        optimizer.step()

    return step


def pretraining_rows(sizes: Sizes, device: torch.device, n: int, spare: Callable[[], bool]) -> list:
    """Time steps of the objectives that BIOT's tokens can be asked about.

    The floor is that of a training step, which sees each window once.
    """
    rows = []
    for batch in sizes.pretraining:
        x = torch.randn(batch, N_CHANS, N_TIMES, device=device)
        ways = {}
        for objective in ("biot-contrastive", "masked-spectrum"):
            step = pretraining_step(models(sizes, device)[0], objective, x)
            ways |= {
                f"{objective}, {name}": (name, lambda step=step, name=name: step(name)) for name in precisions(device)
            }
        floors = {name: products(sizes, batch, name, device, training=True) for name in precisions(device)}
        rows += measure("pretraining step", batch, ways, floors, device, n)
        if not spare():
            break
    return rows


def precisions(device: torch.device) -> list[str]:
    return [name for name in DTYPES if device.type == "cuda" or name != "tf32"]


def data_rows(rows: list[dict[str, object]], sizes: Sizes, device: torch.device, n: int) -> list[dict[str, object]]:
    """Time the ways of a batch to the device, and give their share of a training step in bf16."""
    from biot_bd import PercentileScaler, load_dataset, prepare
    from biot_bd.windows.device_signals import put_windows
    from biot_bd.windows.torch_dataset import PackedWindows

    steps = {r["batch"]: r for r in rows if r["way"] == "training step, biot_bd, bf16" and "windows a second" in r}
    batch = max(steps)
    step_s = batch / float(steps[batch]["windows a second"])  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        edf = write_recording(Path(folder) / "edf" / "sub-01_run-00.edf", 1200, seed=0)
        windows = prepare(load_dataset("edf-folder", edf.parent, unlisted="background"), Path(folder) / "s", stride_s=2)
        scaled = windows.map(PercentileScaler())
        there = put_windows(scaled, device, True)
        turns = itertools.count()

        def numbers() -> np.ndarray:
            return np.random.default_rng(next(turns)).integers(len(scaled), size=batch)

        def packed() -> torch.Tensor:
            values, scales = (torch.from_numpy(part) for part in scaled.read_packed(numbers()))
            made = PackedWindows(values, scales)
            made = made.pin_memory() if device.type == "cuda" else made
            return made.to(device, non_blocking=True).unpack()

        rows_there = torch.from_numpy(numbers())
        torch.testing.assert_close(
            there.take(rows_there).cpu(), torch.from_numpy(scaled.read(rows_there.numpy())), rtol=0, atol=0
        )
        pinned = torch.empty(batch, N_CHANS, N_TIMES, pin_memory=device.type == "cuda")
        ways = {
            "reading a batch": lambda: scaled.read(numbers()),
            "transfer of float32": lambda: pinned.to(device, non_blocking=True),
            "packed: read, sent, multiplied there": packed,
            "on the device: gathered and multiplied": lambda: there.take(torch.from_numpy(numbers())),
        }
        calls = {name: timed(call, device) for name, call in ways.items()}
        times = interleave({name: call for name, (call, _) in calls.items()}, n)
    found = []
    for name, seconds in times.items():
        median_s = float(np.median(seconds)) / calls[name][1]
        facts = {"batch": batch, "windows a second": batch / median_s, "share of a bf16 step": median_s / step_s}
        found.append({"way": f"data path, {name}", **facts})
    return found


def check_agreement(sizes: Sizes, device: torch.device) -> list[str]:
    """Compare with braindecode in float32, and with ourselves in lower precision.

    Stop where they disagree.
    """
    ours, peer = (model.eval() for model in models(sizes, device))
    x = torch.randn(16, N_CHANS, N_TIMES, device=device)
    wanted = infer(peer, x, "fp32")
    notes = []
    for name in precisions(device):
        follow(ours, name)
        found = infer(ours, x, name).float()
        logits = float((found - wanted).abs().max())
        proba = float((found.softmax(1) - wanted.softmax(1)).abs().max())
        if (name == "fp32" and logits > 1e-4) or proba > 2e-2:
            raise SystemExit(f"{name} disagrees with braindecode: logits by {logits:.1e}, probabilities by {proba:.1e}")
        notes.append(
            f"{name} differs from braindecode in fp32 by {logits:.1e} in a logit, {proba:.1e} in a probability"
        )
    return notes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer sizes, two rounds, at most a minute")
    parser.add_argument("--rounds", type=int, default=None, help="interleaved rounds (default 5, quick 2)")
    parser.add_argument("--device", default="cuda", help="'cpu' runs a tiny model, to test this script")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--no-study", action="store_true", help="leave the whole study out")
    options = parser.parse_args()
    rounds = options.rounds or (2 if options.quick else 5)
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("gpu: there is no CUDA GPU here (or torch was built without CUDA): nothing to measure")
        return
    import biot_bd  # noqa: F401  (braindecode imports beside a CPU torch)

    sizes = TINY if device.type == "cpu" else QUICK if options.quick else Sizes()
    begun = time.monotonic()

    def spare() -> bool:
        return time.monotonic() - begun < sizes.seconds

    compiled = not options.no_compile and (device.type == "cuda" or not options.quick)
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else "no GPU: a tiny model on the processor"
    print(f"gpu: {card}, torch {torch.__version__}")
    notes = [f"device: {card}", *check_agreement(sizes, device)]
    rows = inference_rows(sizes, device, rounds, spare, compiled)
    # Compiling takes half a minute a model: the quick run does it once.
    rows += training_rows(sizes, device, rounds, spare, compiled and not options.quick)
    rows += pretraining_rows(sizes, device, rounds, spare)
    rows += data_rows(rows, sizes, device, rounds)
    if not options.no_study:
        study = TINY_STUDY if device.type == "cpu" else QUICK_STUDY if options.quick else StudySizes()
        rows += study_rows(study, device)
        notes.append(f"the study: {study.subjects} generated recordings of {study.minutes} min, {study.epochs} epochs")
    done = {row["batch"] for row in rows if str(row["way"]).startswith(("inference", "training"))}
    left_out = sorted({*sizes.inference, *sizes.training} - done)
    if left_out:
        notes.append(f"left out, as {sizes.seconds:.0f} s were over: batches of {', '.join(map(str, left_out))}")
    name = "gpu" if device.type == "cuda" else None  # a tiny model's figures are no result
    publish(name, f"BIOT on {card}", rows, notes, options.quick or name is None)


if __name__ == "__main__":
    main()
