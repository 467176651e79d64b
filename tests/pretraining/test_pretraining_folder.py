"""What was pretrained is saved and loaded whole, without pickle; damaged and foreign folders say what they are."""

import json
import shutil

import braindecode.models
import numpy as np
import pytest
import torch
from sklearn.pipeline import make_pipeline

from biot_bd import BIOTClassifier, Embedder, PercentileScaler, Pretrainer, load_pipeline, load_scorer, save_pipeline
from biot_bd.embedding import LinearProbe
from biot_bd.exceptions import BiotBdError, CheckpointError, SavedPipelineError
from biot_bd.models import BIOT, provenance_of
from biot_bd.pretraining import BatchRandom, load_pretraining, save_pretraining
from biot_bd.signals.subject_array import SubjectArray

pytestmark = pytest.mark.usefixtures("one_thread")

SIZES = {"module__embed_dim": 16, "module__num_heads": 2, "module__num_layers": 1}
OBJECTIVES = {"masked-spectrum": 1.0, "biot-contrastive": 0.5}
SUBJECTS = np.repeat(["set/a", "set/b", "set/c"], 8)
FILES = ("model.safetensors", "objectives.safetensors", "history.json", "pretraining.json")


def signals(seed=0):
    return np.random.default_rng(seed).normal(0, 20, (24, 3, 400)).astype(np.float32)


def made(**kwargs):
    settings = {**SIZES, "max_epochs": 2, "batch_size": 8, "device": "cpu", "random_state": 0, "lr": 1e-3}
    net = Pretrainer("biot", OBJECTIVES, **{**settings, **kwargs})
    return make_pipeline(PercentileScaler(), net)


@pytest.fixture(scope="module")
def fitted():
    net = made(**{"objective__masked-spectrum__mask_ratio": 0.4})
    return net.fit(signals(), pretrainer__groups=SUBJECTS)


@pytest.fixture(scope="module")
def saved(fitted, tmp_path_factory):
    return save_pretraining(fitted, tmp_path_factory.mktemp("saved") / "run", {"made_for": "a test"})


@pytest.fixture
def copy(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copy")


def changed(folder, change, file="pretraining.json"):
    """Change what a JSON file of a folder holds."""
    content = json.loads((folder / file).read_text())
    change(content)
    (folder / file).write_text(json.dumps(content))


def test_a_probe_over_a_pretrained_encoder_needs_the_run_no_more_and_says_whom_it_saw(copy, tmp_path):
    x, y, subjects = signals(1), np.tile([0, 1], 12), np.repeat(["clinic/1", "clinic/2", "clinic/3"], 8)
    frozen = make_pipeline(PercentileScaler(), Embedder("biot", pretrained=copy, device="cpu"), LinearProbe(C=1.0))
    frozen.fit(SubjectArray(x, subjects), y)
    folder = save_pipeline(frozen, tmp_path / "frozen")
    shutil.rmtree(copy)
    np.testing.assert_array_equal(load_pipeline(folder).predict_proba(x), frozen.predict_proba(x))
    np.testing.assert_allclose(load_scorer(folder).predict_proba(x), frozen.predict_proba(x), atol=1e-6)
    everybody = ["clinic/1", "clinic/2", "clinic/3", "clinic/4", "set/a", "set/b", "set/c", "set/d"]
    assert provenance_of(folder).saw(everybody) == [name for name in everybody if name[-1] not in "4d"]


def test_what_is_loaded_is_what_was_saved_bit_for_bit(fitted, saved):
    again, x = load_pretraining(saved), signals(1)
    np.testing.assert_array_equal(again.transform(x), fitted.transform(x))
    assert again[-1].evaluate(x) == fitted[-1].evaluate(x)
    for part in ("backbone", "objectives"):
        wanted, found = (getattr(one[-1].module_, part).state_dict() for one in (fitted, again))
        assert wanted.keys() == found.keys()
        assert all(torch.equal(wanted[key], found[key]) for key in wanted)
    assert [row["valid_loss"] for row in again[-1].history] == [row["valid_loss"] for row in fitted[-1].history]
    assert again[-1].provenance_.trained_on == fitted[-1].provenance_.trained_on
    assert again[-1].get_params()["objective__masked-spectrum__mask_ratio"] == 0.4
    assert again[-1].train_subjects_ == fitted[-1].train_subjects_
    assert again.record_ == {"made_for": "a test"}


def test_what_is_loaded_reconstructs_what_the_original_does(fitted, saved):
    x = torch.from_numpy(signals(2))
    found = []
    for pipeline in (fitted, load_pretraining(saved)):
        module = pipeline[-1].module_.eval()
        with torch.no_grad():
            objective = module.objectives["masked-spectrum"]
            found.append(objective.reconstruct(module.backbone.token_stages(), x, BatchRandom(5, len(x))).predicted)
    assert torch.equal(*found)


def test_what_is_loaded_trains_on_and_remembers_both_sets_of_subjects(saved):
    net = load_pretraining(saved)[-1]
    before = net.module_.backbone.state_dict()["encoder.channel_tokens.weight"].clone()
    net.partial_fit(signals(3), groups=np.char.add(SUBJECTS, "2"))
    assert not torch.equal(before, net.module_.backbone.state_dict()["encoder.channel_tokens.weight"])
    assert len(net.history) == 4
    assert net.provenance_.saw(["set/a", "set/a2", "set/d"]) == ["set/a", "set/a2"]


def test_a_net_without_a_pipeline_comes_back_without_one(fitted, tmp_path):
    net = load_pretraining(save_pretraining(fitted[-1], tmp_path / "net"))
    assert isinstance(net, Pretrainer)


def test_the_folder_is_a_hub_repository_that_plain_braindecode_loads(fitted, saved):
    model = braindecode.models.BIOT.from_pretrained(str(saved), n_outputs=5)
    wanted = fitted[-1].module_.backbone.state_dict()
    found = model.state_dict()
    assert all(torch.equal(found[key], value) for key, value in wanted.items() if key != "encoder.index")
    ours = BIOT.from_checkpoint(saved, n_times=400)
    assert all(torch.equal(ours.state_dict()[key], value) for key, value in wanted.items())


def test_the_record_says_who_was_seen_without_labels(saved):
    seen = provenance_of(saved)
    assert seen.known
    assert [(one.subjects, one.how) for one in seen.trained_on] == [(("set/a", "set/b", "set/c"), "unsupervised")]


def test_without_its_record_it_counts_as_unknown_and_never_as_clean(copy):
    (copy / "trained_on.json").unlink()
    assert not provenance_of(copy).known
    assert not load_pretraining(copy)[-1].provenance_.known


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_is_named(copy, file):
    (copy / file).unlink()
    with pytest.raises((BiotBdError, OSError), match=file.replace(".", r"\.")):
        load_pretraining(copy)


@pytest.mark.parametrize("file", FILES[:2])
def test_a_changed_byte_of_the_weights_is_found(copy, file):
    content = bytearray((copy / file).read_bytes())
    content[-1] ^= 1
    (copy / file).write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{file}: the weights are damaged \(checksum differs\)"):
        load_pretraining(copy)


@pytest.mark.parametrize("file", ["history.json", "pretraining.json"])
def test_half_a_file_is_one_error_that_names_it(copy, file):
    text = (copy / file).read_text()
    (copy / file).write_text(text[: len(text) // 2])
    with pytest.raises(BiotBdError, match=file) as error:
        load_pretraining(copy)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.update(version=99), "of format version 99; this biot_bd reads 1"),
        (lambda d: d.update(version=True), "of format version True"),
        (lambda d: d.update(format="another"), "not written by biot-bd pretrain"),
        (lambda d: d.update(state="running"), "expected 'finished', found 'running'"),
        (lambda d: d.pop("input_info"), "input_info is missing"),
        (lambda d: d["input_info"].update(n_chans="3"), "input_info.n_chans: expected a whole number, found '3'"),
        (lambda d: d["model"]["config"].update(embed_dim=4096), "do not fit|far larger"),
        (lambda d: d["model"]["config"].update(activation="os.system"), "names 'os.system', expected a class of torch"),
        (lambda d: d["pretrainer"].update({"class": {"$class": "os:system"}}), "'os:system', which may not be loaded"),
        (
            lambda d: d["pretrainer"].update({"class": {"$class": "biot_bd:BIOTClassifier"}, "parameters": {}}),
            "a BIOTClassifier, expected a Pretrainer",
        ),
        (lambda d: d["steps"][0].update({"class": {"$class": "subprocess:Popen"}}), "which may not be loaded"),
        (lambda d: d["pretrainer"]["parameters"].update(objective="no-such"), "no objectives named 'no-such'"),
    ],
)
def test_a_description_that_was_not_written_here_is_refused(copy, change, said):
    changed(copy, change)
    with pytest.raises(BiotBdError, match=said):
        load_pretraining(copy)


