"""One step of pretraining: contrastive BIOT at full size (16 channels of 10 s) against the official
code's way, the masked variational autoencoder against a plain ViTMAE of Hugging Face.

The official step is that of braindecode's copy of the official encoder (a loop over channels, two
passes, everything kept for the backward pass); ``--source`` adds that of a checkout of
https://github.com/ycq091044/BIOT.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import masked_vae_step
from _bench import interleave, limit, publish, summarise, target, target_above_floor
from biot_bd.models import BIOT, token_stages
from biot_bd.models.inference_plan import precision_context
from biot_bd.pretraining import BatchRandom
from biot_bd.pretraining.objectives.biot_contrastive import BIOTContrastive
from biot_bd.pretraining.pretext_module import PretextModule
from memory import child
from training import N_CHANS, N_TIMES, data, floor

PEER = "official way"
NO_DROPOUT = {"drop_prob": 0.0, "att_layer_drop_prob": 0.0}
WANTED, WANTED_VAE = 2.5, 1.5
KEPT = 13.5 / 19  # half to all but one of 19 frames

STEP = """
import torch
sys.path.insert(0, sys.argv[3])
from pretraining import contrastive_steps
from training import data
x = torch.from_numpy(data(int(sys.argv[2]))[0])
print(json.dumps(peak_above_base(contrastive_steps(x)[sys.argv[1]]())))
"""


class OfficialWay(nn.Module):
    """Both views of an encoder whose ``forward`` takes ``perturb``, and the head of one of them."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.predictor = nn.Sequential(nn.Linear(256, 256), nn.GELU(), nn.Linear(256, 256))

    def forward(self, x: Tensor) -> Tensor:
        masked = F.normalize(self.predictor(self.encoder(x, perturb=True)), dim=1)
        whole = F.normalize(self.encoder(x), dim=1)
        return F.cross_entropy(whole @ masked.T / 0.2, torch.arange(len(x)))


def braindecode_encoder() -> nn.Module:
    from braindecode.models import BIOT as BraindecodeBIOT

    torch.manual_seed(0)
    return BraindecodeBIOT(n_outputs=2, n_chans=N_CHANS, n_times=N_TIMES, sfreq=200, drop_prob=0.1).encoder


def official_encoder(source: Path) -> nn.Module:
    """Return the encoder of a checkout; its ``model/__init__.py`` would import all its models."""
    sys.path.insert(0, str(source / "model"))
    from biot import BIOTEncoder

    torch.manual_seed(0)
    return BIOTEncoder(n_channels=N_CHANS, n_fft=200, hop_length=100)


def our_module(**changes: object) -> PretextModule:
    torch.manual_seed(0)
    model = BIOT(n_outputs=2, n_chans=N_CHANS, n_times=N_TIMES, sfreq=200, **changes)
    return PretextModule(
        model, {"biot-contrastive": BIOTContrastive(token_stages(model).sizes)}, {"biot-contrastive": 1.0}
    )


def our_loss(module: PretextModule, x: Tensor, precision: str) -> Tensor:
    with precision_context(precision, "cpu"):
        return module(x, BatchRandom(int(torch.randint(2**31, (1,))), len(x)))["loss"]


def contrastive_steps(x: Tensor, source: Path | None = None) -> dict[str, Callable[[], Callable[[], None]]]:
    """Return what makes each way's step."""

    def official(encoder: Callable[[], nn.Module]) -> Callable[[], None]:
        module = OfficialWay(encoder()).train()
        return masked_vae_step.step_of(module, lambda: module(x))

    def ours(precision: str) -> Callable[[], None]:
        module = our_module().train()
        return masked_vae_step.step_of(module, lambda: our_loss(module, x, precision))

    ways = {PEER: lambda: official(braindecode_encoder)}
    if source is not None:
        ways["official checkout"] = lambda: official(lambda: official_encoder(source))
    return ways | {"biot_bd, fp32": lambda: ours("fp32"), "biot_bd, bf16": lambda: ours("bf16")}


