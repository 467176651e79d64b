"""A classifier that starts from a checkpoint: the right weights, everywhere scikit-learn takes it."""

import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from training_data import SUBJECTS, make_data

from biot_bd.evaluation.study_identity import describe_pipeline
from biot_bd.exceptions import CheckpointError
from biot_bd.models import BIOT, provenance_of, save_checkpoint
from biot_bd.models.checkpoints.provenance import Provenance, Seen
from biot_bd.signals import PercentileScaler
from biot_bd.training import BIOTClassifier, load_pipeline, save_pipeline
from biot_bd.training.pretrained import started_from, write_load_report

NAMES = ("FP1-F7", "F7-T7", "T7-P7", "P7-O1", "C3-A2", "C4-A1")
SIZES = {"embed_dim": 16, "num_heads": 2, "num_layers": 1}


def encoder(module):
    return {k: v.clone() for k, v in module.state_dict().items() if k.startswith("encoder.")}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.fixture(scope="module")
def source():
    torch.manual_seed(5)
    return BIOT(**SIZES, n_chans=4, n_outputs=2, n_times=300)


@pytest.fixture(scope="module")
def checkpoint(source, tmp_path_factory):
    """Encoder only, official layout, four channels without names."""
    return save_checkpoint(source, tmp_path_factory.mktemp("checkpoint") / "w.ckpt", ["old/01", "old/02"])


def tuned(checkpoint, **kwargs):
    settings = {"max_epochs": 2, "batch_size": 16, "random_state": 0, "device": "cpu", "lr": 1e-3}
    return BIOTClassifier(pretrained=checkpoint, **{**settings, **kwargs})


@pytest.fixture(scope="module")
def fitted(checkpoint, data):
    x, y, groups = data
    return tuned(str(checkpoint)).fit(x, y, groups=groups)


def test_the_encoder_is_that_of_the_file_right_after_initialize(checkpoint, source, data):
    x, y, groups = data
    net = tuned(checkpoint)
    net.initialize()
    assert same(encoder(net.module_), encoder(source))
    seen = {}

    class Net(BIOTClassifier):
        def initialize(self):
            super().initialize()
            seen.update(encoder(self.module_))
            return self

    Net(pretrained=checkpoint, max_epochs=1, device="cpu", random_state=1).fit(x, y, groups=groups)
    assert same(seen, encoder(source))


def test_training_moves_on_from_there(fitted, source):
    assert not same(encoder(fitted.module_), encoder(source))
    assert fitted.module_.encoder.positional_encoding.dropout.p == 0.1
    assert fitted.pretrained_report_.complete
    assert fitted.pretrained_report_.head == "fresh: the checkpoint has none"


def test_a_checkpoint_gives_its_sizes(fitted):
    assert fitted.module_.get_config()["embed_dim"] == 16
    assert fitted.module_.get_config()["num_heads"] == 2


def test_a_rate_of_zero_leaves_the_file(checkpoint, source, data):
    x, y, groups = data
    net = tuned(checkpoint, lr=0.0, max_epochs=1, optimizer__weight_decay=0.0).fit(x, y, groups=groups)
    assert same(encoder(net.module_), encoder(source))


def test_provenance_holds_both(fitted, data):
    _, _, groups = data
    provenance = fitted.provenance_
    assert provenance.known
    assert provenance.saw(["old/01", "new/01"]) == ["old/01"]
    assert provenance.saw(groups) == sorted(set(groups))
    assert started_from(fitted).saw(groups) == []


def test_without_subjects_the_chain_is_unknown(checkpoint, data):
    x, y, _ = data
    net = tuned(checkpoint, train_split=None, max_epochs=1).fit(x, y)
    assert not net.provenance_.known
    assert net.provenance_.saw(["old/01"]) == ["old/01"]


def test_going_on_with_other_subjects_adds_them(checkpoint):
    x, y, groups = make_data()
    first = np.isin(groups, SUBJECTS[:3])
    net = tuned(checkpoint, max_epochs=1, warm_start=True, patience=None, train_split=None)
    net.fit(x[first], y[first], groups=groups[first])
    assert net.provenance_.saw(groups) == SUBJECTS[:3]
    net.fit(x[~first], y[~first], groups=groups[~first])
    assert net.provenance_.saw(groups) == SUBJECTS
    # A fresh fit forgets the subjects, never those of the checkpoint.
    net.set_params(warm_start=False).fit(x[first], y[first], groups=groups[first])
    assert net.provenance_.saw([*groups, "old/01"]) == ["old/01", *SUBJECTS[:3]]


def test_from_scratch_there_is_a_record_too(data):
    x, y, groups = data
    net = BIOTClassifier(
        module__embed_dim=16, module__num_heads=2, module__num_layers=1, max_epochs=1, device="cpu", random_state=0
    ).fit(x, y, groups=groups)
    assert net.provenance_.trained_on == (Seen("set", tuple(sorted(set(groups))), "supervised"),)
    assert started_from(net) is None
    assert not hasattr(net, "pretrained_report_")
    assert write_load_report(net, "nowhere") is None


