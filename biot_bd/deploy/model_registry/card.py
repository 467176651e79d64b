"""The card of a version: what a reader must know before using the model, in Hugging Face's form.

Every value comes from ``artifact.json``; what is not recorded is called so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from biot_bd.deploy.version_folder import VersionFacts
from biot_bd.number_texts import cell_text, count_text, score_text

UNKNOWN = "not recorded"
RESEARCH_USE = (
    "For research. Not a medical device: nobody has shown that it is safe or useful for a patient, and no decision about "
    "one may rest on it."
)
HUB_LICENCES = (
    "apache-2.0",
    "bsd-3-clause",
    "cc-by-4.0",
    "cc-by-nc-4.0",
    "cc-by-sa-4.0",
    "cc0-1.0",
    "gpl-3.0",
    "mit",
    "odc-by",
)
"""Some of those that the Hub knows by name; any other is "other", with its name beside."""
_MOST_NAMES = 40


def card_text(facts: VersionFacts, demonstration: str | None) -> str:
    """Return the model card of a version.

    Parameters
    ----------
    facts : dict
        What ``artifact.json`` holds.
    demonstration : str or None
        What every output of the model says, where it is a demonstration.

    Returns
    -------
    str
        Markdown with the header that the Hub reads.
    """
    parts = [
        _header(facts),
        f"# {facts['name']} {facts['version']}\n",
        f"**{_text(demonstration)}**\n" if demonstration else "",
        f"{RESEARCH_USE}\n",
        *_section("What it is", _what(facts)),
        *_section("How to use it", [], _use(facts)),
        *_section("Input", _input(facts)),
        *_section("Events", _events(facts)),
        *_section("Training", _training(facts)),
        *_section("Results", [], _results(facts)),
        *_section("Limits", _limits(facts)),
        *_section("Licence", [("licence of the weights", facts["licence"])]),
        *_section("How to check it", [], _check(facts)),
    ]
    return "\n".join(part for part in parts if part)


def _header(facts: VersionFacts) -> str:
    """Return the YAML that the Hub reads; JSON's texts are YAML's, too."""
    licence = facts["licence"]
    known = licence is not None and licence.lower() in HUB_LICENCES
    tags = ["eeg", "seizure-detection", "biot_bd", *(["demonstration"] if facts["demonstration"] else [])]
    lines = [
        "---",
        f"license: {'unknown' if licence is None else licence.lower() if known else 'other'}",
        *([f"license_name: {json.dumps(licence)}"] if licence is not None and not known else []),
        *(["library_name: braindecode"] if facts["model"]["hub_class"] else []),
        f"tags: {json.dumps(tags)}",
        "---\n",
    ]
    return "\n".join(lines)


def _section(title: str, rows: list[tuple[str, Any]], text: str = "") -> list[str]:
    table = "\n".join(["| | |", "|---|---|", *(f"| {key} | {_cell(value)} |" for key, value in rows)]) if rows else ""
    return [f"## {title}\n", f"{table}\n" if table else "", f"{text}\n" if text else ""]


def _cell(value: Any) -> str:
    if value is None or value == "":
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return _text(str(value))


def _text(value: str) -> str:
    """Return a text of somebody else's as one line that is no markup."""
    line = " ".join(value.split())
    for sign in "\\`*_[]<>|#":
        line = line.replace(sign, f"\\{sign}" if sign not in "<>" else {"<": "&lt;", ">": "&gt;"}[sign])
    return line


def _what(facts: VersionFacts) -> list[tuple[str, Any]]:
    model, training = facts["model"], facts["training"]
    return [
        ("title", training["title"]),
        ("model", model["name"]),
        ("made", facts["created"]),
        ("SHA-256 of the weights", model["weights_sha256"]),
        (
            "plain braindecode loads it",
            f"as {model['hub_class']}" if model["hub_class"] else f"no: {model['hub_reason']}",
        ),
        ("engines beside it", ", ".join(f"{one['format']} {one['precision']}" for one in facts["exports"]) or "none"),
        ("biot_bd that registered it", f"{facts['biot_bd']}, commit {facts['git_revision'] or UNKNOWN}"),
    ]


