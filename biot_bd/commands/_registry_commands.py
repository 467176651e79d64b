"""The commands of ``biot-bd models`` that read and write the model registry."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from json import dumps as json_text
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from biot_bd.commands._options import Json, ModelFolder
from biot_bd.commands._output import print_json
from biot_bd.commands._text import wrapped
from biot_bd.runs import to_jsonable

if TYPE_CHECKING:
    from biot_bd.deploy.model_registry import Registry, Verification, VersionDifference
    from biot_bd.deploy.version_folder import RegisteredVersion

RegistryFolder = Annotated[
    Path | None,
    typer.Option(
        "--registry",
        help="Folder of the model registry. Default: that of $BIOT_BD_REGISTRY, else one in your data folder.",
    ),
]
Label = Annotated[
    str, typer.Argument(metavar="NAME[/VERSION]", help="A model of the registry; the newest version by default.")
]
Endpoint = Annotated[str | None, typer.Option(help="Address of the service, e.g. of another Hub or of MLflow.")]
Anonymous = Annotated[
    bool, typer.Option("--anonymous", help="Without names and dates: subjects become numbers (see the privacy page).")
]
SHOWN_DIGITS = 12
MOST_TENSORS = 5
LONGEST_VALUE = 200


def save(
    model: ModelFolder,
    name: Annotated[str, typer.Argument(help="Of the model: small letters, digits, . _ and -.")],
    version: Annotated[str, typer.Argument(help="As in 1.0.0, or 1.1.0-rc1 for a pre-release.")],
    run: Annotated[
        Path | None, typer.Option(help="Run folder of `biot-bd cv`, for the results on the model's card.")
    ] = None,
    licence: Annotated[str | None, typer.Option(help="Under which others may use it, e.g. cc-by-4.0.")] = None,
    anonymous: Anonymous = False,
    registry: RegistryFolder = None,
    json: Json = False,
) -> None:
    """Save a model as a version of the model registry, which never changes.

    What lies in its folder, exports/ included, is copied, with a description of its input, training
    and decisions, the checksum of every file, windows with their probabilities, and a model card.
    """
    from biot_bd.commands._folders import expect

    expect(model, "model")
    if run is not None:
        expect(run, "run")
    saved = open_registry(registry).save(model, name, version, run=run, licence=licence, anonymous=anonymous)
    _done("saved", saved, json)


def show(source: Label, registry: RegistryFolder = None, json: Json = False) -> None:
    """Show what a version of the model registry is, and its card."""
    version = find_version(source, registry)
    card = version.folder / "README.md"
    text = card.read_text(encoding="utf-8") if card.is_file() else None
    if json:
        print_json({**row_of(version), "facts": version.facts, "card": text})
        return
    typer.echo(version_line(version))
    typer.echo(f"  {version.size_bytes:,} bytes, digest {version.digest}")
    typer.echo(f"  {version.folder}")
    if text is not None:
        typer.echo("")
        typer.echo(_without_header(text).strip())


def push(
    source: Label,
    place: Annotated[
        str,
        typer.Argument(
            metavar="PLACE", help="OWNER/NAME of the Hub, or KIND:PLACE of another store, e.g. mlflow:NAME."
        ),
    ],
    public: Annotated[
        bool, typer.Option("--public", help="Let everybody see it; what is made is private otherwise.")
    ] = False,
    anonymous: Anonymous = False,
    endpoint: Endpoint = None,
    registry: RegistryFolder = None,
    json: Json = False,
) -> None:
    """Put a version of the model registry on the Hub, or in another store of models.

    It is verified before and after.  A version that is there is never replaced by other content.
    The token is that of HF_TOKEN or `hf auth login`; it is neither printed nor written.
    """
    from biot_bd.deploy.model_registry.transfer import push_version

    _quiet_bars()
    found = find_version(source, registry)
    done = push_version(
        open_registry(registry),
        found.name,
        found.version,
        place,
        private=not public,
        anonymous=anonymous,
        endpoint=endpoint,
    )
    if json:
        print_json(asdict(done))
        return
    if note := _note(found):
        typer.echo(wrapped(note, "", ""))
    typer.echo(f"{done.label} {'was there' if done.was_there else 'pushed'}: {done.place}, revision {done.revision}")
    typer.echo(f"  digest {done.digest}{', without names and dates' if done.anonymous else ''}")


def pull(
    place: Annotated[
        str,
        typer.Argument(
            metavar="PLACE",
            help="OWNER/NAME of the Hub, KIND:PLACE of another store, or demo: the demonstration that is shipped.",
        ),
    ],
    version: Annotated[str | None, typer.Argument(help="Default: the newest that is no pre-release.")] = None,
    expected: Annotated[
        str | None, typer.Option(help="Digest of the version, as `biot-bd models show` prints it; another is refused.")
    ] = None,
    endpoint: Endpoint = None,
    registry: RegistryFolder = None,
    json: Json = False,
) -> None:
    """Get a version from the Hub, or another store, into the model registry here.

    Nothing of it is executed.  It is checked file by file, and is there whole or not at all.
    """
    from biot_bd.deploy import demo_model
    from biot_bd.deploy.model_registry.transfer import pull_version

    if place in (demo_model.NAME, f"{demo_model.NAME}/{demo_model.VERSION}"):
        if version not in (None, demo_model.VERSION):
            raise ValueError(f"{place}: {demo_model.VERSION} is shipped, not {version}; leave the version out")
        pulled = open_registry(registry).add(demo_model.shipped(), expected=expected)
    else:
        _quiet_bars()
        pulled = pull_version(open_registry(registry), place, version, expected=expected, endpoint=endpoint)
    _done("pulled", pulled, json)


def diff(
    one: Annotated[str, typer.Argument(metavar="ONE", help="NAME[/VERSION] of the model registry.")],
    other: Annotated[str, typer.Argument(metavar="OTHER", help="NAME[/VERSION] of the model registry.")],
    registry: RegistryFolder = None,
    json: Json = False,
) -> None:
    """Say in what two versions differ: facts, weights, probabilities."""
    from biot_bd.deploy.model_registry import compare_versions

    found = compare_versions(find_version(one, registry), find_version(other, registry))
    if json:
        print_json(_difference_row(found))
    else:
        typer.echo("\n".join(_difference_lines(found)))


def open_registry(folder: Path | None) -> Registry:
    """Return the model registry that an option names."""
    from biot_bd.deploy.model_registry.registry import Registry

    return Registry(folder)


def find_version(text: str, folder: Path | None) -> RegisteredVersion:
    """Return the version that ``NAME`` or ``NAME/VERSION`` means.

    Raises
    ------
    FileNotFoundError
        There is none; the message says the nearest one.
    """
    from biot_bd.commands._registered import registered

    if folder is not None:
        return open_registry(folder).resolve(text)
    if (found := registered(text)) is not None:
        return found
    return open_registry(None).resolve(text)  # says what is wrong with it, or what there is


def row_of(version: RegisteredVersion) -> dict[str, Any]:
    """Return a version as ``--json`` lists it."""
    facts = version.facts or {}
    return {
        "kind": "version",
        "name": version.name,
        "version": version.version,
        "folder": version.folder,
        "digest": None if version.problem else version.digest,
        "size_bytes": version.size_bytes,
        "created": facts.get("created"),
        "demonstration": facts.get("demonstration"),
        "anonymous": facts.get("anonymous"),
        "problem": version.problem,
    }


def verified(found: Verification, as_json: bool) -> None:
    """Say what was compared of a version, and what could not be."""
    replays = [asdict(one) for one in found.replayed]
    if as_json:
        more = {"n_files": found.n_files, "replayed": replays, "not_replayed": list(found.not_replayed)}
        print_json({**row_of(found.version), **more})
        return
    typer.echo(f"{found.version.label}: {found.n_files} files, {found.size_bytes:,} bytes, as registered")
    typer.echo(f"  digest {found.digest}")
    for one in found.replayed:
        typer.echo(
            f"  computed again: {one.engine} in {one.precision}, probabilities within {one.largest_difference:.1g} (at most "
            f"{one.bound:.1g})"
        )
    for reason in found.not_replayed:
        typer.echo(wrapped(f"not computed again: {reason}", "  ", "    "))
    if not found.replayed:
        typer.echo("  only the files were compared")


def list_versions(folder: Path | None) -> list[RegisteredVersion]:
    """Return what is in the model registry, and the shipped demonstration where it is not."""
    from biot_bd.commands._registered import shipped

    found = open_registry(folder).list()
    demonstration = shipped() if folder is None else None
    there = demonstration is not None and demonstration.label in [one.label for one in found]
    return found if there or demonstration is None else [*found, demonstration]


def version_line(version: RegisteredVersion) -> str:
    """Return a version in one line."""
    if version.problem is not None:
        return f"{version.label}: damaged: {version.problem}"
    known = version.facts["input"]
    text = f"{version.label}: {len(known['ch_names'])} channels, {known['sfreq']:g} Hz, digest {version.digest[:SHOWN_DIGITS]}"
    return text + (", a demonstration" if _note(version) else "")


def _difference_row(found: VersionDifference) -> dict[str, Any]:
    return {
        "one": row_of(found.one),
        "other": row_of(found.other),
        "facts": [asdict(one) for one in found.facts],
        "tensors": found.tensors,
        "n_equal_tensors": found.n_equal_tensors,
        "other_tensors": list(found.other_tensors),
        "same_weights": found.same_weights,
        "probabilities": found.probabilities,
        "not_computed": found.not_computed,
    }


def _difference_lines(found: VersionDifference) -> list[str]:
    lines = [
        f"{found.one.label} ({found.size_bytes[0]:,} bytes) and {found.other.label} ({found.size_bytes[1]:,} bytes)"
    ]
    lines += [wrapped(f"{one.key}: {_shown(one.one)} | {_shown(one.other)}", "  ", "    ") for one in found.facts]
    if not found.facts:
        lines.append("  say the same of themselves")
    if found.same_weights:
        lines.append(f"  weights: all {found.n_equal_tensors} tensors are equal")
    else:
        lines.append(
            f"  weights: {found.n_equal_tensors} tensors are equal, {len(found.tensors)} differ, {len(found.other_tensors)} are in one "
            "alone or of another shape"
        )
        largest = sorted(found.tensors, key=lambda name: -found.tensors[name])[:MOST_TENSORS]
        lines += [f"    {name}: by at most {found.tensors[name]:.3g}" for name in largest]
    lines += [
        f"  probabilities on the probe batch of {label}: differ by at most {largest:.3g}"
        for label, largest in found.probabilities.items()
    ]
    if found.not_computed is not None:
        lines.append(wrapped(f"probabilities were not compared: {found.not_computed}", "  ", "    "))
    return lines


def _shown(value: Any) -> str:
    text = json_text(to_jsonable(value), ensure_ascii=False)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]} ..."


def _done(how: str, version: RegisteredVersion, as_json: bool) -> None:
    if as_json:
        print_json(row_of(version))
        return
    if note := _note(version):
        typer.echo(wrapped(note, "", ""))
    typer.echo(f"{how}: {version.label}, {version.size_bytes:,} bytes, in {version.folder}")
    typer.echo(f"  digest {version.digest}")


def _note(version: RegisteredVersion) -> str | None:
    """Return what has to be said of a demonstration, None for other models."""
    from biot_bd.models.checkpoints.demonstration import demonstration_note

    demonstration = version.problem is None and version.facts["demonstration"]
    return demonstration_note({"data": {"generated": True}}) if demonstration else None


def _without_header(card: str) -> str:
    """Return a card without the lines that are meant for the Hub."""
    return card.partition("\n---\n")[2] if card.startswith("---\n") else card


def _quiet_bars() -> None:
    """Show no progress of downloads where nobody looks; `huggingface_hub` reads it on import."""
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
