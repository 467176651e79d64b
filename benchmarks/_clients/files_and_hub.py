"""Hugging Face's libraries, TensorBoard, PyTorch's exporters, other ways to run the same fit."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from _clients.braindecode_parts import DIMS, SHAPE
from _clients.checks import REFUSED, LeftOutError, check, missing, same, true
from _clients.world import World, net, pipe
from biot_bd import BIOTClassifier, load_pipeline, save_pipeline
from biot_bd.models import BIOT

HF, FILES = "Hugging Face", "PyTorch, TensorBoard, joblib"


def module_of(world: World, **parameters: Any) -> tuple[nn.Module, torch.Tensor]:
    x, y, groups = world.arrays
    return net(**parameters).fit(x, y, groups=groups).module_.eval(), torch.from_numpy(x)


def logits(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return module(x)


# --- Hugging Face ---


@check(
    HF, "save_pretrained, from_pretrained", "to a local folder and back: the same logits, and the same configuration"
)
def pretrained(world: World) -> None:
    missing("huggingface_hub")
    module, x = module_of(world)
    with tempfile.TemporaryDirectory() as folder:
        module.save_pretrained(folder)
        loaded = BIOT.from_pretrained(folder).eval()
    same(logits(loaded, x), logits(module, x), "logits")
    true(loaded.get_config() == module.get_config(), "the same configuration")


@check(HF, "from_pretrained(n_outputs=3)", "another head on the same encoder: the same embedding")
def pretrained_with_another_head(world: World) -> None:
    missing("huggingface_hub")
    module, x = module_of(world)
    with tempfile.TemporaryDirectory() as folder:
        module.save_pretrained(folder)
        loaded = BIOT.from_pretrained(folder, n_outputs=3).eval()
    same(logits(loaded, x).shape, (len(x), 3), "shape")
    with torch.no_grad():
        same(loaded.encoder(x), module.encoder(x), "embeddings")


@check(HF, "from_pretrained of a saved pipeline", "`save_pipeline` writes the Hub's layout: the same logits")
def pretrained_of_a_pipeline(world: World) -> None:
    missing("huggingface_hub")
    fitted = pipe().fit(world.windows, world.y)
    with tempfile.TemporaryDirectory() as folder:
        save_pipeline(fitted, folder)
        loaded = BIOT.from_pretrained(folder).eval()
    x = torch.randn(3, 16, 2000)
    same(logits(loaded, x), logits(fitted[-1].module_.eval(), x), "logits")


@check(
    HF,
    "push_to_hub",
    "against a server of the Hub",
    why="would need an account; what it uploads is what `save_pretrained` writes",
)
def push(world: World) -> None:
    raise LeftOutError("no server here")


@check(HF, "safetensors", "its library reads our weights, and metadata names format and nothing of subjects")
def safetensors_file(world: World) -> None:
    from safetensors import safe_open
    from safetensors.torch import load_file

    fitted = pipe().fit(world.windows, world.y)
    with tempfile.TemporaryDirectory() as folder:
        save_pipeline(fitted, folder)
        weights = load_file(Path(folder) / "model.safetensors")
        with safe_open(Path(folder) / "model.safetensors", "pt") as file:
            metadata = file.metadata() or {}
    truth = fitted[-1].module_.state_dict()
    true(set(weights) <= set(truth), "names of tensors are those of the module")
    true(all(torch.equal(weights[name], truth[name]) for name in weights), "values are those of the module")
    true("demo/0" not in json.dumps(metadata), "no subject in the metadata")


@check(HF, "peft", '`finetune="lora"`: the same probabilities after saving and loading, most weights as they were')
def lora(world: World) -> None:
    missing("peft")
    x, y, groups = world.arrays
    model = net(finetune="lora").fit(x, y, groups=groups)
    with tempfile.TemporaryDirectory() as folder:
        save_pipeline(model, folder)
        same(load_pipeline(folder).predict_proba(x), model.predict_proba(x), "probabilities", 1e-6)


@check(HF, "transformers.Trainer", "trains our module inside a thin wrapper: the loss equals a loop in torch")
def trainer(world: World) -> None:
    missing("transformers", "accelerate")
    from transformers import Trainer, TrainingArguments

    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            still = {"drop_prob": 0.0, "att_drop_prob": 0.0, "att_layer_drop_prob": 0.0}
            self.biot = BIOT(**SHAPE, **DIMS, **still)

        def forward(self, x: torch.Tensor, labels: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
            found = self.biot(x)
            return {"loss": nn.functional.cross_entropy(found, labels), "logits": found}

    x, y, _ = world.arrays
    data = [{"x": torch.from_numpy(a), "labels": int(b)} for a, b in zip(x[:16], y[:16], strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        given = TrainingArguments(
            folder,
            per_device_train_batch_size=16,
            num_train_epochs=2,
            learning_rate=0.01,
            lr_scheduler_type="constant",
            optim="sgd",
            max_grad_norm=0.0,
            report_to=[],
            use_cpu=True,
            save_strategy="no",
            disable_tqdm=True,
        )
        model, other = Wrapped(), Wrapped()
        Trainer(model, given, train_dataset=data).train()
    optimizer = torch.optim.SGD(other.train().parameters(), lr=0.01)
    for _ in range(2):
        optimizer.zero_grad()
        other(torch.from_numpy(x[:16]), torch.from_numpy(y[:16]))["loss"].backward()
        optimizer.step()
    batch = torch.from_numpy(x[16:24])
    same(logits(model.biot.eval(), batch), logits(other.biot.eval(), batch), "logits", 1e-5)


@check(HF, "datasets.Dataset", "as `X`", expected=REFUSED, why="a table of lists: hand on an array, or `Windows`")
def datasets_table(world: World) -> None:
    missing("datasets")
    import datasets

    x, y, groups = world.arrays
    net().fit(datasets.Dataset.from_dict({"x": x[:8].tolist()}), y[:8], groups=groups[:8])


# --- PyTorch ---


@check(FILES, "torch.export", "with a free batch: the same logits for other numbers of windows, and absent channels")
def exported(world: World) -> None:
    module, x = module_of(world)
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(module, (x[:3],), dynamic_shapes=({0: batch},)).module()
    for n in (1, 2, 5):
        same(logits(program, x[:n]), logits(module, x[:n]), f"logits of {n}", 1e-5)
    absent = x[:2].clone()
    absent[:, 3] = torch.nan
    same(logits(program, absent), logits(module, absent), "logits with an absent channel", 1e-5)


@check(
    FILES,
    "torch.onnx.export(dynamo=True)",
    "with a free batch, by ONNX Runtime: the same logits for other numbers of windows",
)
def onnx_file(world: World) -> None:
    missing("onnx", "onnxscript", "onnxruntime")
    import onnxruntime

    module, x = module_of(world)
    batch = torch.export.Dim("batch", min=1, max=64)
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/biot.onnx"
        torch.onnx.export(module, (x[:3],), path, dynamo=True, dynamic_shapes=({0: batch},))
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for n in (1, 2, 5):
        (found,) = session.run(None, {session.get_inputs()[0].name: x[:n].numpy()})
        same(found, logits(module, x[:n]), f"logits of {n}", 1e-4)


@check(FILES, "torch.func.vmap", "over windows: the logits of a batch")
def vmapped(world: World) -> None:
    module, x = module_of(world)
    with torch.no_grad():
        found = torch.func.vmap(lambda window: module(window[None])[0])(x[:4])
    same(found, logits(module, x[:4]), "logits", 1e-5)


@check(FILES, "torch.func, gradients by window", "equal those of a loop")
def gradients(world: World) -> None:
    module, x = module_of(world)
    weights = dict(module.named_parameters())

    def loss(values: dict[str, torch.Tensor], window: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(module, values, (window[None],))[0, 1]

    found = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(weights, x[:3])
    for k in range(3):
        module.zero_grad()
        module(x[k : k + 1])[0, 1].backward()
        for name, values in weights.items():
            truth = torch.zeros_like(values) if values.grad is None else values.grad
            same(found[name][k].detach(), truth, name, 1e-4)


@check(FILES, "device('meta')", "a model without memory: shapes of its output")
def on_meta(world: World) -> None:
    with torch.device("meta"):
        model = BIOT(**SHAPE, **DIMS)
        found = model(torch.empty(3, 16, 2000))
    same(tuple(found.shape), (3, 2), "shape")


@check(FILES, "quantize_dynamic", "int8 layers: probabilities within 0.05")
def quantised(world: World) -> None:
    module, x = module_of(world)
    small = torch.ao.quantization.quantize_dynamic(module, {nn.Linear}, torch.qint8)
    same(torch.softmax(logits(small, x), 1), torch.softmax(logits(module, x), 1), "probabilities", 0.05)


@check(FILES, "TensorBoard's EventAccumulator", "reads what `log_dir` writes: scalars are those of the history")
def event_accumulator(world: World) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    x, y, groups = world.arrays
    with tempfile.TemporaryDirectory() as folder:
        model = net(log_dir=folder, max_epochs=3, train_split="subject").fit(x, y, groups=groups)
        files = list(Path(folder).rglob("events.out*"))
        true(files, "there are files of events")
        scalars: dict[str, list[float]] = {}
        for path in files:
            events = EventAccumulator(str(path)).Reload()
            for tag in events.Tags()["scalars"]:
                scalars.setdefault(tag, []).extend(event.value for event in events.Scalars(tag))
    truth = model.history[:, "train_loss"]
    true(any(len(v) == len(truth) and np.allclose(v, truth, atol=1e-6) for v in scalars.values()), "training loss")


@check(FILES, "joblib, loky", "fits in two processes: probabilities of fits in this one")
def loky(world: World) -> None:
    import joblib

    x, y, groups = world.arrays

    def fit(lr: float) -> Any:
        return net(lr=lr).fit(x, y, groups=groups).predict_proba(x)

    rates = (3e-3, 1e-3)
    found = joblib.Parallel(n_jobs=2)(joblib.delayed(fit)(lr) for lr in rates)
    same(found, [fit(lr) for lr in rates], "probabilities")


@check(FILES, "copy.deepcopy, pickle of a net", "the same probabilities")
def copied(world: World) -> None:
    import copy
    import pickle

    x, y, groups = world.arrays
    model: BIOTClassifier = net().fit(x, y, groups=groups)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        same(other.predict_proba(x), model.predict_proba(x), "probabilities")
