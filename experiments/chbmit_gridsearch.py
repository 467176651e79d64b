"""A grid for BIOT on CHB-MIT, searched by subject inside each fold, scored on other subjects.

    python experiments/chbmit_gridsearch.py --dataset demo --out runs/demo-search --small --epochs 4
    python experiments/chbmit_gridsearch.py --store windows/chb-mit --out runs/search --dry-run
    python experiments/chbmit_gridsearch.py --store windows/chb-mit --out runs/search --jobs 4

Learning rate, weight of hard windows (focal loss) and depth are tried; each outer fold chooses on
its own training subjects, so the scores are of subjects that no choice has seen.  ``--dry-run``
counts the fits, measures a few windows and says how long they may take; ``--engine optuna`` (or
random, halving) with ``--trials`` takes fewer candidates.  ``--backend`` spreads the fits
(``biot_bd.evaluation.workers``: loky, dask, dask-slurm, slurm).

Windows, run folder and report go into ``--out``, what was tried into ``OUT/run/search/trials.csv``
and ``candidates.csv``.  The same command again goes on where it was stopped: at most the fits that
ran are lost.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sklearn.pipeline import Pipeline

    from biot_bd import Windows
    from biot_bd.evaluation import Result

GRID: dict[str, list[Any]] = {
    "biotclassifier__lr": [3e-4, 1e-3, 3e-3],
    "biotclassifier__criterion__gamma": [0.0, 1.0, 2.0],
    "biotclassifier__module__num_layers": [2, 4],
}
SMALL_GRID: dict[str, list[Any]] = {"biotclassifier__lr": [1e-3, 3e-3], "biotclassifier__criterion__gamma": [0.0, 2.0]}
SMALL: dict[str, Any] = {
    "module__embed_dim": 32,
    "module__num_heads": 4,
    "module__num_layers": 1,
    "module__hop_length": 200,
}
ENGINES = ("grid", "random", "halving", "optuna")


def parse(args: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--store", type=Path, help="prepared windows (biot-bd prepare); default: made of --dataset")
    parser.add_argument("--dataset", default="chb-mit", help="registered data set (default: %(default)s)")
    parser.add_argument("--root", type=Path, help="folder of the recordings (default for demo: OUT/recordings)")
    parser.add_argument("--out", type=Path, required=True, help="folder for windows, run and report")
    parser.add_argument("--engine", choices=ENGINES, default="grid", help="what proposes (default: %(default)s)")
    parser.add_argument("--trials", type=int, default=8, help="of random and optuna (default: %(default)s)")
    parser.add_argument("--cv", default="subject-loo", help="outer split (default: %(default)s)")
    parser.add_argument("--inner-cv", default="subject-kfold-3", help="inner split (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=20, help="most epochs a fit (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=128, help="windows a batch (default: %(default)s)")
    parser.add_argument("--small", action="store_true", help="a small BIOT and a small grid")
    parser.add_argument("--seed", type=int, default=0, help="seed of splits and training (default: %(default)s)")
    parser.add_argument("--backend", default="loky", help="where fits are computed (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="fits computed at once (default: %(default)s)")
    parser.add_argument("--dry-run", action="store_true", help="say how many fits and how long, fit nothing")
    options = parser.parse_args(args)
    if options.store is None and options.root is None:
        if options.dataset != "demo":
            parser.error(f"--root: where are the recordings of {options.dataset}? (or --store: where are its windows?)")
        options.root = options.out / "recordings"
    return options


def windows_of(options: argparse.Namespace) -> Windows:
    """Open the windows, or prepare them."""
    from biot_bd import Windows, load_dataset, prepare

    if options.store is not None:
        return Windows.open(options.store)
    small = {"n_subjects": 4, "recordings": 1, "minutes": 2} if options.small and options.dataset == "demo" else {}
    recordings = load_dataset(options.dataset, options.root, **small)
    return prepare(recordings, options.out / "windows", montage="biot-16", stride_s=5.0, n_jobs=options.jobs)


def pipeline_of(options: argparse.Namespace) -> Pipeline:
    """Build what is searched."""
    from sklearn.pipeline import make_pipeline

    from biot_bd import BIOTClassifier, MontageMapper, PercentileScaler

    classifier = BIOTClassifier(
        "biot", criterion="focal", max_epochs=options.epochs, batch_size=options.batch_size,
        **(SMALL if options.small else {}),
    )  # fmt: skip
    return make_pipeline(MontageMapper("biot-16"), PercentileScaler(), classifier)


def engine_of(options: argparse.Namespace) -> Any:
    """Return what proposes candidates."""
    from biot_bd.evaluation import HalvingSearch, OptunaSearch, RandomSearch

    made = {
        "random": lambda: RandomSearch(n_iter=options.trials),
        "halving": lambda: HalvingSearch(resource="biotclassifier__max_epochs", max_resources=options.epochs),
        "optuna": lambda: OptunaSearch(n_trials=options.trials),
    }
    return made[options.engine]() if options.engine in made else "grid"


def asked(options: argparse.Namespace) -> dict[str, Any]:
    """Return how the search splits, chooses and draws."""
    return {
        "cv": options.cv,
        "inner_cv": options.inner_cv,
        "engine": engine_of(options),
        "random_state": options.seed,
        "folder": options.out / "run",
    }


def plan(options: argparse.Namespace, windows: Windows, grid: dict[str, list[Any]]) -> str:
    """Count the fits and measure what they may take."""
    from biot_bd.evaluation import estimate_cost, measure_throughput, planned_fits

    pipeline = pipeline_of(options)
    fits = planned_fits(pipeline, grid, windows, **asked(options))
    cost = estimate_cost(
        measure_throughput(pipeline, windows), n_windows=len(windows), n_folds=fits["outer_folds"], epochs=options.epochs,
        n_candidates=fits["candidates"] or options.trials, inner_folds=fits["inner_folds"], n_workers=options.jobs,
    )  # fmt: skip
    done = f"{fits['inner_done'] + fits['outer_done']} of {fits['inner_fits'] + fits['outer_fits']} fits are done"
    return f"{len(windows)} windows of {len(set(windows.groups))} subjects; {done}\n{cost}"


def study(options: argparse.Namespace, windows: Windows, grid: dict[str, list[Any]]) -> Result:
    """Search, and score what was chosen."""
    from biot_bd.evaluation import search, workers

    title = f"{'small ' if options.small else ''}BIOT, {', '.join(name.split('__')[-1] for name in grid)} chosen inside"
    with workers(options.backend, n_workers=options.jobs):
        return search(pipeline_of(options), grid, windows, title=title, **asked(options))


def main(args: Sequence[str] | None = None) -> int:
    """Run the search; return the exit status."""
    options = parse(args)
    from rich.console import Console

    from biot_bd.evaluation import SearchRecord
    from biot_bd.report import write_report

    console, grid = Console(), SMALL_GRID if options.small else GRID
    try:
        windows = windows_of(options)
        if options.dry_run:
            console.print(plan(options, windows, grid), markup=False, highlight=False)
            return 0
        result = study(options, windows, grid)
        record = SearchRecord.open(options.out / "run")
        report = write_report(options.out / "run", windows=windows)
    except (ValueError, OSError, LookupError, RuntimeError) as error:
        print(f"chbmit_gridsearch: {error}", file=sys.stderr)
        return 1
    console.print(result)
    chosen = record.table[record.table["chosen"]].set_index("fold")
    console.print(chosen[[*grid, "mean", "n_defined"]].to_string(), markup=False, highlight=False)
    console.print(f"report: {report}", markup=False, highlight=False, soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
