"""The registry: what is saved, found, loaded, and refused."""

import hashlib
import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from deploy_files import write_edf

from biot_bd import Detector
from biot_bd.deploy import Registry, check_files, is_version, read_version
from biot_bd.deploy.model_registry import default_root, verify_version
from biot_bd.deploy.tuning import save_tuned
from biot_bd.events import EventDetector
from biot_bd.exceptions import ModelRegistryError, VersionExistsError
from biot_bd.models import provenance_of
from biot_bd.models.checkpoints.pipeline_folder import is_exported
from biot_bd.runs import read_json, write_json


def change(path, **values):
    """Replace values of a JSON file that may be read-only."""
    path.chmod(0o644)
    write_json(path, read_json(path) | values)


def test_a_version_holds_the_model_its_card_its_proof_and_the_hash_of_every_file(saved, trained):
    version = saved.resolve("mine")
    there = {path.relative_to(version.folder).as_posix() for path in version.folder.rglob("*")}
    assert there == {*version.files, "artifact.json"}
    assert set(version.files) == {
        "README.md", "config.json", "events.json", "model.safetensors", "pipeline.json", "probe.npz",
    }  # fmt: skip
    for name, (size_bytes, digest) in version.files.items():
        content = (version.folder / name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (size_bytes, digest)
    for name in ("pipeline.json", "model.safetensors", "config.json", "events.json"):
        assert (version.folder / name).read_bytes() == (trained / name).read_bytes()
    assert version.digest == hashlib.sha256((version.folder / "artifact.json").read_bytes()).hexdigest()
    assert version.facts["left_out"] == ["tensorboard"]


def test_a_version_says_what_the_model_takes_gives_and_has_seen(saved):
    facts = saved.resolve("mine").facts
    assert facts["input"] | {"steps": None} == {
        "ch_names": facts["input"]["ch_names"],
        "montage": "biot-16",
        "sfreq": 200.0,
        "n_times": 2000,
        "window_s": 10.0,
        "unit": "uV",
        "scale": "percentile-95",
        "steps": None,
        "absent_channels": True,
    }
    assert facts["input"]["ch_names"][:2] == ["Fp1-F7", "F7-T7"]
    assert [step["name"] for step in facts["input"]["steps"]] == ["MontageMapper", "PercentileScaler"]
    assert (facts["classes"], facts["positive_label"]) == ([0, 1], 1)
    assert facts["events"]["setting"]["threshold"] == 0.4
    assert facts["training"]["seed"] == 7
    assert facts["training"]["trained_on"]["trained_on"][0]["subjects"] == ["site/01", "site/02", "site/03"]
    assert facts["training"]["split"]["n_train_subjects"] == 2
    assert (facts["results"], facts["generated"], facts["demonstration"]) == (None, False, False)


def test_the_folder_of_a_version_is_a_model_and_detects_as_the_model_that_was_saved(saved, trained, tmp_path):
    version = saved.resolve("mine")
    assert is_version(version.folder)
    assert not is_exported(version.folder)
    recording = write_edf(tmp_path / "night.edf", seconds=60)
    found, expected = (Detector.load(folder).detect(recording) for folder in (version.folder, trained))
    np.testing.assert_array_equal(found.probabilities, expected.probabilities)
    assert f"registered model mine/1.0.0, digest {version.digest[:12]}" in found.notes
    assert provenance_of(version.folder).saw(["site/03", "site/04"]) == ["site/03"]
    assert saved.load("mine").event_detector.setting()["threshold"] == 0.4


def test_verifying_computes_the_probe_batch_again(saved):
    found = saved.verify("mine", "1.0.0", expected=saved.resolve("mine").digest)
    (replay,) = found.replayed
    assert (replay.engine, replay.precision, replay.bound) == ("torch", "fp32", 1e-5)
    assert replay.largest_difference < 1e-6
    assert (found.n_files, found.not_replayed) == (6, ())


def test_without_any_engine_hashes_alone_are_compared_and_the_result_says_so(saved, monkeypatch):
    monkeypatch.setattr("biot_bd.deploy.engine_candidates.find_spec", lambda name: None)
    found = saved.verify("mine")
    assert (found.replayed, found.n_files) == ((), 6)
    (why,) = found.not_replayed
    assert "nothing that is installed computes it: " in why
    assert "(torch is not installed)" in why


@pytest.mark.parametrize(
    "name", ["README.md", "config.json", "events.json", "model.safetensors", "pipeline.json", "probe.npz"]
)
def test_one_changed_bit_of_any_file_is_found_and_the_file_named(registry, name):
    path = registry.resolve("mine").folder / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    with pytest.raises(ModelRegistryError, match=f"{name}: another file than was registered"):
        registry.verify("mine", replay=False)
    with pytest.raises(ValueError, match=name):
        registry.load("mine")


def test_a_file_that_is_missing_longer_unknown_or_a_link_is_named(registry):
    folder = registry.resolve("mine").folder
    (folder / "tuning.json").write_text("{}")
    with pytest.raises(ModelRegistryError, match=r"tuning\.json: no file of mine/1\.0\.0"):
        registry.verify("mine", replay=False)
    with pytest.raises(ModelRegistryError, match=r"tuning\.json"):
        Detector.load(folder)
    (folder / "tuning.json").unlink()
    (folder / "exports" / ".x").mkdir(parents=True)
    (folder / "exports" / ".x" / "artifact.json").write_text("{}")
    with pytest.raises(ModelRegistryError, match=r"no file of mine/1\.0\.0"):
        Detector.load(folder)
    shutil.rmtree(folder / "exports")
    (folder / ".DS_Store").write_bytes(b"")
    check_files(read_version(folder), whole=False)
    with pytest.raises(ModelRegistryError, match=r"\.DS_Store"):
        registry.verify("mine", replay=False)
    (folder / ".DS_Store").unlink()
    (folder / "events.json").rename(folder.parent / "elsewhere.json")
    with pytest.raises(ModelRegistryError, match=r"events\.json: missing"):
        registry.verify("mine", replay=False)
    (folder / "events.json").symlink_to(folder.parent / "elsewhere.json")
    with pytest.raises(ModelRegistryError, match=r"events\.json: a link"):
        registry.verify("mine", replay=False)
    (folder / "events.json").unlink()
    (folder / "events.json").write_text("{}" * 5000)
    with pytest.raises(ModelRegistryError, match="10000 bytes"):
        registry.verify("mine", replay=False)


def test_who_rewrites_the_whole_version_is_found_by_what_files_say_by_the_probe_or_by_the_digest(registry):
    folder = registry.resolve("mine").folder
    digest = read_version(folder).digest
    facts = read_json(folder / "artifact.json")
    change(
        folder / "artifact.json", events=facts["events"] | {"setting": facts["events"]["setting"] | {"threshold": 0.9}}
    )
    with pytest.raises(ModelRegistryError, match="events is not what the model's own files say"):
        registry.verify("mine", replay=False)
    seen = facts["training"]["trained_on"]
    fewer = facts["training"] | {"trained_on": seen | {"trained_on": []}}
    change(folder / "artifact.json", events=facts["events"], training=fewer)
    with pytest.raises(ModelRegistryError, match=r"training\.trained_on is not what the model's own files say"):
        registry.verify("mine", replay=False)
    change(folder / "artifact.json", training=facts["training"], probe=facts["probe"] | {"bounds": {"fp32": 1.0}})
    with pytest.raises(ModelRegistryError, match=r"probe\.bounds\.fp32: 1, at most 1e-05 is accepted"):
        registry.verify("mine", replay=False)
    change(folder / "artifact.json", probe=facts["probe"], threshold=0.123)
    with pytest.raises(ModelRegistryError, match="takes or gives other things"):
        registry.verify("mine")
    change(folder / "artifact.json", threshold=facts["threshold"])
    channels = facts["input"]["ch_names"]
    change(folder / "artifact.json", input=facts["input"] | {"ch_names": channels[::-1]})
    with pytest.raises(ModelRegistryError, match="takes or gives other things"):
        registry.verify("mine")
    with np.load(folder / "probe.npz", allow_pickle=False) as probe:
        arrays = dict(probe)
    arrays["probabilities"] = arrays["probabilities"][:, ::-1]
    (folder / "probe.npz").chmod(0o644)
    np.savez(folder / "probe.npz", **arrays)
    content = (folder / "probe.npz").read_bytes()
    files = facts["files"] | {"probe.npz": {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}}
    change(folder / "artifact.json", input=facts["input"], files=files)
    with pytest.raises(ModelRegistryError, match=r"computed by torch fp32: probabilities of probe\.npz differ"):
        registry.verify("mine")
    assert registry.verify("mine", replay=False).not_replayed == ("not asked for",)
    with pytest.raises(ModelRegistryError, match=f"expected {digest}"):
        registry.verify("mine", replay=False, expected=digest)


def test_a_newer_schema_says_which_biot_bd_reads_it(registry):
    path = registry.resolve("mine").folder / "artifact.json"
    change(path, schema=2, biot_bd="9.1.0")
    with pytest.raises(
        ModelRegistryError, match=r"of schema 2 of biot_bd 9\.1\.0; this biot_bd reads schema 1: install that one"
    ):
        registry.resolve("mine")
    (found,) = registry.list()
    assert "schema 2" in found.problem
    assert found.label == "mine/1.0.0"


@pytest.mark.parametrize(
    "name", ["../x", "/etc/passwd", "exports/../../x", "a\\b", "exports/a", "notes.txt", "exports/.x/y"]
)
def test_names_that_lead_out_of_the_folder_or_are_no_part_of_a_version_are_refused(registry, name):
    path = registry.resolve("mine").folder / "artifact.json"
    files = read_json(path)["files"]
    change(path, files=files | {name: files["events.json"]})
    with pytest.raises(ModelRegistryError, match="is no name of a file of a version"):
        read_version(path.parent)


def test_a_version_is_never_replaced_and_it_is_said_whether_it_is_the_same(registry, trained, tmp_path):
    before = registry.resolve("mine").digest
    with pytest.raises(VersionExistsError, match="this very model is registered"):
        registry.save(trained, "mine", "1.0.0")
    other = tmp_path / "other"
    shutil.copytree(trained, other)
    change(other / "events.json", note="another")
    with pytest.raises(FileExistsError, match="another model is registered"):
        registry.save(other, "mine", "1.0.0")
    assert registry.resolve("mine").digest == before
    assert issubclass(VersionExistsError, ValueError)


def test_the_newest_version_is_meant_and_a_pre_release_only_where_it_is_named(registry, trained):
    for version in ("1.10.0", "2.0.0-rc.1"):
        shutil.copytree(registry.root / "mine" / "1.0.0", registry.root / "mine" / version)
        change(registry.root / "mine" / version / "artifact.json", version=version)
    (registry.root / "mine" / "notes").mkdir()
    assert [one.label for one in registry.list()] == ["mine/1.0.0", "mine/1.10.0", "mine/2.0.0-rc.1"]
    assert registry.resolve("mine").version == "1.10.0"
    assert registry.resolve("mine/2.0.0-rc.1").version == "2.0.0-rc.1"
    with pytest.raises(FileNotFoundError, match=r"no version 3\.0\.0 of mine; there are 1\.0\.0, 1\.10\.0"):
        registry.resolve("mine/3.0.0")
    with pytest.raises(FileNotFoundError, match="did you mean mine"):
        registry.resolve("mien")
    for version in ("1.0.0", "1.10.0"):
        shutil.rmtree(registry.root / "mine" / version)
    with pytest.raises(FileNotFoundError, match=r"pre-releases alone .*mine/2\.0\.0-rc\.1"):
        registry.resolve("mine")


def test_a_version_that_was_renamed_by_hand_is_listed_with_what_is_wrong(registry):
    (registry.root / "mine" / "1.0.0").rename(registry.root / "mine" / "1.0.1")
    (registry.root / "mine" / "2.0.0").mkdir()
    renamed, empty = registry.list()
    assert "holds mine/1.0.0" in renamed.problem
    assert "no version of the model registry here" in empty.problem
    with pytest.raises(ModelRegistryError, match="moved or renamed"):
        registry.resolve("mine/1.0.1")


def test_what_is_no_part_of_a_model_is_refused(registry, trained, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(trained, folder)
    (folder / "patients.csv").write_text("x")
    with pytest.raises(ModelRegistryError, match=r"patients\.csv: no part of a saved model"):
        registry.save(folder, "other", "1.0.0")
    (folder / "patients.csv").unlink()
    (folder / "model.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(ValueError, match="damaged"):
        registry.save(folder, "other", "1.0.0")
    with pytest.raises(FileNotFoundError, match="no saved model here"):
        registry.save(tmp_path, "other", "1.0.0")
    assert [path.name for path in registry.root.iterdir()] == ["mine"]


def test_links_of_the_model_become_files_of_the_version(registry, trained, tmp_path):
    folder = tmp_path / "linked"
    folder.mkdir()
    for path in trained.iterdir():
        (folder / path.name).symlink_to(path)
    version = registry.save(folder, "linked", "1.0.0")
    assert not any(path.is_symlink() for path in version.folder.rglob("*"))
    assert verify_version(version.folder, replay=False).n_files == 6


def test_a_version_of_another_registry_is_taken_as_it_is_and_only_if_it_is_the_one_that_was_meant(saved, tmp_path):
    theirs, other = saved.resolve("mine"), Registry(tmp_path / "other")
    with pytest.raises(ModelRegistryError, match="expected 0000"):
        other.add(theirs.folder, expected="0000")
    ours = other.add(theirs.folder, expected=theirs.digest.upper())
    assert (ours.digest, ours.folder) == (theirs.digest, tmp_path / "other" / "mine" / "1.0.0")
    assert other.add(theirs.folder).folder == ours.folder
    change(ours.folder / "artifact.json", licence="another")
    with pytest.raises(VersionExistsError, match="another version of this number"):
        other.add(theirs.folder)
    assert [path.name for path in other.root.iterdir()] == ["mine"]


def test_a_tuned_copy_of_a_version_is_a_model_of_its_own(saved, tmp_path):
    tuning = SimpleNamespace(offline=EventDetector(threshold=0.8), causal=None, facts={"format": "of a test"})
    folder = save_tuned(tuning, saved.resolve("mine").folder, tmp_path / "tuned")
    assert not is_version(folder)
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "events.json", "model.safetensors", "pipeline.json", "tuning.json",
    }  # fmt: skip
    with pytest.raises(ValueError, match="tuning"):
        Detector.load(folder)  # which reads the recordings that chose the point
    (folder / "tuning.json").unlink()
    assert Detector.load(folder).event_detector.setting()["threshold"] == 0.8


def test_the_registry_of_the_environment_is_the_default(monkeypatch, tmp_path):
    monkeypatch.setenv("BIOT_BD_REGISTRY", str(tmp_path / "ours"))
    assert Registry().root == tmp_path / "ours" == default_root()
    assert Registry().list() == []
    monkeypatch.delenv("BIOT_BD_REGISTRY")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_root() == tmp_path / "biot_bd" / "model-registry"


def test_importing_the_registry_costs_neither_torch_nor_mne():
    import subprocess
    import sys

    code = (
        "import sys; from biot_bd.deploy import Registry; print(Registry('nowhere').list());"
        "print([n for n in ('torch', 'mne', 'sklearn', 'braindecode') if n in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert found.stdout.split("\n")[:2] == ["[]", "[]"]
