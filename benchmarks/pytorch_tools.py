"""Which tools of PyTorch take BIOT, and how far their numbers are from the plain forward pass."""

from __future__ import annotations

import copy
import datetime
import sys
import tempfile
import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch import Tensor

from biot_bd import BIOT

RESULT = Path(__file__).parent / "pytorch_tools.md"
SIZES = (1, 2, 5)  # batches; graphs are made with 3
FREE = {"x": {0: torch.export.Dim("n", min=1)}}


def build() -> BIOT:
    """Return the full-size model with random weights."""
    torch.manual_seed(0)
    chs_info = [{"ch_name": f"C{i}"} for i in range(16)]  # torch.jit asks for it
    return BIOT(n_chans=16, n_times=2000, n_outputs=2, chs_info=chs_info).eval()


def batch(n: int) -> Tensor:
    """Return windows, of which the last has two absent channels and the first one."""
    x = torch.randn(n, 16, 2000, generator=torch.Generator().manual_seed(n))
    x[0, 3] = x[-1, 5:7] = torch.nan
    return x


def difference(model: BIOT, run: Callable[[Tensor], Tensor]) -> str:
    """Return the largest difference of a logit between a tool and the model, over all batches."""
    found = 0.0
    with torch.no_grad():
        for n in SIZES:
            found = max(found, float((run(batch(n)) - model(batch(n))).abs().max()))
    return f"{found:.0e}"


def by_export(strict: bool) -> str:
    model = build()
    return difference(model, torch.export.export(model, (batch(3),), dynamic_shapes=FREE, strict=strict).module())


def by_onnx(dynamo: bool) -> str:
    import onnxruntime

    model = build()
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/biot.onnx"
        if dynamo:
            torch.onnx.export(
                model, (batch(3),), path, dynamo=True, dynamic_shapes=FREE, external_data=False, verbose=False
            )
        else:
            axes = {"x": {0: "n"}}
            torch.onnx.export(model, (batch(3),), path, dynamo=False, input_names=["x"], dynamic_axes=axes)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return difference(model, lambda x: torch.from_numpy(session.run(None, {"x": x.numpy()})[0]))


def by_compile() -> str:
    model = build()
    return difference(model, torch.compile(model, fullgraph=True, dynamic=True))


def by_trace() -> str:
    model = build()
    return difference(model, torch.jit.trace(model, batch(3)))


def by_script() -> str:
    model = build()
    return difference(model, torch.jit.script(model))


def by_fx() -> str:
    model = build()
    return difference(model, torch.fx.symbolic_trace(model))


def by_vmap() -> str:
    model = build()
    return difference(model, torch.func.vmap(lambda window: model(window[None])[0]))


def by_gradients() -> str:
    """Compare the gradients of each window with those of a loop."""
    model, x = build(), batch(2)
    weights = {name: p.detach() for name, p in model.named_parameters()}

    def loss(weights: dict[str, Tensor], window: Tensor) -> Tensor:
        out: Tensor = torch.func.functional_call(model, weights, (window[None],))
        return out.square().sum()

    found = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(weights, x)
    worst = 0.0
    for i in range(2):
        model.zero_grad()
        model(x[i : i + 1]).square().sum().backward()
        for name, p in model.named_parameters():
            worst = max(worst, float((found[name][i] - p.grad).abs().max() / p.grad.abs().max()))
    return f"{worst:.0e} of the largest gradient"


def by_quantisation() -> str:
    model = build()
    small = torch.ao.quantization.quantize_dynamic(copy.deepcopy(model), {torch.nn.Linear}, dtype=torch.qint8)
    return difference(model, small)


def by_meta() -> str:
    model = build()
    with torch.device("meta"):
        other = BIOT(n_chans=16, n_times=2000, n_outputs=2).eval()
        shape = tuple(other(torch.empty(3, 16, 2000)).shape)
    other.load_state_dict(model.state_dict(), assign=True)
    return f"{difference(model, other)}; shape {shape} without memory"


TOOLS: dict[str, Callable[[], str]] = {
    "`torch.export`, strict": lambda: by_export(True),
    "`torch.export`, not strict": lambda: by_export(False),
    "`torch.onnx.export(dynamo=True)`, run by onnxruntime": lambda: by_onnx(True),
    "`torch.onnx.export(dynamo=False)`": lambda: by_onnx(False),
    "`torch.compile(fullgraph=True, dynamic=True)`": by_compile,
    "`torch.jit.trace`, with `chs_info`": by_trace,
    "`torch.jit.script`": by_script,
    "`torch.fx.symbolic_trace`": by_fx,
    "`torch.func.vmap` over windows": by_vmap,
    "`torch.func.vmap(grad(...))`": by_gradients,
    "`quantize_dynamic` to int8": by_quantisation,
    '`torch.device("meta")`': by_meta,
}


def outcome(run: Callable[[], str]) -> tuple[str, str]:
    """Return whether a tool works, and the difference or the error's first line."""
    try:
        return "yes", run()
    except ImportError as e:
        return "not tried", f"{e.name} is not installed"
    except Exception as e:
        line = (str(e).strip().splitlines() or [""])[0].replace("|", "\\|")
        return "no", f"{type(e).__name__}: {line[:160]}"


def installed(name: str) -> str | None:
    """Return name and version of a package, or None."""
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return None


def main() -> int:
    """Try every tool, print the table and keep it beside this script."""
    warnings.simplefilter("ignore")
    names = ("torch", "braindecode", "onnx", "onnxscript", "onnxruntime")
    lines = [
        f"BIOT at full size (16 channels, 10 s) in the tools of PyTorch, tried on {datetime.date.today()} with "
        f"{', '.join(filter(None, map(installed, names)))}. Graphs are made with a batch of 3 and run with "
        f"{', '.join(map(str, SIZES))} windows, some of whose channels are absent.",
        "",
        "| tool | works | largest difference of a logit, or why not |",
        "|---|---|---|",
    ]
    for name, run in TOOLS.items():
        works, what = outcome(run)
        lines.append(f"| {name} | {works} | {what} |")
        print(lines[-1], flush=True)
    RESULT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
