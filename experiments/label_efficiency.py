r"""How many labelled subjects a pretrained encoder saves: scratch, frozen and fine-tuned BIOT.

    python experiments/label_efficiency.py --out runs/label-efficiency --jobs 2
    python experiments/label_efficiency.py --out runs/label-efficiency-quick --quick
    python experiments/label_efficiency.py --store cache/chb-mit --counts 1,2,5,10 --out runs/mine

Without ``--store`` a cohort is generated: 100 short subjects to learn from and others to test on.
Each seed pretrains on all subjects to learn from, without labels, and then trains on 1, 5, 10, 25
and 100 % of them with labels (``--counts``: so many subjects), three ways: from scratch, with the
encoder frozen (logistic regression on standardised embeddings), and fine-tuned.  Subjects with
labels are nested: a seed orders them by chance, the first whose windows have both classes comes
first, and a larger set holds the smaller.  Test subjects are the same throughout, and are in no
pretraining.

Scratch and fine-tuning take the same number of steps (``--steps``) whatever the number of subjects,
and the last weights: no subjects are kept for validation, so that one labelled subject is really
all there is.  Scores are by test subject (AUROC and AUC-PR of its windows), means over seeds, with
intervals that resample test subjects; differences from scratch are paired by subject.

``cells.csv``, ``label_efficiency.csv``, ``.md``, ``.svg`` and ``.png`` are written into OUT.  The
same command again goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.figure import Figure
    from sklearn.pipeline import Pipeline

    from biot_bd import Windows

REGIMES = ("scratch", "frozen", "fine-tuned")
METRICS = {"roc_auc": "AUROC", "average_precision": "AUC-PR"}
COLOURS = {"scratch": "#5b5b5b", "frozen": "#0072b2", "fine-tuned": "#c44e00"}
MARKS = {"scratch": "o", "frozen": "s", "fine-tuned": "^"}
PERCENT = (1, 5, 10, 25, 100)
SEEDS = {"learn": 3100, "test": 3900}  # of the generated subjects
MOST_IN_A_FOLDER = 50
QUICK = {"subjects": 6, "test_subjects": 3, "seeds": "0,1", "minutes": 2, "steps": 6, "pretrain_epochs": 1, "width": 16}
USUAL = {"subjects": 100, "test_subjects": 30, "seeds": "0,1,2,3,4", "minutes": 3, "steps": 150, "pretrain_epochs": 15}


def parse(args: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for recordings, models and results")
    parser.add_argument("--store", type=Path, help="prepared windows (biot-bd prepare); default: a generated cohort")
    parser.add_argument("--test-share", type=float, default=0.3, help="of a store's subjects (default: %(default)s)")
    parser.add_argument("--counts", help="labelled subjects, with commas (default: 1, 5, 10, 25, 100 %% of them)")
    parser.add_argument("--subjects", type=int, help="generated subjects to learn from (default: 100)")
    parser.add_argument("--test-subjects", type=int, help="generated subjects to test on (default: 30)")
    parser.add_argument("--minutes", type=int, help="length of each generated recording (default: 3)")
    parser.add_argument("--seeds", help="with commas (default: 0,1,2,3,4)")
    parser.add_argument("--steps", type=int, help="steps of each training with labels (default: 150)")
    parser.add_argument("--pretrain-epochs", type=int, help="(default: 15)")
    parser.add_argument("--objective", default="masked-spectrum", help="registered objective (default: %(default)s)")
    parser.add_argument("--width", type=int, default=64, help="embed_dim of the BIOT (default: %(default)s)")
    parser.add_argument("--lr", type=float, default=1e-3, help="of all trainings (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at once, a thread each (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="a small trial: its numbers mean nothing")
    options = parser.parse_args(args)
    for name, value in (USUAL | QUICK if options.quick else USUAL).items():
        if getattr(options, name) is None or (options.quick and name == "width"):
            setattr(options, name, value)
    try:
        options.seeds = [int(seed) for seed in str(options.seeds).split(",")]
        options.counts = None if options.counts is None else [int(count) for count in options.counts.split(",")]
    except ValueError:
        parser.error("--seeds and --counts: expected whole numbers with commas, e.g. 0,1")
    return options


def generated(options: argparse.Namespace, part: str, number: int) -> Windows:
    """Generate subjects and prepare their windows, or reopen what is prepared."""
    from biot_bd import Windows, load_dataset, prepare

    parts = []
    for index, first in enumerate(range(0, number, MOST_IN_A_FOLDER)):
        n = min(MOST_IN_A_FOLDER, number - first)
        folder = options.out / "cohort" / f"{part}-{index}"
        recordings = load_dataset(
            "demo", folder / "recordings", n_subjects=n, recordings=1, minutes=options.minutes,
            seed=SEEDS[part] + index, namespace=f"demo-{part}-{index}",
        )  # fmt: skip
        parts.append(prepare(recordings, folder / "windows", montage="biot-16", stride_s=5.0))
    return parts[0] if len(parts) == 1 else Windows.concat(parts)


def windows_of(options: argparse.Namespace) -> tuple[Windows, Windows]:
    """Return windows to learn from and windows to test on, of other subjects."""
    import numpy as np

    from biot_bd import Windows

    if options.store is None:
        return generated(options, "learn", options.subjects), generated(options, "test", options.test_subjects)
    windows = Windows.open(options.store)
    subjects = np.random.default_rng(0).permutation(np.unique(windows.groups.astype(str)))
    n_test = round(options.test_share * len(subjects))
    if not 1 <= n_test <= len(subjects) - 1:
        raise ValueError(f"--test-share {options.test_share:g}: leaves {n_test} of {len(subjects)} subjects to test")
    tested = np.isin(windows.groups.astype(str), subjects[:n_test])
    return windows[np.flatnonzero(~tested)], windows[np.flatnonzero(tested)]


def counts_of(options: argparse.Namespace, n_subjects: int) -> list[int]:
    """Return how many subjects have labels, from few to all."""
    counts = options.counts or [max(1, round(percent * n_subjects / 100)) for percent in PERCENT]
    if max(counts) > n_subjects or min(counts) < 1:
        raise ValueError(f"--counts: from 1 to {n_subjects} subjects, found {', '.join(map(str, counts))}")
    return sorted(set(counts))


def order_of(windows: Windows, seed: int) -> list[str]:
    """Return the subjects in the order in which they get labels; the first has both classes."""
    import numpy as np

    groups, labels = windows.groups.astype(str), np.asarray(windows.y)
    order = [str(one) for one in np.random.default_rng(seed).permutation(np.unique(groups))]
    first = next((one for one in order if len(set(labels[groups == one])) == 2), None)
    if first is None:
        raise ValueError("no subject to learn from has windows of both classes")
    return [first, *(one for one in order if one != first)]


def size_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return the parameters of the BIOT: one second a token, without overlap."""
    return {
        "module__embed_dim": options.width,
        "module__num_heads": 4,
        "module__num_layers": 3,
        "module__hop_length": 200,
        "module__drop_prob": 0.1,
    }


