"""The folder of an exported model: what it says is checked, and it computes what it says."""

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from handmade_export import expected, facts, windows, write_export
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd.exceptions import ArtifactError
from biot_bd.export import Probe, read_artifact, write_artifact
from biot_bd.export.artifact import BOUNDS, read_facts
from biot_bd.models import provenance_of
from biot_bd.signals.montages import BIOT_16


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_export(tmp_path_factory.mktemp("exported") / "loudness")


@pytest.fixture
def folder(written, tmp_path):
    return shutil.copytree(written, tmp_path / "model")


def change(folder, *keys, to):
    path = folder / "artifact.json"
    said = inner = json.loads(path.read_text())
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = to
    path.write_text(json.dumps(said))


def test_what_was_written_is_read(written):
    artifact = read_artifact(written)
    assert artifact.facts["classes"] == [0, 1]
    assert artifact.precisions("openvino") == ["fp32", "bf16"]
    assert artifact.precisions("torch") == []
    x, present = windows(4)
    np.testing.assert_array_equal(artifact.probe().x, x)
    np.testing.assert_array_equal(artifact.probe().present, present)
    assert set(artifact.facts["files"]) == {"model.onnx", "probe.npz"}


def test_a_replay_says_by_how_much_results_differ(written):
    artifact = read_artifact(written)
    assert artifact.replay(lambda x, there: expected(x, there), "fp32") < 1e-6
    moved = artifact.replay(lambda x, there: (expected(x, there)[0] + 0.004, None), "bf16")
    assert moved == pytest.approx(0.004, abs=1e-6)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (lambda p: p + 2e-5, "differ by 2e-05, fp32 may by 1e-05; made on by hand with onnx"),
        (lambda p: p * np.nan, "differ by nan"),
        (lambda p: p[:2], r"of shape \(2, 2\).*expected \(4, 2\)"),
    ],
)
def test_a_replay_with_other_results_is_refused(written, found, message):
    with pytest.raises(ArtifactError, match=message):
        read_artifact(written).replay(lambda x, there: (found(expected(x, there)[0]), None), "fp32")


@pytest.mark.parametrize("name", ["model.onnx", "probe.npz"])
def test_a_damaged_or_missing_file_is_named(folder, name):
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(ArtifactError, match=rf"{name}: damaged \(its SHA-256"):
        read_artifact(folder)
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match=f"{name}: missing"):
        read_artifact(folder)


@pytest.mark.parametrize(
    ("keys", "to", "message"),
    [
        (["format"], "something", "not written by `biot-bd export`"),
        (["version"], 2, "of version 2, this biot_bd reads 1; install a newer one"),
        (["graph", "files"], ["../model.onnx"], "is no name of a file in this folder"),
        (["files", "/etc/hostname"], "0" * 64, "is no name of a file in this folder"),
        (["probe", "file"], "other.npz", "no checksum of other.npz"),
        (["graph", "inputs"], ["y"], "graph.inputs"),
        (["input", "unit"], "V", "input.unit: expected 'uV'"),
        (["input", "n_times"], 1999, "are no window of 10 s"),
        (["input", "ch_names"], ["A", "A"], "names that differ"),
        (["input", "ch_names"], list(BIOT_16.ch_names[::-1]), "are not the channels of biot-16, in its order"),
        (["input", "montage"], "biot-18", "are not the channels of biot-18"),
        (["classes"], [1, 0], "at least two labels in order"),
        (["positive_label"], 3, "is none of"),
        (["threshold"], 2, "expected a probability"),
        (["probe", "bounds", "fp32"], 0.1, "at most 1e-05 is accepted"),
        (["runs"], {}, "runs: expected a list, found an object"),
        (["source"], None, "source: expected an object, found None"),
    ],
)
def test_what_an_artifact_says_is_checked(folder, keys, to, message):
    change(folder, *keys, to=to)
    with pytest.raises(ArtifactError, match=message) as told:
        read_artifact(folder)
    assert str(folder / "artifact.json") in str(told.value)
    assert "\n" not in str(told.value)


def test_events_that_nobody_exported_are_refused(folder):
    (folder / "events.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"events\.json: was not there when the model was exported"):
        read_artifact(folder)


def test_a_folder_without_an_export_is_not_found(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no exported model here \(no artifact.json\)"):
        read_artifact(tmp_path)


def test_no_object_of_a_proof_is_unpickled(folder):
    np.savez(
        folder / "probe.npz", x=np.array([{}], object), present=np.ones((1, 1), bool), probabilities=np.ones((1, 2))
    )
    with pytest.raises(ArtifactError, match=r"probe.npz: damaged \(.*Object arrays cannot be loaded"):
        read_facts(folder).probe()


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x05\x06" + bytes(18)])
def test_a_proof_that_is_none_is_named(folder, content):
    (folder / "probe.npz").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"probe\.npz: damaged"):
        read_facts(folder).probe()


def test_a_proof_of_other_windows_is_refused(folder):
    x, present = windows(4)
    np.savez(folder / "probe.npz", x=x[..., :100], present=present, probabilities=np.zeros((4, 2), np.float32))
    with pytest.raises(ArtifactError, match=r"windows of shape \(16, 100\)"):
        read_facts(folder).probe()


def test_nothing_is_written_without_all_facts(tmp_path):
    x, present = windows(4)
    probe = Probe(x, present, expected(x, present)[0].astype(np.float32))
    (tmp_path / "model.onnx").write_bytes(b"graph")
    told = facts()
    del told["threshold"]
    with pytest.raises(ArtifactError, match="threshold is missing"):
        write_artifact(tmp_path, told, probe)
    assert not (tmp_path / "artifact.json").exists()


def test_an_export_says_what_its_model_was_trained_on(written, folder):
    assert provenance_of(written).saw(["clinic/01", "clinic/02"]) == ["clinic/01"]
    change(folder, "source", "trained_on", to=None)
    assert not provenance_of(folder).known


def leaves(value, keys=()):
    """Return the keys of everything in an artifact's description."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [keys, *(path for key, one in inner for path in leaves(one, (*keys, key)))]


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_no_other_description_gets_through_as_anything_but_an_error_in_a_line(written, data):
    said = json.loads((written / "artifact.json").read_text())
    keys = data.draw(st.sampled_from(leaves(said)[1:]))
    to = data.draw(
        st.none()
        | st.booleans()
        | st.integers(-2, 2**40)
        | st.floats(-1e300, 1e300)
        | st.text(max_size=5)
        | st.just([])
        | st.just({})
    )
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "artifact.json").write_text(json.dumps(said))
        change(Path(name), *keys, to=to)
        told = ""
        try:
            read_facts(name)
        except ArtifactError as error:
            told = str(error)
        assert "\n" not in told


def test_the_bounds_are_those_that_are_promised():
    assert BOUNDS == {"fp32": 1e-5, "bf16": 5e-3, "int8": 1e-2, "int8-bf16": 1e-2}
