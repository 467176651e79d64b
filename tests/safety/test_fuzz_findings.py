"""What fuzzing found, each made again by hand: a line that names the file, where there was anything else."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from checkpoint_files import tiny
from handmade_export import write_export

from biot_bd import Windows
from biot_bd.datasets import load_arrays, open_array
from biot_bd.embedding import read_embeddings
from biot_bd.events import read_event_file, score_folders, write_event_file
from biot_bd.exceptions import ArtifactError, CheckpointError
from biot_bd.export import read_artifact
from biot_bd.models import load_checkpoint, save_checkpoint
from biot_bd.models.checkpoints.config import Facts, resolve_facts
from biot_bd.models.checkpoints.pipeline_folder import sha256
from biot_bd.windows.store import read_recording

STORE = Path(__file__).parents[1] / "data" / "store-v1"


def one_line(path, read):
    """Read what is damaged; return the line that names it."""
    with pytest.raises((ValueError, OSError)) as told:
        read()
    assert str(path) in str(told.value)
    assert len(str(told.value).splitlines()) == 1
    return str(told.value)


def message_of(read, *args):
    """Return what a reader says; nothing where it reads."""
    try:
        read(*args)
    except ValueError as error:
        return str(error)
    return ""


@pytest.fixture
def store(tmp_path):
    return shutil.copytree(STORE, tmp_path / "store")


def changed(path, change):
    facts = json.loads(path.read_text())
    change(facts)
    path.write_text(json.dumps(facts))


def first(facts):
    return facts["recordings"][0]


MANIFEST = {
    "a step that makes infinite samples": (lambda m: first(m)["steps_uv"].__setitem__(0, 1e308), "steps_uv"),
    "an event without an end": (lambda m: first(m).update(events=[[12.0]]), "events"),
    "an event that ends before it begins": (lambda m: first(m).update(events=[[12.0, 3.0]]), "events"),
    "an entry without its file": (lambda m: first(m).pop("file"), "lacks file"),
}


@pytest.mark.parametrize("change", MANIFEST)
def test_a_damaged_entry_of_a_store_is_told(store, change):
    damage, said = MANIFEST[change]
    changed(store / "manifest.json", damage)
    assert said in one_line(store, lambda: Windows.open(store))


@pytest.mark.parametrize("n_times", [0, -1, 2**62])
def test_windows_of_impossible_lengths_are_told(store, n_times):
    (table,) = store.glob("tables/*/table.json")
    changed(table, lambda facts: facts.update(n_times=n_times))
    assert "windows of" in one_line(store, lambda: Windows.open(table.parent))


def test_a_label_beyond_counting_is_told_at_once(store):
    """It took minutes: a name was made for each class below it."""
    table = pd.read_parquet(store / "windows.parquet")
    table["label"] = 2**40
    table.to_parquet(store / "windows.parquet", index=False)
    assert "column label: 1099511627776" in one_line(store, lambda: Windows.open(store))


def test_a_signal_whose_description_lacks_something_is_made_anew(store):
    path = min((store / "signals").glob("*.json"))
    changed(path, lambda facts: facts.pop("dtype"))
    assert read_recording(path.with_suffix(""), "x") is None


@pytest.mark.parametrize("separator", ["\u2028", "\x0b", "\x0c", "\x85"])
def test_separators_of_lines_in_a_header_stay_in_the_message(tmp_path, separator):
    path = tmp_path / "x_events.tsv"
    path.write_text(f"onset\tduration{separator}eventType\n1\t2\tsz\n", encoding="utf-8")
    assert "has no column" in one_line(path, lambda: read_event_file(path))


@pytest.mark.parametrize(("onset_s", "offset_s"), [(-5.0, 8.0), (3.0, 3.0), (1.8e19, 1.9e19)])
def test_an_event_outside_its_recording_names_the_table(tmp_path, onset_s, offset_s):
    for name in ("reference", "hypothesis"):
        path = write_event_file(tmp_path / name / "a_events.tsv", [(3, 12)], 30.0)
    text = path.read_text().replace("3.00\t9.00", f"{onset_s}\t{offset_s - onset_s}")
    assert str(onset_s) in text
    path.write_text(text)
    one_line(path, lambda: score_folders(tmp_path / "reference", tmp_path / "hypothesis"))


@pytest.fixture
def arrays(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 500), np.float32))
    about = {"format": "biot_bd arrays", "sfreq": 100, "unit": "uV", "ch_names": ["C3", "C4"], "namespace": "lab"}
    (tmp_path / "arrays.json").write_text(json.dumps({**about, "recordings": [{"file": "a.npy", "subject": "01"}]}))
    return tmp_path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sfreq": 10**40}, "sfreq=1"),
        ({"recordings": []}, "recordings is empty"),
        ({"recordings": [{"file": "", "subject": "01"}]}, "expected a path inside the folder"),
    ],
)
def test_damaged_facts_of_arrays_are_told(arrays, change, said):
    changed(arrays / "arrays.json", lambda facts: facts.update(change))
    assert said in one_line(arrays, lambda: load_arrays(arrays))


def test_a_header_of_an_array_that_is_no_python_is_told(arrays):
    """numpy reads the header as Python, and raises the tokenizer's own error."""
    data = bytearray((arrays / "a.npy").read_bytes())
    data[10:128] = b"{'descr': '''" + b" " * 105
    (arrays / "a.npy").write_bytes(data)
    one_line(arrays / "a.npy", lambda: open_array(arrays / "a.npy", sfreq=100, unit="uV", ch_names=["C3", "C4"]))


def test_a_proof_with_a_changed_bit_and_a_new_checksum_is_told(tmp_path):
    folder = write_export(tmp_path / "exported")
    data = bytearray((folder / "probe.npz").read_bytes())
    data[5000] ^= 1
    (folder / "probe.npz").write_bytes(data)
    changed(folder / "artifact.json", lambda facts: facts["files"].update({"probe.npz": sha256(folder / "probe.npz")}))
    with pytest.raises(ArtifactError, match=r"probe\.npz: damaged \(.*CRC"):
        read_artifact(folder).probe()


def test_a_size_beyond_all_floats_is_told(tmp_path):
    encoder = load_checkpoint(save_checkpoint(tiny(), tmp_path / "x", ["my-set/01"])).layout.encoder
    with pytest.raises(CheckpointError, match=r"embed_dim is \d+ by shapes, but 10{19}\.\.\. by config\.json"):
        resolve_facts(encoder, Facts({"embed_dim": 10**400}, None, "config.json"), None, "x")


def test_a_damaged_table_of_embeddings_is_one_line(tmp_path):
    np.save(tmp_path / "embeddings.npy", np.eye(3, dtype=np.float32))
    pd.DataFrame({"subject": list("abc")}).to_parquet(tmp_path / "table.parquet")
    about = {"format": "biot-bd embedded windows", "version": 1, "windows": {}, "model": {}, "steps": []}
    about |= {"shape": [3, 3], "provenance": {}, "cache": None, "map": None, "metric": "cosine"}
    for name, value in {"clusters": None, "nearest": [], "embedding": about}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
    assert len(read_embeddings(tmp_path).table) == 3
    data = (tmp_path / "table.parquet").read_bytes()
    for at in range(4, len(data), 97):
        (tmp_path / "table.parquet").write_bytes(data[:at] + b"\x0f" * 8 + data[at + 8 :])
        if told := message_of(read_embeddings, tmp_path):
            assert str(tmp_path) in told
            assert len(told.splitlines()) == 1