def pretrained(options: argparse.Namespace, seed: int) -> Path:
    """Return the folder of a seed's pretraining on all subjects to learn from, without labels."""
    from sklearn.pipeline import make_pipeline

    from biot_bd import PercentileScaler, Pretrainer
    from biot_bd.pretraining import save_pretraining

    folder: Path = options.out / "pretrained" / f"seed-{seed}"
    if (folder / "pretraining.json").is_file():
        return folder
    learn, _ = windows_of(options)
    net = Pretrainer(
        "biot", options.objective, **size_of(options), lr=options.lr, max_epochs=options.pretrain_epochs,
        batch_size=64, train_split=None, random_state=seed, device="cpu",
    )  # fmt: skip
    return save_pretraining(make_pipeline(PercentileScaler(), net).fit(learn), folder, generated=options.store is None)


def pipeline_of(options: argparse.Namespace, regime: str, seed: int, n_windows: int) -> Pipeline:
    """Build what is trained with labels: the same steps whatever the number of windows."""
    from math import ceil

    from sklearn.frozen import FrozenEstimator
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from biot_bd import BIOTClassifier, PercentileScaler
    from biot_bd.pretraining import load_pretraining

    source = options.out / "pretrained" / f"seed-{seed}"
    if regime == "frozen":  # nothing is forgotten, so the head may be fitted to its end
        head = LogisticRegression(max_iter=5000)
        return make_pipeline(FrozenEstimator(load_pretraining(source)), StandardScaler(), head)
    tuned = {"pretrained": source, "finetune": "full", "module__drop_prob": 0.1}
    own = size_of(options) if regime == "scratch" else tuned
    batch_size = 32
    epochs = max(1, round(options.steps / ceil(n_windows / batch_size)))
    classifier = BIOTClassifier(
        "biot", **own, lr=options.lr, max_epochs=epochs, batch_size=batch_size, train_split=None, patience=None,
        random_state=seed, device="cpu", verbose=0,
    )  # fmt: skip
    return make_pipeline(PercentileScaler(), classifier)


def one_thread() -> None:
    """Leave the other cores to the other trainings."""
    import torch

    torch.set_num_threads(1)


def pretrain(options: argparse.Namespace, seed: int) -> None:
    """Pretrain a seed, in a process of its own."""
    one_thread()
    pretrained(options, seed)


