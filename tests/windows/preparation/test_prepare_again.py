"""``prepare`` on a folder that holds something already, and what it tells of recordings that are left out."""

import json
import shutil
import warnings

import pytest

from biot_bd import Windows, load_dataset, prepare
from biot_bd.exceptions import PreparationError
from biot_bd.windows import windows as windows_module


def manifest_of(folder):
    return json.loads((folder / "manifest.json").read_text())


def files_of(folder):
    return {p.relative_to(folder).as_posix(): p.stat().st_mtime_ns for p in folder.rglob("*.*") if p.is_file()}


def mixed(make, folder):
    """One recording of 10 s and one of 40 s."""
    return make.dataset(
        [
            (make.edf(folder / "short.edf", 10), "short", "p/0", [(2, 8)]),
            (make.edf(folder / "long.edf", 40), "long", "p/1", [(12, 27)]),
        ]
    )


@pytest.mark.parametrize("used", [False, True])
def test_a_window_longer_than_a_recording_is_told_whatever_the_store_holds(make, tmp_path, used):
    dataset, folder = mixed(make, tmp_path), tmp_path / "w"
    if used:
        first = prepare(dataset, folder, window_s=5)
        before = files_of(folder)
    message = r"recording short .*lasts 10 s \(2560 samples\), shorter than a window of 20 s"
    with pytest.raises(PreparationError, match=message):
        prepare(dataset, folder, window_s=20)
    if used:  # and the store is as it was
        assert files_of(folder) == before
        assert Windows.open(folder).fingerprint == first.fingerprint
    with pytest.warns(UserWarning, match="1 of 2 recordings were skipped: short .too-short: lasts 10 s"):
        windows = prepare(dataset, folder, window_s=20, on_error="skip")
    assert set(windows.metadata["recording"]) == {"long"}
    manifest = manifest_of(folder)
    assert [(f["recording"], f["outcome"]) for f in manifest["failures"]] == [("short", "too-short")]
    assert [r["recording"] for r in manifest["recordings"]] == ["long"]


def test_the_signal_of_a_recording_too_short_for_one_call_is_kept_for_the_next(make, tmp_path):
    dataset, folder = mixed(make, tmp_path), tmp_path / "w"
    prepare(dataset, folder, window_s=5)
    before = files_of(folder)
    with pytest.warns(UserWarning, match="skipped"):
        prepare(dataset, folder, window_s=20, on_error="skip")
    assert len(prepare(dataset, folder, window_s=5).metadata["recording"].unique()) == 2
    after = files_of(folder)
    assert all(after[name] == before[name] for name in before if name.startswith("signals/"))


def test_the_store_of_another_data_set_is_not_replaced(small, make, tmp_path):
    folder = tmp_path / "w"
    prepare(small, folder)
    before = files_of(folder)
    other = make.dataset([(make.edf(tmp_path / "z.edf", 30, 7), "z", "other/1", [(3, 20)])])
    with pytest.raises(ValueError, match=r"other recordings: 6 such as r0 there, none of the 1 such as z here.*delete"):
        prepare(other, folder)
    assert files_of(folder) == before
    (folder / "manifest.json").unlink()  # as a killed call leaves it
    with pytest.raises(ValueError, match="other recordings"):
        prepare(other, folder)
    assert len(prepare(small, folder)) > 0


def test_signals_of_recordings_that_left_the_data_set_are_removed(small, tmp_path):
    folder = tmp_path / "w"
    prepare(small, folder)
    (folder / "signals/orphan.npy").write_bytes(b"from a call that was killed")
    windows = prepare(type(small)(small.datasets[:2]), folder)
    assert {p.name for p in (folder / "signals").iterdir()} == {"r0.npy", "r0.json", "r1.npy", "r1.json"}
    assert {r["recording"] for r in manifest_of(folder)["recordings"]} == {"r0", "r1"}
    assert windows[0].shape == (16, 2000)


def test_nothing_is_removed_before_the_new_manifest_is_there(small, tmp_path, monkeypatch):
    from biot_bd.windows.preparation import prepare as preparation

    def killed(path, content):
        raise KeyboardInterrupt

    folder = tmp_path / "w"
    prepare(small, folder)
    before = {name for name in files_of(folder) if name.startswith("signals/")}
    monkeypatch.setattr(preparation, "write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        prepare(type(small)(small.datasets[:2]), folder)
    assert before <= set(files_of(folder))


@pytest.mark.parametrize("step", ["short", "build_table", "write_table", "write_json"])
def test_a_relabelling_that_fails_leaves_no_folder(small, tmp_path, monkeypatch, step):
    def full(*args):
        raise OSError(28, "No space left on device")

    windows = prepare(small, tmp_path / "w")
    if step != "short":
        monkeypatch.setattr(windows_module, step, full)
    with pytest.raises((ValueError, OSError), match=r"shorter than a window of 60 s|No space left"):
        windows.relabel("overlap", window_s=60 if step == "short" else 5)
    assert not list((tmp_path / "w").glob("tables/*"))
    monkeypatch.undo()
    assert len(windows.relabel("overlap", window_s=5)) > len(windows)


def test_a_truncated_recording_that_the_loader_skipped_is_named(shared, tmp_path):
    root, folder = tmp_path / "raw", tmp_path / "w"
    shutil.copytree(shared / "data/chbmit-excerpts/chb01", root / "chb01")
    whole = (root / "chb01/chb01_03.edf").read_bytes()
    (root / "chb01/chb01_03.edf").write_bytes(whole[: len(whole) // 2])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = load_dataset("chb-mit", root, on_error="skip", on_missing="ignore")
    n = len(dataset.datasets)
    for _ in range(2):  # said every time
        with pytest.warns(
            UserWarning, match=rf"1 of {n + 1} recordings were skipped: chb01_03 .unreadable: .*incomplete"
        ):
            windows = prepare(dataset, folder, on_error="skip")
    outcomes = {row["recording"]: row["outcome"] for row in manifest_of(folder)["outcomes"]}
    assert outcomes["chb01_03"] == "unreadable"
    assert "chb01_03" not in set(windows.metadata["recording"])
