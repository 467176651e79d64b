"""CHB-MIT fine-tuned from a checkpoint, scored on subjects that neither the checkpoint nor the
fine-tuning saw.

    python experiments/chbmit_finetune.py --root path/to/chbmit --pretrained prest-16 --out
    runs/finetune python experiments/chbmit_finetune.py --root path/to/chbmit --pretrained prest-16
    --finetune gradual --out runs/gradual

A checkpoint that saw a test subject, or of which nobody knows what it saw, is refused before the
first fit (``six-datasets-18`` on CHB-MIT: it saw all but chb22 to chb24).  The same command again
goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from biot_bd import Windows
    from biot_bd.evaluation import Result


def parse(args: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--dataset", default="chb-mit", help="registered data set (default: %(default)s)")
    parser.add_argument("--root", type=Path, required=True, help="folder of the recordings")
    parser.add_argument("--out", type=Path, required=True, help="folder for windows, run and report")
    parser.add_argument("--pretrained", required=True, help="known name, file, folder or Hub repository")
    parser.add_argument("--finetune", default="full", help="strategy and rules, joined by + (default: %(default)s)")
    parser.add_argument("--cv", default="subject-loo", help="outer split (default: %(default)s)")
    parser.add_argument("--montage", default="biot-16", help="registered montage (default: %(default)s)")
    parser.add_argument("--labels", default="overlap", help="registered label rule (default: %(default)s)")
    parser.add_argument("--stride", type=float, default=5.0, help="stride of the windows in s (default: %(default)s)")
    parser.add_argument("--on-missing", default="raise", help="channels a recording lacks (default: %(default)s)")
    parser.add_argument(
        "--on-error", default="raise", help="recordings that fail: raise or skip (default: %(default)s)"
    )
    parser.add_argument("--epochs", type=int, default=20, help="most epochs a fold (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=128, help="windows a batch (default: %(default)s)")
    parser.add_argument("--lr", type=float, default=1e-3, help="learning rate (default: %(default)s)")
    parser.add_argument("--loss", default="focal", help="registered loss (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of splits and training (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="recordings and folds computed at once (default: 1)")
    parser.add_argument("--allow-contaminated", action="store_true", help="go on although test subjects were seen")
    return parser.parse_args(args)


def make_windows(options: argparse.Namespace) -> Windows:
    """Prepare the recordings, or reopen what is prepared."""
    from biot_bd import load_dataset, prepare

    return prepare(
        load_dataset(options.dataset, options.root),
        options.out / "windows",
        montage=options.montage,
        stride_s=options.stride,
        labels=options.labels,
        on_missing=options.on_missing,
        on_error=options.on_error,
        n_jobs=options.jobs,
    )


def study(windows: Windows, options: argparse.Namespace) -> Result:
    """Fine-tune one model a fold."""
    from sklearn.pipeline import make_pipeline

    from biot_bd import BIOTClassifier, MontageMapper, PercentileScaler, cross_validate

    rules = options.finetune.split("+")
    classifier = BIOTClassifier(
        "biot",
        pretrained=options.pretrained,
        finetune=rules[0] if len(rules) == 1 else rules,
        criterion=options.loss,
        max_epochs=options.epochs,
        batch_size=options.batch_size,
        lr=options.lr,
    )
    return cross_validate(
        make_pipeline(MontageMapper(options.montage), PercentileScaler(), classifier),
        windows,
        folder=options.out / "run",
        cv=options.cv,
        n_jobs=options.jobs,
        random_state=options.seed,
        title=f"BIOT from {Path(options.pretrained).name}, fine-tuned ({options.finetune}) on {options.dataset}",
        allow_contaminated=options.allow_contaminated,
    )


def main(args: Sequence[str] | None = None) -> int:
    """Run the study; return the exit status."""
    options = parse(args)
    from rich.console import Console

    from biot_bd.report import write_report

    try:
        windows = make_windows(options)
        result = study(windows, options)
        report = write_report(options.out / "run", windows=windows)
    except (ValueError, TypeError, OSError, LookupError, RuntimeError) as error:
        print(f"chbmit_finetune: {error}", file=sys.stderr)
        return 1
    console = Console()
    console.print(result)
    console.print(f"report: {report}", markup=False, highlight=False, soft_wrap=True)
    curves = f"curves and maps: tensorboard --logdir {options.out / 'run' / 'tensorboard'}"
    console.print(curves, markup=False, highlight=False, soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