def _use(facts: VersionFacts) -> str:
    label = f"{facts['name']}/{facts['version']}"
    lines = ["```bash", f"biot-bd detect {label} RECORDINGS -o RESULTS", "```"]
    if facts["model"]["hub_class"]:
        name = facts["model"]["hub_class"].rpartition(":")[2]
        lines += [
            "",
            "The network alone, without montage, scaling, threshold and events:",
            "",
            "```python",
            f"from braindecode.models import {name}",
            "",
            f'model = {name}.from_pretrained("FOLDER")  # this folder',
            "```",
        ]
    return "\n".join(lines)


def _input(facts: VersionFacts) -> list[tuple[str, Any]]:
    known = facts["input"]
    return [
        ("channels, in this order", ", ".join(known["ch_names"])),
        ("montage", known["montage"]),
        ("rate", f"{known['sfreq']:g} Hz"),
        ("window", f"{known['window_s']:g} s, {known['n_times']} samples"),
        ("unit of the input", "microvolts"),
        ("steps before the network", ", ".join(step["name"] for step in known["steps"]) or "none"),
        ("scaling", known["scale"]),
        ("channels may be absent", known["absent_channels"]),
        ("classes", ", ".join(map(str, facts["classes"]))),
        ("positive class", facts["positive_label"]),
    ]


def _events(facts: VersionFacts) -> list[tuple[str, Any]]:
    events = facts["events"]
    rows: list[tuple[str, Any]] = (
        [] if facts["threshold"] is None else [("threshold of windows", score_text(facts["threshold"]))]
    )
    if events is None:
        return [*rows, ("event detector", "none of its own: default values are used")]
    chosen = events["chosen_on"]
    return [
        *rows,
        *((key.replace("_", " "), value) for key, value in events["setting"].items()),
        (
            "chosen on",
            ", ".join(f"{key} {value}" for key, value in chosen.items()) if chosen else "nothing: default values",
        ),
    ]


def _training(facts: VersionFacts) -> list[tuple[str, Any]]:
    training = facts["training"]
    data, split, made = training["data"] or {}, training["split"] or {}, training["environment"] or {}
    packages = {name: version for name, version in (made.get("packages") or {}).items() if version}
    return [
        *(("seen", seen) for seen in _seen(training["trained_on"])),
        ("split", split.get("what")),
        ("subjects that trained / validated / were left out", _sizes(split)),
        ("windows of all these subjects", data.get("n_windows")),
        ("share of seizure windows", _number(data.get("prevalence"))),
        ("hours", _number(data.get("hours"))),
        ("label rule", data.get("label_rule")),
        ("generated data", data.get("generated")),
        ("protocol", training["protocol"]),
        ("seed", training["seed"]),
        ("epochs", training["n_epochs"]),
        ("commit of biot_bd", made.get("git_revision")),
        ("versions", ", ".join(f"{name} {version}" for name, version in packages.items())),
        *(("note", note) for note in training["notes"]),
    ]


def _number(value: Any) -> str | None:
    return f"{value:.3g}" if isinstance(value, (int, float)) else None


def _sizes(split: Mapping[str, Any]) -> str | None:
    found = [split.get(f"n_{part}_subjects") for part in ("train", "valid", "test")]
    return None if found[0] is None else " / ".join(map(str, found))


def _seen(trained_on: Mapping[str, Any] | None) -> Iterator[str]:
    """Say what the model has seen, of which it must not be tested."""
    if trained_on is None:
        yield f"{UNKNOWN}: nobody can tell whom it was trained on, so evaluations refuse it"
        return
    for one in trained_on["trained_on"]:
        subjects = one["subjects"]
        if subjects is None:
            yield f"{one['dataset']} ({one['how']}): all subjects"
            continue
        shown = ", ".join(subjects[:_MOST_NAMES])
        more = f" and {len(subjects) - _MOST_NAMES} more" if len(subjects) > _MOST_NAMES else ""
        yield f"{one['dataset']} ({one['how']}): {count_text(len(subjects), 'subject')}: {shown}{more}"
    if not trained_on["known"]:
        yield "the record is incomplete, so evaluations refuse it"


