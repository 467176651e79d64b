r"""The demonstration model that comes with the package, from nothing, with one command.

    python experiments/make_demo_model.py --out runs/demo-model \
        --excerpts path/to/chbmit-excerpts --background path/to/eegmmidb

A small BIOT learns from 18 generated persons, from the excerpts of two children of CHB-MIT and from
four minutes of an adult without seizures (EEGMMIDB), each subject equally often; six other
generated persons and a third child, the one with the longest excerpts, are left out and scored.  It
is saved as version 1.0.0 of ``demo`` in the model registry ``OUT/registry``, with its ONNX graph
beside and a card that says what it is: something to try detectors with, never for clinical use.
What the package ships is a copy of that version folder.  The same seed gives the same weights on
the same processor and version of torch; it takes two minutes on two processors.

EXCERPTS is a folder in CHB-MIT's layout with cases 1, 2 and 3, BACKGROUND one with runs 1 to 3 of
EEGMMIDB's subject 1 (both PhysioNet, 1.0.0, ODC-BY 1.0).
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from biot_bd import Windows
    from biot_bd.deploy import RegisteredVersion

NAMESPACE = "demo-model"
GENERATED: dict[str, Any] = {"n_subjects": 24, "recordings": 1, "minutes": 6, "seed": 18, "namespace": NAMESPACE}
LEFT_OUT = [f"{NAMESPACE}/{number}" for number in range(19, 25)]
CHILDREN, CHILD = ("chb02", "chb03"), "chb01"
SIZE: dict[str, Any] = {
    "module__embed_dim": 32,
    "module__num_heads": 4,
    "module__num_layers": 2,
    "module__hop_length": 200,
}
TRAINING: dict[str, Any] = {
    "criterion": "focal",
    "batch_size": 32,
    "lr": 1e-3,
    "patience": 8,
    "sampler": "subject-balanced",
}
LICENCE = "BSD-3-Clause; trained on data of CHB-MIT 1.0.0 and EEGMMIDB 1.0.0 under ODC-BY 1.0"
SOURCE = (
    "recordings: CHB-MIT Scalp EEG Database 1.0.0, https://doi.org/10.13026/C2K01R (A. Shoeb, MIT 2009), and EEG Motor "
    "Movement/Imagery Dataset 1.0.0, https://doi.org/10.13026/C28G6P (G. Schalk et al., IEEE TBME 51(6):1034, 2004); "
    "PhysioNet (A. Goldberger et al., Circulation 101(23):e215, 2000), ODC-BY 1.0"
)


def parse(args: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for recordings, windows, model and registry")
    parser.add_argument("--excerpts", type=Path, required=True, help="folder in CHB-MIT's layout: cases 1, 2 and 3")
    parser.add_argument("--background", type=Path, required=True, help="folder with runs of EEGMMIDB's subject 1")
    parser.add_argument("--epochs", type=int, default=40, help="most epochs (default: %(default)s)")
    parser.add_argument("--minutes", type=int, default=6, help="of each generated recording (default: %(default)s)")
    parser.add_argument("--version", default="1.0.0", help="of the version that is saved (default: %(default)s)")
    return parser.parse_args(args)


def windows_of(options: argparse.Namespace) -> tuple[Windows, Windows]:
    """Prepare what is fitted on (with the generated persons left out), and the child left out."""
    from biot_bd import Windows, load_dataset, prepare

    settings: dict[str, Any] = {"montage": "biot-16", "stride_s": 5.0}
    generated = load_dataset("demo", options.out / "generated", **{**GENERATED, "minutes": options.minutes})
    children = load_dataset("chb-mit", options.excerpts, subjects=list(CHILDREN))
    adult = load_dataset("eegmmidb", options.background)
    child = load_dataset("chb-mit", options.excerpts, subjects=[CHILD])
    stores = [
        prepare(recordings, options.out / f"windows-{name}", **settings)
        for name, recordings in (
            ("generated", generated),
            ("children", children),
            ("adult", adult),
            ("child", child),
        )
    ]
    return Windows.concat(stores[:3]), stores[3]


def train(options: argparse.Namespace, windows: Windows) -> dict[str, Any]:
    """Fit on all but the generated persons who are left out; return the record."""
    from sklearn.pipeline import make_pipeline

    from biot_bd import BIOTClassifier, MontageMapper, PercentileScaler, fit_all

    pipeline = make_pipeline(
        MontageMapper("biot-16", on_missing="drop"),
        PercentileScaler(on_bad="drop"),
        BIOTClassifier("biot", max_epochs=options.epochs, device="cpu", verbose=0, **TRAINING, **SIZE),
    )
    record = fit_all(
        pipeline,
        windows,
        options.out / "model",
        hold_out=LEFT_OUT,
        validation_fraction=0.1,
        title=f"small BIOT of {GENERATED['n_subjects'] - len(LEFT_OUT)} generated persons and a few public excerpts: two "
        "children of CHB-MIT, an adult of EEGMMIDB",
    )
    # Their excerpts have hardly a second without a seizure: a threshold of theirs alarms always.
    watching = [name for name in record["subjects"]["valid"] if not name.startswith(f"{NAMESPACE}/")]
    if watching:
        raise ValueError(
            f"{', '.join(watching)} would choose the operating point; take another length of the generated"
        )
    return record


def scored_child(model: Path, excerpts: Path, windows: Windows) -> str:
    """Score the child who was left out: windows, and excerpts with an event."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    from biot_bd import Detector, load_pipeline

    proba = load_pipeline(model).predict_proba(windows)[:, 1]
    detector, found = Detector.load(model, engine="torch"), {True: [0, 0], False: [0, 0]}
    ictal = {name: bool(own["label"].any()) for name, own in windows.metadata.groupby("recording")}
    for name, of_seizures in ictal.items():
        found[of_seizures][0] += bool(detector.detect(excerpts / CHILD / f"{name}.edf").events)
        found[of_seizures][1] += 1
    return (
        f"a child who was left out (chb-mit/{CHILD[3:]}: {len(windows)} windows of {len(ictal)} excerpts, {windows.y.mean():.0%} "
        f"of them with seizures): AUROC {roc_auc_score(windows.y, proba):.2f}, AUC-PR "
        f"{average_precision_score(windows.y, proba):.2f}; events in {found[True][0]} of {found[True][1]} excerpts with a "
        f"seizure and in {found[False][0]} of {found[False][1]} without: too few to say how it does on others, and this "
        "child was looked at when the recipe was chosen, so it is no test of that choice"
    )


