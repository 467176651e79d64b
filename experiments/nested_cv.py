r"""What a search's best score is worth: nested against not nested, where there is nothing to find.

    python experiments/nested_cv.py --out runs/nested
    python experiments/nested_cv.py --out runs/nested-signal --signal 0.4
    python experiments/nested_cv.py --out runs/nested-quick --quick

Cohorts of noise are generated, with labels that have nothing to do with the signals; the search
chooses the channel on which a detector (log power, logistic regression) works best.  Three numbers
are taken from the same cohort and the same folds of subjects:

- *best score*: the best mean score of any channel, as ``GridSearchCV(...).best_score_`` has it.
  Every subject both chose the channel and scored it.
- *best inner score*: the same inside the outer folds of a nested search.
- *nested*: the score of test subjects who chose nothing (``biot_bd.evaluation.search``).

With ``--signal D`` seizure windows of channel 0 are D standard deviations of log power louder; then
the AUROC of the best channel is known, and stands beside the three numbers.

``nested.csv``, ``.md``, ``.svg`` and ``.png`` are written into OUT.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import pandas as pd
    from matplotlib.figure import Figure
    from sklearn.pipeline import Pipeline

NUMBERS = {"best": "best score", "inner": "best inner score", "nested": "nested"}
COLOURS = {"best": "#c44e00", "inner": "#b8860b", "nested": "#0072b2"}
METRIC = "roc_auc"
CHANNEL = "functiontransformer__kw_args"
N_TIMES = 100  # samples a window; log power of white noise varies by sqrt(2 / (N_TIMES - 1))
USUAL = {"cohorts": 20, "subjects": 12, "windows": 20, "channels": 30}
QUICK = {"cohorts": 3, "subjects": 6, "windows": 20, "channels": 6}


def parse(args: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for tables and plot")
    parser.add_argument("--cohorts", type=int, help="generated cohorts (default: 20)")
    parser.add_argument("--subjects", type=int, help="of each cohort (default: 12)")
    parser.add_argument("--windows", type=int, help="of each subject, a quarter of them seizure (default: 20)")
    parser.add_argument("--channels", type=int, help="to choose from (default: 30)")
    parser.add_argument("--signal", type=float, default=0.0, help="how much louder channel 0 is (default: nothing)")
    parser.add_argument("--cv", default="subject-kfold-4", help="outer split (default: %(default)s)")
    parser.add_argument("--inner-cv", default="subject-kfold-3", help="inner split (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="fits computed at once (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="a small trial: its numbers mean nothing")
    options = parser.parse_args(args)
    for name, value in (QUICK if options.quick else USUAL).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    return options


def cohort(options: argparse.Namespace, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Generate windows, labels and subjects; the signals are white noise."""
    import numpy as np

    rng = np.random.default_rng([20261130, seed])
    groups = np.repeat([f"noise-{seed}/{number:02d}" for number in range(options.subjects)], options.windows)
    y = np.tile(np.arange(options.windows) % 4 == 0, options.subjects).astype(int)
    x = rng.normal(0, 20, (len(y), options.channels, N_TIMES)).astype(np.float32)
    x[y == 1, 0] *= np.exp(options.signal * np.sqrt(2 / (N_TIMES - 1)) / 2)
    return x, y, groups.astype(object)


def log_power(x: np.ndarray, channel: int) -> np.ndarray:
    """Return the log power of one channel, shape (n, 1)."""
    import numpy as np

    return np.log(np.var(np.asarray(x)[:, channel : channel + 1], axis=2))


def detector() -> Pipeline:
    """Build the detector; which channel it listens to is to be chosen."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    return make_pipeline(FunctionTransformer(log_power, kw_args={"channel": 0}), StandardScaler(), LogisticRegression())


def channels_of(options: argparse.Namespace) -> dict[str, list[dict[str, int]]]:
    """Return the grid."""
    return {CHANNEL: [{"channel": number} for number in range(options.channels)]}


def measured(options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Return the three numbers of one cohort."""
    import numpy as np
    from sklearn.model_selection import GridSearchCV

    from biot_bd import SubjectSplit
    from biot_bd.evaluation import search
    from biot_bd.signals import SubjectArray

    x, y, groups = cohort(options, seed)
    windows, grid = SubjectArray(x, groups), channels_of(options)
    plain = GridSearchCV(detector(), grid, cv=SubjectSplit(options.cv, random_state=seed), scoring=METRIC)
    plain.set_params(error_score="raise").fit(windows, y)
    nested = search(
        detector(), grid, windows, y=y, cv=options.cv, inner_cv=options.inner_cv, scoring=METRIC,
        validation_fraction=0, random_state=seed, n_jobs=options.jobs, progress=False,
    )  # fmt: skip
    chosen = nested.run["search"]["chosen"]
    return {
        "cohort": f"noise-{seed}",
        "best": float(plain.best_score_),
        "inner": float(np.mean([fold["mean"] for fold in chosen])),
        "nested": nested.metrics["macro"][METRIC]["value"],
        "n_chosen": len({str(fold["params"]) for fold in chosen}),
    }


