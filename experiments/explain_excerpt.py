r"""A real seizure explained: train on generated subjects and on excerpts of some patients of
CHB-MIT, explain what the model says of a seizure of another patient.

    python experiments/explain_excerpt.py --root path/to/chbmit-excerpts --out runs/excerpt
    python experiments/explain_excerpt.py --root path/to/chbmit --out runs/excerpt \
        --recording chb01_03 --epochs 20 --evaluate

``OUT/model`` is a small BIOT that never saw the patient of the recording; the page is
``OUT/explained/explain.html``.  A few excerpts train no detector: this shows the way from an EDF
file to a page, and what is on the page means nothing clinically.  The same command again goes on
where it was stopped.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from biot_bd import Windows

# A BIOT that trains within minutes.
SMALL = {"module__embed_dim": 64, "module__num_heads": 4, "module__num_layers": 3, "module__hop_length": 200}


def parse(args: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--root", type=Path, required=True, help="folder of CHB-MIT, or of excerpts of it")
    parser.add_argument("--out", type=Path, required=True, help="folder for windows, model and page")
    parser.add_argument("--recording", default="chb01_03", help="recording that is explained (default: %(default)s)")
    parser.add_argument("--at-s", type=float, help="explain the window around this second of it")
    parser.add_argument("--epochs", type=int, default=15, help="most epochs (default: %(default)s)")
    parser.add_argument("--demo-subjects", type=int, default=6, help="generated subjects (default: %(default)s)")
    parser.add_argument("--minutes", type=int, default=6, help="length of a generated recording (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the training (default: %(default)s)")
    parser.add_argument("--evaluate", action="store_true", help="put the probes to tests as well")
    return parser.parse_args(args)


def make_windows(options: argparse.Namespace) -> tuple[Windows, Windows]:
    """Prepare the generated recordings and the excerpts."""
    from biot_bd import load_dataset, prepare

    folder = options.out / "windows"
    demo = load_dataset(
        "demo", options.out / "recordings", n_subjects=options.demo_subjects, recordings=1, minutes=options.minutes
    )
    excerpts = load_dataset("chb-mit", options.root)
    return (
        prepare(demo, folder / "demo", montage="biot-16"),
        prepare(excerpts, folder / "excerpts", montage="biot-16", stride_s=2.5),
    )


def train(options: argparse.Namespace, demo: Windows, excerpts: Windows, subject: str) -> Path:
    """Train a small BIOT without one patient, and save it."""
    from sklearn.pipeline import make_pipeline

    from biot_bd import BIOTClassifier, MontageMapper, PercentileScaler, Windows, fit_all

    folder = options.out / "model"
    if not (folder / "pipeline.json").is_file():
        classifier = BIOTClassifier(
            "biot", criterion="focal", max_epochs=options.epochs, batch_size=32, patience=None, **SMALL
        )
        fit_all(
            make_pipeline(MontageMapper("biot-16"), PercentileScaler(), classifier),
            Windows.concat([demo, excerpts]),
            folder,
            hold_out=[subject],
            random_state=options.seed,
            title="generated subjects and excerpts of CHB-MIT",
        )
    return folder


def main(args: Sequence[str] | None = None) -> int:
    """Train, and call ``biot-bd explain``."""
    options = parse(args)
    demo, excerpts = make_windows(options)
    metadata = excerpts.metadata
    subject = str(metadata.loc[metadata["recording"] == options.recording, "subject"].iloc[0])
    model = train(options, demo, excerpts, subject)
    words = ["explain", model, options.out / "windows" / "excerpts", "--recording", options.recording]
    words += [] if options.at_s is None else ["--at-s", options.at_s]
    words += ["--evaluate"] if options.evaluate else []
    command = [Path(sys.executable).parent / "biot-bd", *words, "-o", options.out / "explained"]
    return subprocess.run(list(map(str, command)), check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
