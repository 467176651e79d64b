"""What the report says of events, intervals and calibration: every number against what is stored, and the page's access."""

from __future__ import annotations

import json
import re
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handmade_run import EVENTS, HandMade, add_events, write_run
from sklearn.metrics import brier_score_loss
from test_writer import Page

from biot_bd.evaluation import PROTOCOLS
from biot_bd.number_texts import score_text
from biot_bd.report import write_report
from biot_bd.report.events_page import latency_picture, operating_picture, scorer_text
from biot_bd.report.examples import choose_items
from biot_bd.report.run_folder import read_run
from biot_bd.report.run_page import page_of


def strict(path: Path) -> Any:
    """Read JSON that may not hold NaN or Infinity."""

    def refuse(text: str) -> None:
        raise AssertionError(f"{path.name} holds {text}")

    return json.loads(path.read_text(), parse_constant=refuse)


def cells_of(text: str) -> dict[tuple[str, str], tuple[str, str]]:
    """Return ``(of, score) -> (data-value, text)`` of the event cells."""
    found = re.findall(r'<td[^>]*data-event="([^"]+)" data-of="([^"]+)" data-value="([^"]+)">(.*?)</td>', text)
    return {(of, name): (value, re.sub("<[^>]+>", " ", inside)) for name, of, value, inside in found}


def rows_of(text: str) -> list[list[str]]:
    """Return the cells of every row of every table, as words."""
    rows = re.findall(r"<tr>(.*?)</tr>", text, re.DOTALL)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
    return [[re.sub("<[^>]+>", " ", cell).strip() for cell in row] for row in cells]


def test_every_event_score_stands_in_the_page_with_its_interval(with_events: HandMade) -> None:
    text = write_report(with_events.folder).read_text(encoding="utf-8")
    cells, metrics = cells_of(text), with_events.metrics["events"]
    sure = strict(with_events.folder / "intervals.json")["events"]
    wanted: dict[tuple[str, str], float | None] = {}
    for score in ("sensitivity", "precision", "f1", "fa_per_24h", "false_alarm_h_per_24h", "median_latency_s"):
        wanted["macro", score] = metrics["macro"]["events"][score]["value"]
        wanted["pooled", score] = metrics["pooled"]["events"][score]
        for baseline in ("always-on", "always-off"):
            wanted[baseline, score] = metrics["baselines"][baseline]["macro"]["events"][score]["value"]
    for subject, entry in metrics["subjects"].items():
        for score in ("sensitivity", "precision", "f1", "fa_per_24h", "median_latency_s"):
            wanted[subject, score] = entry["events"][score]
    assert set(cells) == set(wanted)
    for key, value in wanted.items():
        assert cells[key][0] == ("null" if value is None else repr(value)), key
    interval = sure["macro"]["sensitivity"]
    assert interval["value"] == wanted["macro", "sensitivity"]
    assert f"{interval['low']:.3f} to {interval['high']:.3f}" in cells["macro", "sensitivity"][1]
    assert "no seizure in the reference" in cells["site/03", "sensitivity"][1]
    assert not re.search(r"\bnan\b", Page(text).text, re.IGNORECASE)


def test_window_scores_show_the_intervals_that_are_stored(hand_made: HandMade) -> None:
    page = Page(write_report(hand_made.folder).read_text(encoding="utf-8"))
    sure = strict(hand_made.folder / "intervals.json")
    strict(hand_made.folder / "metrics.json")
    for average in ("macro", "pooled"):
        for metric, interval in sure["windows"][average].items():
            assert interval["value"] == hand_made.metrics[average][metric]["value"]
            assert f"{interval['low']:.3f} to {interval['high']:.3f}" in page.cells[average, metric]["text"]
    assert "999 resamples of subjects, then recordings within subjects, seed 0" in page.text
    assert "With one recording only there is no interval of a subject's own: site/01, site/02, site/03." in page.text
    assert "to" not in page.cells["site/01", "roc_auc"]["text"]