def scored_generated(record: dict[str, Any]) -> str:
    """Say how it does on the generated persons who were left out."""
    pooled = record["scores"]["pooled"]
    return (
        f"generated persons who were left out ({len(LEFT_OUT)}): AUROC {pooled['roc_auc']['value']:.2f}, AUC-PR "
        f"{pooled['average_precision']['value']:.2f} (prevalence {record['scores']['prevalence']:.2f}); signals of a program, "
        "not of a brain"
    )


def finish(options: argparse.Namespace, record: dict[str, Any], notes: Sequence[str]) -> Path:
    """Save the model with what was found, without names of this machine, and its graph beside."""
    from biot_bd import export_model, load_pipeline, save_pipeline

    made, final = options.out / "model", options.out / "final"
    shutil.rmtree(final, ignore_errors=True)
    record = {**record, "notes": [*record["notes"], *notes], "data": {**record["data"], "folder": None}}
    save_pipeline(load_pipeline(made), final, record=record)
    for name in ("events.json", "metrics.json"):
        shutil.copyfile(made / name, final / name)
    export_model(final, final / "exports" / "onnx", format="onnx")
    return final


def main(args: Sequence[str] | None = None) -> int:
    """Make the model; return the exit status."""
    import torch

    options = parse(args)
    torch.set_num_threads(1)  # sums in another order are other weights
    try:
        version = make(options)
    except (ValueError, OSError, LookupError, RuntimeError) as error:
        print(f"make_demo_model: {error}", file=sys.stderr)
        return 1
    print(f"{version.label}: {version.folder}")
    return 0


def make(options: argparse.Namespace) -> RegisteredVersion:
    """Train, score, export and register the model."""
    windows, child = windows_of(options)
    record = train(options, windows)
    notes = [scored_generated(record), scored_child(options.out / "model", options.excerpts, child), SOURCE]
    print("\n".join(notes))
    final = finish(options, record, notes)
    from biot_bd.deploy import Registry

    return Registry(options.out / "registry").save(final, "demo", options.version, licence=LICENCE)


if __name__ == "__main__":
    sys.exit(main())