def test_an_instance_keeps_its_history(checkpoint):
    model = BIOT.from_checkpoint(checkpoint, n_times=300)
    assert started_from(BIOTClassifier(module=model)).saw(["old/01"]) == ["old/01"]
    assert not started_from(BIOTClassifier(module=torch.nn.Linear(1, 1))).known
    assert started_from(BIOTClassifier()) is None
    assert started_from(BIOTClassifier(pretrained="six-datasets-18")) == provenance_of("six-datasets-18")


# --- scikit-learn -----------------------------------------------------------------------------------------


def test_clone_pickle_and_pipeline(fitted, checkpoint, data):
    x, y, groups = data
    assert clone(fitted).get_params()["pretrained"] == str(checkpoint)
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict_proba(x), fitted.predict_proba(x))
    assert again.provenance_ == fitted.provenance_
    assert again.pretrained_report_ == fitted.pretrained_report_
    pipeline = make_pipeline(PercentileScaler(), tuned(checkpoint, max_epochs=1))
    pipeline.fit(x, y, biotclassifier__groups=groups)
    assert pipeline[-1].pretrained_report_.complete


def test_two_fits_are_equal(fitted, checkpoint, data):
    x, y, groups = data
    np.testing.assert_array_equal(clone(fitted).fit(x, y, groups=groups).predict_proba(x), fitted.predict_proba(x))


def test_in_a_grid(checkpoint, data):
    x, y, groups = data
    net = tuned(None, max_epochs=1, train_split=None, patience=None)
    net.set_params(**{f"module__{key}": value for key, value in SIZES.items()})
    grid = GridSearchCV(net, {"pretrained": [None, str(checkpoint)]}, cv=GroupKFold(2), error_score="raise")
    grid.fit(x, y, groups=groups)
    assert len(grid.cv_results_["mean_test_score"]) == 2


# --- saving -----------------------------------------------------------------------------------------------


@pytest.fixture
def copy(checkpoint, tmp_path):
    for name in (checkpoint.name, checkpoint.name + ".json"):
        shutil.copy(checkpoint.with_name(name), tmp_path / name)
    return tmp_path / checkpoint.name


def test_a_saved_pipeline_does_not_need_the_checkpoint(copy, data, tmp_path):
    x, y, groups = data
    pipeline = make_pipeline(PercentileScaler(), tuned(copy, max_epochs=1))
    pipeline.fit(x, y, biotclassifier__groups=groups)
    save_pipeline(pipeline, tmp_path / "model")
    copy.unlink()
    again = load_pipeline(tmp_path / "model")
    np.testing.assert_array_equal(again.predict_proba(x), pipeline.predict_proba(x))
    net = again[-1]
    assert net.provenance_ == pipeline[-1].provenance_
    assert net.pretrained_report_ == pipeline[-1].pretrained_report_
    assert net.module_.load_report == pipeline[-1].module_.load_report
    assert net.get_params()["pretrained"] == str(copy)
    # A fit anew starts from the checkpoint, so then it must be there.
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        again.fit(x, y, biotclassifier__groups=groups)


def test_a_saved_pipeline_is_a_checkpoint_and_remembers_everybody(fitted, data, tmp_path):
    x, y, groups = data
    save_pipeline(make_pipeline(PercentileScaler(), fitted), tmp_path / "first", record={"note": "x"})
    provenance = provenance_of(tmp_path / "first")
    assert provenance.known
    assert provenance.saw([*groups, "old/01", "new/01"]) == ["old/01", *sorted(set(groups))]
    net = tuned(tmp_path / "first", lr=0.0, max_epochs=1, optimizer__weight_decay=0.0).fit(x, y, groups=groups)
    assert same(dict(net.module_.state_dict()), dict(fitted.module_.state_dict()))
    assert net.pretrained_report_.head == "of the checkpoint (2 logits)"
    save_pipeline(net, tmp_path / "second")
    assert provenance_of(tmp_path / "second").saw(["old/02"]) == ["old/02"]


def test_the_record_of_a_saved_pipeline_counts(fitted, tmp_path):
    more = Provenance("x", (Seen("more", ("more/09",), "supervised"),))
    save_pipeline(fitted, tmp_path, record={"trained_on": more.to_dict()})
    assert provenance_of(tmp_path).saw(["more/09", "old/01"]) == ["more/09", "old/01"]


def test_folders_from_before_there_were_records(fitted, data, tmp_path):
    _, _, groups = data
    save_pipeline(fitted, tmp_path)
    config = json.loads((tmp_path / "pipeline.json").read_text())
    facts = config["pipeline"]["fitted"]
    for key in ("provenance", "pretrained_report", "module_config", "token_names"):
        facts.pop(key)
    (tmp_path / "pipeline.json").write_text(json.dumps(config))
    assert provenance_of(tmp_path).saw(groups) == sorted(set(groups))


