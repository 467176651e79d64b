"""``biot-bd datasets``, called in this process."""

import hashlib
import json
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pandas as pd
import pytest
from edf_files import write_edf

from biot_bd.cli import main


@pytest.fixture
def folder(tmp_path):
    """Two CSV recordings of the tutorial plugin; one has a seizure, a third is missing."""
    for name in ("a", "b"):
        pd.DataFrame({"Fp1-F7": [1.0, 30.0, -20.0] * 1200, "F7-T7": [5.0, -3.0] * 1800}).to_csv(
            tmp_path / f"{name}.csv", index=False
        )
    (tmp_path / "recordings.csv").write_text(
        "recording,subject,session,run,sfreq\na,1,1,1,100\nb,2,1,1,100\nc,2,1,2,100\n"
    )
    (tmp_path / "events.csv").write_text("recording,onset_s,duration_s\na,3,12.5\n")
    return tmp_path


def test_list_names_data_sets_and_their_plugins(capsys):
    assert main(["datasets", "list", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert {"chb-mit", "chb-mit-bids", "siena", "edf-folder", "demo", "csv-folder"} <= set(rows)
    assert rows["csv-folder"]["plugin"] == "tutorial"
    assert rows["demo"] == {"name": "demo", "plugin": "biot_bd", "loader": "biot_bd.datasets.demo:load_demo"}
    assert main(["datasets", "list"]) == 0
    assert "chb-mit-bids" in capsys.readouterr().out


def test_describe_counts_subjects_and_names_what_was_left_out(folder, capsys):
    assert main(["datasets", "describe", "csv-folder", str(folder), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["subjects"] == [
        {"subject": "csv-folder/1", "recordings": 1, "hours": 0.01, "seizures": 1, "seizure_s": 12.5},
        {"subject": "csv-folder/2", "recordings": 1, "hours": 0.01, "seizures": 0, "seizure_s": 0.0},
    ]
    assert facts["outcomes"] == {"loaded": 2, "missing-file": 1}
    assert [row["recording"] for row in facts["left_out"]] == ["c"]
    assert facts["generated"] is False


def test_describe_prints_tables(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["datasets", "describe", "csv-folder", str(folder), "--option", "namespace=ward"]) == 0
    text = capsys.readouterr().out
    assert "ward/1" in text
    assert "Recordings: 2 loaded, 1 missing-file" in text
    assert "GENERATED" not in text


def test_describe_sums_up_also_where_there_are_many_subjects(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    pd.DataFrame({"Fp1-F7": [1.0, 30.0, -20.0] * 1200}).to_csv(tmp_path / "0.csv", index=False)
    for number in range(1, 35):
        (tmp_path / f"{number}.csv").hardlink_to(tmp_path / "0.csv")
    rows = [f"{number},{number:02d},1,1,100\n" for number in range(67)]  # 32 are not on the disk
    (tmp_path / "recordings.csv").write_text("recording,subject,session,run,sfreq\n" + "".join(rows))
    (tmp_path / "events.csv").write_text("recording,onset_s,duration_s\n3,3,12\n3,20,4\n34,1,2\n")
    total = {"recordings": 35, "hours": pytest.approx(0.35), "seizures": 3, "seizure_s": 18.0}
    assert main(["datasets", "describe", "csv-folder", str(tmp_path), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["total"] == {"subjects": 35, "subjects_with_seizures": 2, **total}
    assert len(facts["subjects"]) == 35
    assert main(["datasets", "describe", "csv-folder", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "csv-folder: 0.4 h, 3 seizures, 35 subjects (2 with seizures)" in text
    assert "5 others (--all)" in text
    assert "all 35" in text
    assert "/29" in text
    assert "/30" not in text
    assert "and 2 others left out; --all or --json has them" in text
    assert main(["datasets", "describe", "csv-folder", str(tmp_path), "--all"]) == 0
    text = capsys.readouterr().out
    assert "/34" in text
    assert "others" not in text


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["csv-folder", "{}/nowhere"], "recordings.csv is missing"),
        (["csv-foldr", "{}"], "did you mean 'csv-folder'?"),
        (["csv-folder", "{}", "--option", "color=red"], "has no option color; it has: namespace"),
    ],
)
def test_describe_fails_in_one_line(folder, capsys, args, message):
    assert main(["datasets", "describe", *(arg.format(folder) for arg in args)]) == 1
    stderr = capsys.readouterr().err
    assert stderr.startswith("biot-bd datasets: ")
    assert message in stderr
    assert stderr.count("\n") == 1


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path):
    """A place with one small case of CHB-MIT and another file of another case."""
    root = tmp_path / "published"
    for name in ("chb01/chb01-summary.txt", "chb02/chb02-summary.txt"):
        (root / name).parent.mkdir(parents=True)
        (root / name).write_text(f"content of {name}\n")
    sums = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.relative_to(root)}\n" for path in root.glob("*/*.txt")
    ]
    (root / "SHA256SUMS.txt").write_text("".join(sums))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(root))) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}/"
        httpd.shutdown()


def test_fetch_downloads_the_cases_asked_for_and_then_nothing(server, tmp_path, capsys):
    dest = tmp_path / "chb-mit"
    args = ["datasets", "fetch", "chb-mit", str(dest), "--subjects", "1", "--base-url", server, "--json"]
    assert main(args) == 0
    first = json.loads(capsys.readouterr().out)
    assert (dest / "chb01" / "chb01-summary.txt").read_text() == "content of chb01/chb01-summary.txt\n"
    assert not (dest / "chb02").exists()
    assert first["files"] == {"downloaded": 1}
    assert main(args) == 0
    assert json.loads(capsys.readouterr().out)["files"] == {"present": 1}
    assert main([*args[:4], "--subjects", "1,chb02", "--base-url", server]) == 0
    assert "1 downloaded" in capsys.readouterr().out
    assert (dest / "chb02").is_dir()


def test_fetch_refuses_what_it_does_not_know(tmp_path, capsys):
    assert main(["datasets", "fetch", "siena", str(tmp_path)]) == 2
    assert "only 'chb-mit' can" in capsys.readouterr().err
    assert main(["datasets", "fetch", "chb-mit", str(tmp_path), "--subjects", ","]) == 2
    assert "no case is named" in capsys.readouterr().err
    assert main(["datasets", "fetch", "chb-mit", str(tmp_path), "--subjects", "seven"]) == 1
    assert "expected a case" in capsys.readouterr().err


def test_describe_leaves_a_demo_of_other_parameters_as_it_is(tmp_path, capsys):
    small = ["--option", "n_subjects=1", "--option", "recordings=1", "--option", "minutes=2"]
    assert main(["datasets", "describe", "demo", str(tmp_path), *small]) == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    capsys.readouterr()
    assert main(["datasets", "describe", "demo", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["outcomes"] == {"loaded": 1}
    assert main(["datasets", "describe", "demo", str(tmp_path), "--option", "n_subjects=2"]) == 1
    assert "subjects is 1 there and 2 here" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["chb-mit", "--option", "subjects=1.5"], "subjects=1.5: expected texts or whole numbers"),
        (["siena", "--option", "subjects={}"], "subjects={}: expected texts or whole numbers"),
        (["edf-folder", "--option", "subject=1"], "subject=1: expected a text"),
        (["demo", "--option", "namespace=1"], "namespace=1: expected a text"),
        (["demo", "--option", "n_subjects=two"], "n_subjects='two': expected a whole number"),
        (["demo", "--option", "minuts=1"], "has no option minuts"),
    ],
)
def test_options_of_a_wrong_type_are_one_line(tmp_path, capsys, args, message):
    (tmp_path / "chb01").mkdir()
    (tmp_path / "chb01" / "chb01-summary.txt").write_text("")
    (tmp_path / "participants.tsv").write_text("participant_id\n")
    for command in (["datasets", "describe"], ["prepare", "-o", str(tmp_path / "out")]):
        assert main([*command, args[0], str(tmp_path), *args[1:]]) == 1
        stderr = capsys.readouterr().err
        assert message in stderr
        assert "bug" not in stderr
        assert stderr.count("\n") == 1


def test_own_words_for_seizures(tmp_path, capsys):
    write_edf(tmp_path / "n" / "p" / "a.edf", annotations=[(5, 5, "Anfall"), (12, 2, "Crise")])
    root = str(tmp_path / "n")
    assert main(["datasets", "describe", "recordings-folder", root]) == 1
    assert "none of 1 recordings has labels" in capsys.readouterr().err
    words = ["--seizure-words", "anfall,crise"]
    assert main(["datasets", "describe", "recordings-folder", root, "--json", *words]) == 0
    assert json.loads(capsys.readouterr().out)["subjects"][0]["seizures"] == 2
    assert main(["datasets", "describe", "chb-mit", root, *words]) == 1
    assert "has no option seizure_words" in capsys.readouterr().err
