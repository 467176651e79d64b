"""Windows a second through BIOT.

Braindecode, ours in float32 and half precision, and the bare matrix products.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable

import torch

import biot_bd  # noqa: F401  (braindecode imports beside a CPU torch)
from _bench import arguments, interleave, publish, summarise, target_above_floor
from biot_bd import BIOT
from biot_bd.models.inference_plan import PrecisionPlan, has_fast, measure_inference_plan
from biot_bd.models.packed_linear import PackedLinear, can_pack

SFREQ, SECONDS = 200, 10
LOGIT_TOLERANCE = 1e-5
PROBABILITY_TOLERANCE = {"fp32": 1e-5, "bf16": 5e-4, "fp16": 1e-2}
PEER = "braindecode"
# (batch, threads, precision): ratio to braindecode.
WANTED = {(64, 1, "fp32"): 2.0, (64, 1, "bf16"): 5.5, (512, 2, "fp32"): 1.6, (512, 2, "bf16"): 4.5}
CHANNELS = 16


def models(n_chans: int) -> tuple[torch.nn.Module, BIOT]:
    """Return braindecode's BIOT and ours, full size, with the same weights."""
    from braindecode.models import BIOT as BraindecodeBIOT

    torch.manual_seed(0)
    sizes = {"n_outputs": 2, "n_chans": n_chans, "n_times": SFREQ * SECONDS, "sfreq": SFREQ}
    theirs, ours = BraindecodeBIOT(**sizes).eval(), BIOT(**sizes).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return theirs, ours


