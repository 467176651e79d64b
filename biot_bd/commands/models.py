"""``biot-bd models``: published checkpoints, the model registry, and a look into saved models."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import typer

from biot_bd.commands import _registry_commands as registry_commands
from biot_bd.commands._folders import expect, kind_of
from biot_bd.commands._output import print_json
from biot_bd.commands._registered import find_model, nearest, registered
from biot_bd.commands._registry_commands import RegistryFolder
from biot_bd.commands._text import wrapped

app = typer.Typer(
    help="Pretrained checkpoints and the model registry: list, fetch, save, verify, push and pull; audit saved models.",
    no_args_is_help=True,
)

JSON = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@app.command("list")
def list_models(registry: RegistryFolder = None, as_json: JSON = False) -> None:
    """List the published checkpoints (channels, what they were trained on, whether they are here)
    and the versions in the model registry.
    """
    rows = _checkpoints()
    versions = registry_commands.list_versions(registry)
    if as_json:
        print_json([*rows, *map(registry_commands.row_of, versions)])
        return
    for row in rows:
        typer.echo(f"{row['name']}: {row['channels']} channels, {'here' if row['cached'] else 'not fetched'}")
        typer.echo(wrapped(f"trained on {_seen(row['trained_on'])}", "  ", "    "))
        typer.echo(wrapped(f"{row['repository']} on the Hub, published as {row['file']}", "  ", "    "))
    typer.echo(f"model registry {registry_commands.open_registry(registry).root}:")
    for version in versions:
        typer.echo(wrapped(registry_commands.version_line(version), "  ", "    "))
    if not versions:
        typer.echo("  empty; `biot-bd models save` and `biot-bd models pull` add to it")


def _checkpoints() -> list[dict[str, Any]]:
    from biot_bd.models.checkpoints.hub import cached
    from biot_bd.models.checkpoints.published import KNOWN

    return [
        {
            "kind": "checkpoint",
            "name": one.name,
            "channels": one.n_channels,
            "trained_on": [seen.to_dict() for seen in one.trained_on],
            "repository": one.repository,
            "file": one.file,
            "blob_id": one.blob_id,
            "cached": cached(one.name),
        }
        for one in KNOWN.values()
    ]


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="Name of a checkpoint (see `list`), or a Hub repository OWNER/NAME.")],
    endpoint: Annotated[str | None, typer.Option(help="Address of another Hub, e.g. a mirror.")] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Use the cache only.")] = False,
    as_json: JSON = False,
) -> None:
    """Download a checkpoint into the Hub's cache, where pretrained=NAME finds it, and check it."""
    from biot_bd.models.checkpoints.hub import fetch as download
    from biot_bd.models.checkpoints.published import KNOWN
    from biot_bd.models.checkpoints.resolve import is_repository

    if name not in KNOWN and not is_repository(name):
        near = get_close_matches(name.lower(), KNOWN, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise typer.BadParameter(
            f"{name!r} is neither a known checkpoint ({', '.join(KNOWN)}) nor OWNER/NAME of the Hub{hint}",
            param_hint="NAME",
        )
    folder = download(name, endpoint=endpoint, revision=revision, offline=offline)
    _show(_facts(folder, name), as_json)


@app.command()
def verify(
    source: Annotated[
        str,
        typer.Argument(
            help="NAME[/VERSION] of the model registry, a folder or file, a checkpoint's name or a Hub repository in the cache."
        ),
    ],
    expected: Annotated[
        str | None, typer.Option(help="Digest that a version must have, as `biot-bd models show` prints it.")
    ] = None,
    registry: RegistryFolder = None,
    as_json: JSON = False,
) -> None:
    """Compare a model with what was registered or published, and say what it is.

    Of a version every file is hashed, and its probe batch is computed again.  A checkpoint is
    loaded strictly; a published file is recognised by its git blob id.
    """
    if (folder := _version_folder(source, registry)) is not None:
        from biot_bd.deploy.model_registry import verify_version

        registry_commands.verified(verify_version(folder, expected=expected), as_json)
        return
    if expected is not None:
        raise ValueError(f"--expected is the digest of a version, and {source} is none; leave it out")
    kind = kind_of(source)
    if kind == "pretraining":
        _show_pretraining(Path(source), as_json)
    elif kind == "exported":
        _show_exported(Path(source), as_json)
    else:
        _show(_facts(source, source), as_json)


def _version_folder(source: str, registry: Path | None) -> Path | None:
    """Return the folder of the version that is meant, None where something else is."""
    from biot_bd.deploy.version_folder import is_version
    from biot_bd.models.checkpoints.published import KNOWN

    if registry is not None:
        return registry_commands.find_version(source, registry).folder
    if source in KNOWN:
        return None
    if Path(source).exists():
        return Path(source) if is_version(source) else None
    found = registered(source)
    if found is None and nearest(source) is not None:
        registry_commands.find_version(source, registry)  # says which is nearly it
    return None if found is None else found.folder


@app.command()
def audit(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            parser=find_model,
            help="A folder that save_pipeline or `biot-bd export` wrote, or NAME[/VERSION] of the registry.",
        ),
    ],
    as_json: JSON = False,
) -> None:
    """List what a saved model would import and build, without doing it; status 1 where it would
    be refused. Of an exported model: what it takes and in what it was proven; its files are
    checked.
    """
    kind = kind_of(folder)
    if kind == "pretraining":
        expect(folder, "model", "exported")  # says what it is, and what takes it
    if kind == "exported":
        _show_exported(folder, as_json)
        return
    from biot_bd.training.persistence.audit import audit as look_into

    found = look_into(folder)
    if as_json:
        print_json(found.as_dict())
    else:
        typer.echo(f"{folder}: saved pipeline, format version {found.version}")
        for one in found.named:
            typer.echo(f"  {one.name}: {one.problem or f'from {one.provided_by}'} ({one.where})")
        for file in found.files:
            typer.echo(f"  {file['name']}: {file['size_bytes']} bytes, {file['role']}")
        for setting in found.left_out:
            typer.echo(f"  left out on loading: {setting}")
        typer.echo(
            "\n".join(f"refused: {problem}" for problem in found.problems) or "nothing speaks against loading it"
        )
    if found.problems:
        raise typer.Exit(1)