def test_scorer_version_and_parameters_stand_beside(with_events: HandMade) -> None:
    text = Page(write_report(with_events.folder).read_text(encoding="utf-8")).text
    said = scorer_text(with_events.metrics["events"]["scorer"])
    assert text.count(said) == 2  # at the table and in the methods
    assert f"timescoring {version('timescoring')}" in said
    for part in ("30 s before", "60 s after", "split at 300 s", "closer than 90 s are merged", "10 Hz"):
        assert part in said
    assert "a_new_parameter 7" in scorer_text({"name": "x", "version": "1", "parameters": {"a_new_parameter": 7}})


def test_methods_paragraph_names_what_a_reader_needs(with_events: HandMade) -> None:
    with_events.run["environment"]["packages"] |= {"torch": "2.13.0", "scikit-learn": "1.9.1"}
    with_events.run["protocol"] = PROTOCOLS["ours"].as_dict()
    with_events.rewrite()
    text = write_report(with_events.folder).read_text(encoding="utf-8")
    paragraph = re.sub(r"\s+", " ", re.search(r'<p class="methods">(.*?)</p>', text, re.DOTALL).group(1))  # type: ignore[union-attr]
    for part in (
        "Windows of 10 s every 5 s",
        "3 subjects",
        "by the rule overlap",
        "Protocol ours: split subject-loo in 3 folds of whole subjects, seed 5",
        "(rule balanced-accuracy)",
        f"timescoring {version('timescoring')}",
        "95%, percentile bootstrap of 999 resamples of subjects, then recordings within subjects, seed 0",
        "10 bins of equal width",
        "biot_bd 0.1.0, torch 2.13.0, scikit-learn 1.9.1, Python 3.11",
    ):
        assert part in paragraph, part


def test_a_run_without_events_says_so(hand_made: HandMade) -> None:
    page = Page(write_report(hand_made.folder).read_text(encoding="utf-8"))
    assert "No event scores: this run has none" in page.text
    assert "No gallery: this run has no event scores" in page.text
    assert "Events were not scored." in page.text
    assert "timescoring" not in page.text


def test_the_gallery_shows_a_hit_a_miss_and_a_false_alarm(with_events: HandMade, store: Any) -> None:
    page = Page(write_report(with_events.folder, windows=store).read_text(encoding="utf-8"))
    for title in ("Detected seizures (1 of 1)", "Missed seizures (1 of 1)", "False alarms (1 of 1)"):
        assert title in page.text
    assert "Seizure of 28 s, alarm 6.0 s after its onset." in page.text
    assert "alarms: 48 to 75 s; annotated seizures in this span: 42 to 70 s" in page.text
    assert "alarms: none; annotated seizures in this span: 42 to 70 s" in page.text
    assert "alarms: 90 to 104 s; annotated seizures in this span: none" in page.text
    pictures = [a for tag, a in page.tags if tag == "svg" and "gallery-" in str(a.get("aria-labelledby"))]
    assert len(pictures) == 3


def test_the_gallery_without_the_store_says_so_and_keeps_its_words(with_events: HandMade) -> None:
    page = Page(write_report(with_events.folder).read_text(encoding="utf-8"))
    assert "The gallery is without EEG: the prepared windows are no longer at" in page.text
    assert "Subject site/02. Seizure of 28 s without an alarm." in page.text
    assert not [a for tag, a in page.tags if tag == "svg" and "gallery-" in str(a.get("aria-labelledby"))]


def test_subjects_take_turns_in_the_gallery() -> None:
    def seizure(subject: str, onset: float, length: float) -> dict[str, Any]:
        place = {"subject": subject, "recording": f"{subject}-1", "onset_s": onset, "offset_s": onset + length}
        return {**place, "detected": False, "latency_s": None}

    def alarm(subject: str, onset: float, confidence: float) -> dict[str, Any]:
        place = {"subject": subject, "recording": f"{subject}-1", "onset_s": onset, "offset_s": onset + 10}
        return {**place, "confidence": confidence}

    events = {
        "scorer": {"parameters": {"tolerance_start_s": 30.0, "tolerance_end_s": 60.0}},
        "seizures": [seizure("a", 100, 20), seizure("a", 400, 60), seizure("a", 900, 30), seizure("b", 50, 10)],
        # Of a's alarms the first lies within 60 s after a seizure, the second just outside.
        "detections": [alarm("a", 179.9, 0.9), alarm("a", 180.0, 0.6), alarm("b", 500, 0.7), alarm("b", 700, 0.8)],
    }
    chosen = choose_items(events, each=3)
    assert [(i.subject, i.onset_s) for i in chosen["miss"][0]] == [("a", 400), ("b", 50), ("a", 900)]
    assert chosen["miss"][1] == 4
    assert [(i.subject, i.onset_s) for i in chosen["false alarm"][0]] == [("a", 180.0), ("b", 700), ("b", 500)]
    assert chosen["hit"] == ([], 0)


