"""``biot-bd embed``: embeddings of prepared windows, where they lie and how they cluster."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from biot_bd.commands._options import Json, Store

if TYPE_CHECKING:
    from biot_bd.embedding import EmbeddedWindows


def embed(
    windows: Store,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for embeddings, tables, map and report.html.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Registered model; biot by default, or that of --pretrained.")
    ] = None,
    pretrained: Annotated[
        str | None,
        typer.Option(
            help="Weights: prest-16, shhs-prest-18, six-datasets-18, a file, a Hub repository, the folder of `biot-bd pretrain` or of a saved model. Default: random weights."
        ),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(
            help="Transformer layer: a number from 0, early, middle or late. Default: what the head is given."
        ),
    ] = None,
    pooling: Annotated[str, typer.Option(help="mean: a row a window; tokens: a row a token.")] = "mean",
    chart: Annotated[
        str | None, typer.Option("--map", help="Draw all windows in the plane: pca, tsne or umap.")
    ] = None,
    metric: Annotated[
        str, typer.Option(help="Distance of neighbours, clusters and map: cosine or euclidean.")
    ] = "cosine",
    engine: Annotated[str, typer.Option(help="What computes: torch, onnx or openvino.")] = "torch",
    precision: Annotated[str, typer.Option(help="auto, fp32, tf32, bf16 or fp16.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    batch_size: Annotated[int, typer.Option(help="Windows at a time.", min=1)] = 64,
    cache: Annotated[
        Path | None, typer.Option(help="Folder in which embeddings are kept for the next call; default: in the store.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of random weights, maps and clusters.", min=0)] = 0,
    param: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE of the model, e.g. num_layers=2; may be repeated.")
    ] = None,
    list_them: Annotated[bool, typer.Option("--list", help="Only list the embeddings that are kept.")] = False,
    remove: Annotated[
        list[str] | None,
        typer.Option(help="Only delete the kept embeddings of this key (see --list); may be repeated."),
    ] = None,
    json: Json = False,
) -> None:
    """Turn windows into what a model makes of them, and say whether they lie together by subject or
    by class.

    Embeddings are computed once and kept in the store; a call that was stopped goes on with the
    same command.
    """
    from biot_bd.commands import _names, _output
    from biot_bd.commands._folders import expect

    expect(windows, "windows")
    if list_them or remove:
        _kept(windows, cache, remove or [], json)
        return
    if output is None:
        raise typer.BadParameter("give a folder for the embeddings", param_hint="--output / -o")
    _names.check_registered("models", model)
    _names.check_known("--map", chart, ("pca", "tsne", "umap"))
    _names.check_known("--metric", metric, ("cosine", "euclidean"))

    from biot_bd.commands._pipelines import open_windows, parse_assignments
    from biot_bd.embedding import Embedder, write_embeddings
    from biot_bd.report import write_embedding_report

    _output.check_output(output)
    _check_free(output)
    store = open_windows(windows)
    name, steps = _model_and_steps(model, pretrained, store)
    embedder = Embedder(
        name,
        pretrained=pretrained,
        module_params=parse_assignments(param) or None,
        layer=int(layer) if layer is not None and layer.lstrip("-").isdecimal() else layer,
        pooling=pooling,
        engine=engine,
        precision=precision,
        batch_size=batch_size,
        device=device,
        cache=cache,
        random_state=seed,
        progress=not json,
    )
    told: Callable[[str], None] = (lambda what: None) if json else (lambda what: typer.echo(what, err=True))
    made = write_embeddings(
        embedder, store, output, steps=steps, method=chart, metric=metric, random_state=seed, told=told
    )
    page = write_embedding_report(output, windows=store)
    if json:
        _output.print_json({"folder": output, "report": page, **made.facts, "clusters": made.clusters})
    else:
        _show(made, page)


def _check_free(output: Path) -> None:
    """Raise where the folder holds something else than embedded windows."""
    from biot_bd.embedding.embedding_folder import ARRAY, DESCRIPTION

    others = sorted(p.name for p in output.iterdir() if not p.name.startswith(".")) if output.is_dir() else []
    if others and not {ARRAY, DESCRIPTION} & set(others):
        raise FileExistsError(
            f"{output} is not empty and holds no embeddings ({', '.join(others[:5])}); name a new folder"
        )


def _model_and_steps(model: str | None, pretrained: str | None, windows: Any) -> tuple[str, list[Any]]:
    """Return the model's name, and the steps that bring windows to it."""
    from biot_bd import registry
    from biot_bd.commands._pipelines import chosen_model
    from biot_bd.probes.slots import steps_for
    from biot_bd.training.pretrained import pretraining_folder

    if pretrained is not None and (Path(pretrained) / "pipeline.json").is_file():
        return _saved(model, Path(pretrained))
    name = chosen_model(model, pretrained)
    folder = pretraining_folder(pretrained)
    if folder is not None:
        from biot_bd.pretraining.folder import load_steps

        return name, [step for _, step in load_steps(folder)]
    contract = registry.models.contract(name) if name in registry.models else None
    steps = [] if contract is None else list(steps_for(contract, windows))
    if not getattr(registry.models[name], "accepts_absent_channels", False):
        from biot_bd.signals import FillAbsent

        steps.append(FillAbsent())
    return name, steps


