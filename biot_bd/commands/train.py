"""``biot-bd train``: fit a pipeline on all subjects, or all but a hold-out, and save it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from biot_bd.commands._options import (
    Augment,
    BatchSize,
    EventTarget,
    Finetune,
    LearningRate,
    Loss,
    MicroBatch,
    Param,
    Patience,
    Precision,
    Pretrained,
    Sampler,
    Store,
    TargetFalseAlarms,
    ThresholdRule,
)


def train(
    folder: Store,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the model; new or empty.")],
    model: Annotated[str, typer.Option(help="Registered model.")] = "biot",
    loss: Loss = None,
    epochs: Annotated[int | None, typer.Option(help="Most epochs.", min=1)] = None,
    batch_size: BatchSize = None,
    lr: LearningRate = None,
    patience: Patience = None,
    precision: Precision = None,
    micro_batch: MicroBatch = None,
    sampler: Sampler = None,
    augment: Augment = None,
    pretrained: Pretrained = None,
    finetune: Finetune = None,
    allow_contaminated: Annotated[
        bool,
        typer.Option(
            "--allow-contaminated",
            help="Go on where the checkpoint saw subjects of the hold-out (or may have); every output then says so.",
        ),
    ] = False,
    hold_out: Annotated[
        list[str] | None,
        typer.Option(help="Subject who is left out of training and scored once at the end; may be repeated."),
    ] = None,
    scoring: Annotated[
        list[str] | None,
        typer.Option(
            help="Registered metric for the hold-out; may be repeated. Default: AUC-PR, AUROC, balanced accuracy."
        ),
    ] = None,
    validation_fraction: Annotated[
        float, typer.Option(help="Share of the subjects that validate; 0 for fixed epochs.", min=0, max=0.9)
    ] = 0.2,
    threshold: ThresholdRule = "balanced-accuracy",
    event_target: EventTarget = None,
    target_fa_per_24h: TargetFalseAlarms = None,
    seed: Annotated[int, typer.Option(help="Seed of the inner split and of the training.", min=0)] = 0,
    param: Param = None,
    json: Annotated[bool, typer.Option("--json", help="Print the facts as JSON on stdout.")] = False,
) -> None:
    """Fit on all subjects but a hold-out (some of them validate), save the pipeline and score the hold-out, if there is one."""
    from rich.console import Console

    from biot_bd.commands._pipelines import (
        build_pipeline,
        check_output,
        describe_model,
        event_detector,
        number_or_name,
        open_windows,
        parse_assignments,
        print_json,
    )
    from biot_bd.evaluation.final_model import fit_all
    from biot_bd.models.checkpoints.pipeline_folder import description_file

    check_output(output)
    if description_file(output) is not None:
        raise FileExistsError(f"{output} holds a model already; name a new folder or delete it")
    if output.is_dir() and (others := sorted(p.name for p in output.iterdir() if not p.name.startswith("."))):
        shown = ", ".join(others[:5])
        raise FileExistsError(f"{output} is no model's folder and not empty ({shown}); name a new folder for the model")
    detector = event_detector(event_target, target_fa_per_24h)
    windows = open_windows(folder)
    params = parse_assignments(param)
    pipeline = build_pipeline(
        windows,
        model=model,
        loss=loss,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        patience=patience,
        precision=precision,
        micro_batch=micro_batch,
        sampler=sampler,
        augment=augment,
        params=params,
        pretrained=pretrained,
        finetune=finetune,
    )
    options: dict[str, Any] = {"scoring": tuple(scoring)} if scoring else {}
    facts = fit_all(
        pipeline,
        windows,
        output,
        validation_fraction=validation_fraction,
        threshold=number_or_name(threshold),
        random_state=seed,
        title=describe_model(model, params, pretrained, finetune),
        hold_out=hold_out or (),
        allow_contaminated=allow_contaminated,
        event_detector=detector,
        **options,
    )
    if json:
        print_json({"folder": output, **facts})
        return
    _show(Console(), output, facts)


def _score_lines(facts: dict[str, Any]) -> list[str]:
    """Say what the hold-out scored, or why there is no score."""
    scores, held = facts.get("scores"), facts["subjects"]["test"]
    if scores is None:
        return ["no test subjects are left: score this pipeline with `biot-bd cv`, or name some with --hold-out"]
    mark = "CONTAMINATED, " if facts["contamination"] else ""
    mark += f"not a result ({facts['not_a_result']}), " if facts["not_a_result"] else ""
    prevalence = scores["prevalence"]
    lines = [f"hold-out ({mark}prevalence {prevalence:.3f}): {', '.join(held)}"]
    for name in scores["scoring"]:
        pooled, macro = scores["pooled"][name], scores["macro"][name]
        one, other = (
            f"undefined ({s['reason']})" if s["value"] is None else f"{s['value']:.3f}" for s in (pooled, macro)
        )
        lines.append(f"  {name}: pooled {one}, macro {other} ({macro['n_subjects']} subjects)")
    return lines


def _event_lines(events: dict[str, Any] | None) -> list[str]:
    """Say at what point the saved model gives events."""
    if events is None:
        return []
    point, reason = events["validation"]["point"], f" ({events['reason']})" if events["reason"] else ""
    line = f"events: threshold {events['threshold']:.3f}, at least {events['min_duration_s']:g} s{reason}"
    if point is not None and point["sensitivity"] is not None:
        line += (
            f"; on validation sensitivity {point['sensitivity']:.3f}, {point['fa_per_24h']:.1f} false alarms per 24 h"
        )
    return [line]


def _show(console: Any, output: Path, facts: dict[str, Any]) -> None:
    from biot_bd.evaluation.model_selection.contamination import contamination_notes

    subjects = facts["subjects"]
    generated = " on generated data" if facts["data"]["generated"] else ""
    mark = "CONTAMINATED: " if facts["contamination"] else ""
    lines = [
        f"{mark}{facts['title']}{generated}, label rule {facts['data']['label_rule']}",
        f"trained on {len(subjects['train'])} subjects, validated on {', '.join(subjects['valid']) or 'nobody'}",
        f"epochs: {facts['n_epochs']}, threshold: {facts['threshold']['value']:.3f}",
        *_event_lines(facts["events"]),
        *contamination_notes(facts),
        *facts["notes"],
        *_score_lines(facts),
        f"model: {output}",
    ]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