# --- restart and studies ----------------------------------------------------------------------------------


def test_a_restart_point_belongs_to_the_content_of_the_checkpoint(copy, source, data, tmp_path):
    x, y, groups = data
    net = tuned(copy, restart_dir=tmp_path / "restart").fit(x, y, groups=groups)
    assert len(list((tmp_path / "restart").iterdir())) == 1
    again = clone(net).fit(x, y, groups=groups)
    np.testing.assert_array_equal(again.predict_proba(x), net.predict_proba(x))
    moved = shutil.copytree(copy.parent, tmp_path / "elsewhere", ignore=shutil.ignore_patterns("elsewhere", "restart"))
    clone(net).set_params(pretrained=moved / copy.name).fit(x, y, groups=groups)
    assert len(list((tmp_path / "restart").iterdir())) == 1
    torch.manual_seed(9)
    save_checkpoint(BIOT(**SIZES, n_chans=4, n_outputs=2, n_times=300), copy, ["old/01"])
    clone(net).fit(x, y, groups=groups)
    assert len(list((tmp_path / "restart").iterdir())) == 2


def test_a_study_belongs_to_the_content_of_the_checkpoint(copy):
    before = describe_pipeline(make_pipeline(tuned(copy)))["biotclassifier__pretrained"]
    assert before.startswith("git blob ")
    assert describe_pipeline(tuned("prest-16"))["pretrained"] == "published prest-16"
    torch.manual_seed(9)
    save_checkpoint(BIOT(**SIZES, n_chans=4, n_outputs=2, n_times=300), copy, ["old/01"])
    assert describe_pipeline(make_pipeline(tuned(copy)))["biotclassifier__pretrained"] != before


def test_the_report_in_the_run_folder(fitted, tmp_path):
    path = write_load_report(fitted, tmp_path)
    assert json.loads(path.read_text())["matched"] == list(fitted.pretrained_report_.matched)


# --- what does not fit ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"module": "EEGNet"}, ValueError, "needs module='biot'"),
        ({"module__num_heads": 4}, CheckpointError, "num_heads=4 but the checkpoint needs 2"),
        ({"module__sfreq": 100}, CheckpointError, "sfreq=100 but the checkpoint needs 200"),
        ({"module__embed_dim": 32}, CheckpointError, "embed_dim=32 but the checkpoint needs 16"),
    ],
)
def test_contradictions_are_named(checkpoint, data, settings, error, message):
    x, y, groups = data
    with pytest.raises(error, match=message):
        tuned(checkpoint, **settings).fit(x, y, groups=groups)


def test_other_channels(checkpoint, source):
    x, y, groups = make_data(n_chans=3)
    with pytest.raises(CheckpointError, match="tokens for 4 channels, and the data have 3"):
        tuned(checkpoint).fit(x, y, groups=groups)
    net = tuned(checkpoint, module__channel_ids=[3, 0, 1], max_epochs=1).fit(x, y, groups=groups)
    assert net.module_.channel_ids == (3, 0, 1)
    assert net.module_.n_channel_tokens == 4


def test_epochs_take_the_tokens_of_their_names(tmp_path):
    """Channels come by name from the data: other order, old names, fewer than the checkpoint has."""
    import mne

    torch.manual_seed(0)
    source = BIOT(**SIZES, n_chans=6, n_outputs=2, n_times=300)
    path = save_checkpoint(source, tmp_path / "w.ckpt", ["old/01"], ch_names=NAMES)
    x, y, groups = make_data(n_chans=3)
    info = mne.create_info(["C4-A1", "T3-T5", "FP1-F7"], 200.0, "eeg")
    epochs = mne.EpochsArray(x * 1e-6, info, verbose="error")
    net = tuned(path, max_epochs=1).fit(epochs, y, groups=groups)
    assert net.module_.channel_ids == (5, 2, 0)
    save_pipeline(net, tmp_path / "model")
    path.unlink()
    again = load_pipeline(tmp_path / "model")
    np.testing.assert_array_equal(again.predict_proba(epochs), net.predict_proba(epochs))
    third = BIOT.from_checkpoint(tmp_path / "model", ch_names=["F7-T7", "C4-A1"], n_times=300)
    assert third.channel_ids == (1, 5)
    wrong = mne.EpochsArray(x * 1e-6, mne.create_info(["C4-A1", "Fz-Cz", "EKG"], 200.0, "eeg"), verbose="error")
    with pytest.raises(CheckpointError, match="no channel token for Fz-Cz, EKG"):
        tuned(path.with_name("model")).fit(wrong, y, groups=groups)
    slow = mne.EpochsArray(x * 1e-6, mne.create_info(["C4-A1", "T3-T5", "FP1-F7"], 256.0, "eeg"), verbose="error")
    with pytest.raises(CheckpointError, match=r"sfreq=256 but .* needs 200 \(resample"):
        tuned(path.with_name("model")).fit(slow, y, groups=groups)