def cell(options: argparse.Namespace, seed: int, count: int, regime: str) -> list[dict[str, Any]]:
    """Train once and score every test subject; return its rows."""
    import numpy as np
    from sklearn.metrics import average_precision_score, roc_auc_score

    from biot_bd.runs import read_json, write_json

    note = options.out / "cells" / f"seed-{seed}" / f"{count}-{regime}.json"
    if note.is_file():
        return list(read_json(note)["rows"])
    one_thread()
    learn, test = windows_of(options)
    chosen = order_of(learn, seed)[:count]
    own = learn[np.flatnonzero(np.isin(learn.groups.astype(str), chosen))]
    pipeline = pipeline_of(options, regime, seed, len(own)).fit(own, own.y)
    probability = pipeline.predict_proba(test)[:, 1]
    rows = []
    for subject in np.unique(test.groups.astype(str)):
        at = test.groups.astype(str) == subject
        both = len(set(np.asarray(test.y)[at])) == 2
        scores = {
            "roc_auc": float(roc_auc_score(test.y[at], probability[at])) if both else None,
            "average_precision": float(average_precision_score(test.y[at], probability[at])) if both else None,
        }
        rows.append(
            {"seed": seed, "count": count, "regime": regime, "subject": subject, "n_windows": len(own), **scores}
        )
    write_json(note, {"subjects": chosen, "rows": rows})
    return rows


def table_of(rows: pd.DataFrame) -> pd.DataFrame:
    """Return scores and paired differences from scratch, with intervals over test subjects."""
    import pandas as pd

    from biot_bd.evaluation import macro_interval

    found = []
    for metric in METRICS:
        by_subject = rows.groupby(["count", "regime", "subject"])[metric].mean()
        by_seed = rows.groupby(["count", "regime", "seed"])[metric].mean()
        for count in sorted(rows["count"].unique()):
            for regime in REGIMES:
                own = by_subject[count, regime]
                score = macro_interval(own)
                gain = macro_interval(own - by_subject[count, "scratch"]) if regime != "scratch" else None
                seeds = by_seed[count, regime]
                found.append(
                    {
                        "metric": metric, "count": count, "regime": regime,
                        "value": score.value, "low": score.low, "high": score.high,
                        "sd over seeds": seeds.std(ddof=1) if len(seeds) > 1 else None,
                        "gain": gain and gain.value, "gain low": gain and gain.low, "gain high": gain and gain.high,
                        "n_test_subjects": int(own.notna().sum()), "n_seeds": len(seeds),
                    }
                )  # fmt: skip
    return pd.DataFrame(found)


def said(row: pd.Series, value: str, low: str, high: str) -> str:
    """Return a score with its interval."""
    import pandas as pd

    if pd.isna(row[value]):
        return "–"
    return f"{row[value]:.3f}" + ("" if pd.isna(row[low]) else f" ({row[low]:.3f} to {row[high]:.3f})")


def markdown(table: pd.DataFrame, notes: Sequence[str]) -> str:
    """Return the tables as Markdown, to be put into a page as they are."""
    lines = []
    for metric, name in METRICS.items():
        part = table[table["metric"] == metric]
        lines += [f"| labelled subjects | {' | '.join(REGIMES)} | frozen - scratch | fine-tuned - scratch |"]
        lines += ["|---|" + "---|" * (len(REGIMES) + 2)]
        for count in sorted(part["count"].unique()):
            own = part[part["count"] == count].set_index("regime")
            scores = [said(own.loc[regime], "value", "low", "high") for regime in REGIMES]
            gains = [said(own.loc[regime], "gain", "gain low", "gain high") for regime in REGIMES[1:]]
            lines.append(f"| {count} | {' | '.join([*scores, *gains])} |")
        lines += ["", f"*{name} by test subject, mean over subjects and seeds (95 % interval over test subjects).*", ""]
    return "\n".join([*lines, *notes, ""])


def picture(table: pd.DataFrame, title: str) -> Figure:
    """Draw both scores by number of labelled subjects: a line a regime, intervals as bars."""
    import numpy as np
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.4), layout="constrained")
    figure.suptitle(title, fontsize=12)
    figure.set_label(" ".join(sentences(table)))
    counts = sorted(table["count"].unique())
    places = np.arange(len(counts), dtype=float)
    for axis, (metric, name) in zip(figure.subplots(1, 2), METRICS.items(), strict=True):
        for side, regime in enumerate(REGIMES):
            part = table[(table["metric"] == metric) & (table["regime"] == regime)].sort_values("count")
            value, low, high = (part[key].to_numpy(dtype=float) for key in ("value", "low", "high"))
            axis.errorbar(
                places + 0.08 * (side - 1), value, yerr=np.abs([value - low, high - value]), color=COLOURS[regime],
                marker=MARKS[regime], markersize=5, linewidth=1.3, capsize=3, elinewidth=0.9, label=regime,
            )  # fmt: skip
        axis.set_xticks(places, [str(count) for count in counts])
        axis.set_xlabel("subjects with labels")
        axis.set_ylabel(f"{name} by test subject")
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", color="#e3e7eb", linewidth=0.6)
    axis.legend(frameon=False, fontsize=9)
    figure.supxlabel("Bars: 95 % intervals over test subjects; means over seeds.", fontsize=8)
    return figure