def _saved(model: str | None, folder: Path) -> tuple[str, list[Any]]:
    from biot_bd import load_pipeline, registry

    net, steps = load_pipeline(folder), []
    while hasattr(net, "steps"):
        steps += [step for _, step in net.steps[:-1] if step not in (None, "passthrough")]
        net = net.steps[-1][1]
    found = getattr(net, "module", None)
    name = found if isinstance(found, str) else registry.models.name_of(found)
    if name is None:
        raise ValueError(f"--pretrained {folder}: its model is not registered; a plugin registers it (register_models)")
    if model not in (None, name):
        raise ValueError(f"--model {model}: {folder} is a saved {name}; leave --model out")
    return name, steps


def _kept(store: Path, cache: Path | None, remove: list[str], json: bool) -> None:
    """List or delete what is kept."""
    from biot_bd.commands._output import print_json
    from biot_bd.embedding.cache import cache_entries, remove_entry
    from biot_bd.embedding.embedder import CACHE
    from biot_bd.windows.store import store_folder

    root = store_folder(store) / CACHE if cache is None else cache
    for key in remove:
        freed = remove_entry(root, key)
        typer.echo(f"removed {key}: {freed / 1e6:.1f} MB", err=json)
    entries = cache_entries(root)
    facts: list[dict[str, Any]] = [
        {
            "key": entry.folder.name,
            "model": entry.identity.get("model"),
            "source": entry.identity.get("source"),
            "layer": entry.identity.get("layer"),
            "pooling": entry.identity.get("pooling"),
            "shape": list(entry.shape),
            "n_done": entry.n_done,
            "n_windows": entry.n_rows,
            "n_bytes": entry.n_bytes,
            "seconds": entry.seconds,
        }
        for entry in entries
    ]
    if json:
        print_json(facts)
        return
    for one in facts:
        layer = "" if one["layer"] is None else f", layer {one['layer']}"
        typer.echo(
            f"{one['key']}  {one['model']} ({one['source']}){layer}, {one['pooling']}: {one['n_done']:,} of {one['n_windows']:,} "
            f"windows, {one['n_bytes'] / 1e6:.1f} MB, {one['seconds']:.0f} s"
        )
    if not facts and not remove:
        typer.echo(f"no embeddings are kept in {root}")


def _show(made: EmbeddedWindows, page: Path) -> None:
    facts = made.facts
    if facts["windows"]["generated"]:
        typer.echo("generated data: not a clinical result")
    typer.echo(
        f"{facts['windows']['n_windows']:,} windows of {facts['windows']['n_subjects']} subjects, embeddings of shape "
        f"{'x'.join(map(str, facts['shape'][1:]))}, by {facts['model']['model']} ({facts['model']['source']})"
    )
    if made.clusters is not None:
        typer.echo(made.clusters["sentence"])
    typer.echo(f"report: {page}")
