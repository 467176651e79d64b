"""``biot-bd export``: a trained model as a graph for an engine, proven before it is written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from biot_bd.commands._options import Json, ModelFolder

if TYPE_CHECKING:
    from biot_bd.export.artifact import ArtifactFacts

WIDTH = 100
MB = 1e6


def export(
    model: ModelFolder,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder of the exported model; default: MODEL/exports/FORMAT[-int8]."),
    ] = None,
    format: Annotated[
        str,
        typer.Option("--format", help="onnx (for onnxruntime and OpenVINO), openvino, or pt2 (for torch)."),
    ] = "onnx",
    int8: Annotated[bool, typer.Option("--int8", help="Quantise it; needs --store.")] = False,
    store: Annotated[
        Path | None,
        typer.Option(
            help="Prepared windows that the model was trained and validated on: int8 is calibrated on the training "
            "subjects, and all is proven on the validation subjects."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an exported model that is there.")] = False,
    anonymous: Annotated[
        bool, typer.Option("--anonymous", help="Numbers for names of subjects; neither dates nor places.")
    ] = False,
    json: Json = False,
) -> None:
    """Write a trained model as one graph that runs without torch, and prove it.

    The graph takes microvolts and gives probabilities.  It is kept only if they are those of the
    model, on generated windows and (with --store) on those of its validation subjects.
    """
    from biot_bd.commands import _names
    from biot_bd.commands._folders import expect

    _names.check_registered("exporters", format)
    expect(model, "model")
    if store is not None:
        expect(store, "windows")
    if int8 and store is None:
        raise ValueError(
            "--int8 needs --store: the prepared windows that the model was trained and validated on, to calibrate it and prove it"
        )

    from biot_bd.commands._output import check_output, print_json
    from biot_bd.deploy.version_folder import is_version
    from biot_bd.export import export_model
    from biot_bd.export.artifact import read_facts

    folder = output or model / "exports" / f"{format}{'-int8' * int8}"
    check_output(folder)
    if is_version(model) and folder.resolve().is_relative_to(model.resolve()):
        raise ValueError(
            f"{model}: a version of the model registry, which never changes; name another folder with -o, or export the saved model "
            "and register it with its exports/ as a new version"
        )
    export_model(model, folder, format, int8, store, overwrite=overwrite, anonymous=anonymous, say=_say)
    facts = read_facts(folder).facts
    sizes = {name: (folder / name).stat().st_size for name in facts["graph"]["files"]}
    if json:
        print_json({"folder": folder, "size_bytes": sum(sizes.values()), **facts})
    else:
        _show(folder, facts, sum(sizes.values()))


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _show(folder: Path, facts: ArtifactFacts, size_bytes: int) -> None:
    from rich.console import Console

    from biot_bd.models.checkpoints.demonstration import demonstration_note

    console = Console(width=WIDTH)
    console.print(_table(facts))
    lines = [f"refused: {gate['reason']}" for gate in (facts["gates"] or {}).values() if not gate["passed"]]
    found = facts["validation"]
    if isinstance(found, dict):
        lines.append(
            f"validation: {found['n_windows']:,} windows ({found['n_seizure_windows']:,} of seizures) of "
            f"{', '.join(found['subjects'])}; {found['agreement']:.2%} of decisions as before{_scores(found)}"
        )
    else:
        lines.append("validation: none (no --store): only generated windows were tried")
    if left := facts["graph"]["left_in_float"]:
        lines.append(f"left in float: {', '.join(left)}")
    if (told := demonstration_note(facts["source"]["record"])) is not None:
        lines.append(told)
    lines.append(f"exported model: {folder} ({size_bytes / MB:.1f} MB)")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _scores(found: dict[str, Any]) -> str:
    scores = found["average_precision"]
    if scores is None:
        return "; AUC-PR undefined (windows of one class)"
    return f"; AUC-PR {scores['exported']:.4f} (torch {scores['torch']:.4f})"


def _table(facts: ArtifactFacts) -> Any:
    """Return one row an engine and precision, with what each gate found."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("engine, precision")
    for name in ("largest difference", "bound", "gates passed"):
        table.add_column(name, justify="right")
    table.add_column("")
    for name, gate in (facts["gates"] or {}).items():
        checks = gate.get("checks", [])
        found = [check["found"] for check in checks if check["gate"] == "difference" and check["found"] is not None]
        answered = [check["passed"] for check in checks if check["passed"] is not None]
        table.add_row(
            name,
            f"{max(found):.1e}" if found else "–",
            f"{gate['bound']:g}" if "bound" in gate else "–",
            f"{sum(answered)} of {len(answered)}" if answered else "–",
            "accepted" if gate["passed"] else "refused",
        )
    return table
