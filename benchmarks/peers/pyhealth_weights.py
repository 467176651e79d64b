"""PyHealth: ``BIOT.load_pretrained_weights`` takes none of the official keys, and prints success.

The peer's own module, with stand-ins for its base class and its data set, which need the whole
package. The file that is loaded has the 57 keys and shapes of the official encoders.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path

import torch
from _peer import load_module
from linear_attention_transformer import LinearAttentionTransformer


class OnProcessor(torch.nn.Module):
    """In place of PyHealth's base class: the device is all that loading asks for."""

    device = torch.device("cpu")


def peer() -> tuple[torch.nn.Module, type]:
    """Return the peer's model of full size, as its constructor makes it, and its encoder."""
    stand_ins = {"pyhealth.datasets": {"SampleDataset": object}, "pyhealth.models": {"BaseModel": OnProcessor}}
    module = load_module("pyhealth", "pyhealth/models/biot.py", "pyhealth_models_biot", stand_ins)
    module.LinearAttentionTransformer = LinearAttentionTransformer
    model = module.BIOT.__new__(module.BIOT)
    torch.nn.Module.__init__(model)
    model.biot = module.BIOTClassifier(n_classes=2, n_channels=18)
    return model, module.BIOTEncoder


def measure() -> dict[str, object]:
    """Load a file like the official ones; count what was changed by it."""
    torch.manual_seed(0)
    model, encoder = peer()
    official = {
        key: torch.randn_like(value) if value.is_floating_point() else value
        for key, value in encoder(n_channels=18).state_dict().items()
    }
    before = {key: value.clone() for key, value in model.state_dict().items()}
    said = io.StringIO()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(said):
        file = Path(folder) / "official.ckpt"
        torch.save(official, file)
        model.load_pretrained_weights(str(file))
    changed = sum(not torch.equal(before[key], value) for key, value in model.state_dict().items())
    return {
        "keys in the file": len(official),
        "keys with a place in the model": len(set(official) & set(model.biot.state_dict())),
        "tensors that changed": changed,
        "it says": said.getvalue().strip().split(" from ")[0],
    }