def floor(n: int, n_chans: int, dtype: torch.dtype, micro_batch: int = 8) -> Callable[[], object]:
    """Return the matrix products of one forward pass alone, packed where inference packs them, on
    memory that is used again and again.
    """
    size = min(n, micro_batch)
    tokens = size * n_chans * ((SECONDS - 1) * 2 + 1)
    shapes = [(101, 256)] + [(256, 256), (256, 256), (256, 256), (256, 256), (256, 1024), (1024, 256)] * 4
    shapes = shapes[:-1]  # the last one comes after the mean over tokens
    rows = {width: torch.randn(tokens, width, dtype=dtype) for width in (101, 256, 1024)}
    heads = [torch.randn(size * 8, tokens // size, 32, dtype=dtype) for _ in range(3)]
    maps = [linear(torch.randn(b, a, dtype=dtype), tokens) for a, b in shapes]

    def products() -> None:
        for _ in range(-(-n // size)):
            for (width, _), multiply in zip(shapes, maps, strict=True):
                multiply(rows[width])
            for _ in range(4):
                torch.bmm(heads[0], torch.bmm(heads[1].transpose(1, 2), heads[2]))

    return products


def linear(weight: torch.Tensor, rows: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the fastest product with a weight that this machine has."""
    if can_pack(weight.dtype):
        return PackedLinear(weight)
    out = torch.empty(rows, len(weight), dtype=weight.dtype)
    return lambda x: torch.mm(x, weight.t(), out=out)


def compare(n: int, n_chans: int, threads: int, rounds: int, notes: list[str]) -> list[dict[str, object]]:
    """Check that the ways agree on one batch size, then time them."""
    torch.set_num_threads(threads)
    theirs, ours = models(n_chans)
    half = [name for name in ("bf16", "fp16") if has_fast(name)]
    x = torch.randn(n, n_chans, SFREQ * SECONDS) / 1.96
    plans = {"biot_bd, fp32": PrecisionPlan("fp32", 8)} | {f"biot_bd, {name}": PrecisionPlan(name, 8) for name in half}
    plans["biot_bd, measured"], report = measure_inference_plan(ours, n)

    def run(plan: PrecisionPlan) -> torch.Tensor:
        ours.inference_plan = plan
        return ours(x)

    where = f"batch {n}, {n_chans} channels, {threads} thread(s)"
    errors = []
    expected = theirs(x)
    for name, plan in plans.items():
        found = run(plan)
        logit = float(((found - expected).abs() / expected.abs().clamp_min(1.0)).max())
        probability = float((found.softmax(1) - expected.softmax(1)).abs().max())
        if (plan.precision == "fp32" and logit > LOGIT_TOLERANCE) or probability > PROBABILITY_TOLERANCE[
            plan.precision
        ]:
            raise SystemExit(
                f"{where}: {name} disagrees with braindecode: logit {logit:.1e}, probability {probability:.1e}"
            )
        errors.append(f"{name.removeprefix('biot_bd, ')} {logit:.0e}/{probability:.0e}")
    plan = plans["biot_bd, measured"]
    notes.append(
        f"{where}: largest difference to braindecode, logit/probability: {', '.join(errors)}; measured choice: "
        f"{plan.precision}, micro-batches of {plan.micro_batch or n} ({report['reason']})"
    )
    ways: dict[str, Callable[[], object]] = {PEER: lambda: theirs(x)}
    if n > 8:
        ways["braindecode in micro-batches of 8"] = lambda: torch.cat([theirs(part) for part in x.split(8)])
    ways |= {name: (lambda plan=plan: run(plan)) for name, plan in plans.items() if name != "biot_bd, fp16"}
    ways["floor: fp32 matrix products"] = floor(n, n_chans, torch.float32)
    if "bf16" in half:
        ways["floor: bf16 matrix products"] = floor(n, n_chans, torch.bfloat16)
    repeats = max(1, 32 // n) if n < 32 else 1
    times = interleave({name: (lambda way=way: [way() for _ in range(repeats)]) for name, way in ways.items()}, rounds)
    rows = summarise(times, [PEER], repeats)
    medians = {row["way"]: float(row["median_s"]) for row in rows}  # type: ignore[arg-type]
    for row in rows:
        row["windows a second"] = n / medians[row["way"]]
        least = medians.get(f"floor: {str(row['way']).removeprefix('biot_bd, ')} matrix products")
        row["share of the floor"] = None if least is None else least / medians[row["way"]]
    return [{"batch": n, "channels": n_chans, "threads": threads} | row for row in rows]


def targets(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """Return what was wanted beside what was measured, with the bare products' ratio as the
    floor.
    """
    by_case = {(row["batch"], row["threads"], row["way"]): row for row in rows}
    found = []
    for (n, threads, precision), wanted in WANTED.items():
        row = by_case.get((n, threads, f"biot_bd, {precision}"))
        least = by_case.get((n, threads, f"floor: {precision} matrix products"))
        if row is not None and least is not None:
            what = f"inference, batch {n}, {precision}, {threads} thread{'s' * (threads > 1)}"
            found.append(target_above_floor(what, row, least, PEER, wanted))
    return found


def main() -> None:
    options = arguments(__doc__ or "")
    cores = min(2, os.cpu_count() or 1)
    cases = [(n, threads) for threads in range(1, cores + 1) for n in (1, 8, 64)]
    cases = [(8, 1)] if options.quick else [*cases, (512, cores)]
    rows: list[dict[str, object]] = []
    notes: list[str] = []
    # Measured afresh: what an earlier run kept on this machine would not be part of this one.
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        os.environ["BIOT_BD_CACHE"] = folder
        for n, threads in cases:
            rounds = options.rounds if n < 512 else max(2, options.rounds // 2)
            rows += compare(n, CHANNELS, threads, rounds, notes)
    packed = [name for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)) if can_pack(dtype)]
    notes.append(
        "floors: the linear maps and attention products of the same shapes alone, in micro-batches of 8, memory reused; "
        f"weights in oneDNN's layout in {' and '.join(packed) or 'no precision'}"
    )
    title = "Inference of full-size BIOT on windows of 10 s, seconds a batch"
    publish("inference", title, rows, notes, options.quick, targets(rows))


if __name__ == "__main__":
    main()
