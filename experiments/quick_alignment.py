r"""A pretrained encoder tuned for a few epochs to another amplifier, before and after.

    python experiments/quick_alignment.py --out runs/alignment
    python experiments/quick_alignment.py --out runs/alignment-quick --quick

A BIOT is pretrained on generated subjects.  Others are recorded by "another amplifier": another
gain in each channel, line noise of 50 in place of 60 Hz, a low-pass, a slow drift (all of it
generated).  A few epochs of the same pretraining on unlabelled windows of that amplifier align the
encoder.  On further subjects, recorded by both amplifiers at once, three things are measured before
and after:

- the skill of reconstruction, by frequency band;
- the embeddings' shift: how far the two amplifiers' means lie apart, in standard deviations over
  windows, root mean square over features;
- AUROC by subject of a linear head on the embeddings.  The head is trained with labels of the first
  amplifier alone, anew for each encoder.

The control is tuned alike, on the same subjects recorded by the amplifier that it knows: what it
gains comes of more training, not of alignment.  Gain alone is no shift, as each window is scaled by
its own percentile; what is left of it is that channels differ.

``alignment.csv``, ``alignment.md``, ``alignment.svg`` and ``.png`` are written into OUT.
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

    from biot_bd import Windows

ENCODERS = ("before", "aligned", "control")
AMPLIFIERS = ("first amplifier", "other amplifier")
COLOURS = {"before": "#5b5b5b", "aligned": "#c44e00", "control": "#0072b2"}
MARKS = {"before": "o", "aligned": "^", "control": "s"}
PARTS = {"learn": 5100, "tune": 5200, "test": 5300}  # seeds of the generated subjects
USUAL = {
    "learn": 40,
    "tune": 12,
    "test": 16,
    "minutes": 3,
    "pretrain_epochs": 15,
    "epochs": 5,
    "seeds": "0,1,2",
    "width": 64,
}
QUICK = {"learn": 3, "tune": 2, "test": 2, "minutes": 2, "pretrain_epochs": 1, "epochs": 1, "seeds": "0", "width": 16}


def parse(args: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for recordings, models and results")
    for name, value in USUAL.items():
        words = (
            f"(default: {value})" if name not in PARTS else f"generated subjects of the part {name} (default: {value})"
        )
        kind = str if name == "seeds" else int
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, help=words)
    parser.add_argument("--objective", default="masked-spectrum", help="that reconstructs (default: %(default)s)")
    parser.add_argument("--lr", type=float, default=1e-3, help="of the pretraining (default: %(default)s)")
    parser.add_argument("--tune-lr", type=float, default=3e-4, help="of the alignment (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="a small trial: its numbers mean nothing")
    options = parser.parse_args(args)
    for name, value in (QUICK if options.quick else USUAL).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    try:
        options.seeds = [int(seed) for seed in str(options.seeds).split(",")]
    except ValueError:
        parser.error(f"--seeds {options.seeds}: expected whole numbers with commas, e.g. 0,1")
    return options


def windows_of(options: argparse.Namespace, part: str) -> Windows:
    """Generate a part's subjects and prepare their windows, or reopen them."""
    from biot_bd import load_dataset, prepare

    folder = options.out / "cohort" / part
    recordings = load_dataset(
        "demo", folder / "recordings", n_subjects=getattr(options, part), recordings=1, minutes=options.minutes,
        seed=PARTS[part], namespace=f"demo-{part}",
    )  # fmt: skip
    return prepare(recordings, folder / "windows", montage="biot-16", stride_s=5.0)


