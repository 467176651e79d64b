"""One training step of a full-size BIOT (16 channels of 10 s).

Braindecode's against ours, through the classifier.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor, nn

from _bench import arguments, interleave, publish, summarise, target_above_floor
from biot_bd.training import BIOTClassifier

N_CHANS, N_TIMES, TOKENS, WIDTH, HEADS, LAYERS = 16, 2000, 16 * 19, 256, 8, 4
PEER = "braindecode"
PEER_BYTES_A_WINDOW = 27e6
DROPOUT = {"drop_prob": 0.1, "att_drop_prob": 0.2, "att_layer_drop_prob": 0.2}
WANTED = {(32, "bf16"): 4.2, (64, "bf16"): 3.0, (512, "bf16"): 4.4, (512, "fp32"): 1.65}
NO_DROPOUT = dict.fromkeys(DROPOUT, 0.0)


class MeanOverAll(nn.Module):
    """Cross-entropy that does not say that it is a sum over windows.

    Ours then passes forward twice.
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return nn.functional.cross_entropy(input, target)


def data(n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return (rng.standard_normal((n, N_CHANS, N_TIMES)) / 1.96).astype(np.float32), np.arange(n) % 2


def peer_model(dropout: dict[str, float]) -> nn.Module:
    from braindecode.models import BIOT as BraindecodeBIOT  # after biot_bd, so that it imports beside a CPU torch

    torch.manual_seed(0)
    shape = {"n_outputs": 2, "n_chans": N_CHANS, "n_times": N_TIMES, "sfreq": 200}
    return BraindecodeBIOT(**shape, **dropout).train()


def peer_step(x: np.ndarray, y: np.ndarray, autocast: bool = False) -> Callable[[], None]:
    model = peer_model(DROPOUT)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    inputs, targets = torch.from_numpy(x), torch.from_numpy(y)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            logits = model(inputs)
        nn.functional.cross_entropy(logits.float(), targets).backward()
        optimizer.step()

    return step


def our_net(x: np.ndarray, y: np.ndarray, dropout: dict[str, float], **settings: Any) -> BIOTClassifier:
    net = BIOTClassifier(
        batch_size=len(x),
        max_epochs=0,
        train_split=None,
        device="cpu",
        lr=1e-4,
        **{"criterion": "cross-entropy", **settings},
    )
    net.set_params(**{f"module__{name}": value for name, value in dropout.items()}).fit(x, y)
    net.module_.load_state_dict(peer_model(dropout).state_dict())
    return net


def our_step(net: BIOTClassifier, x: np.ndarray, y: np.ndarray) -> Callable[[], object]:
    batch = (torch.from_numpy(x), torch.from_numpy(y))
    return lambda: net.train_step(batch)


def gradient_errors(x: np.ndarray, y: np.ndarray, ways: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Return the norm of the difference from braindecode's whole-batch gradient, as a part of
    its norm.
    """
    model = peer_model(NO_DROPOUT)
    loss = nn.functional.cross_entropy(model(torch.from_numpy(x)), torch.from_numpy(y))
    loss.backward()
    truth = {name: p.grad for name, p in model.named_parameters()}
    size = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(truth.values()))))
    errors = {}
    for way, settings in ways.items():
        net = our_net(x, y, NO_DROPOUT, **settings)
        net.train_step_single((torch.from_numpy(x), torch.from_numpy(y)))
        parts = [p.grad - truth[name] for name, p in net.module_.named_parameters()]
        errors[way] = float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(parts))) / size)
        limit = 0.1 if settings["precision"] == "bf16" else 1e-4
        if not errors[way] < limit:
            raise SystemExit(f"{way}, batch {len(x)}: the gradient is off by {errors[way]:.1e} of its norm")
    return errors


def floor(n: int, dtype: torch.dtype, micro: int = 16) -> Callable[[], None]:
    """Return the matrix products of a step alone, in reused memory.

    Forward, and two each backward.
    """
    rows, features = micro * TOKENS, WIDTH // HEADS
    plain = [(WIDTH, 3 * WIDTH), (WIDTH, WIDTH), (WIDTH, 4 * WIDTH), (4 * WIDTH, WIDTH)]
    shapes = [(1, rows, a, b) for a, b in plain]
    shapes += [(micro * HEADS, features, TOKENS, features), (micro * HEADS, TOKENS, features, features)]
    work = []
    for batch, m, k, n_out in shapes:
        left, right = torch.randn(batch, m, k).to(dtype), torch.randn(batch, k, n_out).to(dtype)
        out = torch.randn(batch, m, n_out).to(dtype)
        work.append((left, right, out, torch.empty_like(left), torch.empty_like(right)))
    first = [torch.randn(rows, 101).to(dtype), torch.randn(101, WIDTH).to(dtype), torch.randn(rows, WIDTH).to(dtype)]
    slope = torch.empty_like(first[1])

    def products() -> None:
        for _ in range(-(-n // micro)):
            torch.mm(first[0], first[1], out=first[2])
            torch.mm(first[0].t(), first[2], out=slope)
            for _ in range(LAYERS):
                for left, right, out, to_left, to_right in work:
                    torch.bmm(left, right, out=out)
                    torch.bmm(out, right.transpose(1, 2), out=to_left)
                    torch.bmm(left.transpose(1, 2), out, out=to_right)

    return products


class Point(nn.Module):
    """As good as no module, so that what is left is the loop."""

    def __init__(self, n_chans: int, n_outputs: int) -> None:
        super().__init__()
        self.out = nn.Linear(n_chans, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(x.mean(-1))


def overhead_s(n_batches: int = 300, rounds: int = 5) -> float:
    """Return what an epoch of the classifier takes longer, for each batch, than a bare loop over
    the same batches.
    """
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((n_batches * 2, 2, 8)).astype(np.float32), np.arange(n_batches * 2) % 2
    settings: dict[str, Any] = {"batch_size": 2, "max_epochs": 1, "train_split": None, "device": "cpu"}
    net = BIOTClassifier(Point, criterion="cross-entropy", **settings).fit(x, y)
    iterator = net.get_iterator(net.get_dataset(x, y), training=True)
    module = Point(2, 2)
    optimizer = torch.optim.AdamW(module.parameters())

    def bare() -> None:
        for inputs, targets in iterator:
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(inputs), targets).backward()
            optimizer.step()

    def ours() -> None:
        net.history.new_epoch()
        net.notify("on_epoch_begin")
        net.run_single_epoch(iterator, training=True, prefix="train", step_fn=net.train_step)
        net.notify("on_epoch_end")

    times = interleave({"ours": ours, "bare": bare}, rounds)
    return float(np.median(np.subtract(times["ours"], times["bare"]))) / n_batches


def rows_of(n: int, rounds: int, quick: bool, notes: list[str]) -> list[dict[str, object]]:
    """Check and time one batch size."""
    x, y = data(n)
    ways: dict[str, dict[str, Any]] = {
        "biot_bd, fp32": {"precision": "fp32"},
        "biot_bd, bf16": {"precision": "bf16"},
    }
    if n <= 64:
        ways["biot_bd, bf16, loss of the whole batch"] = {"precision": "bf16", "criterion": MeanOverAll}
    errors = gradient_errors(x, y, ways)
    nets = {way: our_net(x, y, DROPOUT, **settings) for way, settings in ways.items()}
    for way, net in nets.items():
        notes.append(
            f"batch {n}, {way}: gradient off braindecode's by {errors[way]:.1e} of its norm (no dropout), "
            f"micro-batches of {net.facts_.training_plan.micro_batch or 'the whole batch'}"
        )
    steps: dict[str, Callable[[], object]] = {PEER: peer_step(x, y)}
    if n <= 64 and not quick:
        steps["braindecode, bf16 autocast"] = peer_step(x, y, autocast=True)
    steps |= {way: our_step(net, x, y) for way, net in nets.items()}
    floors = {"fp32": "floor: matrix products, fp32", "bf16": "floor: matrix products, bf16"}
    steps |= {floors[c]: floor(n, d) for c, d in (("fp32", torch.float32), ("bf16", torch.bfloat16))}
    # A step of 512 takes a minute, and the check has just run one of each way.
    rows = summarise(interleave(steps, rounds, warm_up=n <= 64), [PEER])
    by_way = {str(row["way"]): float(row["median_s"]) for row in rows}  # type: ignore[arg-type]
    for row in rows:
        lowest = by_way[floors["bf16" if "bf16" in str(row["way"]) else "fp32"]]
        row["floor_s"], row["times the floor"] = lowest, float(row["median_s"]) / lowest  # type: ignore[arg-type]
        row["way"] = f"batch {n}: {row['way']}"
    return rows


def goals(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """Return what was wanted beside what was measured, with the bare products' ratio as the
    floor.
    """
    by_way = {row["way"]: row for row in rows}
    found = []
    for (n, precision), wanted in WANTED.items():
        row, least = (
            by_way.get(f"batch {n}: {way}") for way in (f"biot_bd, {precision}", f"floor: matrix products, {precision}")
        )
        if row is not None and least is not None:
            found.append(target_above_floor(f"training step, batch {n}, {precision}", row, least, PEER, wanted))
    return found


def main() -> None:
    options = arguments(__doc__ or "")
    warnings.simplefilter("ignore")
    started, notes, rows = time.perf_counter(), [], []
    lost = overhead_s()
    for n, rounds in (
        ((32, options.rounds),) if options.quick else ((32, options.rounds), (64, min(options.rounds, 5)), (512, min(options.rounds, 2)))
    ):
        if psutil.virtual_memory().available < n * PEER_BYTES_A_WINDOW + 1e9:
            notes.append(f"batch {n} left out: braindecode needs {n * PEER_BYTES_A_WINDOW / 1e9:.0f} GB")
            continue
        rows += rows_of(n, rounds, options.quick, notes)
    fastest = min(float(row["median_s"]) for row in rows if "biot_bd" in str(row["way"]))  # type: ignore[arg-type]
    notes.append(
        f"the loop (skorch, history, scores) adds {1e3 * lost:.2f} ms a batch to a bare loop: {100 * lost / fastest:.2f} % of "
        "the fastest step above"
    )
    notes.append(f"all of this took {time.perf_counter() - started:.0f} s")
    publish("training", "One training step (AdamW, dropout on), seconds", rows, notes, options.quick, goals(rows))


if __name__ == "__main__":
    main()
