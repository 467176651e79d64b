r"""A masked variational autoencoder on real EEG: the files of one subject of EEGMMIDB.

    python experiments/masked_eegmmidb.py --root EEGMMIDB --out OUT --channels together \
        --patch-samples 4 --epochs 16
    python experiments/masked_eegmmidb.py --root EEGMMIDB --out OUT --geometry channel \
        --mask-ratio 0.5

Runs 1 and 2 (eyes open, eyes closed; 2 min) train, run 3 (2 min of movements) is held out: another
recording, but of the same subject and day, so this says that the model learns this head, not that
it would know another.  Hidden patches of run 3 are predicted, and compared with two guesses that
learn nothing: linear interpolation between the visible samples of the channel, and MNE's spherical
splines over the electrodes that are visible at the same time.  A JSON file in ``OUT`` has the
errors; see ``docs/pretraining.md``.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from biot_bd.pretraining import Pretrainer, Reconstruction

SFREQ_HZ = 160
TRAINING, HELD_OUT = ("S001R01.edf", "S001R02.edf"), ("S001R03.edf",)
# Sizes that a processor trains within minutes.
SMALL: dict[str, Any] = {"embed_dim": 128, "num_layers": 3, "num_heads": 4}


def parse(args: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--root", type=Path, required=True, help="folder with S001R01.edf to S001R03.edf")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--geometry", default="token", choices=("token", "block", "time", "channel"), help="what hides")
    parser.add_argument("--mask-ratio", type=float, default=0.75, help="share that is hidden (default: %(default)s)")
    parser.add_argument("--patch-samples", type=int, default=80, help="length of a patch (default: %(default)s, 0.5 s)")
    parser.add_argument("--channels", default="each", choices=("each", "together"), help="of a token: one, or all")
    parser.add_argument("--latent-dim", type=int, default=64, help="parts of a latent (default: %(default)s)")
    parser.add_argument("--window-s", type=float, default=1.0, help="length of a window (default: %(default)s)")
    parser.add_argument("--stride-s", type=float, default=0.05, help="between training windows (default: %(default)s)")
    parser.add_argument("--beta", type=float, default=0.01, help="weight of the divergence (default: %(default)s)")
    parser.add_argument(
        "--epochs", type=int, default=10, help="passes over the training windows (default: %(default)s)"
    )
    parser.add_argument("--lr", type=float, default=2e-3, help="learning rate (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the training (default: %(default)s)")
    return parser.parse_args(args)


def read_signals(root: Path, names: Sequence[str]) -> tuple[list[NDArray[np.float32]], tuple[str, ...]]:
    """Return the signals of files in microvolts, 0.5 to 40 Hz, and the electrodes."""
    import mne

    from biot_bd.signals import canonical_name

    signals = []
    for name in names:
        raw = mne.io.read_raw_edf(root / name, preload=True, verbose="error")
        if raw.info["sfreq"] != SFREQ_HZ:
            raise SystemExit(f"{root / name}: expected {SFREQ_HZ} Hz, found {raw.info['sfreq']:g}")
        raw.filter(0.5, 40.0, verbose="error")
        signals.append((raw.get_data() * 1e6).astype(np.float32))
    return signals, tuple(str(canonical_name(name)) for name in raw.ch_names)


def cut(signals: Sequence[NDArray[np.float32]], window_s: float, stride_s: float) -> NDArray[np.float32]:
    """Return windows (n, n_chans, n_times), none across two files."""
    length, stride = round(window_s * SFREQ_HZ), round(stride_s * SFREQ_HZ)
    views = [np.lib.stride_tricks.sliding_window_view(x, length, axis=1)[:, ::stride] for x in signals]
    return np.ascontiguousarray(np.concatenate([view.swapaxes(0, 1) for view in views]))


def train(windows: NDArray[np.float32], options: argparse.Namespace) -> Pretrainer:
    """Train a small masked variational autoencoder without labels."""
    from biot_bd import Pretrainer
    from biot_bd.training.finetuning import Cosine

    net = Pretrainer(
        "masked-vit",
        "masked-vae",
        lr=options.lr,
        batch_size=32,
        schedule=Cosine(warmup_epochs=0.5, final=0.02),
        gradient_clip_norm=1.0,
        max_epochs=options.epochs,
        train_split=None,
        random_state=options.seed,
        device="cpu",
        verbose=1,
        module__patch_samples=options.patch_samples,
        module__channels=options.channels,
        module__sfreq=SFREQ_HZ,
        objective__latent_dim=options.latent_dim,
        objective__mask_geometry=options.geometry,
        objective__mask_ratio=options.mask_ratio,
        objective__beta=options.beta,
        objective__standardise=None,  # the scale is that of the training runs, one number for all channels
        objective__decoder_embed_dim=128,
        objective__decoder_num_layers=2,
        objective__decoder_num_heads=4,
        **{f"module__{name}": value for name, value in SMALL.items()},
    )
    return net.fit(windows)


def reconstruct(net: Pretrainer, windows: NDArray[np.float32]) -> Reconstruction:
    """Predict hidden patches of windows, under masks that a seed fixes."""
    import torch

    from biot_bd.models import token_stages
    from biot_bd.pretraining import BatchRandom

    net.module_.eval()
    (objective,) = net.module_.objectives.values()
    found: Reconstruction = objective.reconstruct(
        token_stages(net.module_.backbone), torch.as_tensor(windows), BatchRandom(0, len(windows))
    )
    return found


def by_splines(found: Reconstruction, electrodes: tuple[str, ...]) -> NDArray[np.float64] | None:
    """Guess hidden patches from the electrodes visible at the same time.

    None where a frame has too few of them.
    """
    import mne

    hidden, guess = found.hidden.numpy(), found.original.double().numpy().copy()
    info = mne.create_info(list(electrodes), SFREQ_HZ, "eeg")
    for window, frame in np.ndindex(len(hidden), hidden.shape[2]):
        absent = hidden[window, :, frame]
        if (~absent).sum() < 4:
            return None
        if absent.any():
            raw = mne.io.RawArray(guess[window, :, frame], info, verbose="error")
            raw.set_montage("standard_1005", verbose="error")
            raw.info["bads"] = [name for name, gone in zip(electrodes, absent, strict=True) if gone]
            guess[window, :, frame] = raw.interpolate_bads(method={"eeg": "spline"}, verbose="error").get_data()
    return guess


def score(found: Reconstruction, splines: NDArray[np.float64] | None) -> dict[str, float | None]:
    """Return errors over hidden samples, in units of the training runs' variance."""
    hidden, original = found.hidden.numpy(), found.original.double().numpy()[found.hidden.numpy()]
    guesses = {"model": found.predicted, "linear": found.interpolated, "splines": splines}
    errors = {
        name: None if guess is None else float(np.mean((np.asarray(guess)[hidden] - original) ** 2))
        for name, guess in guesses.items()
    }
    errors["zero"] = float(np.mean(original**2))
    mse = errors.pop("model") or 0.0
    skill = {f"skill_{name}": None if other is None else 1 - mse / other for name, other in errors.items()}
    predicted = found.predicted.double().numpy()[hidden]
    return {
        "mse_model": mse,
        **{f"mse_{name}": error for name, error in errors.items()},
        **skill,
        "skill_strict": min(one for one in skill.values() if one is not None),
        "correlation": float(np.corrcoef(predicted.ravel(), original.ravel())[0, 1]),
    }


def main(args: Sequence[str] | None = None) -> dict[str, Any]:
    """Train, reconstruct held-out patches, and write what came of it."""
    options = parse(args)
    signals, electrodes = read_signals(options.root, TRAINING)
    scale_uv = float(np.concatenate(signals, axis=1).std())
    begun = time.perf_counter()
    net = train(cut(signals, options.window_s, options.stride_s) / scale_uv, options)
    minutes = (time.perf_counter() - begun) / 60
    held_out = cut(read_signals(options.root, HELD_OUT)[0], options.window_s, options.window_s) / scale_uv
    found = reconstruct(net, held_out)
    row = net.history[-1]
    result = {
        "options": {key: str(value) for key, value in vars(options).items() if key not in ("root", "out")},
        "scale_uv": scale_uv,
        "minutes": minutes,
        "training": {key: float(row[key]) for key in ("train_skill", "train_kl_token", "train_active_units")},
        "held_out": score(found, by_splines(found, electrodes)),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / f"masked-vae-{options.channels}-{options.geometry}.json"
    file.write_text(json.dumps(result, indent=1))
    print(json.dumps(result["held_out"], indent=1))
    return result


if __name__ == "__main__":
    main()
