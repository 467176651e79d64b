r"""From one cohort to another: train on the first and test on the second, and the reverse.

    python experiments/transfer_between_datasets.py --out runs/transfer --small --epochs 8
    python experiments/transfer_between_datasets.py --out runs/transfer \
        --first chb-mit --first-root path/to/chbmit \
        --second siena-physionet --second-root path/to/siena

Without data sets two generated cohorts are taken, the second recorded against one reference.
Both cohorts are prepared alike: label rule, windows, rate and montage are those of one command, and
whatever differs is refused by ``Windows.concat``; so is a recording that is in both cohorts,
whatever it is called there, and a checkpoint that saw subjects of either (``--pretrained``).

Four numbers come out: within each cohort (other subjects of the same cohort tested, ``--cv``) and
across (every subject of the other cohort tested, by one model).  Scores are by test subject, with
intervals that resample them.  ``transfer.csv`` and ``transfer.md`` are written into OUT, the run
folders ``first``, ``second`` and ``across`` with their reports beside them.  The same command again
goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from sklearn.pipeline import Pipeline

    from biot_bd import Windows
    from biot_bd.evaluation import Result

METRICS = {"roc_auc": "AUROC", "average_precision": "AUC-PR"}
DEMO = {
    "first": {"seed": 0, "namespace": "demo-first"},
    "second": {"seed": 1000, "namespace": "demo-second", "reference": "referential"},
}
SMALL: dict[str, Any] = {
    "module__embed_dim": 32,
    "module__num_heads": 4,
    "module__num_layers": 1,
    "module__hop_length": 200,
}


def parse(args: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    for which in ("first", "second"):
        parser.add_argument(f"--{which}", default="demo", help="registered data set (default: %(default)s)")
        parser.add_argument(f"--{which}-root", type=Path, help="its recordings (default for demo: in OUT)")
    parser.add_argument("--out", type=Path, required=True, help="folder for windows, runs and tables")
    parser.add_argument("--demo-subjects", type=int, default=6, help="of a generated cohort (default: %(default)s)")
    parser.add_argument("--demo-minutes", type=int, default=6, help="of each recording (default: %(default)s)")
    parser.add_argument("--cv", default="subject-kfold-3", help="within a cohort (default: %(default)s)")
    parser.add_argument("--montage", default="biot-16", help="registered montage (default: %(default)s)")
    parser.add_argument("--labels", default="overlap", help="registered label rule (default: %(default)s)")
    parser.add_argument("--stride-s", type=float, default=5.0, help="stride of the windows in s (default: %(default)s)")
    parser.add_argument("--on-missing", default="raise", help="channels a recording lacks (default: %(default)s)")
    parser.add_argument("--pretrained", help="known name, file, folder or Hub repository (default: from scratch)")
    parser.add_argument("--epochs", type=int, default=20, help="most epochs a fold (default: %(default)s)")
    parser.add_argument("--lr", type=float, default=1e-3, help="learning rate (default: %(default)s)")
    parser.add_argument("--small", action="store_true", help="a small BIOT")
    parser.add_argument("--seed", type=int, default=0, help="seed of splits and training (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="folds computed at once (default: %(default)s)")
    options = parser.parse_args(args)
    for which in ("first", "second"):
        if getattr(options, f"{which}_root") is None:
            if getattr(options, which) != "demo":
                parser.error(f"--{which}-root: where are the recordings of {getattr(options, which)}?")
            setattr(options, f"{which}_root", options.out / f"{which}-recordings")
    if options.pretrained is not None and options.small:
        parser.error("--small: the checkpoint decides the size; leave one of the two out")
    return options


def windows_of(options: argparse.Namespace, which: str) -> Windows:
    """Prepare a cohort, or reopen what is prepared."""
    from biot_bd import load_dataset, prepare

    name, own = getattr(options, which), {}
    if name == "demo":
        own = {"n_subjects": options.demo_subjects, "recordings": 1, "minutes": options.demo_minutes, **DEMO[which]}
    recordings = load_dataset(name, getattr(options, f"{which}_root"), **own)
    return prepare(
        recordings,
        options.out / f"{which}-windows",
        montage=options.montage,
        labels=options.labels,
        stride_s=options.stride_s,
        on_missing=options.on_missing,
        n_jobs=options.jobs,
    )


def pipeline_of(options: argparse.Namespace) -> Pipeline:
    """Build what is trained, the same for all four numbers."""
    from sklearn.pipeline import make_pipeline

    from biot_bd import BIOTClassifier, PercentileScaler

    start: dict[str, Any] = {} if options.pretrained is None else {"pretrained": options.pretrained}
    size = SMALL if options.small else {}
    return make_pipeline(
        PercentileScaler(on_bad="drop"),
        BIOTClassifier("biot", max_epochs=options.epochs, lr=options.lr, **start, **size),
    )


def by_cohort(first: Windows, second: Windows) -> tuple[Windows, Any]:
    """Join two cohorts; return them and the split that tests each on the other."""
    import numpy as np
    from sklearn.model_selection import PredefinedSplit

    from biot_bd import Windows

    both = sorted(set(first.groups) & set(second.groups))
    if both:
        raise ValueError(
            f"{', '.join(both[:3])} are subjects of both cohorts, so neither tests the other; where they are other "
            "people, prepare one of the two with namespace="
        )
    return Windows.concat([first, second]), PredefinedSplit(np.repeat([0, 1], [len(first), len(second)]))


def studies(options: argparse.Namespace) -> dict[str, Result]:
    """Run the three studies: within each cohort, and across."""
    from biot_bd import cross_validate, write_report

    first, second = windows_of(options, "first"), windows_of(options, "second")
    joined, across = by_cohort(first, second)
    names = {which: getattr(options, which) for which in ("first", "second")}
    done = {}
    for name, windows, cv, title in (
        ("across", joined, across, f"{names['first']} and {names['second']}: each tested by a model of the other"),
        ("first", first, options.cv, f"within {names['first']}"),
        ("second", second, options.cv, f"within {names['second']}"),
    ):
        done[name] = cross_validate(
            pipeline_of(options), windows, cv=cv, folder=options.out / name, scoring=[*METRICS, "balanced_accuracy"],
            random_state=options.seed, n_jobs=options.jobs, title=title,
        )  # fmt: skip
        write_report(options.out / name, windows=windows)
    return done


def table_of(done: dict[str, Result]) -> pd.DataFrame:
    """Return the four numbers of each metric, with intervals over test subjects."""
    import pandas as pd

    from biot_bd.evaluation import macro_interval

    of = {which: set(done[which].metrics["subjects"]) for which in ("first", "second")}
    rows = []
    for tested, other in (("first", "second"), ("second", "first")):
        for trained, run in ((tested, tested), (other, "across")):
            subjects = {name: own for name, own in done[run].metrics["subjects"].items() if name in of[tested]}
            for metric, label in METRICS.items():
                scores = pd.Series({name: own[metric]["value"] for name, own in subjects.items()}, dtype=float)
                known = scores.dropna()
                score = macro_interval(scores) if len(known) else None
                rows.append(
                    {
                        "trained on": trained, "tested on": tested, "metric": label,
                        "value": score and score.value, "low": score and score.low, "high": score and score.high,
                        "subjects": len(known), "without a score": len(scores) - len(known),
                        "reason": next((o[metric]["reason"] for o in subjects.values() if o[metric]["reason"]), ""),
                    }
                )  # fmt: skip
    return pd.DataFrame(rows)


def said(row: pd.Series) -> str:
    """Return a score with its interval, or why there is none."""
    import pandas as pd

    if pd.isna(row["value"]):
        return f"– ({row['reason']})"
    interval = "" if pd.isna(row["low"]) else f" ({row['low']:.3f} to {row['high']:.3f})"
    return f"{row['value']:.3f}{interval}, {row['subjects']} subjects"


def markdown(table: pd.DataFrame, options: argparse.Namespace, notes: Sequence[str]) -> str:
    """Return the tables as Markdown."""
    names = {which: f"{which}: {getattr(options, which)}" for which in ("first", "second")}
    lines = []
    for metric in METRICS.values():
        part = table[table["metric"] == metric].set_index(["trained on", "tested on"])
        lines += [
            f"| {metric}, trained on | tested on {names['first']} | tested on {names['second']} |",
            "|---|---|---|",
        ]
        for trained in ("first", "second"):
            cells = [said(part.loc[(trained, tested)]) for tested in ("first", "second")]
            lines.append(f"| {names[trained]} | {' | '.join(cells)} |")
        lines.append("")
    lines += [f"By test subject, 95 % intervals over subjects; within a cohort {options.cv}, other subjects tested."]
    return "\n".join([*lines, *notes, ""])


def notes_of(done: dict[str, Result]) -> list[str]:
    """Return what must be minded of any of the studies, each remark once."""
    found = dict.fromkeys(note for result in done.values() for note in result.run["notes"])
    reasons = dict.fromkeys(f"NOT A RESULT: {r.run['not_a_result']}" for r in done.values() if r.run["not_a_result"])
    return [f"- {text}" for text in (*reasons, *found)]


def main(args: Sequence[str] | None = None) -> int:
    """Run the study; return the exit status."""
    options = parse(args)
    # The cohort of a window decides; that subjects are whole is looked at afterwards.
    warnings.filterwarnings("ignore", "The groups parameter is ignored by PredefinedSplit")
    try:
        done = studies(options)
        table = table_of(done)
        table.to_csv(options.out / "transfer.csv", index=False)
        text = markdown(table, options, notes_of(done))
        (options.out / "transfer.md").write_text(text, encoding="utf-8")
    except (ValueError, OSError, LookupError, RuntimeError) as error:
        print(f"transfer_between_datasets: {error}", file=sys.stderr)
        return 1
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