def test_results_by_length_and_operating_points(with_events: HandMade) -> None:
    text = write_report(with_events.folder).read_text(encoding="utf-8")
    assert "chosen on its validation subjects for the best event F1" in text
    rows = rows_of(text)
    assert ["10 to 30 s", "2", "1", "0.500", "6.0"] in rows
    point = with_events.metrics["events"]["operating_points"][0]
    recordings = {r: one for r, one in EVENTS.items() if one[0] in point["validation"]["subjects"]}
    n, n_seizures = len(point["validation"]["subjects"]), sum(len(truth) for _, truth, _ in recordings.values())
    on = f"{n} subjects, {n_seizures} seizures, {len(recordings) * 125 / 3600:.2f} h"
    assert ["0", f"{point['threshold']:.3f}", "0 s", "1", "10 s", "30 s", "1.000", "0", on, ""] in rows


def test_what_was_not_chosen_is_not_said_to_be(with_events: HandMade) -> None:
    for fold in range(3):
        path = with_events.folder / "folds" / f"{fold:02d}" / "fold.json"
        facts = json.loads(path.read_text())
        facts["threshold"] = {"value": 0.4, "rule": "fixed", "reason": None}
        path.write_text(json.dumps(facts))
    for point in with_events.metrics["events"]["operating_points"]:
        point |= {"target": None, "chosen_on": None}
    with_events.rewrite()
    text = write_report(with_events.folder).read_text(encoding="utf-8")
    for said in ("threshold from validation", "chosen on its validation", "chosen on validation", "subjects chose"):
        assert said not in text.replace("not from validation", "")
    assert page_of(read_run(with_events.folder))["threshold_origin"] == "threshold not from validation"
    assert "its parameters were fixed beforehand, or kept" in text
    assert [row[-2] for row in rows_of(text) if len(row) == 10 and row[2] == "0 s"] == [
        "not chosen on any recording"
    ] * 3


def test_the_operating_point_is_drawn_at_its_place() -> None:
    point = {"sensitivity": 0.5, "fa_per_24h": 10.0}
    curve = [{"sensitivity": 0.2, "fa_per_24h": 0.0}, {"sensitivity": 0.9, "fa_per_24h": 1000.0}]
    picture = operating_picture({0: curve}, [{"fold": 0, "validation": {"point": point}}], curve, point)
    text = str(picture)
    # A scale of powers of ten from 0.1 to 1000 over 372 units from 52 on: 10 lies in its middle.
    ring = re.search(r'<circle cx="([\d.]+)" cy="([\d.]+)" r="4.5"', text)
    assert ring is not None
    assert float(ring[1]) == pytest.approx(52 + 372 / 2, abs=0.06)
    assert float(ring[2]) == pytest.approx(12 + 318 * 0.52 / 1.04, abs=0.06)
    assert "Fold 0, parameters kept: sensitivity 0.500 at 10 false alarms per 24 h." in text
    assert "≤ 0.1" in text
    empty = operating_picture({0: []}, [{"fold": 0, "validation": {}}], [], {"sensitivity": None, "fa_per_24h": 0.0})
    assert 'class="ring"' not in str(empty)


