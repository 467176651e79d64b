"""The container's entry point without a container: INPUT and OUTPUT, read-only data, no home, no network."""

import os
import subprocess
import sys
from pathlib import Path

import mne
import numpy as np
import pytest
from deploy_files import REFERENTIAL, write_edf
from epilepsy2bids.annotations import Annotations
from hypothesis import given, settings
from hypothesis import strategies as st
from timescoring.annotations import Annotation
from timescoring.scoring import EventScoring

from biot_bd.deploy.container import main
from biot_bd.deploy.container import run as container_run

ROOT = Path(__file__).resolve().parents[2]
ENTRYPOINT = ROOT / "docker" / "entrypoint"
# Stands in the way of every connection, as --network none does.
NO_NETWORK = """
import socket
def _refuse(*a, **k):
    raise OSError("no network in the container")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = _refuse
"""


@pytest.fixture
def places(tmp_path):
    for name in ("data", "output", "scratch", "site"):
        (tmp_path / name).mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(NO_NETWORK)
    yield tmp_path
    for path in [tmp_path / "data", *(tmp_path / "data").iterdir()]:
        path.chmod(0o755)


def run(places, model, **variables):
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHON": sys.executable,
        "PYTHONPATH": f"{places / 'site'}:{ROOT}",
        "TMPDIR": str(places / "scratch"),
        "DATA": str(places / "data"),
        "RESULTS": str(places / "output"),
        "MODEL": str(model),
        "OMP_NUM_THREADS": "1",
        **variables,
    }
    return subprocess.run([str(ENTRYPOINT)], env=environment, capture_output=True, text=True, timeout=300, cwd=places)


def test_one_recording_in_one_table_out(places, model):
    path = write_edf(places / "data" / "x.edf", ch_names=REFERENTIAL, seconds=40)
    path.chmod(0o444)
    path.parent.chmod(0o555)
    before = path.read_bytes()
    done = run(places, model, INPUT="x.edf", OUTPUT="deep/x.tsv", THRESHOLD="0.0001")
    assert done.returncode == 0, done.stderr
    (event,) = Annotations.loadTsv(places / "output" / "deep" / "x.tsv").events
    assert (event["onset"], event["duration"], event["recordingDuration"]) == (0, 40, 40)
    assert event["eventType"].value == "sz"
    assert path.read_bytes() == before
    assert [p.name for p in (places / "data").iterdir()] == ["x.edf"]
    assert [p.name for p in (places / "output" / "deep").iterdir()] == ["x.tsv"]


def test_a_missing_channel_is_masked_rather_than_refused(places, model):
    write_edf(places / "data" / "x.edf", ch_names=[n for n in REFERENTIAL if "O1" not in n], seconds=20)
    done = run(
        places, model, INPUT=str(places / "data" / "x.edf"), OUTPUT=str(places / "output" / "x.tsv"), THRESHOLD="1"
    )
    assert done.returncode == 0, done.stderr
    assert "missing channels, left out: P7-O1, P3-O1" in done.stderr
    (event,) = Annotations.loadTsv(places / "output" / "x.tsv").events
    assert event["eventType"].value == "bckg"


@pytest.mark.parametrize("seconds", [2, *(pytest.param(s, marks=pytest.mark.slow) for s in (9, 11))])
def test_short_recordings_get_a_table_that_the_scorer_takes(places, model, seconds):
    write_edf(places / "data" / "x.edf", ch_names=REFERENTIAL, seconds=seconds)
    done = run(places, model, INPUT="x.edf", OUTPUT="x.tsv", THRESHOLD="1")
    assert done.returncode == 0, done.stderr
    told = f"x.edf: lasts {seconds} s ({seconds * 256} samples), shorter than a window of 10 s; nothing could be looked for"
    assert (told in done.stderr) == (seconds < 10)
    table = Annotations.loadTsv(places / "output" / "x.tsv")
    (event,) = table.events
    assert (event["eventType"].value, event["onset"], event["duration"], event["recordingDuration"]) == (
        "bckg",
        0,
        seconds,
        seconds,
    )
    mask = table.getMask(10)
    scored = EventScoring(Annotation(mask, 10), Annotation(mask, 10))
    assert (scored.refTrue, scored.fp) == (0, 0)


@settings(max_examples=6, deadline=None)
@given(samples=st.integers(26, 2559))
def test_any_recording_shorter_than_a_window_gets_its_row(tmp_path_factory, model, samples):
    folder = tmp_path_factory.mktemp("short")
    info = mne.create_info(REFERENTIAL, 256, "eeg")
    x = np.random.default_rng(0).normal(0, 3e-5, (len(REFERENTIAL), samples))
    mne.io.RawArray(x, info, verbose="ERROR").save(folder / "x_raw.fif", verbose="ERROR")
    environment = {"INPUT": str(folder / "x_raw.fif"), "OUTPUT": str(folder / "x.tsv"), "MODEL": str(model)}
    (row,) = Annotations.loadTsv(container_run(environment)).events
    assert (row["eventType"].value, row["recordingDuration"]) == ("bckg", pytest.approx(samples / 256, abs=0.0051))


WRONG = (
    ({"OUTPUT": "x.tsv"}, "INPUT is not set"),
    ({"INPUT": "x.edf"}, "OUTPUT is not set"),
    ({"INPUT": "x.edf", "OUTPUT": "x.tsv"}, "the file is empty"),
    ({"INPUT": "no.edf", "OUTPUT": "x.tsv"}, "no.edf: cannot be opened"),
    ({"INPUT": "x.edf", "OUTPUT": "x.csv"}, "ends in .tsv"),
    ({"INPUT": "x.edf", "OUTPUT": "x.tsv", "STRIDE_S": "five"}, "STRIDE_S='five'"),
    ({"INPUT": "x.edf", "OUTPUT": "x.tsv", "MODEL": "nowhere"}, "no saved pipeline"),
)


@pytest.mark.parametrize(("variables", "message"), WRONG)
def test_what_is_wrong_is_one_line_and_no_table(places, model, monkeypatch, capsys, variables, message):
    (places / "data" / "x.edf").write_bytes(b"")
    for name in ("INPUT", "OUTPUT", "STRIDE_S", "THRESHOLD"):
        monkeypatch.delenv(name, raising=False)
    given = {"DATA": str(places / "data"), "RESULTS": str(places / "output"), "MODEL": str(model), **variables}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert main() == 1
    told = capsys.readouterr().err
    assert message in told
    assert len(told.strip().splitlines()) == 1
    assert list((places / "output").iterdir()) == []


def test_the_process_fails_in_one_line(places, model):
    done = run(places, model, INPUT="no.edf", OUTPUT="x.tsv")
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (1, 1)
    assert "no.edf: cannot be opened" in done.stderr


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.runtime"])
def test_the_recipe_copies_what_is_there_and_is_not_root(name):
    recipe = (ROOT / "docker" / name).read_text()
    for line in recipe.splitlines():
        if line.startswith("COPY") and "${MODEL}" not in line:
            for source in [word for word in line.split()[1:-1] if not word.startswith("--")]:
                assert (ROOT / source).exists(), line
    users = [line.split()[1] for line in recipe.splitlines() if line.startswith("USER")]
    assert users
    assert not users[-1].startswith(("root", "0"))
    assert 'ENTRYPOINT ["entrypoint"]' in recipe
    assert os.access(ENTRYPOINT, os.X_OK)
