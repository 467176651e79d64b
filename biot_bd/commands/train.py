"""``biot-bd train``: fit a pipeline on all subjects, or all but a hold-out, and save it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from biot_bd.commands._options import Json, Store, TrainingOptions, with_training_options


@with_training_options
def train(
    folder: Store,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the model; new or empty.")],
    options: TrainingOptions,
    hold_out: Annotated[
        list[str] | None,
        typer.Option(help="Subject who is left out of training and scored once at the end; may be repeated."),
    ] = None,
    validation_fraction: Annotated[
        float, typer.Option(help="Share of the subjects that validate; 0 for fixed epochs.", min=0, max=0.9)
    ] = 0.2,
    json: Json = False,
) -> None:
    """Fit on all subjects but a hold-out (some of them validate), save the pipeline and score
    the hold-out, if there is one.  A training that was stopped goes on with the same command.
    """
    from biot_bd.commands import _names, _output, _pipelines
    from biot_bd.commands._folders import expect

    _names.check_training(options)
    expect(folder, "windows")

    from biot_bd.evaluation.final_model import fit_all
    from biot_bd.evaluation.training_folder import WORK
    from biot_bd.models.checkpoints.pipeline_folder import description_file
    from biot_bd.training.net.distributed import find_processes

    _output.check_output(output)
    unfinished = (output / WORK).is_dir()  # a training that was stopped: this call goes on, or says that it is another
    if description_file(output) is not None and not unfinished:
        raise FileExistsError(f"{output} holds a model already; name a new folder or delete it")
    if (
        output.is_dir()
        and not unfinished
        and (others := sorted(p.name for p in output.iterdir() if not p.name.startswith(".")))
    ):
        shown = ", ".join(others[:5])
        raise FileExistsError(f"{output} is no model's folder and not empty ({shown}); name a new folder for the model")
    parameters = _pipelines.study_parameters(options)
    windows = _pipelines.open_labelled_windows(folder)
    params = _pipelines.parse_assignments(options.param)
    model = _pipelines.chosen_model(options.model, options.pretrained)
    facts = fit_all(
        _pipelines.build_pipeline(windows, options, params=params),
        windows,
        output,
        validation_fraction=validation_fraction,
        title=_pipelines.describe_model(model, params, options.pretrained, options.finetune),
        hold_out=hold_out or (),
        **parameters,
    )
    if not find_processes().is_main:  # torchrun started several, who trained together
        return
    if json:
        _output.print_json({"folder": output, **facts})
    else:
        typer.echo("\n".join(_lines(output, facts)))


def _score_lines(facts: dict[str, Any]) -> list[str]:
    """Say what the hold-out scored, or why there is no score."""
    from biot_bd.number_texts import count_text, score_text

    scores, tested = facts.get("scores"), facts["subjects"]["test"]
    if scores is None:
        return ["no test subjects are left: score this pipeline with `biot-bd cv`, or name some with --hold-out"]
    mark = "CONTAMINATED, " if facts["contamination"] else ""
    mark += f"not a result ({facts['not_a_result']}), " if facts["not_a_result"] else ""
    prevalence = scores["prevalence"]
    lines = [f"hold-out ({mark}prevalence {score_text(prevalence)}): {', '.join(tested)}"]
    for name in scores["scoring"]:
        pooled, macro = scores["pooled"][name], scores["macro"][name]
        one, other = (
            f"undefined ({s['reason']})" if s["value"] is None else score_text(s["value"]) for s in (pooled, macro)
        )
        lines.append(f"  {name}: pooled {one}, macro {other} ({count_text(macro['n_subjects'], 'subject')})")
    return lines


def _threshold_origin(threshold: dict[str, Any]) -> str:
    """Say where the threshold of windows comes from."""
    if threshold["reason"]:
        return f"not chosen: {threshold['reason']}"
    return "given" if threshold["rule"] == "fixed" else f"chosen on validation by {threshold['rule']}"


def _event_lines(events: dict[str, Any] | None) -> list[str]:
    """Say at what point the saved model gives events, and on how much it was chosen."""
    from biot_bd.events import chosen_on_text
    from biot_bd.number_texts import rate_text, score_text

    if events is None:
        return []
    point, reason = events["validation"]["point"], f" ({events['reason']})" if events["reason"] else ""
    line = f"events: threshold {score_text(events['threshold'])}, at least {events['min_duration_s']:g} s{reason}"
    if point is not None and point["sensitivity"] is not None:
        line += (
            f"; on validation sensitivity {score_text(point['sensitivity'])}, "
            f"{rate_text(point['fa_per_24h'])} false alarms per 24 h"
        )
    chosen_on = chosen_on_text(events["chosen_on"])
    return [line, f"operating point chosen on: {chosen_on}" if events["chosen_on"] else f"operating point: {chosen_on}"]


def _lines(output: Path, facts: dict[str, Any]) -> list[str]:
    from biot_bd.evaluation.model_selection.contamination import contamination_notes
    from biot_bd.number_texts import count_text, score_text

    subjects = facts["subjects"]
    generated = " on generated data" if facts["data"]["generated"] else ""
    mark = "CONTAMINATED: " if facts["contamination"] else ""
    return [
        f"{mark}{facts['title']}{generated}, label rule {facts['data']['label_rule']}",
        f"trained on {count_text(len(subjects['train']), 'subject')}, validated on {', '.join(subjects['valid']) or 'nobody'}",
        f"epochs: {facts['n_epochs']}, threshold: {score_text(facts['threshold']['value'])} ({_threshold_origin(facts['threshold'])})",
        *_event_lines(facts["events"]),
        *contamination_notes(facts),
        *facts["notes"],
        *_score_lines(facts),
        f"model: {output}",
    ]