def test_latencies_are_drawn_one_a_seizure() -> None:
    rows = [
        {"subject": "a", "recording": "a1", "onset_s": 10.0, "detected": True, "latency_s": -5.0},
        {"subject": "a", "recording": "a1", "onset_s": 90.0, "detected": True, "latency_s": 12.0},
        {"subject": "b", "recording": "b1", "onset_s": 30.0, "detected": False, "latency_s": None},
    ]
    text = str(latency_picture(rows))
    assert text.count('class="dot latency"') == 2
    assert "2 of 3 annotated seizures were detected; median latency 3.5 s, from -5.0 to 12.0 s" in text
    assert "missed: b1, 30 s" in text
    assert "0 of 1 annotated seizures" in str(latency_picture(rows[2:]))


def test_calibration_is_that_of_the_test_windows(hand_made: HandMade) -> None:
    text = write_report(hand_made.folder).read_text(encoding="utf-8")
    page = Page(text)
    brier = brier_score_loss(hand_made.table["y_true"], hand_made.table["proba"])
    (row,) = [row for row in rows_of(text) if row and row[0] == "As the models give them"]
    interval = strict(hand_made.folder / "intervals.json")["calibration"]["brier_interval"]
    assert row[1].split() == [score_text(brier), score_text(interval["low"]), "to", score_text(interval["high"])]
    assert row[4] == str(len(hand_made.table))
    prevalence = hand_made.metrics["prevalence"]
    assert f"giving every window the prevalence would score {score_text(prevalence * (1 - prevalence))}" in page.text
    assert "fold 0: not recalibrated, validation subjects have 0 background and 0 seizure windows" in page.text


def test_recalibration_is_shown_where_there_are_validation_windows(hand_made: HandMade) -> None:
    valid = hand_made.table.assign(part="valid", fold=(hand_made.table["fold"] + 1) % 3)
    valid.loc[valid["fold"] == 0, "y_true"] = np.arange(24) % 2  # the third subject has no seizures otherwise
    hand_made.table = type(valid)(np.concatenate([hand_made.table, valid]), columns=valid.columns).astype(
        dict(hand_made.table.dtypes)
    )
    hand_made.rewrite()
    text = write_report(hand_made.folder).read_text(encoding="utf-8")
    sure = strict(hand_made.folder / "intervals.json")["calibration"]["recalibrated"]
    assert set(sure["sigmoid"]["folds"]) == {"0", "1", "2"}
    (row,) = [row for row in rows_of(text) if row and row[0].endswith("sigmoid (Platt)")]
    assert row[1] == score_text(sure["sigmoid"]["after"]["brier"])
    assert "isotonic: fold(s) 0, 1, 2: fewer than 1000 validation windows" in text


def test_the_page_can_be_walked_by_keyboard_and_read_aloud(with_events: HandMade, store: Any) -> None:
    text = write_report(with_events.folder, windows=store).read_text(encoding="utf-8")
    page = Page(text)
    ids = [str(attributes["id"]) for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert page.tags[[tag for tag, _ in page.tags].index("body") + 1][1]["href"] == "#content"  # skip link first
    galleries = [attributes for tag, attributes in page.tags if tag == "ul" and attributes.get("class") == "gallery"]
    assert len(galleries) == 3
    for attributes in galleries:
        assert attributes["tabindex"] == "0"
        assert attributes["aria-labelledby"] in ids
    scrolled = [attributes for _, attributes in page.tags if attributes.get("role") == "region"]
    assert all(attributes["tabindex"] == "0" and attributes["aria-label"] for attributes in scrolled)
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))
    for attributes in (a for tag, a in page.tags if tag == "svg" and "aria-hidden" not in a):
        assert set(str(attributes["aria-labelledby"]).split()) <= set(ids)
    assert not [attributes for tag, attributes in page.tags if tag == "script" and "src" in attributes]
    assert len(text) < 3_000_000


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    run = add_events(write_run(tmp_path / "run", {"site/01": "rec01", "site/02": "rec02", "site/03": "rec03"}))
    events = run.metrics["events"]
    events["detections"][0]["subject"] = events["seizures"][0]["subject"] = "<script>alert(1)</script>"
    events["seizures"][1]["recording"] = '"><img src=x>'
    run.rewrite()
    text = write_report(run.folder).read_text(encoding="utf-8")
    assert "<script" not in text
    assert "<img" not in text