def test_folders_of_other_kinds_are_no_pretraining(fitted, tmp_path):
    net = BIOTClassifier("shallow", max_epochs=1, train_split=None, device="cpu")
    model = save_pipeline(net.fit(signals(), [0, 1] * 12), tmp_path / "model")
    for folder in (model, tmp_path, tmp_path / "nowhere"):
        with pytest.raises(FileNotFoundError, match="no pretrained model here"):
            load_pretraining(folder)


@pytest.mark.parametrize(
    ("pipeline", "said"),
    [
        (lambda: made(), "Pretrainer is not fitted"),
        (lambda: make_pipeline(PercentileScaler()), "PercentileScaler: only Pretrainer"),
        (lambda: BIOTClassifier(), "BIOTClassifier: only Pretrainer"),
    ],
)
def test_what_cannot_be_saved_leaves_nothing_on_the_disk(tmp_path, pipeline, said):
    with pytest.raises(SavedPipelineError, match=said):
        save_pretraining(pipeline(), tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_a_function_among_the_parameters_is_named_and_nothing_is_written(fitted, tmp_path):
    net = fitted[-1]
    net.callbacks = [("odd", lambda: None)]
    try:
        with pytest.raises(SavedPipelineError, match="pretrainer__callbacks"):
            save_pretraining(fitted, tmp_path / "run")
    finally:
        net.callbacks = None
    assert not list(tmp_path.iterdir())


def test_folders_of_the_run_are_not_taken_over(fitted, tmp_path):
    net = fitted[-1]
    net.log_dir = str(tmp_path / "log")
    try:
        folder = save_pretraining(fitted, tmp_path / "run")
    finally:
        net.log_dir = None
    assert load_pretraining(folder)[-1].log_dir is None
    assert str(tmp_path / "log") not in (folder / "pretraining.json").read_text()


def test_saving_over_an_earlier_one_replaces_it_whole(fitted, saved, tmp_path):
    folder = shutil.copytree(saved, tmp_path / "twice")
    (folder / "notes.txt").write_text("mine")
    other = made(random_state=1, max_epochs=1).fit(signals(), pretrainer__groups=SUBJECTS)
    save_pretraining(other, folder)
    x = signals(1)
    np.testing.assert_array_equal(load_pretraining(folder).transform(x), other.transform(x))
    assert (folder / "notes.txt").read_text() == "mine"