def truth_of(options: argparse.Namespace) -> float:
    """Return the AUROC of the best channel in endless data: of two normal log powers."""
    from scipy.stats import norm

    return float(norm.cdf(options.signal / 2**0.5))


def table_of(rows: pd.DataFrame) -> pd.DataFrame:
    """Return mean and interval over cohorts of each number, and how often it lies above chance."""
    import pandas as pd

    from biot_bd.evaluation import macro_interval

    found = []
    for name, label in NUMBERS.items():
        own = macro_interval(rows.set_index("cohort")[name])
        found.append(
            {
                "number": label, "mean": own.value, "low": own.low, "high": own.high,
                "above chance": int((rows[name] > 0.5).sum()), "cohorts": len(rows),
            }
        )  # fmt: skip
    return pd.DataFrame(found)


def verdict(table: pd.DataFrame, truth: float) -> list[str]:
    """Say of each number whether its interval holds what is true."""
    said = []
    for row in table.itertuples():
        where = "above" if row.low > truth else "below" if row.high < truth else "around"
        said.append(f"{row.number}: {row.mean:.3f} ({row.low:.3f} to {row.high:.3f}), {where} {truth:.3f}.")
    return said


def markdown(table: pd.DataFrame, options: argparse.Namespace) -> str:
    """Return the table as Markdown."""
    lines = ["| number | mean AUROC | 95 % interval over cohorts | cohorts above 0.5 |", "|---|---|---|---|"]
    for _, row in table.iterrows():
        interval = f"{row['low']:.3f} to {row['high']:.3f}"
        lines.append(
            f"| {row['number']} | {row['mean']:.3f} | {interval} | {row['above chance']} of {row['cohorts']} |"
        )
    made = f"{options.subjects} subjects of {options.windows} windows, {options.channels} channels to choose from"
    true = f"What is true: {truth_of(options):.3f}" + ("" if options.signal else ", chance: the signals are noise")
    return "\n".join([*lines, "", f"{made}. {true}. Generated data: no clinical result.", ""])


def picture(rows: pd.DataFrame, truth: float) -> Figure:
    """Draw the numbers of each cohort."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for place, (name, label) in enumerate(NUMBERS.items()):
        spread = [place + 0.3 * (number / max(1, len(rows) - 1) - 0.5) for number in range(len(rows))]
        axes.plot(spread, rows[name], "o", color=COLOURS[name], alpha=0.7, label=label)
        axes.hlines(rows[name].mean(), place - 0.3, place + 0.3, color=COLOURS[name], linewidth=2)
    axes.axhline(truth, color="#444444", linewidth=1, linestyle="--")
    axes.set_xticks(range(len(NUMBERS)), list(NUMBERS.values()))
    axes.set_ylabel("AUROC")
    axes.set_title(f"A point a cohort; dashed: what is true ({truth:.2f})", fontsize=10)
    return figure


def study(options: argparse.Namespace) -> list[str]:
    """Measure all cohorts and write tables and plot; return what is to be said."""
    import pandas as pd

    from biot_bd.runs import make_folder

    make_folder(options.out)
    rows = pd.DataFrame([measured(options, seed) for seed in range(options.cohorts)])
    table, truth = table_of(rows), truth_of(options)
    rows.to_csv(options.out / "nested.csv", index=False)
    text = markdown(table, options)
    (options.out / "nested.md").write_text(text, encoding="utf-8")
    figure = picture(rows, truth)
    for kind in ("svg", "png"):
        figure.savefig(options.out / f"nested.{kind}", dpi=120)
    return [text, *verdict(table, truth)]


def main(args: Sequence[str] | None = None) -> int:
    """Run the study; return the exit status."""
    options = parse(args)
    try:
        said = study(options)
    except (ValueError, OSError, LookupError, RuntimeError) as error:
        print(f"nested_cv: {error}", file=sys.stderr)
        return 1
    print("\n".join(said))
    return 0


if __name__ == "__main__":
    sys.exit(main())