def _results(facts: VersionFacts) -> str:
    results = facts["results"] or {}
    own, validated = results.get("own"), results.get("cross_validation")
    lines = []
    if own:
        who = f": {', '.join(map(_text, own['subjects']))}" if own["subjects"] else ""
        lines += [
            f"**This very model**, on the {count_text(own['n_subjects'], 'subject')} of its {own['what']}, whom it has not seen{who}.",
            *_marks(own),
            "No interval was computed for these: so few subjects say little of others.",
            "",
            *_table(own["rows"], None),
            "",
        ]
    else:
        lines += [
            "**This very model**: not recorded. A model that was trained on all subjects has no score of its own.",
            "",
        ]
    if validated:
        how = validated["protocol"] if validated["protocol"] not in (None, "custom") else validated["cv"]
        lines += [
            f"**Its pipeline in cross-validation** ({_text(str(how))}): {count_text(validated['n_folds'], 'fold')}, "
            f"{count_text(validated['n_subjects'], 'subject')}, each tested by a model that had not seen them; other models than "
            "this one.",
            *([] if validated["same_data"] else ["Not on the data, or not known to be on the data, that this model was trained on."]),
            *_marks(validated),
            *([f"Intervals: {_text(validated['interval_method'])}, resampled: {_text(str(validated['resampled']))}."] if validated["interval_method"] else ["No intervals were computed (`biot-bd report RUN` computes them)."]),
            "",
            *_table(validated["rows"], validated["level"]),
        ]  # fmt: skip
    else:
        lines += [
            "**Its pipeline in cross-validation**: not recorded (`biot-bd models save --run RUN` takes it along)."
        ]
    return "\n".join(lines)


def _marks(found: Mapping[str, Any]) -> list[str]:
    marks = []
    if found["contamination"]:
        marks.append(f"CONTAMINATED: {_text(str(found['contamination']))}.")
    if found["not_a_result"]:
        marks.append(f"Not a result: {_text(str(found['not_a_result']))}.")
    if found["prevalence"] is not None:
        marks.append(
            f"Share of seizure windows: {score_text(found['prevalence'])}, which average precision is to be compared with."
        )
    return marks


def _table(rows: list[dict[str, Any]], level: float | None) -> list[str]:
    name = "value" if level is None else f"value [{level:.0%} interval]"
    return [
        f"| of | score | averaged | {name} | subjects |",
        "|---|---|---|---|---|",
        *(
            f"| {row['what']} | {_text(row['score'].replace('_', ' '))} | {'over subjects' if row['level'] == 'macro' else 'all together'} | "
            f"{_value(row)} | {'' if row['n_subjects'] is None else row['n_subjects']} |"
            for row in rows
        ),
    ]


def _value(row: Mapping[str, Any]) -> str:
    if row["value"] is None:
        return f"undefined ({_text(str(row['reason'] or 'no reason recorded'))})"
    return cell_text(row, row["score"])


def _limits(facts: VersionFacts) -> list[tuple[str, Any]]:
    training, known = facts["training"], facts["input"]
    rows: list[tuple[str, Any]] = [
        ("use", "research; no diagnosis, no alarm for a patient"),
        ("recordings", f"of channels that make {known['montage'] or 'its montage'}, sampled fast enough for {known['sfreq']:g} Hz; others are refused"),
        ("whom it must not be tested on", "the subjects under Training; biot-bd detect says so where a recording is one of theirs"),
        ("contamination", training["contamination"] or "none recorded"),
    ]  # fmt: skip
    if facts["demonstration"]:
        rows.insert(0, ("demonstration", "trained on generated data: what it finds in a patient means nothing"))
    if facts["anonymous"]:
        rows.append(("names and dates", "left out: subjects are numbers"))
    return rows


def _check(facts: VersionFacts) -> str:
    return (
        f"`biot-bd models verify {facts['name']}/{facts['version']}` compares the SHA-256 of every file with `artifact.json` and "
        f"computes the {facts['probe']['n_windows']} windows of `{facts['probe']['file']}` again. It prints the digest of the version: "
        "only a digest that you got from whoever made the model, on another way than the files, tells that nobody replaced all of it."
    )