def gradient_error(x: Tensor, precision: str) -> float:
    """Return the norm of the difference from the official way's gradient, as a part of its norm,
    for the same frames and no dropout.
    """
    theirs = OfficialWay(braindecode_encoder()).eval()
    ours = our_module(**NO_DROPOUT).train()
    objective = ours.objectives["biot-contrastive"]
    ours.backbone.encoder.load_state_dict(theirs.encoder.state_dict(), strict=False)
    objective.predictor.load_state_dict(theirs.predictor.state_dict())
    torch.manual_seed(1)
    kept = torch.zeros(N_CHANS, 19, dtype=torch.bool)
    for channel in kept:  # as the loop of the official way draws
        n_kept = torch.randint(low=9, high=19, size=(1,)).item()
        channel[torch.randperm(19)[:n_kept]] = True
    objective.kept_frames = lambda rng: kept
    torch.manual_seed(1)
    theirs(x).backward()
    our_loss(ours, x, precision).backward()
    pairs = [(ours.backbone.encoder, theirs.encoder), (objective.predictor, theirs.predictor)]
    truth, found = [], []
    for mine, other in pairs:
        gradients = {name: p.grad for name, p in other.named_parameters()}
        for name, p in mine.named_parameters():
            found.append(p.grad.flatten())
            truth.append(gradients[name].flatten())
    error = float((torch.cat(found) - torch.cat(truth)).norm() / torch.cat(truth).norm())
    if not error < (0.2 if precision == "bf16" else 1e-3):
        raise SystemExit(f"contrastive, {precision}: the gradient is off by {error:.1e} of its norm")
    return error


def contrastive(
    n: int, rounds: int, source: Path | None, notes: list[str]
) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Check, time and weigh a step of a batch size."""
    x = torch.from_numpy(data(n)[0])
    few = x[:8] * torch.linspace(0.2, 2.0, 8)[:, None, None]  # windows that differ, so that the gradient is no noise
    for precision in ("fp32", "bf16"):
        error = gradient_error(few, precision)
        notes.append(
            f"contrastive, {precision}: gradient off the official way's by {error:.1e} of its norm (no dropout)"
        )
    peaks = {way: child(STEP, way, n, Path(__file__).parent) for way in (PEER, "biot_bd, fp32", "biot_bd, bf16")}
    steps = {way: make() for way, make in contrastive_steps(x, source).items()}
    floors = {"fp32": "floor: matrix products, fp32", "bf16": "floor: matrix products, bf16"}
    steps |= {
        floors[p]: floor(round(n * (1 + KEPT)), d) for p, d in (("fp32", torch.float32), ("bf16", torch.bfloat16))
    }
    rows = summarise(interleave(steps, rounds), [PEER])
    by_way = {row["way"]: row for row in rows}
    for way, peak in peaks.items():
        by_way[way]["peak_MB"] = round(peak)
    goals = [
        target_above_floor(
            f"pretraining step, contrastive, batch {n}, {p}", by_way[f"biot_bd, {p}"], by_way[floors[p]], PEER, WANTED
        )
        for p in ("bf16",)
    ]
    goals.append(limit(f"peak memory of that step, batch {n}, bf16", peaks["biot_bd, bf16"], peaks[PEER] / 2, "MB"))
    for row in rows:
        row["way"] = f"contrastive, batch {n}: {row['way']}"
    return rows, goals


def masked_vae(n: int, rounds: int) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Time a step of the masked variational autoencoder and of Hugging Face's ViTMAE."""
    peer, way = masked_vae_step.PEER, "masked-vae, batch {}: {}"
    peers = [peer, f"{peer}, bf16"]
    rows = summarise(interleave(masked_vae_step.ways(n), rounds), peers)
    by_way = {row["way"]: row for row in rows}
    goals = [
        target(f"pretraining step, masked-vae, batch {n}, {p}", by_way[f"biot_bd, {p}"], other, WANTED_VAE)
        for p, other in zip(("fp32", "bf16"), peers, strict=True)
    ]
    for row in rows:
        row["way"] = way.format(n, row["way"])
    return rows, goals


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small batch, two rounds")
    parser.add_argument("--rounds", type=int, default=None, help="interleaved rounds (default 5, quick 2)")
    parser.add_argument("--source", type=Path, default=None, help="checkout of the official repository of BIOT")
    options = parser.parse_args()
    rounds = options.rounds or (2 if options.quick else 5)
    warnings.simplefilter("ignore")
    started, notes = time.perf_counter(), []
    rows, goals = contrastive(8 if options.quick else 64, rounds, options.source, notes)
    more, further = masked_vae(4 if options.quick else 16, rounds)
    notes.append(f"all of this took {time.perf_counter() - started:.0f} s")
    publish(
        "pretraining",
        "One step of pretraining (AdamW, dropout on), seconds",
        rows + more,
        notes,
        options.quick,
        goals + further,
    )


if __name__ == "__main__":
    main()
