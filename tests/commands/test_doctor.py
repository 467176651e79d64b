"""``biot-bd doctor``, called in this process."""

import json
import shlex

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
        "used 1 of 3 recordings, 20 s, 1 seizure of 3 s",
        "rates 256 Hz (3)",
        "biot-16: all 16 found (3)",
        "labels event table (2), none (1)",
        "left out 1 too-short, 5 s: P1__b lasts 5 s",
        "left out 1 unlisted, 20 s: P2__c P2/c.edf: no event table",
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
    assert "1 unlisted, 20 s: P2__c" in " ".join(capsys.readouterr().out.split())


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
    [
        (".", "holds no recording, but 1 file (1 .txt); files of these endings are looked for: .ahdr, .bdf,"),
        ("empty", "holds no recording: it is empty; files of"),
        ("gone", "no such folder"),
        ("notes.txt", "is a file; expected a folder"),
    ],
)
def test_what_cannot_be_looked_at_is_one_line(tmp_path, capsys, name, said):
    (tmp_path / "notes.txt").write_text("none")
    (tmp_path / "empty").mkdir()
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


def test_channels_that_cannot_be_used_for_one_reason_are_one_note(clinic, capsys):
    path = clinic / "P1/a.edf"
    content = bytearray(path.read_bytes())
    content[256 + 96 * 16 : 256 + 104 * 16] = b"furlong ".ljust(8) * 15 + b"mmHg".ljust(8)
    path.write_bytes(content)
    assert main(["doctor", str(clinic)]) == 1
    text = " ".join(capsys.readouterr().out.split())
    assert f"note cannot be used: {', '.join(NAMES[:15])}: unit 'furlong' is not known; P4-O2: unit" in text


def test_long_lists_are_shortened():
    assert doctor._few(map(str, np.arange(8)), 3) == "0, 1, 2 and 5 more"
    assert doctor._counts("aabbbc") == "b (3), a (2), c (1)"
    assert doctor._counts([f"{hz} Hz" for hz in range(7)], "; ").endswith("; and 2 more")


def next_of(text):
    """Return the words of the command that doctor says next, WINDOWS still to be named."""
    (line,) = [line for line in text.splitlines() if line.startswith("  next ")]
    return shlex.split(line.removeprefix("  next "))


def test_the_next_command_goes_through(clinic, capsys):
    """Also of folders with blanks in their names; options are taken over."""
    folder = clinic / "our ward's"
    folder.mkdir()
    for name in ("P1", "P2"):
        (clinic / name).rename(folder / name)
    given = ["--option", "subject=^([^/]+)/", "--on-missing", "drop", "--seizure-words", "Anfall,Krampf"]
    assert main(["doctor", "recordings-folder", str(folder), *given]) == 1
    command = next_of(capsys.readouterr().out)
    assert command[:5] == ["biot-bd", "prepare", "recordings-folder", str(folder), "-o"]
    assert command[-2:] == ["--on-error", "skip"]
    assert all(word in command for word in given)
    assert main([str(clinic / "windows") if word == "WINDOWS" else word for word in command[1:]]) == 0
    manifest = json.loads((clinic / "windows" / "manifest.json").read_text())
    assert [one["recording"] for one in manifest["recordings"]] == ["P1__a"]
    assert [one["outcome"] for one in manifest["failures"]] == ["too-short"]


def test_what_comes_next_for_recordings_without_labels(clinic, capsys):
    for table in clinic.rglob("*.tsv"):
        table.unlink()
    assert main(["doctor", str(clinic)]) == 1
    command = next_of(capsys.readouterr().out)
    assert command == ["biot-bd", "doctor", "recordings-folder", str(clinic), "--option", "unlisted=background"]
    assert main(command[1:]) == 1  # the short one
    assert next_of(capsys.readouterr().out)[:2] == ["biot-bd", "prepare"]
    (clinic / "P1/a.edf").unlink()
    (clinic / "P2/c.edf").unlink()
    assert main(["doctor", str(clinic)]) == 1
    out = capsys.readouterr().out
    assert "  next " not in out
    assert "labels alone would not make these usable: 1 too-short (P1__b)" in " ".join(out.split())


def test_own_words_for_a_seizure(tmp_path, capsys):
    x = np.random.default_rng(0).normal(0, 30, (16, 20 * 256))
    save_edf(tmp_path / "P1" / "a.edf", NAMES, x, 256, [(2, 5, "Anfall")])
    assert main(["doctor", str(tmp_path)]) == 1
    assert "left out 1 unlisted" in " ".join(capsys.readouterr().out.split())
    for named in ([], ["recordings-folder"]):
        assert main(["doctor", *named, str(tmp_path), "--seizure-words", "Krampf,Anfall"]) == 0
        out = capsys.readouterr().out
        assert "1 recording, 20 s, 1 seizure of 5 s" in out
        assert "annotations (1)" in out
        assert next_of(out)[-2:] == ["--seizure-words", "Krampf,Anfall"]


def test_every_shared_folder_fits_80_columns(shared, capsys, monkeypatch):
    """Status 0 only where all could be prepared; lines are wrapped, but for the next command and paths."""
    monkeypatch.setenv("COLUMNS", "80")
    for folder in sorted(path for path in (shared / "data").iterdir() if path.is_dir()):
        assert main(["doctor", str(folder)]) == (0 if folder.name in ("chbmit-excerpts", "eegmmidb") else 1)
        captured = capsys.readouterr()
        assert captured.err == ""
        for line in captured.out.splitlines():
            assert len(line) <= 80 or line.startswith("  next ") or str(folder) in line
        assert "looks like" in captured.out


def test_ctrl_c_in_the_middle_is_one_line(clinic, capsys, monkeypatch):
    from biot_bd.datasets import inspection

    def stop(*given, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(inspection, "inspect_recording", stop)
    assert main(["doctor", str(clinic)]) == 130
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "biot-bd doctor: stopped by Ctrl-C; the same command starts again\n"


def test_a_terminal_shows_how_far_it_is(clinic, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes it for a terminal
    assert main(["doctor", str(clinic)]) == 1
    shown = capsys.readouterr().err
    assert "opening recordings" in shown
    assert "3/3" in shown
