"""In which precision and in what micro-batches a model computes, chosen by a short measurement.

A choice is kept on disk for each machine, so the next process takes it at once; how far a lower
precision moves the probabilities is checked on the actual weights every time.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from biot_bd.kept_choices import best_of, cached_choice
from biot_bd.processor import this_processor
from biot_bd.runs import fingerprint

PRECISIONS = ("fp32", "tf32", "bf16", "fp16")
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_MICRO_BATCHES = (8, 4, 16, 32, 64)  # the first is the one to beat
_SECONDS = 1.2  # for all timing together
_SAMPLE = 8  # windows for the check of the error


@dataclass(frozen=True)
class PrecisionPlan:
    """Precision and micro-batch of a computation.

    Parameters
    ----------
    precision : {"fp32", "tf32", "bf16", "fp16"}
        ``"fp32"`` is the parameters' own precision; ``"tf32"`` differs from it only on NVIDIA GPUs.
    micro_batch : int or None
        Windows that are computed at a time; None: the whole batch.

    Raises
    ------
    ValueError
        A value is none of these.

    See Also
    --------
    measure_inference_plan : Chooses one by measurement.

    Examples
    --------
    >>> from biot_bd.models import PrecisionPlan
    >>> PrecisionPlan("bf16", micro_batch=16).as_dict()
    {'precision': 'bf16', 'micro_batch': 16}
    """

    precision: str = "fp32"
    micro_batch: int | None = None

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {self.precision!r}")
        micro = self.micro_batch
        if micro is not None and (isinstance(micro, bool) or not isinstance(micro, int) or micro < 1):
            raise ValueError(f"micro_batch must be a positive number of windows or None (whole batch), got {micro!r}")

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as JSON holds it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PrecisionPlan:
        """Build a plan from :meth:`as_dict`.

        Raises
        ------
        ValueError
            A key is unknown or a value impossible.
        """
        unknown = sorted(set(values) - {"precision", "micro_batch"})
        if unknown:
            raise ValueError(f"a precision plan has precision and micro_batch, not {', '.join(unknown)}")
        return cls(**values)


@contextlib.contextmanager
def precision_context(precision: str, device: str) -> Iterator[None]:
    """Run what is inside in a precision: autocast for bf16 and fp16, TF32 matrix products for tf32.

    Parameters
    ----------
    precision : str
        One of :data:`PRECISIONS`.
    device : str
        Type of the device, ``"cpu"`` or ``"cuda"``.
    """
    if precision == "tf32" and device == "cuda":
        before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        try:
            yield
        finally:
            torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
    elif precision in DTYPES:
        try:
            with torch.autocast(device, dtype=DTYPES[precision]):
                yield
        finally:  # inside a caller's autocast torch would keep these copies of the weights, which go on learning
            torch.clear_autocast_cache()
    else:
        yield


# What the machine has


def machine_key(device: torch.device | str | None = None) -> str:
    """Name what a measurement depends on: processor, its instructions, torch, threads, device."""
    device = torch.device(device or "cpu")
    parts: dict[str, Any] = {
        "processor": this_processor().as_dict(),
        "capabilities": sorted(k for k, v in torch.cpu.get_capabilities().items() if v is True),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
    }
    return fingerprint(parts)


def has_fast(precision: str, device: torch.device | str = "cpu") -> bool:
    """Say whether the processor computes matrix products of this precision itself, faster than
    float32.
    """
    device = torch.device(device)
    if precision == "fp32":
        return True
    if device.type == "cuda":
        major = torch.cuda.get_device_capability(device)[0]
        return major >= (7 if precision == "fp16" else 8)
    if device.type != "cpu" or precision == "tf32":
        return False
    found = torch.cpu.get_capabilities()
    names = {"bf16": ("amx_bf16", "avx512_bf16", "bf16", "sve_bf16", "arm_bf16"), "fp16": ("amx_fp16", "avx512_fp16")}
    return any(bool(found.get(name)) for name in names[precision])


# Inference


def measure_inference_plan(
    model: nn.Module,
    n_windows: int,
    *,
    precision: str = "auto",
    micro_batch: int | str | None = "auto",
    sample: Tensor | None = None,
    tolerance: float = 1e-2,
) -> tuple[PrecisionPlan, dict[str, Any]]:
    """Choose precision and micro-batch of inference for this model on this machine.

    Each precision that the processor has is first compared with float32 on these very weights; one
    that moves a probability by ``tolerance`` or more is out, whatever was measured before.  The
    fastest of the others is measured once a machine, model shape and batch size, and kept on disk.

    Parameters
    ----------
    model : BIOT
        Anything with ``inference_plan``, ``n_chans`` and ``n_times`` that obeys the plan in eval
        mode, on the device that it shall compute on.  It is not changed; apply the result with
        ``model.inference_plan = plan``.
    n_windows : int
        Windows of a batch in use.
    precision : {"auto", "fp32", "tf32", "bf16", "fp16"}
        A fixed precision is still checked: it gives way to fp32 where it fails.
    micro_batch : int, None or "auto"
        Windows at a time, None for the whole batch; ``"auto"`` measures.
    sample : Tensor, shape (n, n_chans, n_times), optional
        Scaled windows for the check of the error; None: noise whose 95th percentile is 1.
    tolerance : float
        Smallest difference of a probability that excludes a precision.

    Returns
    -------
    plan : PrecisionPlan
        What to set as ``model.inference_plan``.
    report : dict
        ``errors`` (largest difference of a probability by precision), ``times_s`` (by candidate, of
        the measurement that was kept), ``reason`` (text).

    Raises
    ------
    TypeError
        The model has no ``inference_plan``.
    ValueError
        ``precision``, ``micro_batch`` or ``n_windows`` is impossible.

    See Also
    --------
    biot_bd.BIOTClassifier : Does so with ``precision="auto"``.

    Examples
    --------
    >>> from biot_bd import BIOT
    >>> from biot_bd.models import measure_inference_plan
    >>> sizes = {"embed_dim": 16, "num_heads": 2, "num_layers": 1}
    >>> model = BIOT(n_outputs=2, n_chans=2, n_times=600, sfreq=200, **sizes).eval()
    >>> model.inference_plan, _ = measure_inference_plan(
    ...     model, 4, precision="fp32", micro_batch=2
    ... )
    >>> model.inference_plan
    PrecisionPlan(precision='fp32', micro_batch=2)
    """
    if not isinstance(getattr(model, "inference_plan", None), PrecisionPlan):
        raise TypeError(f"{type(model).__name__} has no inference_plan: only biot_bd.BIOT can be measured")
    fixed_micro: Any = None if micro_batch == "auto" else micro_batch
    PrecisionPlan("fp32" if precision == "auto" else precision, fixed_micro)  # checks both
    if n_windows < 1:
        raise ValueError(f"n_windows must be at least 1, got {n_windows}")
    device = next(model.parameters()).device
    x = (_noise(model, _SAMPLE) if sample is None else sample[:_SAMPLE]).to(device)
    with _ready(model):
        allowed, errors, reasons = _allowed(model, x, precision, device, tolerance)
        key = "/".join(
            ["inference", machine_key(device), _shape_key(model), f"n={n_windows}", *allowed, f"micro={micro_batch}"]
        )
        kept = cached_choice(key, lambda: _measure(model, n_windows, allowed, micro_batch, device), _is_kept)
    plan = PrecisionPlan.from_dict(kept["plan"])
    reasons.append(str(kept["reason"]))
    return plan, {"errors": errors, "times_s": kept["times_s"], "reason": "; ".join(reasons)}


def probability_error(model: nn.Module, plan: PrecisionPlan, x: Tensor) -> float:
    """Return the largest difference of a probability between a plan and full precision (inf: not
    finite).

    Parameters
    ----------
    model : BIOT
        In eval mode.
    plan : PrecisionPlan
    x : Tensor, shape (n, n_chans, n_times)
    """
    with _ready(model):
        expected = _probabilities(model, replace(plan, precision="fp32"), x)
        found = _probabilities(model, plan, x)
    error = float((found - expected).abs().max())
    return error if math.isfinite(error) else math.inf


def _allowed(
    model: nn.Module, x: Tensor, precision: str, device: torch.device, tolerance: float
) -> tuple[list[str], dict[str, float], list[str]]:
    """Return the precisions that may be used, their errors, and why others may not."""
    asked = PRECISIONS if precision == "auto" else (precision,)
    allowed, errors, reasons = [], {"fp32": 0.0}, []
    for name in asked:
        if name == "fp32":
            continue
        if not has_fast(name, device):
            if precision != "auto":
                reasons.append(f"{name}: the processor has no fast {name}")
            continue
        errors[name] = probability_error(model, PrecisionPlan(name), x)
        if errors[name] < tolerance:
            allowed.append(name)
        else:
            reasons.append(f"{name}: probabilities differ by {errors[name]:.1e}, tolerance {tolerance:g}")
    if precision in ("auto", "fp32") or not allowed:
        allowed.insert(0, "fp32")
    if reasons and allowed == ["fp32"]:
        reasons.append("fp32 instead")
    return allowed, errors, reasons


def _measure(
    model: nn.Module, n_windows: int, precisions: list[str], micro_batch: int | str | None, device: torch.device
) -> dict[str, Any]:
    """Time precisions at one micro-batch, then micro-batches at the best precision."""
    once = _seconds(model, PrecisionPlan(precisions[0]), _noise(model, 1).to(device))
    n = max(1, min(n_windows, 16, int(_SECONDS / 8 / once)))
    first: Any = _MICRO_BATCHES[0] if micro_batch == "auto" else micro_batch
    plans = {name: PrecisionPlan(name, first) for name in precisions}
    by_precision = _times(model, plans, _noise(model, n).to(device))
    best = plans[best_of(by_precision)]
    times = {f"{name}, {first or 'whole'}": seconds for name, seconds in by_precision.items()}
    if micro_batch == "auto":
        n = max(1, min(n_windows, 64, int(_SECONDS / 2 / len(_MICRO_BATCHES) / by_precision[best.precision])))
        sizes: list[int | None] = [size for size in _MICRO_BATCHES if size < n]
        if n == n_windows or device.type != "cpu":  # else the whole batch is more than was measured
            sizes.append(None)
        if device.type != "cpu":  # one large product is what a GPU wants
            sizes.reverse()
        plans = {f"{best.precision}, {size or 'whole'}": replace(best, micro_batch=size) for size in sizes or [first]}
        by_size = _times(model, plans, _noise(model, n).to(device))
        best, times = plans[best_of(by_size)], times | by_size
    reason = f"fastest precision, micro-batch of {'; '.join(times)}: {best.precision}, {best.micro_batch or 'whole'}"
    return {"plan": best.as_dict(), "times_s": times, "reason": reason}


def _is_kept(choice: Mapping[str, Any]) -> bool:
    """Return whether a choice from the disk is one of :func:`_measure`."""
    try:
        PrecisionPlan.from_dict(choice["plan"])
    except (KeyError, TypeError, ValueError):
        return False
    return isinstance(choice.get("times_s"), dict) and "reason" in choice


def _times(model: nn.Module, plans: dict[str, PrecisionPlan], x: Tensor) -> dict[str, float]:
    """Return the best of two interleaved times of each plan, in seconds a window."""
    rounds = [{name: _seconds(model, plan, x) / len(x) for name, plan in plans.items()} for _ in range(2)]
    return {name: min(times[name] for times in rounds) for name in plans}


def _seconds(model: nn.Module, plan: PrecisionPlan, x: Tensor) -> float:
    start = time.perf_counter()
    _probabilities(model, plan, x)
    return time.perf_counter() - start


def _probabilities(model: Any, plan: PrecisionPlan, x: Tensor) -> Tensor:
    """Return what ``predict_proba`` makes of the logits, on the CPU (which also waits for a
    GPU).
    """
    before = model.inference_plan
    model.inference_plan = plan
    try:
        with torch.no_grad():
            logits = model(x).double().cpu()
    finally:
        model.inference_plan = before
    return logits.sigmoid() if logits.shape[-1] == 1 else logits.softmax(dim=-1)


@contextlib.contextmanager
def _ready(model: nn.Module) -> Iterator[None]:
    """Have the model in eval mode, and leave every module as it was."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _noise(model: Any, n: int) -> Tensor:
    """Return the same windows every time, scaled as ``PercentileScaler`` does."""
    x = torch.randn(n, model.n_chans, model.n_times, generator=torch.Generator().manual_seed(0))
    return x / 1.96  # 95 % of a normal distribution lie within


def _shape_key(model: Any) -> str:
    shapes = [(name, list(p.shape), str(p.dtype)) for name, p in model.named_parameters()]
    return fingerprint([type(model).__name__, model.n_chans, model.n_times, shapes])