def other_amplifier(x_uv: NDArray[Any], sfreq: float, seed: int) -> NDArray[Any]:
    """Return windows (n, n_chans, n_times) in uV as the other amplifier records them."""
    import numpy as np
    from scipy.signal import butter, sosfiltfilt

    rng = np.random.default_rng(seed)
    n, n_chans, n_times = x_uv.shape
    times_s = np.arange(n_times) / sfreq
    gains = rng.uniform(0.5, 1.5, n_chans)[:, None]
    found = sosfiltfilt(butter(2, 30, fs=sfreq, output="sos"), x_uv, axis=-1)
    line = rng.uniform(4, 10, (n, n_chans, 1)) * np.sin(2 * np.pi * (50 * times_s + rng.random((n, 1, 1))))
    speed_hz, phase = rng.uniform(0.1, 0.4, (n, n_chans, 1)), rng.random((n, n_chans, 1))
    drift = rng.uniform(20, 60, (n, n_chans, 1)) * np.sin(2 * np.pi * (speed_hz * times_s + phase))
    return ((found + line + drift) * gains).astype(np.float32)


def recorded(windows: Windows, sfreq: float, seed: int) -> dict[str, Any]:
    """Return the same windows as both amplifiers record them."""
    import numpy as np

    x = np.asarray(windows, dtype=np.float32)
    first, other = AMPLIFIERS
    return {first: x, other: other_amplifier(x, sfreq, seed)}


def pretrain(options: argparse.Namespace, x: Any, groups: Any, sfreq: float) -> Path:
    """Return the folder of the pretraining on the first amplifier."""
    from sklearn.pipeline import make_pipeline

    from biot_bd import PercentileScaler, Pretrainer
    from biot_bd.pretraining import save_pretraining

    folder: Path = options.out / "pretrained"
    if not (folder / "pretraining.json").is_file():
        net = Pretrainer(
            "biot", options.objective, module__embed_dim=options.width, module__num_heads=4, module__num_layers=3,
            module__hop_length=200, module__drop_prob=0.1, module__sfreq=sfreq, lr=options.lr,
            max_epochs=options.pretrain_epochs, batch_size=min(64, len(x)), train_split=None, random_state=0, device="cpu",
        )  # fmt: skip
        pipeline = make_pipeline(PercentileScaler(), net).fit(x, pretrainer__groups=groups)
        save_pretraining(pipeline, folder, generated=True)
    return folder


def tuned(options: argparse.Namespace, folder: Path, x: Any, groups: Any, seed: int) -> Pipeline:
    """Return the pretrained model after a few more epochs on windows of an amplifier."""
    from biot_bd.pretraining import load_pretraining

    pipeline = load_pretraining(folder)
    net = pipeline[-1].set_params(
        lr=options.tune_lr, max_epochs=options.epochs, batch_size=min(32, len(x)), random_state=seed
    )
    net.partial_fit(pipeline[:-1].transform(x), groups=groups)
    return pipeline


