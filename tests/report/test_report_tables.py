"""CSV files beside a page, read by another reader, against the JSON of the run."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from handmade_run import HandMade, write_run
from sklearn.metrics import average_precision_score

from biot_bd.report import write_report
from biot_bd.report.tables import write_tables


def rows_of(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / "tables" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_link_of_the_page_leads_to_a_file_and_every_file_is_linked(with_events: HandMade) -> None:
    text = write_report(with_events.folder).read_text(encoding="utf-8")
    links = set(re.findall(r'href="(tables/[^"]+)"', text))
    files = {f"tables/{path.name}" for path in (with_events.folder / "tables").iterdir()}
    assert links == files
    assert {"tables/subjects.csv", "tables/event_scores.csv", "tables/curves.csv"} <= files


def test_scores_have_all_their_digits_and_undefined_ones_a_reason(hand_made: HandMade) -> None:
    write_report(hand_made.folder)
    rows = {(row["subject"], row["metric"]): row for row in rows_of(hand_made.folder, "subjects")}
    for subject, entry in hand_made.metrics["subjects"].items():
        for metric in hand_made.metrics["scoring"]:
            row, cell = rows[subject, metric], entry[metric]
            if cell["value"] is None:
                assert row["value"] == ""
                assert row["reason"] == cell["reason"]
            else:
                assert float(row["value"]) == cell["value"]
                assert row["reason"] == ""
            assert int(row["n_windows"]) == entry["n_windows"]
    averages = {(row["average"], row["metric"]): row for row in rows_of(hand_made.folder, "scores")}
    assert float(averages["macro", "roc_auc"]["value"]) == hand_made.metrics["macro"]["roc_auc"]["value"]
    assert averages["macro", "roc_auc"]["n_subjects"] == "2"
    intervals = json.loads((hand_made.folder / "intervals.json").read_text())["windows"]["macro"]["roc_auc"]
    assert float(averages["macro", "roc_auc"]["low"]) == intervals["low"]


def test_the_curve_in_the_file_has_the_area_of_the_score(hand_made: HandMade) -> None:
    write_report(hand_made.folder)
    rows = [row for row in rows_of(hand_made.folder, "curves") if row["subject"] == "site/01"]
    area = previous = 0.0
    for row in rows:  # recall rises
        area += float(row["precision"]) * (float(row["recall"]) - previous)
        previous = float(row["recall"])
    own = hand_made.table[hand_made.table["subject"] == "site/01"]
    assert area == pytest.approx(average_precision_score(own["y_true"], own["proba"]))
    assert "site/03" not in {row["subject"] for row in rows_of(hand_made.folder, "curves")}


def test_events_are_those_of_the_run(with_events: HandMade) -> None:
    write_report(with_events.folder)
    events = with_events.metrics["events"]
    rows = rows_of(with_events.folder, "events")
    assert len(rows) == len(events["seizures"]) + len(events["detections"])
    missed = [row for row in rows if row["detected"] == "False"]
    assert [row["recording"] for row in missed] == ["rec02"]
    assert missed[0]["latency_s"] == ""
    scores = {(row["average"], row["score"]): row for row in rows_of(with_events.folder, "event_scores")}
    assert float(scores["pooled", "fa_per_24h"]["value"]) == events["pooled"]["events"]["fa_per_24h"]
    assert scores["pooled", "fa_per_24h"]["unit"] == "1/24 h"
    assert all(row["reason"] for row in scores.values() if row["value"] == "")
    points = rows_of(with_events.folder, "operating_points")
    assert [float(row["threshold"]) for row in points] == [row["threshold"] for row in events["operating_points"]]
    by_length = rows_of(with_events.folder, "seizures_by_length")
    assert sum(int(row["n"]) for row in by_length) == len(events["seizures"])


def test_names_with_commas_quotes_and_line_breaks_stay_one_cell(tmp_path: Path) -> None:
    name = 'a,"b"\n</script>/01'
    made = write_run(tmp_path / "run", {name: "rec, 1", "site/02": "rec02", "site/03": "rec03"})
    write_report(made.folder)
    assert name in {row["subject"] for row in rows_of(made.folder, "subjects")}


def test_a_table_that_is_empty_now_leaves_no_old_file(tmp_path: Path) -> None:
    other = tmp_path / "tables" / "mine.csv"
    write_tables(tmp_path, {"a": pd.DataFrame({"x": [1.0, None]})})
    other.write_text("mine")
    links: dict[str, Any] = write_tables(tmp_path, {"a": pd.DataFrame()})
    assert links == {}
    assert [path.name for path in (tmp_path / "tables").iterdir()] == ["mine.csv"]
