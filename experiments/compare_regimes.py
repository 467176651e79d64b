"""Training regimes side by side, from scratch to fine-tuning, on the same subjects and folds.

With the demo and no checkpoint the script first makes one, by supervised training on other
generated subjects:

    python experiments/compare_regimes.py --dataset demo --out runs/regimes --small --epochs 8
    python experiments/compare_regimes.py --dataset chb-mit --root path/to/chbmit \
        --out runs/regimes --pretrained prest-16 --seeds 0,1 \
        --strategies scratch,linear-probe,full,gradual,two-stage

A strategy is ``scratch`` or what ``BIOTClassifier(finetune=...)`` takes by name; ``+`` joins some
(``gradual+ema``).  The table with intervals over subjects and the paired tests is printed and
stored (``study.json``, ``comparison.json``, ``comparison.html``) in ``OUT/study``; each regime and
seed is a run folder with its own report.  The same command again goes on where it was stopped.
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
    from biot_bd.evaluation import StudyResult

OTHER_SUBJECTS = "demo-other"
OTHER_SEED = 1000
DEFAULT = "scratch,linear-probe,full"


def parse(args: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--dataset", default="demo", help="registered data set (default: %(default)s)")
    parser.add_argument("--root", type=Path, help="folder of the recordings (default for demo: OUT/recordings)")
    parser.add_argument("--out", type=Path, required=True, help="folder for windows, checkpoint and study")
    parser.add_argument(
        "--pretrained", help="known name, file, folder or Hub repository (default for demo: one is made)"
    )
    parser.add_argument(
        "--strategies", default=DEFAULT, help="regimes, with commas; all for each (default: %(default)s)"
    )
    parser.add_argument(
        "--against", help="test every other regime against this one (default: all pairs up to 4 regimes)"
    )
    parser.add_argument("--cv", default="subject-loo", help="outer split (default: %(default)s)")
    parser.add_argument("--seeds", default="0", help="seeds of splits and training, with commas (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=20, help="most epochs a fold (default: %(default)s)")
    parser.add_argument(
        "--pretrain-epochs", type=int, help="most epochs of the checkpoint that is made (default: --epochs)"
    )
    parser.add_argument("--batch-size", type=int, default=64, help="windows a batch (default: %(default)s)")
    parser.add_argument("--lr", type=float, default=1e-3, help="learning rate (default: %(default)s)")
    parser.add_argument("--loss", default="focal", help="registered loss (default: %(default)s)")
    parser.add_argument("--small", action="store_true", help="a small BIOT, named so on every output")
    parser.add_argument(
        "--param", action="append", help="KEY=VALUE of every classifier, e.g. patience=3; may be repeated"
    )
    parser.add_argument(
        "--data-param", action="append", help="KEY=VALUE of the data set, e.g. n_subjects=4; may be repeated"
    )
    parser.add_argument("--montage", default="biot-16", help="registered montage (default: %(default)s)")
    parser.add_argument("--labels", default="overlap", help="registered label rule (default: %(default)s)")
    parser.add_argument("--stride", type=float, default=5.0, help="stride of the windows in s (default: %(default)s)")
    parser.add_argument("--on-missing", default="raise", help="channels a recording lacks (default: %(default)s)")
    parser.add_argument(
        "--jobs", type=int, default=1, help="recordings and folds computed at once (default: %(default)s)"
    )
    parser.add_argument(
        "--allow-contaminated", action="store_true", help="go on although the checkpoint saw test subjects"
    )
    options = parser.parse_args(args)
    if options.root is None:
        if options.dataset != "demo":
            parser.error(f"--root: where are the recordings of {options.dataset}?")
        options.root = options.out / "recordings"
    if options.pretrained is None and options.dataset != "demo":
        parser.error("--pretrained: which checkpoint? (only for the demo one is made)")
    if options.pretrained is not None and options.small:
        parser.error("--small: the checkpoint decides the size; leave one of the two out")
    try:
        options.seeds = [int(seed) for seed in options.seeds.split(",")]
    except ValueError:
        parser.error(f"--seeds {options.seeds}: expected whole numbers with commas, e.g. 0,1")
    return options


def names_of(options: argparse.Namespace) -> list[str]:
    """Return the regimes asked for, scratch first.

    ``all`` is scratch and all that ``finetune`` knows by name.
    """
    from biot_bd.training.finetuning import OPTIONS

    # The other losses have no label smoothing.
    fitting = [name for name in OPTIONS if name != "label-smoothing" or options.loss == "cross-entropy"]
    names = ["scratch", *fitting] if options.strategies == "all" else options.strategies.replace(" ", "").split(",")
    unknown = [part for name in names for part in name.split("+") if part not in OPTIONS and name != "scratch"]
    if unknown:
        raise ValueError(f"--strategies: no strategy {unknown[0]!r}; there are scratch, {', '.join(OPTIONS)}")
    return sorted(dict.fromkeys(names), key=lambda name: name != "scratch")


def make_windows(options: argparse.Namespace, root: Path, folder: Path, **other: Any) -> Windows:
    """Prepare recordings, or reopen what is prepared."""
    from biot_bd import load_dataset, prepare
    from biot_bd.commands._pipelines import parse_assignments

    return prepare(
        load_dataset(options.dataset, root, **parse_assignments(options.data_param, "--data-param"), **other),
        folder,
        montage=options.montage,
        stride_s=options.stride,
        labels=options.labels,
        on_missing=options.on_missing,
        n_jobs=options.jobs,
    )


def pipeline_of(options: argparse.Namespace, **settings: Any) -> Pipeline:
    """Build the pipeline that all regimes share; ``settings`` are the classifier's own."""
    from sklearn.pipeline import make_pipeline

    from biot_bd import BIOTClassifier, MontageMapper, PercentileScaler
    from biot_bd.commands._pipelines import parse_assignments

    common = {
        "criterion": options.loss,
        "max_epochs": options.epochs,
        "batch_size": options.batch_size,
        "lr": options.lr,
    }
    common |= {key: value for key, value in parse_assignments(options.param).items() if not key.startswith("module__")}
    return make_pipeline(
        MontageMapper(options.montage), PercentileScaler(), BIOTClassifier("biot", **{**common, **settings})
    )


