"""``biot-bd check``: which channel of a store reaches which input of a model, and in which unit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from biot_bd.commands._options import Store
from biot_bd.commands.datasets import print_table

if TYPE_CHECKING:
    from biot_bd.probes.slots import SlotReport


def check(
    model: Annotated[
        str,
        typer.Argument(
            help="Saved model (its folder, or NAME[/VERSION] of the registry), registered model, or published checkpoint "
            "(see `biot-bd models list`)."
        ),
    ],
    store: Store,
    windows: Annotated[int, typer.Option(help="Windows to send through the model, evenly spread.", min=1)] = 16,
    json: Annotated[Path | None, typer.Option(help="Write the facts to this file, too.")] = None,
) -> None:
    """Send windows through a model and say what arrives where: channels, unit, rate, absent ones.

    Each input is compared with the signals of the store, read anew, so that a montage in another
    order, a turned sign or zeros in the place of a channel show. Exit status: 0 if all is as the
    model expects, 1 if not.
    """
    from biot_bd import registry
    from biot_bd.commands import _names
    from biot_bd.commands._folders import expect
    from biot_bd.commands._registered import find_model, registered
    from biot_bd.models.checkpoints.published import KNOWN

    is_known = model in KNOWN or model in registry.models
    is_folder = model not in KNOWN and (Path(model).is_dir() or (not is_known and registered(model) is not None))
    if is_folder:
        model = str(expect(find_model(model), "model"))
    elif not is_known:
        raise _names.unknown(f"{model}: neither a folder nor a name that is known", model, [*registry.models, *KNOWN])
    expect(store, "windows")

    from biot_bd import Windows
    from biot_bd.probes.slots import check_slots, open_model
    from biot_bd.runs import write_json
    from biot_bd.training import load_pipeline

    opened = Windows.open(store)
    loaded = load_pipeline(model) if is_folder else open_model(model, opened)
    report = check_slots(loaded, opened, n_windows=windows, name=model)
    if json is not None:
        write_json(json, report.as_dict() | {"store": str(store)})
    _show(report)
    if report.problems:
        raise typer.Exit(1)


def _show(report: SlotReport) -> None:
    rate = "rate unknown" if report.sfreq is None else f"{report.sfreq:g} Hz, {report.n_times / report.sfreq:g} s"
    typer.echo(
        f"{report.model}: {report.n_windows} windows of {report.n_chans} channels and {report.n_times} samples ({rate}), scale {report.scale}"
    )
    if report.contract is not None:
        wanted = [f"scale {report.contract['scale'] or 'any'}", _rate(report.contract["sfreq"])]
        typer.echo(f"expects: {', '.join(wanted)}" + "".join(f"; {note}" for note in report.contract["notes"]))
    rows = [
        {
            "slot": slot.position,
            "named": slot.name or "-",
            "token": slot.token or "-",
            "holds": slot.holds or "-",
            "r": _number(slot.correlation, "{:.3f}"),
            "before uV": _number(slot.before_uv, "{:.3g}"),
            "after": _number(slot.after, "{:.3g}"),
            "absent": f"{slot.absent:.0%}",
            "constant": f"{slot.constant:.0%}",
            "": "wrong" if slot.problem else "",
        }
        for slot in report.slots
    ]
    print_table(rows, {name: name for name in rows[0]}, right=tuple(rows[0])[4:9], lines=False)
    typer.echo("\n".join(f"wrong: {problem}" for problem in report.problems) or "all is as the model expects")


def _rate(sfreq: Any) -> str:
    return "any rate" if sfreq is None else f"{sfreq:g} Hz"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
