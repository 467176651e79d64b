"""A step of the masked variational autoencoder, and that of a plain ViTMAE of Hugging Face.

Both have 324 tokens of 100 samples (ours: 18 channels of 18 patches; theirs: an image of 180 x 180,
patches of 10 x 10, and a class token), the encoder ``small`` (384 features, 12 layers, 6 heads) on
the quarter that is visible, a decoder of 256 features, 4 layers and 8 heads on all, and AdamW.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from biot_bd.models import MaskedViT, token_stages
from biot_bd.models.inference_plan import precision_context
from biot_bd.pretraining import BatchRandom
from biot_bd.pretraining.objectives.masked_vae import MaskedVAE
from biot_bd.pretraining.pretext_module import PretextModule

N_CHANS, N_FRAMES, N_SAMPLES = 18, 18, 100
BATCH = 16
PEER = "Hugging Face ViTMAE"


def vit_mae() -> nn.Module:
    """Return the peer, with fresh weights."""
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    torch.manual_seed(0)
    config = ViTMAEConfig(
        hidden_size=384,
        num_hidden_layers=12,
        num_attention_heads=6,
        intermediate_size=1536,
        image_size=N_FRAMES * 10,
        patch_size=10,
        num_channels=1,
        decoder_hidden_size=256,
        decoder_num_hidden_layers=4,
        decoder_num_attention_heads=8,
        decoder_intermediate_size=1024,
        mask_ratio=0.75,
        attn_implementation="sdpa",
    )
    return ViTMAEForPreTraining(config).train()


def masked_vae() -> PretextModule:
    """Return ours, with fresh weights."""
    torch.manual_seed(0)
    model = MaskedViT("small", n_chans=N_CHANS, n_times=N_FRAMES * N_SAMPLES)
    objective = MaskedVAE(token_stages(model).sizes, mask_ratio=0.75)
    return PretextModule(model, {"masked-vae": objective}, {"masked-vae": 1.0}).train()


def step_of(module: nn.Module, loss: Callable[[], Tensor]) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return step


def ways(n: int = BATCH) -> dict[str, Callable[[], None]]:
    """Return a step of each way on the same ``n`` windows, theirs first."""
    x = torch.randn(n, N_CHANS, N_FRAMES * N_SAMPLES, generator=torch.Generator().manual_seed(0))
    image = x.view(n, 1, N_FRAMES * 10, N_FRAMES * 10)

    def theirs(context: Callable[[], AbstractContextManager[Any]]) -> Callable[[], None]:
        module = vit_mae()

        def loss() -> Tensor:
            with context():
                found: Tensor = module(image).loss
            return found

        return step_of(module, loss)

    def ours(precision: str) -> Callable[[], None]:
        module = masked_vae()

        def loss() -> Tensor:
            with precision_context(precision, "cpu"):
                found: Tensor = module(x, BatchRandom(int(torch.randint(2**31, (1,))), n))["loss"]
            return found

        return step_of(module, loss)

    return {
        PEER: theirs(nullcontext),
        f"{PEER}, bf16": theirs(lambda: torch.autocast("cpu", torch.bfloat16)),
        "biot_bd, fp32": ours("fp32"),
        "biot_bd, bf16": ours("bf16"),
    }