def sentences(table: pd.DataFrame) -> list[str]:
    """Say in words where pretraining helped, where it did harm, and where nothing can be said."""
    import pandas as pd

    found = []
    part = table[table["metric"] == "roc_auc"]
    for regime in REGIMES[1:]:
        helped, harmed, open_ = [], [], []
        for row in part[part["regime"] == regime].itertuples():
            low, high = row[part.columns.get_loc("gain low") + 1], row[part.columns.get_loc("gain high") + 1]
            where = open_ if pd.isna(low) or low <= 0 <= high else helped if low > 0 else harmed
            where.append(str(row.count))
        for words, counts in (("above", helped), ("below", harmed), ("not told apart from", open_)):
            if counts:
                found.append(f"AUROC, {regime}: is {words} scratch with {', '.join(counts)} labelled subjects.")
    return found


def write(options: argparse.Namespace, rows: pd.DataFrame, n_subjects: int) -> pd.DataFrame:
    """Write tables and pictures; return the table."""
    from biot_bd.runs import atomic_path, write_json, write_text

    table = table_of(rows)
    data = f"prepared windows {options.store.name}" if options.store else "generated subjects"
    title = f"Labelled subjects and pretraining: BIOT {options.width} wide, {data}"
    notes = [
        f"{n_subjects} subjects to learn from ({data}), {table['n_test_subjects'].max()} to test on, "
        f"{len(options.seeds)} seeds; pretraining: {options.objective}, {options.pretrain_epochs} epochs on all subjects "
        f"to learn from; trainings with labels: {options.steps} steps.",
        "",
        *(f"- {sentence}" for sentence in sentences(table)),
    ]
    if options.store is None:
        notes += ["", "Generated data: no clinical result."]
    if options.quick:
        notes += ["", "A quick trial: its numbers mean nothing."]
    for name, frame in (("cells", rows), ("label_efficiency", table)):
        with atomic_path(options.out / f"{name}.csv") as temporary:
            frame.to_csv(temporary, index=False)
    write_text(options.out / "label_efficiency.md", markdown(table, notes))
    figure = picture(table, title)
    for kind, metadata in (("svg", {"Title": title, "Date": None}), ("png", {"Title": title})):
        with atomic_path(options.out / f"label_efficiency.{kind}") as temporary:
            figure.savefig(temporary, dpi=150, metadata=metadata)
    write_json(options.out / "label_efficiency.json", {"alt": figure.get_label(), "notes": notes})
    return table


def check_same(options: argparse.Namespace) -> None:
    """Keep cells of other settings out of a study that goes on."""
    from biot_bd.runs import read_json, to_jsonable, write_json

    kept = {key: value for key, value in vars(options).items() if key not in ("out", "jobs", "seeds", "counts")}
    settings, note = to_jsonable({key: str(value) for key, value in kept.items()}), options.out / "settings.json"
    if note.is_file() and read_json(note) != settings:
        raise ValueError(f"{options.out} holds a study with other settings; name another --out or delete it")
    write_json(note, settings)


def main(args: Sequence[str] | None = None) -> int:
    """Run the study; return the exit status."""
    options = parse(args)
    import numpy as np
    import pandas as pd
    from joblib import Parallel, delayed

    try:
        check_same(options)
        learn, _ = windows_of(options)
        n_subjects = len(np.unique(learn.groups.astype(str)))
        counts = counts_of(options, n_subjects)
        work = Parallel(n_jobs=options.jobs)
        work(delayed(pretrain)(options, seed) for seed in options.seeds)
        wanted = [(seed, count, regime) for seed in options.seeds for count in counts for regime in REGIMES]
        found = work(delayed(cell)(options, *one) for one in wanted)
        table = write(options, pd.DataFrame([row for rows in found for row in rows]), n_subjects)
    except (ValueError, TypeError, OSError, LookupError, RuntimeError) as error:
        print(f"label_efficiency: {error}", file=sys.stderr)
        return 1
    print("\n".join(sentences(table)))
    print(options.out / "label_efficiency.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
