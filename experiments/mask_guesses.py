"""How well visible neighbours guess hidden spectra, by geometry of the mask: what to beat.

    biot-bd prepare chb-mit path/to/chbmit STORE
    python experiments/mask_guesses.py STORE

Nothing is trained.  Windows of STORE go through PercentileScaler, their log spectra (1 s, a frame
every 0.5 s or ``--hop`` samples) are hidden, and two guesses are scored on hidden tokens: linear
interpolation between the nearest visible frames, and the mean of the channel's visible frames.
Errors are shares of the variance of hidden tokens (1: no better than one spectrum for all windows).
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Geometry, length of a block and guard, in frames.
MASKS = (
    ("token", 1, 0),
    ("block", 3, 0),
    ("block", 3, 1),
    ("block", 5, 0),
    ("block", 5, 1),
    ("time", 3, 0),
    ("channel", 3, 0),
)
BATCH = 64


def parse(args: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("store", help="folder that `biot-bd prepare` wrote")
    parser.add_argument("--hop", type=int, default=100, help="samples between frames (default: %(default)s)")
    parser.add_argument("--mask-ratio", type=float, default=0.5, help="share that is hidden (default: %(default)s)")
    parser.add_argument("--standardise", default="channel", help="channel, token or none (default: %(default)s)")
    parser.add_argument("--windows", type=int, default=512, help="at most so many, evenly (default: %(default)s)")
    return parser.parse_args(args)


def batches(store: str, most: int) -> Iterator[Any]:
    """Yield scaled windows of a store."""
    import torch

    from biot_bd import PercentileScaler, Windows

    windows = Windows.open(store).map(PercentileScaler())
    every = max(1, len(windows) // most)
    rows = list(range(0, len(windows), every))[:most]
    for start in range(0, len(rows), BATCH):
        yield torch.from_numpy(windows.read(rows[start : start + BATCH]))


def measure(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Score both guesses for every mask."""
    import torch

    from biot_bd import registry
    from biot_bd.models import BIOT, token_stages
    from biot_bd.pretraining import BatchRandom

    data = list(batches(args.store, args.windows))
    _, n_chans, n_times = data[0].shape
    model = BIOT(
        embed_dim=16, num_heads=2, num_layers=1, n_chans=n_chans, n_times=n_times, n_outputs=2, hop_length=args.hop
    )
    stages, found = token_stages(model), []
    for geometry, block, guard in MASKS:
        objective = registry.objectives["masked-spectrum"](
            stages.sizes,
            geometry,
            args.mask_ratio,
            block,
            guard,
            None if args.standardise == "none" else args.standardise,
        )
        sums: dict[str, Any] = {}
        with torch.no_grad():
            for number, x in enumerate(data):
                for key, value in objective(stages, x, BatchRandom(number, n=len(x))).items():
                    sums[key] = sums.get(key, 0) + value.double() * len(x)
        n = sum(map(len, data))
        means = {key: value / n for key, value in sums.items()}
        variance = objective.derive(means)["chance"]
        found.append(
            {
                "mask": geometry,
                "block (frames)": block if geometry in ("time", "block") else "",
                "guard (frames)": guard,
                "scored": f"{means['scored_fraction']:.2f}",
                "interpolation": f"{means['mse_interpolation'] / variance:.2f}",
                "channel mean": f"{means['mse_window_mean'] / variance:.2f}",
            }
        )
    return found


def table(rows: list[dict[str, Any]]) -> str:
    """Return rows as a Markdown table."""
    head = list(rows[0])
    lines = [head, ["---"] * len(head), *([str(row[key]) for key in head] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main(args: Sequence[str] | None = None) -> int:
    """Print the table."""
    print(table(measure(parse(args))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
