r"""How attention differs between training from scratch and fine-tuning a published encoder.

    python experiments/attention_regimes.py --out runs/attention --checkpoint encoder.ckpt --quick
    python experiments/attention_regimes.py --dataset chb-mit --root path/to/chbmit \
        --out runs/attention --checkpoint prest-16

Five seeds of each regime are trained on the same subjects.  On a fixed batch of windows of other
subjects the rows' entropy (1: uniform) and the effective rank of every layer's exact maps are
measured, and so they are before the training.  Two tests answer two questions, each corrected for
all layers and both measures by the largest statistic: *runs* exchanges trained models between the
regimes (would other seeds, on these subjects, differ as well?), *subjects* exchanges regimes within
subjects, each one's mean over seeds (would other subjects?).

``results.json``, ``table.csv`` and ``attention_regimes.png`` are written into OUT.  The same
command again goes on where it was stopped.
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
    from numpy.typing import NDArray
    from sklearn.pipeline import Pipeline
    from torch import nn

    from biot_bd import Windows

REGIMES = {"scratch": "from scratch", "fine-tuned": "fine-tuned"}
MEASURES = {"entropy": "row entropy (1 = uniform)", "rank": "effective rank"}
COLOURS = {"scratch": "#0072B2", "fine-tuned": "#D55E00"}  # told apart by colour-blind readers, too
QUICK = {"epochs": 2, "seeds": "0,1", "data_param": ["n_subjects=4", "recordings=1", "minutes=2"], "windows": 16}


def parse(args: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--dataset", default="demo", help="registered data set (default: %(default)s)")
    parser.add_argument("--root", type=Path, help="folder of the recordings (default for demo: OUT/recordings)")
    parser.add_argument("--out", type=Path, required=True, help="folder for windows, models and results")
    parser.add_argument(
        "--checkpoint",
        default="prest-16",
        help="what is fine-tuned: known name, file, folder or Hub repository (default: %(default)s)",
    )
    parser.add_argument("--finetune", default="full", help="strategy of the fine-tuning (default: %(default)s)")
    parser.add_argument("--seeds", help="seeds of the trainings, with commas (default: 0,1,2,3,4)")
    parser.add_argument("--epochs", type=int, help="most epochs of a training (default: 20)")
    parser.add_argument("--windows", type=int, help="windows of the fixed batch (default: 64)")
    parser.add_argument(
        "--held-out", type=float, default=1 / 3, help="share of the subjects that are only measured (default: 1/3)"
    )
    parser.add_argument("--batch-size", type=int, default=64, help="windows a batch (default: %(default)s)")
    parser.add_argument("--lr", type=float, default=1e-3, help="learning rate (default: %(default)s)")
    parser.add_argument("--montage", default="biot-16", help="registered montage (default: %(default)s)")
    parser.add_argument("--stride-s", type=float, default=5.0, help="stride of the windows in s (default: %(default)s)")
    parser.add_argument("--on-missing", default="raise", help="channels a recording lacks (default: %(default)s)")
    parser.add_argument(
        "--data-param", action="append", help="KEY=VALUE of the data set, e.g. n_subjects=4; may be repeated"
    )
    parser.add_argument("--jobs", type=int, default=1, help="recordings prepared at once (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="a small trial: two seeds, two epochs, four demo subjects")
    options = parser.parse_args(args)
    usual = {"seeds": "0,1,2,3,4", "epochs": 20, "windows": 64, "data_param": None}
    if options.quick and options.dataset == "demo":
        usual |= QUICK
    for name, value in usual.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    if options.root is None:
        if options.dataset != "demo":
            parser.error(f"--root: where are the recordings of {options.dataset}?")
        options.root = options.out / "recordings"
    try:
        options.seeds = [int(seed) for seed in options.seeds.split(",")]
    except ValueError:
        parser.error(f"--seeds {options.seeds}: expected whole numbers with commas, e.g. 0,1")
    if len(set(options.seeds)) < 2:
        parser.error("--seeds: two or more, or nothing tells what differs by chance")
    return options


def make_windows(options: argparse.Namespace) -> Windows:
    """Prepare the recordings, or reopen what is prepared."""
    from biot_bd import load_dataset, prepare
    from biot_bd.commands._pipelines import parse_assignments

    return prepare(
        load_dataset(options.dataset, options.root, **parse_assignments(options.data_param, "--data-param")),
        options.out / "windows",
        montage=options.montage,
        stride_s=options.stride_s,
        on_missing=options.on_missing,
        n_jobs=options.jobs,
    )


def measured_subjects(windows: Windows, share: float) -> list[str]:
    """Return the subjects that no model is trained on: the last ones, by name."""
    subjects = sorted(set(windows.groups))
    number = round(share * len(subjects))
    if not 1 <= number <= len(subjects) - 2:
        raise ValueError(
            f"--held-out {share:g}: leaves {number} of {len(subjects)} subjects to measure; one or more are needed, and "
            "two or more to train on"
        )
    return [str(subject) for subject in subjects[-number:]]


def fixed_batch(windows: Windows, subjects: list[str], number: int) -> Windows:
    """Return windows of these subjects, the same for every model: evenly spread over subjects and
    labels.
    """
    import numpy as np
    import pandas as pd

    table = pd.DataFrame({"subject": windows.groups, "label": windows.y})
    cells = list(table[table["subject"].isin(subjects)].groupby(["subject", "label"]).indices.items())
    each = max(1, number // len(cells))
    places = table[table["subject"].isin(subjects)].index.to_numpy()
    rows = [
        places[found][np.linspace(0, len(found) - 1, min(each, len(found))).round().astype(int)] for _, found in cells
    ]
    return windows[np.unique(np.concatenate(rows))]


def size_of(source: str) -> dict[str, Any]:
    """Return the parameters that give a model from scratch the checkpoint's architecture."""
    import inspect

    from biot_bd import BIOT
    from biot_bd.models import load_checkpoint

    config, usual = load_checkpoint(source).facts.config, inspect.signature(BIOT).parameters
    names = ("embed_dim", "num_heads", "num_layers", "hop_length")
    return {name: config[name] for name in names if config[name] not in (None, usual[name].default)}