def _show_exported(folder: Path, as_json: bool) -> None:
    from biot_bd.export.artifact import read_artifact

    facts = read_artifact(folder).facts
    if as_json:
        print_json(facts)
        return
    graph, known, source = facts["graph"], facts["input"], facts["source"]
    weights = (source["weights_sha256"] or "not recorded")[:12]
    typer.echo(f"{folder}: exported model ({graph['format']}, {graph['precision']}), made {facts['created']}")
    typer.echo(f"  of {facts['model']} in {source['folder_name'] or 'memory'}, weights {weights}")
    typer.echo(
        f"  takes {known['window_s']:g} s of {len(known['ch_names'])} channels ({known['montage'] or 'its own'}) in microvolts at "
        f"{known['sfreq']:g} Hz"
    )
    for run in facts["runs"]:
        typer.echo(
            f"  proven: {run['engine']} in {run['precision']}, probabilities within {run['largest_difference']:.1g}"
        )
    validated = facts["validation"] if isinstance(facts["validation"], dict) else {}
    told = f"{validated.get('n_windows')} windows" if validated else "no recordings: generated windows alone"
    typer.echo(f"  compared with its source on {told}")
    for name in facts["files"]:
        typer.echo(f"  {name}: {(folder / name).stat().st_size} bytes, as written")


def _facts(place: str | Path, source: str) -> dict[str, Any]:
    from biot_bd.models import BIOT
    from biot_bd.models.checkpoints.loading import build_model, load_checkpoint

    checkpoint = load_checkpoint(place)
    # Heads and hop that nobody recorded do not change which tensors there are.
    stand_in: dict[str, Any] = {"num_heads": 1, "hop_length": int(checkpoint.facts.config["sfreq"]) // 2}
    unknown = {key: value for key, value in stand_in.items() if checkpoint.facts.config[key] is None}
    report = build_model(checkpoint, model_class=BIOT, **unknown).load_report
    return {
        "source": source,
        "file": checkpoint.file,
        "published": report.published,
        "blob_id": report.blob_id,
        "layout": report.layout,
        "matched": len(report.matched),
        "ignored": report.ignored,
        "config": checkpoint.facts.config,
        "config_from": checkpoint.facts.known_from,
        "ch_names": checkpoint.facts.ch_names,
        "head": report.head,
        "provenance": report.provenance.to_dict(),
        "notes": report.notes,
    }


def _show(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(facts)
        return
    config = facts["config"]
    published = f"the published {facts['published']}" if facts["published"] else "not a published file"
    typer.echo(f"{facts['file']}: {facts['matched']} tensors, all in place ({facts['layout']} layout); {published}")
    typer.echo(f"  git blob id {facts['blob_id']}")
    sizes = ", ".join(f"{key} {'not recorded' if value is None else value}" for key, value in config.items())
    typer.echo(f"  {sizes} (from {facts['config_from']})")
    typer.echo(f"  head {facts['head']}")
    provenance = facts["provenance"]
    known = "" if provenance["known"] else "; the record is missing or incomplete, so evaluations refuse it"
    typer.echo(wrapped(f"trained on {_seen(provenance['trained_on'])}{known}", "  ", "    "))
    for note in facts["notes"]:
        typer.echo(f"  {note}")


def _show_pretraining(folder: Path, as_json: bool) -> None:
    """Load a pretraining, objectives too, and say what it is."""
    from biot_bd.models import provenance_of
    from biot_bd.models.checkpoints.pretraining_folder import read_pretraining
    from biot_bd.pretraining import load_pretraining

    load_pretraining(folder)
    description, provenance = read_pretraining(folder), provenance_of(folder).to_dict()
    model = description["model"]
    if as_json:
        shown = ("objective", "input_info", "train_subjects", "valid_subjects", "n_epochs", "generated", "files")
        print_json(
            {"source": str(folder), **{k: description[k] for k in shown}, "model": model, "provenance": provenance}
        )
        return
    objectives = ", ".join(f"{name} x {weight:g}" for name, weight in description["objective"].items())
    seen = description["input_info"]
    typer.echo(f"{folder}: a pretrained {model['name']} of {model['n_parameters']:,} parameters, all in place")
    typer.echo(f"  objectives {objectives}; epochs {description['n_epochs']}")
    rate = "unknown rate" if seen["sfreq"] is None else f"{seen['sfreq']:g} Hz"
    typer.echo(
        f"  windows of {seen['n_chans']} channels and {seen['n_times']} samples at {rate}, {seen['scale'] or seen['unit']}"
    )
    known = "" if provenance["known"] else "; the record is missing or incomplete, so evaluations refuse it"
    typer.echo(wrapped(f"trained on {_seen(provenance['trained_on'])}{known}", "  ", "    "))


def _seen(trained_on: list[dict[str, Any]]) -> str:
    parts = []
    for seen in trained_on:
        subjects = seen["subjects"]
        who = "all subjects" if subjects is None else f"{len(subjects)} subjects: {', '.join(subjects)}"
        parts.append(f"{seen['dataset']} ({seen['how']}; {who})")
    return ", ".join(parts) or "unknown data"


for _command in ("save", "show", "push", "pull", "diff"):
    app.command(_command)(getattr(registry_commands, _command))
