"""In which precision and in which micro-batches a classifier trains and predicts, and how that
is chosen.
"""

from __future__ import annotations

import copy
import time
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn

from biot_bd.kept_choices import best_of, cached_choice
from biot_bd.models.biot import BIOT
from biot_bd.models.inference_plan import (
    PrecisionPlan,
    has_fast,
    machine_key,
    precision_context,
)
from biot_bd.training.resume import kept_random_states

TOLERANCE = 1e-2
"""Most that a probability in low precision may differ from the one in fp32."""
SIZES = (8, 16, 32, 64)
GPU_SIZES = (32, 64, 128, 256)
WORTH_BYTES = 2**29
"""A batch whose activations are smaller trains whole on a CPU.

Nothing is measured, nothing is gained.
"""
_TIMED_WINDOWS = 64
_GAIN = 0.1
"""A lower precision is chosen if it saves more than this part of the time in fp32."""


def activation_bytes(module: nn.Module, n_windows: int) -> int:
    """Estimate what the activations of a training step of a BIOT take (measured: 25 MB a window
    at full size); else 0.
    """
    if not isinstance(module, BIOT):
        return 0
    layout = module.token_layout()
    layers = len(module.encoder.transformer.layers.layers)  # type: ignore[union-attr, arg-type]
    width = module.encoder.channel_tokens.embedding_dim
    return 80 * n_windows * layout.n_tokens * width * layers


def training_plan(
    module: nn.Module, x: Tensor, batch_size: int, precision: str, micro_batch: int | str | None
) -> tuple[PrecisionPlan, dict[str, Any]]:
    """Choose precision and micro-batch of training.

    Where there is a choice, by timing steps on this machine.

    Parameters
    ----------
    module : nn.Module
        Only a copy of it runs.
    x : Tensor, shape (n, n_chans, n_times)
        Some windows, on the device.
    batch_size : int
        Windows of a batch.
    precision, micro_batch :
        As the classifier's parameters of these names.

    Returns
    -------
    plan : PrecisionPlan
    report : dict
        The seconds a window of every candidate (empty where nothing was measured), as JSON holds
        it.

    Notes
    -----
    The choice is kept for this machine, model and batch size (see
    :func:`biot_bd.kept_choices.cached_choice`).
    """
    computes = [precision]
    if precision == "auto":
        computes = [name for name in ("fp32", "tf32", "bf16") if has_fast(name, x.device)]
    sizes = _sizes(module, x.device, batch_size, micro_batch)
    candidates = [PrecisionPlan(c, s) for c in computes for s in sizes]
    if len(candidates) == 1:
        return candidates[0], {}
    kind = f"{type(module).__module__}.{type(module).__qualname__} {sum(p.numel() for p in module.parameters())}"
    named = " ".join(str((plan.precision, plan.micro_batch)) for plan in candidates)
    key = f"training {machine_key(x.device)} {kind} {tuple(x.shape[1:])} {batch_size} {named}"
    found = cached_choice(key, lambda: _measure(module, x, batch_size, candidates))
    return PrecisionPlan.from_dict(found["plan"]), found["seconds_a_window"]


def _sizes(module: nn.Module, device: torch.device, batch_size: int, wanted: int | str | None) -> list[int | None]:
    if wanted is None or isinstance(wanted, Integral):
        return [None if wanted is None or wanted >= batch_size else int(wanted)]
    needed = activation_bytes(module, batch_size)
    if device.type == "cuda":  # splitting gains memory there, no time
        free = torch.cuda.mem_get_info(device)[0]
        fitting = [size for size in GPU_SIZES if size < batch_size and activation_bytes(module, size) < free / 2]
        return [None] if needed < free / 2 else [max(fitting, default=GPU_SIZES[0])]
    if needed < WORTH_BYTES:
        return [None]
    smaller: list[int | None] = [size for size in SIZES if size < batch_size]
    return [*smaller, None] if batch_size <= _TIMED_WINDOWS else smaller


def _measure(module: nn.Module, x: Tensor, batch_size: int, candidates: list[PrecisionPlan]) -> dict[str, Any]:
    """Time forward and backward passes of every candidate, in turns, and take the fastest."""
    n = min(batch_size, _TIMED_WINDOWS) if x.device.type != "cuda" else batch_size
    x = x[torch.arange(n, device=x.device) % len(x)]
    trial = copy.deepcopy(module).train()
    times: dict[PrecisionPlan, list[float]] = {plan: [] for plan in candidates}
    with kept_random_states():
        for _ in range(2):
            for plan in candidates:
                times[plan].append(_seconds(trial, x, plan))
    seconds = {plan: min(found) / n for plan, found in times.items()}
    fastest = {plan.precision: plan for plan in sorted(candidates, key=seconds.__getitem__, reverse=True)}
    by_precision = {plan.precision: seconds[fastest[plan.precision]] for plan in candidates}  # fp32 first
    best = fastest[best_of(by_precision, _GAIN)]
    listed = {f"{plan.precision}, {plan.micro_batch or 'whole'}": round(s, 7) for plan, s in seconds.items()}
    return {"plan": best.as_dict(), "seconds_a_window": listed}


def _seconds(module: nn.Module, x: Tensor, plan: PrecisionPlan) -> float:
    module.zero_grad()
    _wait(x)
    start = time.perf_counter()
    with precision_context(plan.precision, x.device.type):
        for part in x.split(plan.micro_batch or len(x)):
            out = module(part)
            loss = (out[0] if isinstance(out, tuple) else out).float().square().mean()
            with torch.autocast(x.device.type, enabled=False):
                loss.backward()
    _wait(x)
    return time.perf_counter() - start


def _wait(x: Tensor) -> None:
    if x.device.type == "cuda":
        torch.cuda.synchronize(x.device)
