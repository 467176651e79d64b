"""CHB-MIT from scratch: BIOT without pretraining, focal loss, scored on subjects that it has not
seen.

The same script runs on generated recordings, on a few excerpts and on the whole data set:

    python experiments/chbmit_scratch.py --dataset demo --out runs/demo --small --epochs 8
    python experiments/chbmit_scratch.py --dataset chb-mit --root path/to/chbmit --out runs/chbmit

With four subjects or more, some of each fold's training subjects validate (early stopping,
threshold); with fewer there is too little for that: the number of epochs is fixed and the threshold
is 0.5.  The script decides by itself and says so.  Windows, run folder, TensorBoard curves and
report go into ``--out``; the same command again goes on where it was stopped.
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
    parser.add_argument("--root", type=Path, help="folder of the recordings (default for demo: OUT/recordings)")
    parser.add_argument("--out", type=Path, required=True, help="folder for windows, run and report")
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
    parser.add_argument(
        "--gamma", type=float, default=2.0, help="focal loss: weight of hard windows (default: %(default)s)"
    )
    parser.add_argument("--alpha", type=float, help="focal loss: weight of the class seizure, 0 to 1 (default: none)")
    parser.add_argument("--small", action="store_true", help="a small BIOT, named so on every output")
    parser.add_argument("--seed", type=int, default=0, help="seed of splits and training (default: %(default)s)")
    parser.add_argument(
        "--jobs", type=int, default=1, help="recordings and folds computed at once (default: %(default)s)"
    )
    options = parser.parse_args(args)
    if options.root is None:
        if options.dataset != "demo":
            parser.error(f"--root: where are the recordings of {options.dataset}?")
        options.root = options.out / "recordings"
    return options


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


def describe(windows: Windows, options: argparse.Namespace) -> None:
    """Print the windows of each class by subject, and what the split has to make do with."""
    from rich.console import Console
    from rich.table import Table

    from biot_bd.evaluation import make_folds

    generated = " (generated data)" if windows.generated else ""
    title = f"{options.dataset}{generated}: 10 s windows, label rule {windows.label_rule}"
    table = Table("subject", title=title, title_justify="left")
    for name in ("background", "seizure", "recordings"):
        table.add_column(name, justify="right")
    for subject, part in windows.metadata.groupby("subject"):
        n_seizure = int(part["label"].sum())
        table.add_row(str(subject), str(len(part) - n_seizure), str(n_seizure), str(part["recording"].nunique()))
    console = Console()
    console.print(table)
    recordings = windows.metadata["recording"].to_numpy()
    folds = make_folds(options.cv, windows.y, windows.groups, recordings=recordings, random_state=options.seed)
    notes = [note for fold in folds for note in fold.notes]
    for note in dict.fromkeys(notes):
        console.print(f"{notes.count(note)} of {len(folds)} folds: {note}", markup=False, highlight=False)


def study(windows: Windows, options: argparse.Namespace) -> Result:
    """Train and score BIOT from scratch, one model a fold."""
    from sklearn.pipeline import make_pipeline

    from biot_bd import BIOTClassifier, MontageMapper, PercentileScaler, cross_validate
    from biot_bd.commands._pipelines import SMALL_BIOT, describe_model

    size = SMALL_BIOT if options.small else {}
    focal = {"criterion__gamma": options.gamma} | ({} if options.alpha is None else {"criterion__alpha": options.alpha})
    classifier = BIOTClassifier(
        "biot",
        criterion="focal",
        max_epochs=options.epochs,
        batch_size=options.batch_size,
        lr=options.lr,
        **size,
        **focal,
    )
    return cross_validate(
        make_pipeline(MontageMapper(options.montage), PercentileScaler(), classifier),
        windows,
        folder=options.out / "run",
        cv=options.cv,
        n_jobs=options.jobs,
        random_state=options.seed,
        title=f"{describe_model('biot', size)}, from scratch, focal loss, on {options.dataset}",
    )


def main(args: Sequence[str] | None = None) -> int:
    """Run the study; return the exit status."""
    options = parse(args)
    from rich.console import Console

    from biot_bd.report import write_report

    try:
        windows = make_windows(options)
        describe(windows, options)
        result = study(windows, options)
        report = write_report(options.out / "run", windows=windows)
    except (ValueError, OSError, LookupError, RuntimeError) as error:
        print(f"chbmit_scratch: {error}", file=sys.stderr)
        return 1
    console = Console()
    console.print(result)
    console.print(f"report: {report}", markup=False, highlight=False, soft_wrap=True)
    curves = f"curves and maps: tensorboard --logdir {options.out / 'run' / 'tensorboard'}"
    console.print(curves, markup=False, highlight=False, soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
