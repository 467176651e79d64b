"""Stores of version 1, against what the code that wrote them (commit fb8defb) gave; see ``store_v1.py``."""

import hashlib
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from store_v1 import PARAMETERS, dataset

from biot_bd import PercentileScaler, Windows, prepare
from biot_bd.windows import Overlap
from biot_bd.windows.store import read_manifest
from biot_bd.windows.store_versions import CLASSES_VERSION, STORE_VERSION

STORE = Path(__file__).parents[1] / "data/store-v1"
EXPECTED = json.loads((STORE / "expected.json").read_text(encoding="utf-8"))


@pytest.fixture
def folder(tmp_path):
    """Return a copy of the old store that may be written to."""
    return Path(shutil.copytree(STORE, tmp_path / "store"))


def files_of(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def check(windows, expected):
    x = windows.read(range(len(windows)))
    assert hashlib.sha256(x.tobytes()).hexdigest() == expected["sha256"]
    assert windows.fingerprint == expected["fingerprint"]
    assert list(windows.shape) == expected["shape"]
    assert windows.y.tolist() == expected["y"]
    assert windows.groups.tolist() == expected["groups"]
    assert windows.metadata["subject"].tolist() == expected["groups"]
    assert windows.metadata["start_s"].tolist() == expected["start_s"]
    assert windows.present.astype(int).tolist() == expected["present"]
    assert windows.label_rule == expected["label_rule"]
    np.testing.assert_array_equal(np.nansum(x, axis=(1, 2), dtype=np.float64), expected["sum"])


def test_an_old_store_opens_with_its_numbers_and_fingerprints():
    windows = Windows.open(STORE)
    check(windows, EXPECTED["prepared"])
    assert windows.map(PercentileScaler()).fingerprint == EXPECTED["scaled"]
    assert windows[2:5].fingerprint == EXPECTED["selected"]
    assert Windows.concat([windows, windows]).fingerprint == EXPECTED["concat"]
    assert windows.summary().reset_index().to_dict("list") == EXPECTED["summary"]
    assert windows.seizures.to_dict("list") == EXPECTED["seizures"]
    assert set(windows.query("subject == 'clinic/02'").groups) == {"clinic/02"}
    check(pickle.loads(pickle.dumps(windows)), EXPECTED["prepared"])


def test_an_old_relabelled_table_opens_and_is_found_again(folder):
    check(Windows.open(folder / "tables" / EXPECTED["relabelled_folder"]), EXPECTED["relabelled"])
    before = files_of(folder)
    check(Windows.open(folder).relabel(Overlap(min_overlap_s=2.0), stride_s=10), EXPECTED["relabelled"])
    assert files_of(folder) == before


def test_an_old_store_is_relabelled_anew(folder):
    windows = Windows.open(folder).relabel("overlap", window_s=6.0, stride_s=4.0)
    check(windows, EXPECTED["relabelled_anew"])
    assert windows.folder.name == EXPECTED["relabelled_anew_folder"]
    check(Windows.open(windows.folder), EXPECTED["relabelled_anew"])


def test_the_same_prepare_finds_an_old_store_complete(folder):
    before = files_of(folder)
    check(prepare(dataset(), folder, **PARAMETERS), EXPECTED["prepared"])
    assert {name: data for name, data in files_of(folder).items() if name != ".lock"} == before


@pytest.mark.parametrize("unfinished", [0, 1])
def test_a_killed_preparation_of_the_old_code_goes_on(folder, unfinished):
    for name in ("manifest.json", "windows.parquet", "percentiles.npy", "expected.json"):
        (folder / name).unlink()
    shutil.rmtree(folder / "tables")
    if unfinished:
        (folder / "signals/second_01.json").unlink()
    before = {path.name: path.stat().st_mtime_ns for path in (folder / "signals").iterdir()}
    check(prepare(dataset(), folder, **PARAMETERS), EXPECTED["prepared"])
    after = {path.name: path.stat().st_mtime_ns for path in (folder / "signals").iterdir()}
    kept = {name for name in before if not (unfinished and name.startswith("second"))}
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert (after["second_01.npy"] == before["second_01.npy"]) == (not unfinished)
    assert read_manifest(folder)["version"] == STORE_VERSION
    assert list(pd.read_parquet(folder / "windows.parquet").columns)[:2] == ["recording", "subject"]


def test_an_old_table_stays_where_only_the_manifest_changes(folder):
    grown = dataset()
    grown.outcomes = pd.DataFrame({"recording": ["lost"], "outcome": ["missing-file"], "detail": ["not there"]})
    before = files_of(folder)
    check(prepare(grown, folder, **PARAMETERS), EXPECTED["prepared"])
    after = files_of(folder)
    assert {name for name in before if after[name] != before[name]} == {"manifest.json"}
    check(Windows.open(folder), EXPECTED["prepared"])
    assert json.loads(after["manifest.json"])["version"] == STORE_VERSION


def test_failures_in_an_old_manifest_name_the_subject(folder):
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    manifest["failures"] = [{"recording": "r", "person": "clinic/03", "outcome": "too-short", "detail": "1 s"}]
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert read_manifest(folder)["failures"][0]["subject"] == "clinic/03"


def test_a_store_of_the_future_is_refused_by_name(folder):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**manifest, "version": CLASSES_VERSION + 1}), encoding="utf-8")
    with pytest.raises(
        ValueError, match=rf"manifest.json: version {CLASSES_VERSION + 1}, this biot_bd reads versions 1, 2, 3"
    ):
        Windows.open(folder)


def test_windows_are_not_made_by_calling_the_class():
    with pytest.raises(TypeError, match=r"prepare\(.*Windows\.open\(.*Windows\.concat\("):
        Windows(Windows.open(STORE)._source)
