"""``experiments/transfer_between_datasets.py``: two generated cohorts, and real excerpts against another layout."""

import importlib.util
import json
from pathlib import Path

import pandas as pd
import pytest
from cohort_files import ELECTRODES, write_cohort_edf
from two_clinics import anonymous_copy, write_clinic

from biot_bd.evaluation import Result

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:The groups parameter is ignored by PredefinedSplit"),
]


@pytest.fixture(scope="module")
def script():
    path = Path(__file__).parents[2] / "experiments" / "transfer_between_datasets.py"
    spec = importlib.util.spec_from_file_location("transfer_between_datasets", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SMALL = ("--small", "--epochs", "1", "--cv", "subject-kfold-2")
DEMO = ("--demo-subjects", "3", "--demo-minutes", "2")


@pytest.fixture(scope="module")
def done(script, tmp_path_factory):
    out = tmp_path_factory.mktemp("transfer")
    assert script.main(["--out", str(out), *SMALL, *DEMO]) == 0
    return out


@pytest.mark.slow
def test_across_every_subject_is_tested_by_a_model_of_the_other_cohort(done):
    folds = Result.open(done / "across").run["splits"]
    assert len(folds) == 2
    for fold in folds:
        tested, trained = (
            {name.split("/")[0] for name in names} for names in (fold["test"], fold["train"] + fold["valid"])
        )
        assert len(tested) == len(trained) == 1
        assert tested != trained
        assert len(fold["test"]) == len(fold["train"] + fold["valid"]) == 3
    table = pd.read_csv(done / "transfer.csv")
    assert len(table) == 8  # two metrics, trained and tested on either
    across = Result.open(done / "across").metrics["subjects"]
    row = table[(table["metric"] == "AUROC") & (table["trained on"] == "first") & (table["tested on"] == "second")]
    expected = [own["roc_auc"]["value"] for name, own in across.items() if name.startswith("demo-second/")]
    assert row["value"].item() == pytest.approx(sum(expected) / 3)
    text = (done / "transfer.md").read_text(encoding="utf-8")
    assert "NOT A RESULT: generated data" in text
    assert text.count("tested on second: demo") == 2
    for name in ("across", "first", "second"):
        assert (done / name / "report.html").is_file()


@pytest.mark.slow
def test_the_same_command_goes_on_and_computes_nothing_again(script, done, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in done.rglob("fold.json")}
    assert script.main(["--out", str(done), *SMALL, *DEMO]) == 0
    assert {path: path.stat().st_mtime_ns for path in done.rglob("fold.json")} == before


@pytest.mark.slow
def test_recordings_that_are_in_both_cohorts_are_refused_whatever_they_are_called(script, tmp_path, capsys):
    first = write_clinic(tmp_path / "clinic")
    second = anonymous_copy(first, tmp_path / "archive", rename=lambda subject: f"X{subject}")
    folders = ["--first", "recordings-folder", "--first-root", str(first)]
    folders += ["--second", "recordings-folder", "--second-root", str(second)]
    assert script.main(["--out", str(tmp_path / "out"), *SMALL, *folders]) == 1
    said = capsys.readouterr().err
    assert "transfer_between_datasets: " in said
    assert "clinic/P01" in said
    assert "archive/XP01" in said
    assert not (tmp_path / "out" / "across").exists()


def write_siena(root):
    """Write two patients in Siena's layout: referential channels, clock times, a list of seizures each."""
    for patient in ("PN00", "PN01"):
        names = [f"EEG {name}" for name in ELECTRODES]
        write_cohort_edf(
            root / patient / f"{patient}-1.edf", names, seconds=60, start="12.00.00", seed=int(patient[-1])
        )
        (root / patient / f"Seizures-list-{patient}.txt").write_text(
            f"{patient}\n\nSeizure n 1\nFile name: {patient}-1.edf\nRegistration start time: 12.00.00\n"
            "Registration end time: 12.01.00\nSeizure start time: 12.00.20\nSeizure end time: 12.00.40\n"
        )
    return root


@pytest.mark.slow
def test_real_excerpts_of_chb_mit_and_files_in_the_layout_of_siena(script, shared, tmp_path, capsys):
    out = tmp_path / "out"
    chbmit = ["--first", "chb-mit", "--first-root", str(shared / "data" / "chbmit-excerpts")]
    siena = ["--second", "siena-physionet", "--second-root", str(write_siena(tmp_path / "siena"))]
    assert script.main(["--out", str(out), *SMALL, *chbmit, *siena]) == 0
    run = json.loads((out / "across" / "run.json").read_text())
    assert [fold["test"] for fold in run["splits"]] == [
        ["chb-mit/01", "chb-mit/02", "chb-mit/03"],
        ["siena/00", "siena/01"],
    ]
    table = pd.read_csv(out / "transfer.csv")
    assert table["value"].notna().any()
    assert (table["subjects"] + table["without a score"]).tolist() == [3] * 4 + [2] * 4
    # A checkpoint that saw CHB-MIT is refused before it is fetched or anything is fitted.
    more = ["--epochs", "1", "--pretrained", "six-datasets-18"]
    assert script.main(["--out", str(tmp_path / "seen"), *chbmit, *siena, *more]) == 1
    assert "chb-mit/01" in capsys.readouterr().err


def test_a_root_is_needed_but_for_generated_recordings(script, tmp_path, capsys):
    with pytest.raises(SystemExit):
        script.parse(["--first", "chb-mit", "--out", str(tmp_path)])
    assert "--first-root: where are the recordings of chb-mit?" in capsys.readouterr().err
    assert script.parse(["--out", str(tmp_path)]).second_root == tmp_path / "second-recordings"


class Labelled:
    def __init__(self, subjects):
        self.groups = subjects


def test_a_subject_of_both_cohorts_is_refused(script):
    with pytest.raises(ValueError, match="a/1 are subjects of both cohorts"):
        script.by_cohort(Labelled(["a/1", "a/2"]), Labelled(["a/1"]))


def test_an_undefined_score_says_why_in_the_table(script):
    row = pd.Series({"value": None, "reason": "no seizure windows", "low": None, "high": None, "subjects": 0})
    assert script.said(row) == "– (no seizure windows)"
    row = pd.Series({"value": 0.75, "reason": "", "low": 0.5, "high": 1.0, "subjects": 4})
    assert script.said(row) == "0.750 (0.500 to 1.000), 4 subjects"