def size_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return the parameters of the model that is trained from nothing."""
    from biot_bd.commands._pipelines import SMALL_BIOT, parse_assignments

    given = {key: value for key, value in parse_assignments(options.param).items() if key.startswith("module__")}
    return {**(SMALL_BIOT if options.small else {}), **given}


def size_of_checkpoint(source: str) -> dict[str, Any]:
    """Return the parameters that give a model from scratch the checkpoint's architecture."""
    import inspect

    from biot_bd.models import BIOT, load_checkpoint

    config, usual = load_checkpoint(source).facts.config, inspect.signature(BIOT).parameters
    names = ("embed_dim", "num_heads", "num_layers", "hop_length")
    return {f"module__{name}": config[name] for name in names if config[name] not in (None, usual[name].default)}


def make_checkpoint(options: argparse.Namespace) -> str:
    """Train on other generated subjects, save the encoder in the official layout, return the
    file.
    """
    from biot_bd import fit_all, load_pipeline
    from biot_bd.commands._pipelines import parse_assignments
    from biot_bd.models import save_checkpoint
    from biot_bd.runs import read_json, to_jsonable, write_json

    folder = options.out / "checkpoint"
    file, note = folder / "encoder.ckpt", folder / "settings.json"
    epochs = options.pretrain_epochs or options.epochs
    settings = to_jsonable(
        {name: getattr(options, name) for name in ("small", "batch_size", "lr", "loss", "montage", "labels", "stride")}
        | {"epochs": epochs, "param": options.param, "data_param": options.data_param, "seed": OTHER_SEED}
    )
    if note.is_file() and read_json(note) != settings:
        raise ValueError(f"{folder}: this checkpoint was made with other settings; name another --out or delete it")
    if not file.is_file():
        seed = int(parse_assignments(options.data_param, "--data-param").get("seed", 0))
        if seed == OTHER_SEED:
            raise ValueError(f"--data-param seed={seed}: that is the seed of the checkpoint's subjects; take another")
        write_json(note, settings)
        others = argparse.Namespace(**vars(options))
        others.data_param = [text for text in options.data_param or () if not text.startswith("seed=")]
        windows = make_windows(
            others, folder / "recordings", folder / "windows", seed=OTHER_SEED, namespace=OTHER_SUBJECTS
        )
        pipeline = pipeline_of(options, **{**size_of(options), "max_epochs": epochs})
        fit_all(pipeline, windows, folder / "model", title="checkpoint: supervised on other generated subjects")
        classifier = load_pipeline(folder / "model")[-1]
        save_checkpoint(classifier.module_, file, classifier.provenance_, ch_names=windows.ch_names)
    return str(file)


