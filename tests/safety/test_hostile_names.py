"""Names that others chose, shown on pages and in tables: text there, and nothing else."""

import csv
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from deploy_files import BIPOLAR, write_edf
from live_signals import Loudness

from biot_bd import Detector, EventDetector
from biot_bd.cli import main
from biot_bd.deploy.patient_page import PagePart, write_page
from biot_bd.report import write_report
from biot_bd.runs import read_json, write_json, write_text

RUN = Path(__file__).parents[1] / "data" / "run-v1" / "windows"
SUBJECT = "clinic/01"
HOSTILE = "<script>window.bad=1</script><img src=x onerror=window.bad=1>\"'&"


class Tags(HTMLParser):
    """Elements whose script or attributes hold what the name would run."""

    def __init__(self):
        super().__init__()
        self.found, self.within, self.texts = [], None, []

    def handle_starttag(self, tag, attributes):
        self.within = tag
        if tag == "img" and dict(attributes).get("src") == "x":
            self.found.append("img")
        self.found += [name for name, _ in attributes if name.startswith("on")]

    def handle_data(self, data):
        if self.within == "script" and re.match(r"\s*window\.bad", data):
            self.found.append("script")
        self.texts.append(data)


def hostile_in(page):
    tags = Tags()
    tags.feed(page)
    return tags


def test_the_parser_finds_what_is_looked_for():
    assert set(hostile_in(f"<p>{HOSTILE}</p>").found) == {"script", "img", "onerror"}


def renamed(folder, old, new):
    """Give a subject of a run another name, wherever it stands; this run is of the first version."""
    for path in folder.rglob("*.json"):
        write_text(path, path.read_text().replace(json.dumps(old)[1:-1], json.dumps(new)[1:-1]))
    for path in folder.rglob("*.parquet"):
        table = pd.read_parquet(path)
        table["person"] = table["person"].str.replace(old, new, regex=False)
        table.to_parquet(path, index=False)


@pytest.mark.filterwarnings("ignore")
def test_a_subject_with_a_script_for_a_name_is_text_on_the_report(tmp_path):
    folder = shutil.copytree(RUN, tmp_path / "run")
    renamed(folder, SUBJECT, f"{SUBJECT}{HOSTILE}")
    page = hostile_in(write_report(folder).read_text())
    assert page.found == []
    assert "window.bad" in "".join(page.texts)


@pytest.fixture(scope="module")
def detected(tmp_path_factory):
    """A detection of a file whose name, patient, channel and annotation hold a script."""
    root = tmp_path_factory.mktemp("hostile")
    plain = write_edf(root / "plain.edf", [*BIPOLAR, "<b>X</b>"], seconds=60, loud=(10, 30))
    data = bytearray(plain.read_bytes())
    data[8:88] = HOSTILE.encode()[:80].ljust(80)
    path = root / "in" / "<img src=x onerror=alert(1)>.edf"
    path.parent.mkdir()
    path.write_bytes(data)
    events = EventDetector(window_s=10, smoothing_s=0, min_duration_s=2, merge_gap_s=2, threshold=0.5, target=None)
    found = Detector(Loudness(), events, stride_s=5).detect(path)
    assert found.events
    found.notes.append(HOSTILE)
    return write_page(root / "page.html", HOSTILE, [PagePart(found)], [HOSTILE], HOSTILE)


def test_names_of_a_recording_are_text_on_its_page(detected):
    page = hostile_in(detected.read_text(encoding="utf-8"))
    assert page.found == []
    assert "onerror=alert(1)" in "".join(page.texts)


# --- tables that a spreadsheet opens --------------------------------------------------------------

FORMULA = "=HYPERLINK(0)"


@pytest.mark.filterwarnings("ignore")
def test_a_subject_named_like_a_formula_stays_what_it_is_called(tmp_path, capsys):
    """Decided: tables hold names as they are, for programs match by them; the page says so."""
    folder = shutil.copytree(RUN, tmp_path / "run")
    renamed(folder, SUBJECT, FORMULA)
    assert main(["rescore", str(folder)]) == 0, capsys.readouterr().err
    rows = [row for path in folder.glob("*.csv") for row in csv.reader(path.open(newline=""))]
    cells = [cell for row in rows for cell in row]
    assert FORMULA in cells
    assert not [cell for cell in cells if cell.startswith(("'=", "\t="))]


def test_files_are_written_as_any_new_file_is(tmp_path):
    """Colleagues read them: no library's private mode, nothing that anybody may write."""
    plain = tmp_path / "plain"
    plain.write_text("")
    made = write_json(tmp_path / "facts.json", {"a": 1})
    assert made.stat().st_mode == plain.stat().st_mode
    assert read_json(made) == {"a": 1}


def test_a_link_in_the_place_of_a_file_is_replaced_not_followed(tmp_path):
    other = tmp_path / "other.json"
    other.write_text("mine")
    (tmp_path / "facts.json").symlink_to(other)
    write_json(tmp_path / "facts.json", {"a": 1})
    assert other.read_text() == "mine"
    assert not (tmp_path / "facts.json").is_symlink()