def regimes_of(options: argparse.Namespace) -> dict[str, Pipeline]:
    """Build one pipeline a regime; both have the checkpoint's architecture."""
    from sklearn.pipeline import make_pipeline

    from biot_bd import BIOTClassifier, MontageMapper, PercentileScaler

    size = {f"module__{name}": value for name, value in size_of(options.checkpoint).items()}
    own = {"scratch": size, "fine-tuned": {"pretrained": options.checkpoint, "finetune": options.finetune}}
    common = {
        "criterion": "focal",
        "max_epochs": options.epochs,
        "batch_size": options.batch_size,
        "lr": options.lr,
        "verbose": 0,
    }
    return {
        name: make_pipeline(
            MontageMapper(options.montage), PercentileScaler(), BIOTClassifier("biot", **common, **settings)
        )
        for name, settings in own.items()
    }


def attention_of(network: nn.Module, x: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return entropy and effective rank of each window and layer, mean over heads."""
    import torch

    from biot_bd.models import effective_rank, entropy, record_attention

    batches = torch.from_numpy(x).to(next(network.parameters()).device).split(16)
    found: dict[str, list[Any]] = {name: [] for name in MEASURES}
    for batch in batches:
        with torch.no_grad(), record_attention(network.eval()) as trace:
            network(batch)
        for name, function in (("entropy", entropy), ("rank", effective_rank)):
            layers = [function(record).mean(dim=1) for record in trace.maps.records]
            found[name].append(torch.stack(layers, dim=1).cpu())
    return {name: torch.cat(parts).numpy() for name, parts in found.items()}


def run(
    options: argparse.Namespace, pipeline: Pipeline, regime: str, seed: int, windows: Windows, batch: Windows
) -> list[dict[str, Any]]:
    """Train one model and measure it before and after; return a row for each window, layer and
    measure.
    """
    import numpy as np

    from biot_bd import fit_all, load_pipeline
    from biot_bd.runs import read_json, write_json

    folder = options.out / regime / f"seed-{seed}"
    note = folder / "attention.json"
    if note.is_file():
        return list(read_json(note)["rows"])
    fit_all(
        pipeline,
        windows,
        folder / "model",
        hold_out=sorted(set(batch.groups)),
        random_state=seed,
        title=f"BIOT {REGIMES[regime]}, seed {seed}",
    )
    trained = load_pipeline(folder / "model")
    ready = trained[:-1].transform(batch)
    x = np.asarray(ready, dtype=np.float32)
    rows = []
    for when, network in (("before", untrained(options, regime, seed, ready)), ("after", trained[-1].module_)):
        for measure, values in attention_of(network, x).items():
            for window, subject in enumerate(batch.groups):
                for layer, value in enumerate(values[window]):
                    facts = {"regime": regime, "seed": seed, "when": when, "subject": str(subject), "window": window}
                    rows.append({**facts, "measure": measure, "layer": layer, "value": float(value)})
    write_json(note, {"rows": rows})
    return rows


def untrained(options: argparse.Namespace, regime: str, seed: int, windows: Windows) -> nn.Module:
    """Return a network as a training begins: random, or the checkpoint with a random head."""
    import torch

    from biot_bd import BIOT

    torch.manual_seed(seed)
    facts = {"n_outputs": 2, "n_times": windows.shape[2], "sfreq": windows.sfreq}
    if regime == "fine-tuned":
        return BIOT.from_checkpoint(options.checkpoint, ch_names=windows.ch_names, **facts)
    return BIOT(n_chans=windows.shape[1], **facts, **size_of(options.checkpoint))


def tests_of(rows: pd.DataFrame) -> pd.DataFrame:
    """Compare the regimes by layer and measure; p-values are corrected for all cells by the largest
    statistic.
    """
    import numpy as np
    import pandas as pd

    from biot_bd.probes import subject_difference

    def units(unit: str, regime: str) -> NDArray[Any]:
        """Return means (n_units, n_cells) after the training."""
        part = rows[(rows["regime"] == regime) & (rows["when"] == "after")]
        return (
            part.groupby([unit, "measure", "layer"])["value"]
            .mean()
            .unstack(["measure", "layer"])
            .sort_index(axis=1)
            .to_numpy()
        )

    p = {}
    for unit, paired in (("seed", False), ("subject", True)):
        first, second = (units(unit, regime) for regime in ("fine-tuned", "scratch"))
        enough = len(first) > 1
        p[unit] = subject_difference(first, second, paired=paired).p if enough else np.full(first.shape[1], np.nan)
    found = []
    for (when, measure, layer), part in rows.groupby(["when", "measure", "layer"], sort=True):
        by_seed = part.groupby(["regime", "seed"])["value"].mean()
        # A fine-tuning starts from one checkpoint, no sample of several: nothing to test.
        cell = len(found) if when == "after" else None
        found.append(
            {
                "measure": measure,
                "layer": int(layer),
                "when": when,
                **{f"{name} mean": by_seed[name].mean() for name in REGIMES},
                **{f"{name} sd": by_seed[name].std(ddof=1) for name in REGIMES},
                "difference": by_seed["fine-tuned"].mean() - by_seed["scratch"].mean(),
                "p runs": np.nan if cell is None else p["seed"][cell],
                "p subjects": np.nan if cell is None else p["subject"][cell],
            }
        )
    return pd.DataFrame(found)


def smallest_p(n_seeds: int, n_subjects: int) -> dict[str, float]:
    """Return the least p-values that so many runs and subjects can give."""
    from math import comb

    return {"runs": 2 / comb(2 * n_seeds, n_seeds), "subjects": min(1.0, 2 / 2**n_subjects)}


def picture(rows: pd.DataFrame, table: pd.DataFrame, title: str) -> Figure:
    """Draw both measures by layer: a dot for each model, a line through the means."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5.2), layout="constrained")
    figure.suptitle(title, fontsize=13)
    for axes, (measure, label) in zip(figure.subplots(1, 2), MEASURES.items(), strict=True):
        for side, (regime, name) in enumerate(REGIMES.items()):
            for when, style in (("before", ":"), ("after", "-")):
                part = rows[(rows["measure"] == measure) & (rows["regime"] == regime) & (rows["when"] == when)]
                dots = part.groupby(["layer", "seed"])["value"].mean()
                means = dots.groupby("layer").mean()
                axes.plot(means.index + 1, means, style, color=COLOURS[regime], label=f"{name}, {when} training")
                if when == "after":
                    places = dots.index.get_level_values("layer").to_numpy() + 1 + (side - 0.5) * 0.12
                    axes.plot(places, dots, "os"[side], color=COLOURS[regime], alpha=0.7, markersize=6)
        marked = table[(table["measure"] == measure) & (table["p runs"] <= 0.05)]
        top = axes.get_ylim()[1]
        for layer in marked["layer"]:
            axes.annotate("*", (layer + 1, top), ha="center", va="top", fontsize=16)
        axes.set_xticks(sorted(rows["layer"].unique() + 1))
        axes.set_xlabel("layer")
        axes.set_ylabel(label)
        axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    note = "A dot is a trained model (mean over windows and heads). * the regimes differ over runs (p at most .05, corrected)."
    figure.supxlabel(note, fontsize=9)
    return figure


def write(options: argparse.Namespace, rows: pd.DataFrame, batch: Windows) -> pd.DataFrame:
    """Write table, figure and results; return the table."""
    from biot_bd.runs import atomic_path, environment, write_json

    table = tests_of(rows)
    with atomic_path(options.out / "table.csv") as temporary:
        table.to_csv(temporary, index=False)
    generated = " (generated data: not a clinical result)" if batch.generated else ""
    title = f"Attention of BIOT, from scratch and fine-tuned, on {options.dataset}{generated}"
    with atomic_path(options.out / "attention_regimes.png") as temporary:
        picture(rows, table, title).savefig(temporary, dpi=110, format="png")
    write_json(
        options.out / "results.json",
        {
            "settings": settings_of(options),
            "generated": bool(batch.generated),
            "subjects": sorted(set(batch.groups)),
            "n_windows": len(batch),
            "smallest_p": smallest_p(len(options.seeds), len(set(batch.groups))),
            "table": table.to_dict("records"),
            "environment": environment(),
        },
    )
    return table


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return what decides the numbers."""
    from biot_bd.runs import to_jsonable

    aside = ("out", "root", "jobs", "quick")
    return dict(to_jsonable({name: value for name, value in vars(options).items() if name not in aside}))


def check_settings(options: argparse.Namespace) -> None:
    """Refuse to go on in a folder of other settings."""
    from biot_bd.runs import read_json, write_json

    note, settings = options.out / "settings.json", settings_of(options)
    if note.is_file() and (before := read_json(note)) != settings:
        other = [
            f"{name} {before.get(name)} (now {value})" for name, value in settings.items() if before.get(name) != value
        ]
        raise ValueError(f"{options.out}: was begun with {', '.join(other)}; name another --out or delete it")
    write_json(note, settings)


def main(args: Sequence[str] | None = None) -> int:
    """Run the study; return the exit status."""
    options = parse(args)
    import pandas as pd
    from rich.console import Console

    from biot_bd.exceptions import ContaminationError

    console = Console(stderr=True)
    try:
        pipelines = regimes_of(options)  # before anything is prepared or trained
        check_settings(options)
        windows = make_windows(options)
        batch = fixed_batch(windows, measured_subjects(windows, options.held_out), options.windows)
        rows = []
        for seed in options.seeds:
            for regime, pipeline in pipelines.items():
                console.print(f"{REGIMES[regime]}, seed {seed}", highlight=False)
                rows += run(options, pipeline, regime, seed, windows, batch)
        table = write(options, pd.DataFrame(rows), batch)
    except (ValueError, TypeError, OSError, LookupError, RuntimeError, ContaminationError) as error:
        print(f"attention_regimes: {error}", file=sys.stderr)
        return 1
    with pd.option_context("display.width", 200, "display.max_columns", None):
        print(table.round(3).to_string(index=False, na_rep="-"))
    least = smallest_p(len(options.seeds), len(set(batch.groups)))
    for unit, p in least.items():
        if p > 0.05:
            print(f"so few {unit} cannot give a p-value below {p:.2g}: nothing can be called significant over {unit}")
    print(f"figure: {options.out / 'attention_regimes.png'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