def measure(
    pipeline: Pipeline, learn: tuple[Any, Any], test: dict[str, Any], y: NDArray[Any], groups: NDArray[Any]
) -> list[dict[str, Any]]:
    """Return skill by band, shift of embeddings and scores of a linear head, by amplifier."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from biot_bd.pretraining import score_reconstruction

    head = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, class_weight="balanced"))
    head.fit(pipeline.transform(learn[0]), learn[1])
    embeddings = {amplifier: pipeline.transform(x) for amplifier, x in test.items()}
    known = embeddings[AMPLIFIERS[0]]
    rows: list[dict[str, Any]] = []
    for amplifier, x in test.items():
        scores = score_reconstruction(pipeline[-1], pipeline[:-1].transform(x), groups)
        for subject, part in scores.rows("subject").groupby("subject"):
            rows.append({"amplifier": amplifier, "what": "skill", "of": str(subject), "value": part["skill"].iloc[0]})
        for band in scores.by_band().to_dict("records"):
            rows.append({"amplifier": amplifier, "what": "skill by band", "of": band["band"], "value": band["skill"]})
        apart = (embeddings[amplifier].mean(axis=0) - known.mean(axis=0)) / known.std(axis=0)
        rows.append({"amplifier": amplifier, "what": "shift", "of": "all", "value": float(np.sqrt((apart**2).mean()))})
        seizure = head.predict_proba(embeddings[amplifier])[:, 1]
        for subject in np.unique(groups):
            at = groups == subject
            if len(set(y[at])) == 2:
                value = float(roc_auc_score(y[at], seizure[at]))
                rows.append({"amplifier": amplifier, "what": "AUROC", "of": str(subject), "value": value})
    return rows


def table_of(rows: pd.DataFrame) -> pd.DataFrame:
    """Return means over subjects and seeds with intervals over subjects, and paired differences."""
    import pandas as pd

    from biot_bd.evaluation import macro_interval

    found = []
    for what in ("skill", "AUROC"):
        means = rows[rows["what"] == what].groupby(["amplifier", "encoder", "of"])["value"].mean()
        for amplifier in AMPLIFIERS:
            for encoder in ENCODERS:
                own = means[amplifier, encoder]
                one, gain = macro_interval(own), macro_interval(own - means[amplifier, "before"])
                found.append(
                    {
                        "what": what, "amplifier": amplifier, "encoder": encoder, "value": one.value, "low": one.low,
                        "high": one.high, "gain": gain.value, "gain low": gain.low, "gain high": gain.high,
                    }
                )  # fmt: skip
    for keys, part in rows[~rows["what"].isin(["skill", "AUROC"])].groupby(
        ["what", "amplifier", "encoder", "of"], sort=False
    ):
        what, amplifier, encoder, of = keys
        name = what if of == "all" else f"{what}: {of}"
        found.append({"what": name, "amplifier": amplifier, "encoder": encoder, "value": part["value"].mean()})
    return pd.DataFrame(found)


def said(row: pd.Series, value: str, low: str, high: str) -> str:
    """Return a number with its interval."""
    import pandas as pd

    return f"{row[value]:.3f}" + ("" if pd.isna(row[low]) else f" ({row[low]:.3f} to {row[high]:.3f})")


def sentences(table: pd.DataFrame) -> list[str]:
    """Say what alignment did on the other amplifier, beside what the control did."""
    other, found = table[table["amplifier"] == AMPLIFIERS[1]], []
    for what in ("skill", "AUROC"):
        for encoder in ENCODERS[1:]:
            row = other[(other["what"] == what) & (other["encoder"] == encoder)].iloc[0]
            low, high = row["gain low"], row["gain high"]
            verdict = "not told apart from 0" if not (low > 0 or high < 0) else "a gain" if low > 0 else "a loss"
            found.append(
                f"{what}, {encoder} - before, other amplifier: {said(row, 'gain', 'gain low', 'gain high')}, {verdict}."
            )
    shift = other[other["what"] == "shift"].set_index("encoder")["value"]
    found.append("Shift of the embeddings: " + ", ".join(f"{name} {shift[name]:.2f}" for name in ENCODERS) + ".")
    return found


def markdown(options: argparse.Namespace, table: pd.DataFrame) -> str:
    """Return the tables as Markdown, to be put into a page as they are."""
    lines = ["| | amplifier | " + " | ".join(ENCODERS) + " |", "|---|---|" + "---|" * len(ENCODERS)]
    for what in dict.fromkeys(table["what"]):
        for amplifier in AMPLIFIERS:
            part = table[(table["what"] == what) & (table["amplifier"] == amplifier)].set_index("encoder")
            lines.append(
                f"| {what} | {amplifier} | {' | '.join(said(part.loc[e], 'value', 'low', 'high') for e in ENCODERS)} |"
            )
    notes = [
        f"{options.learn} subjects to pretrain on, {options.tune} to tune on, {options.test} to test on, "
        f"{options.epochs} epochs of tuning, {len(options.seeds)} seeds; 95 % intervals over test subjects.",
        "",
        *(f"- {sentence}" for sentence in sentences(table)),
        "",
        "Generated data: no clinical result." + (" A quick trial: its numbers mean nothing." if options.quick else ""),
    ]
    return "\n".join([*lines, "", *notes, ""])


def picture(table: pd.DataFrame) -> Figure:
    """Draw skill by band, and AUROC, on both amplifiers."""
    import numpy as np
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4.2), layout="constrained")
    figure.suptitle("A few epochs on another amplifier (generated data)", fontsize=12)
    figure.set_label(" ".join(sentences(table)))
    left, middle, right = figure.subplots(1, 3)
    middle.sharey(left)  # before anything is drawn, so that the limits are those of both
    bands = [what for what in dict.fromkeys(table["what"]) if what.startswith("skill by band")]
    for axis, amplifier in zip((left, middle), AMPLIFIERS, strict=True):
        for encoder in ENCODERS:
            part = table[(table["amplifier"] == amplifier) & (table["encoder"] == encoder)].set_index("what")
            axis.plot(
                range(len(bands)),
                part.loc[bands, "value"],
                color=COLOURS[encoder],
                marker=MARKS[encoder],
                label=encoder,
            )
        axis.axhline(0, color="#6a737d", linewidth=0.8)
        axis.set_xticks(range(len(bands)), [band.partition(": ")[2] for band in bands], fontsize=8)
        axis.set_title(amplifier, fontsize=10)
        axis.set_ylabel("skill over interpolation")
    left.legend(frameon=False, fontsize=9)
    part = table[table["what"] == "AUROC"]
    for side, encoder in enumerate(ENCODERS):
        own = part[part["encoder"] == encoder].set_index("amplifier").loc[list(AMPLIFIERS)]
        value, low, high = (own[key].to_numpy(dtype=float) for key in ("value", "low", "high"))
        right.errorbar(
            np.arange(2) + 0.12 * (side - 1), value, yerr=np.abs([value - low, high - value]), color=COLOURS[encoder],
            fmt=MARKS[encoder], capsize=3, label=encoder,
        )  # fmt: skip
    right.set_xticks(range(2), AMPLIFIERS)
    right.set_title("linear head trained on the first amplifier", fontsize=10)
    right.set_ylabel("AUROC by test subject")
    for axis in (left, middle, right):
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def write(options: argparse.Namespace, rows: pd.DataFrame) -> pd.DataFrame:
    """Write tables and pictures; return the table."""
    from biot_bd.runs import atomic_path, write_text

    table = table_of(rows)
    for name, frame in (("measured", rows), ("alignment", table)):
        with atomic_path(options.out / f"{name}.csv") as temporary:
            frame.to_csv(temporary, index=False)
    write_text(options.out / "alignment.md", markdown(options, table))
    figure = picture(table)
    for kind, metadata in (("svg", {"Title": "Quick alignment", "Date": None}), ("png", {"Title": "Quick alignment"})):
        with atomic_path(options.out / f"alignment.{kind}") as temporary:
            figure.savefig(temporary, dpi=150, metadata=metadata)
    return table


def run(options: argparse.Namespace) -> pd.DataFrame:
    """Pretrain, align, measure; return the table."""
    import numpy as np
    import pandas as pd

    from biot_bd.pretraining import load_pretraining

    parts = {part: windows_of(options, part) for part in PARTS}
    sfreq = float(parts["learn"].sfreq)
    recordings = {part: recorded(windows, sfreq, PARTS[part]) for part, windows in parts.items()}
    first, other = AMPLIFIERS
    learn = (recordings["learn"][first], np.asarray(parts["learn"].y))
    groups = {part: np.asarray(windows.groups).astype(str) for part, windows in parts.items()}
    test = (recordings["test"], np.asarray(parts["test"].y), groups["test"])
    folder = pretrain(options, learn[0], groups["learn"], sfreq)
    rows = [{"encoder": "before", "seed": 0, **row} for row in measure(load_pretraining(folder), learn, *test)]
    for encoder, amplifier in (("aligned", other), ("control", first)):
        for seed in options.seeds:
            pipeline = tuned(options, folder, recordings["tune"][amplifier], groups["tune"], seed)
            rows += [{"encoder": encoder, "seed": seed, **row} for row in measure(pipeline, learn, *test)]
    return write(options, pd.DataFrame(rows))


def main(args: Sequence[str] | None = None) -> int:
    """Run the study; return the exit status."""
    options = parse(args)
    try:
        table = run(options)
    except (ValueError, TypeError, OSError, LookupError, RuntimeError) as error:
        print(f"quick_alignment: {error}", file=sys.stderr)
        return 1
    print("\n".join(sentences(table)))
    print(options.out / "alignment.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