def regimes_of(options: argparse.Namespace, source: str) -> dict[str, Pipeline]:
    """Build one pipeline a strategy; all have the same architecture."""
    found = {}
    for name in names_of(options):
        parts = name.split("+")
        settings: dict[str, Any] = {"pretrained": source, "finetune": parts[0] if len(parts) == 1 else parts}
        found[name] = pipeline_of(options, **(size_of_checkpoint(source) if name == "scratch" else settings))
    return found


def study(windows: Windows, options: argparse.Namespace, source: str, own: bool) -> StudyResult:
    """Run all regimes on the same folds and seeds."""
    from biot_bd.commands._pipelines import describe_model
    from biot_bd.evaluation import compare_regimes
    from biot_bd.models import provenance_of

    regimes = regimes_of(options, source)
    seen = provenance_of(source).trained_on
    learnt = "; ".join(
        f"{s.dataset} ({'all' if s.subjects is None else len(s.subjects)} subjects, {s.how})" for s in seen
    )
    notes = [f"checkpoint {Path(source).name}, trained on: {learnt or 'unknown'}"]
    if own:
        notes.append(f"the checkpoint was made here, by supervised training on generated subjects {OTHER_SUBJECTS}/...")
    against = options.against or ("scratch" if len(regimes) > 4 and "scratch" in regimes else None)
    return compare_regimes(
        windows,
        regimes,
        options.out / "study",
        cv=options.cv,
        seeds=options.seeds,
        against=against,
        n_jobs=options.jobs,
        title=f"{describe_model('biot', size_of_checkpoint(source))}, training regimes on {options.dataset}",
        notes=notes,
        allow_contaminated=options.allow_contaminated,
    )


def main(args: Sequence[str] | None = None) -> int:
    """Run the study; return the exit status."""
    options = parse(args)
    from rich.console import Console

    from biot_bd.report import write_comparison, write_report

    try:
        names_of(options)  # before anything is prepared or trained
        windows = make_windows(options, options.root, options.out / "windows")
        source = options.pretrained or make_checkpoint(options)
        result = study(windows, options, source, own=options.pretrained is None)
        for name in result.regimes:
            for seed in options.seeds:
                write_report(result.run_folder(name, seed), windows=windows)
        page = write_comparison(result)
    except (ValueError, TypeError, OSError, LookupError, RuntimeError) as error:
        print(f"compare_regimes: {error}", file=sys.stderr)
        return 1
    console = Console()
    console.print(result)
    console.print(f"report: {page}", markup=False, highlight=False, soft_wrap=True)
    curves = f"curves and attention of all regimes: tensorboard --logdir {result.folder}"
    console.print(curves, markup=False, highlight=False, soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
