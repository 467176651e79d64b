r"""Foundation models on cohorts, from nothing to the table, with one command.

    python experiments/foundation_models.py --out runs/foundation --quick
    python experiments/foundation_models.py --out runs/foundation --quick \
        --data path/to/chbmit-excerpts
    python experiments/foundation_models.py --out runs/foundation --plan plan.toml

Two cohorts are generated: one of bipolar channels, one of electrodes against one reference, which
is prepared twice, as biot-16 and as szcore-19.  A small BIOT is pretrained on other generated
subjects.  Then models (frozen under probes, fine-tuned, from scratch) and baselines are compared on
the same folds: ``OUT/study/comparison.html``, ``.csv``, ``.md``.  With ``--data`` a folder in
CHB-MIT's layout is a third cohort.  Numbers of generated data and of a few subjects are not a
result; the table says so.  The same command again goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

QUICK: dict[str, Any] = {"n_subjects": 4, "recordings": 1, "minutes": 4}
FULL: dict[str, Any] = {"n_subjects": 8, "recordings": 3, "minutes": 6}
SIZE: dict[str, Any] = {"embed_dim": 64, "num_heads": 4, "num_layers": 2, "hop_length": 200}
PRETRAINING_SEED, BIPOLAR_SEED, REFERENTIAL_SEED = 1000, 0, 1


def parse(args: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for recordings, windows, checkpoint and study")
    parser.add_argument("--data", type=Path, help="folder in CHB-MIT's layout, a further cohort")
    parser.add_argument("--plan", type=Path, help="plan file in place of the demo's")
    parser.add_argument("--quick", action="store_true", help="few windows, small models, one epoch: minutes")
    parser.add_argument(
        "--models", default="biot,cbramod,labram", help="registered models, with commas (default: %(default)s)"
    )
    parser.add_argument("--strategies", help="with commas (default: linear,knn,full with --quick, else all probes)")
    parser.add_argument("--seeds", default="0", help="with commas (default: %(default)s)")
    parser.add_argument("--epochs", type=int, help="most epochs of what is trained (default: 1 with --quick, else 10)")
    parser.add_argument("--jobs", type=int, default=1, help="cells computed at once (default: %(default)s)")
    options = parser.parse_args(args)
    if options.plan is not None and options.data is not None:
        parser.error("--data: a plan names its cohorts; put the recordings there")
    quick = "linear,knn,full" if options.quick else "linear,ridge,knn,attention-pool,mlp,linear-probe,lora,full"
    options.strategies = (options.strategies or quick).split(",")
    options.models = options.models.split(",")
    options.epochs = options.epochs or (1 if options.quick else 10)
    try:
        options.seeds = [int(seed) for seed in options.seeds.split(",")]
    except ValueError:
        parser.error(f"--seeds {options.seeds}: expected whole numbers with commas, e.g. 0,1")
    return options


def make_checkpoint(out: Path, quick: bool) -> str:
    """Pretrain a small BIOT on other generated subjects; return its folder."""
    from sklearn.pipeline import make_pipeline

    from biot_bd import MontageMapper, PercentileScaler, Pretrainer, load_dataset, prepare
    from biot_bd.pretraining import pretrain

    recordings = load_dataset(
        "demo",
        out / "recordings" / "pretraining",
        **(QUICK if quick else FULL),
        seed=PRETRAINING_SEED,
        namespace="demo-p",
    )
    windows = prepare(recordings, out / "windows-pretraining", stride_s=5.0)
    net = Pretrainer(
        "biot",
        "masked-spectrum",
        **{f"module__{name}": value for name, value in SIZE.items()},
        max_epochs=2 if quick else 20,
        batch_size=32,
        random_state=0,
        verbose=0,
    )
    folder = out / "pretrained"
    pretrain(make_pipeline(MontageMapper("biot-16"), PercentileScaler(on_bad="drop"), net), windows, folder)
    return str(folder)


def demo_cohort(out: Path, name: str, quick: bool, prepare: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
    """Return a generated cohort as the plan names one."""
    own = {**(QUICK if quick else FULL), **options, "namespace": name}
    return {
        "name": name,
        "dataset": "demo",
        "root": str(out / "recordings" / name),
        "options": own,
        "prepare": [{**entry, "stride_s": 5.0} for entry in prepare],
    }


def make_plan(options: argparse.Namespace) -> dict[str, Any]:
    """Return the plan of the demo."""
    out, quick = options.out, options.quick
    bipolar, referential = {"montage": "biot-16"}, {"montage": "szcore-19"}
    cohorts = [
        demo_cohort(out, "demo-bipolar", quick, [bipolar], seed=BIPOLAR_SEED),
        demo_cohort(
            out, "demo-electrodes", quick, [bipolar, referential], seed=REFERENTIAL_SEED, reference="referential"
        ),
    ]
    if options.data is not None:
        real = {"name": "chb-mit", "dataset": "chb-mit", "root": str(options.data.absolute())}
        cohorts.append({**real, "prepare": [{**bipolar, "stride_s": 2.5}]})
    checkpoint = make_checkpoint(out, quick) if "biot" in options.models else None
    small = {
        "biot": {"pretrained": checkpoint},
        "cbramod": {"params": {"n_layer": 2} if quick else {}, "embedding": {"layer": "late"}},
        "labram": {"params": {"num_layers": 2} if quick else {}},
    }
    return {
        "title": "Foundation models, a demonstration",
        "cohorts": cohorts,
        "models": [{"name": name, **small.get(name, {})} for name in options.models],
        "strategies": options.strategies,
        "baselines": ["spectral-power", "eegnet", "bdtcn"],
        "seeds": options.seeds,
        "cv": "subject-kfold-2" if quick else "subject-kfold-4",
        "training": {"max_epochs": options.epochs, "batch_size": 32, "verbose": 0},
        "embedding": {"batch_size": 32},
        "n_resamples": 500 if quick else None,
    }


def main(args: Sequence[str] | None = None) -> int:
    """Prepare, pretrain, compare, write the page."""
    options = parse(args)
    from rich.console import Console

    from biot_bd.evaluation import StudyPlan, read_plan, run_study
    from biot_bd.report import write_study_page

    try:
        plan = StudyPlan.from_dict(make_plan(options)) if options.plan is None else read_plan(options.plan)
        study = run_study(plan, options.out / "study", n_jobs=options.jobs, report=lambda line: print(line, flush=True))
        page = write_study_page(study)
    except (ValueError, TypeError, OSError, LookupError, RuntimeError) as error:
        print(f"foundation_models: {error}", file=sys.stderr)
        return 1
    console = Console()
    console.print(study)
    console.print(f"page: {page}", markup=False, highlight=False, soft_wrap=True)
    return int(bool(study.failed))


if __name__ == "__main__":
    sys.exit(main())
