"""``biot-bd doctor``, called in this process."""

import json

import numpy as np
import pytest
from deploy_files import save_edf

from biot_bd.cli import main
from biot_bd.commands import doctor

NAMES = "Fp1-F7 F7-T7 T7-P7 P7-O1 Fp2-F8 F8-T8 T8-P8 P8-O2 Fp1-F3 F3-C3 C3-P3 P3-O1 Fp2-F4 F4-C4 C4-P4 P4-O2".split()


@pytest.fixture
def clinic(tmp_path):
    """Three recordings of two patients, one of them too short, one without labels."""
    rng = np.random.default_rng(0)
    for name, seconds in (("P1/a", 20), ("P1/b", 5), ("P2/c", 20)):
        path = tmp_path / f"{name}.edf"
        save_edf(path, NAMES, rng.normal(0, 30, (16, seconds * 256)), 256)
        if name != "P2/c":
            path.with_name(f"{path.stem}_events.tsv").write_text("onset\tduration\teventType\n1\t3\tsz\n")
    return tmp_path


def test_the_first_screen_fits_80_columns(clinic, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["doctor", str(clinic)]) == 1  # prepare would stop at the short one
    lines = capsys.readouterr().out.splitlines()
    text = " ".join(" ".join(lines).split())
    assert all(len(line) <= 80 or str(clinic) in line for line in lines)
    for said in (
        "looks like recordings-folder: 3 recordings",
        f"subjects 2: {clinic.name}/P1, {clinic.name}/P2",
        "used 1 of 3 recordings, 0.01 h, 1 seizures of 3 s",
        "rates 256 Hz (3)",
        "biot-16: all 16 found (3)",
        "labels event table (2), none (1)",
        "1 too-short: P1__b e.g. lasts 5 s",
        "1 unlisted: P2__c",
        "--on-error skip leaves them out",
    ):
        assert said in text
    assert main(["doctor", str(clinic), "--all"]) == 1
    assert "- P1__a: " in capsys.readouterr().out


def test_status_is_0_where_prepare_would_go_through(clinic, capsys):
    (clinic / "P1/b.edf").unlink()
    assert main(["doctor", "recordings-folder", str(clinic), "--option", "unlisted=background", "--samples"]) == 0
    assert "biot-bd prepare recordings-folder" in " ".join(capsys.readouterr().out.split())
    assert main(["doctor", str(clinic)]) == 0  # what has no labels is left out, and that is told
    assert "1 unlisted: P2__c" in " ".join(capsys.readouterr().out.split())


def test_json_holds_every_recording(clinic, capsys):
    assert main(["doctor", str(clinic), "--json"]) == 1
    (facts,) = json.loads(capsys.readouterr().out)["layouts"]
    assert facts["outcomes"] == {"loaded": 1, "too-short": 1, "unlisted": 1}
    assert [row["subject"] for row in facts["subjects"]] == [f"{clinic.name}/P1", f"{clinic.name}/P2"]
    found = {row["recording"]: row for row in facts["recordings"]}
    assert len(found["P1__a"]["found"]) == 16
    assert (found["P1__b"]["duration_s"], found["P1__b"]["labels_from"]) == (5.0, "event table")
    assert facts["would_prepare"] is False


@pytest.mark.parametrize(
    ("name", "said"),
    [(".", "holds no recording"), ("gone", "no such folder"), ("notes.txt", "is a file; expected a folder")],
)
def test_what_cannot_be_looked_at_is_one_line(tmp_path, capsys, name, said):
    (tmp_path / "notes.txt").write_text("none")
    assert main(["doctor", str(tmp_path / name)]) == 1
    stderr = capsys.readouterr().err
    assert stderr.startswith("biot-bd doctor: ")
    assert stderr.count("\n") == 1
    assert said in stderr


def test_wrong_words_are_one_line(tmp_path, capsys):
    for words, said in (
        (["a", "b", "c"], "expected [DATASET] FOLDER"),
        (["no-such", str(tmp_path)], "no-such"),
        (["siena", str(tmp_path), "--option", "colour=1"], "has no option colour"),
        ([str(tmp_path), "--on-missing", "guess"], "none of raise, drop, interpolate"),
        ([str(tmp_path), "--montage", "no-such"], "no-such"),
    ):
        assert main(["doctor", *words]) in (1, 2)
        stderr = capsys.readouterr().err
        assert said in stderr
        assert stderr.count("\n") == 1


def test_long_lists_are_shortened():
    assert doctor._few(map(str, np.arange(8)), 3) == "0, 1, 2 and 5 more"
    assert doctor._counts("aabbbc") == "b (3), a (2), c (1)"
