"""The entry for the public board: its check's recording, both kinds of montage, without torch and network, and its facts."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from deploy_files import BIPOLAR, REFERENTIAL, write_edf
from epilepsy2bids.annotations import Annotations

from biot_bd.deploy.demo_model import shipped

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "docker" / "szcore" / "Dockerfile"
# What the board's check looks for in the first line of the table.
HEADER = "onset\tduration\teventType\tconfidence\tchannels\tdateTime\trecordingDuration"
# The names and the order of the recording of that check, whose samples are random.
CHECKED = (
    *("Fp1-Avg", "F3-Avg", "C3-Avg", "P3-Avg", "O1-Avg", "F7-Avg", "T3-Avg", "T5-Avg", "Fz-Avg", "Cz-Avg", "Pz-Avg"),
    *("Fp2-Avg", "F4-Avg", "C4-Avg", "P4-Avg", "O2-Avg", "F8-Avg", "T4-Avg", "T6-Avg"),
)
# As in the image: no torch, no network.
SITE = """
import socket, sys
for name in ("torch", "braindecode", "skorch", "pandas"):
    sys.modules[name] = None
def _refuse(*a, **k):
    raise OSError("no network in the container")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = _refuse
"""


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    folder = tmp_path_factory.mktemp("board")
    for name in ("data", "output", "scratch", "site"):
        (folder / name).mkdir()
    (folder / "site" / "sitecustomize.py").write_text(SITE)
    return folder


def run(places, name):
    """Run what the image runs, and return the process and the table."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHON": sys.executable,
        "PYTHONPATH": f"{places / 'site'}:{ROOT}",
        "TMPDIR": str(places / "scratch"),
        "DATA": str(places / "data"),
        "RESULTS": str(places / "output"),
        "MODEL": str(shipped() / "exports" / "onnx"),
        "OMP_NUM_THREADS": "1",
        "INPUT": name,
        "OUTPUT": f"{name}.tsv",
    }
    command = [str(ROOT / "docker" / "entrypoint")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, cwd=places)
    return done, places / "output" / f"{name}.tsv"


def test_the_recording_of_the_boards_check_gets_its_table(places):
    write_edf(places / "data" / "unipolar.edf", ch_names=CHECKED, seconds=2)
    done, table = run(places, "unipolar.edf")
    assert done.returncode == 0, done.stderr
    assert HEADER in table.read_text().splitlines()[0]
    (row,) = Annotations.loadTsv(table).events
    assert (row["eventType"].value, row["onset"], row["duration"], row["recordingDuration"]) == ("bckg", 0, 2, 2)
    assert "shorter than a window" in done.stderr
    # The model is a demonstration, and the table says so even where there was nothing to look at.
    assert table.read_text().splitlines()[1].endswith("demonstration, never for clinical use")


@pytest.mark.parametrize(("name", "ch_names"), [("bipolar.edf", BIPOLAR), ("referential.edf", REFERENTIAL)])
def test_bipolar_and_referential_recordings_are_looked_at_whole(places, name, ch_names):
    write_edf(places / "data" / name, ch_names=ch_names, seconds=30)
    done, table = run(places, name)
    assert done.returncode == 0, done.stderr
    assert HEADER in table.read_text().splitlines()[0]
    assert {row["recordingDuration"] for row in Annotations.loadTsv(table).events} == {30.0}
    assert "missing channels" not in done.stderr
    assert "no probability" not in done.stderr
    assert "demonstration: model trained on generated data, never for clinical use" in done.stderr


def test_a_recording_without_electrodes_is_one_line_and_no_table(places):
    write_edf(places / "data" / "heart.edf", ch_names=["ECG", "EMG"], seconds=20)
    done, table = run(places, "heart.edf")
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (1, 1)
    assert "heart.edf" in done.stderr
    assert not table.exists()


def test_the_facts_have_the_form_that_the_board_asks_for():
    """Keys, lengths and patterns of ``config/schema.json`` of the board's repository."""
    yaml = pytest.importorskip("yaml")
    facts = yaml.safe_load((RECIPE.parent / "algorithm.yaml").read_text(encoding="utf-8"))
    required = {"title", "short_title", "image", "authors", "license"}
    assert required <= set(facts) <= required | {"abstract", "datasets", "date_released", "repository", "version"}
    texts = {name for name in facts if name not in ("authors", "datasets")}
    assert all(isinstance(facts[name], str) and facts[name].strip() for name in texts)
    assert len(facts["short_title"]) <= 20
    assert re.fullmatch(r".+/.+:.+", facts["image"])
    assert facts["authors"]
    for author in facts["authors"]:
        assert set(author) <= {"given_names", "family_names", "email", "affiliation"}
        assert all(author.values())
    assert facts["datasets"]
    assert len(set(facts["datasets"])) == len(facts["datasets"])
    # What it says of the model must be so.
    assert "demonstration" in facts["title"]
    assert "not for clinical use" in facts["abstract"]


def test_the_recipe_copies_what_is_there_and_ends_as_somebody_without_rights():
    recipe = RECIPE.read_text(encoding="utf-8")
    allowed = [line[1:] for line in (RECIPE.parent / "Dockerfile.dockerignore").read_text().split() if line[0] == "!"]
    (model,) = re.findall(r"^ARG MODEL=(\S+)$", recipe, re.MULTILINE)
    assert (ROOT / model).resolve() == (shipped() / "exports" / "onnx").resolve()
    for line in re.findall(r"^COPY (?!--from)(.+)$", recipe, re.MULTILINE):
        *sources, _ = (word for word in line.split() if not word.startswith("--"))
        for source in (text.replace("${MODEL}", model).removeprefix("./") for text in sources):
            assert (ROOT / source).exists(), line
            assert any(source == name or source.startswith(f"{name}/") for name in allowed), line
    assert re.findall(r"^USER (\d+):(\d+)$", recipe, re.MULTILINE) == [("10001", "10001")]
    assert 'CMD ["entrypoint"]' in recipe
