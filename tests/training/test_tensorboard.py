"""What TensorBoard finds in the folder."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training_data import make_data, small

from biot_bd.testing.others import check_callback
from biot_bd.training import BIOTClassifier, TensorBoardLogger, log_test_metrics


def read(folder):
    events = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0, "tensors": 0})
    events.Reload()
    return events


def curve(events, tag):
    return [(event.step, event.value) for event in events.Scalars(tag)]


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    x, y, groups = data
    folder = tmp_path_factory.mktemp("tensorboard") / "fold-00"
    net = small(max_epochs=5, patience=None, module__num_layers=3, log_dir=folder).fit(x, y, groups=groups)
    log_test_metrics(net, {"average_precision": 0.25, "roc_auc": 0.5}, np.array([0, 1, 1]), np.array([0.1, 0.4, 0.9]))
    return net, read(folder), folder


def test_curves_equal_the_history(run):
    net, events, _ = run
    for part in ("train", "valid"):
        for name in ("loss", "average_precision", "roc_auc", "balanced_accuracy"):
            steps, values = zip(*curve(events, f"{name}/{part}"), strict=True)
            assert steps == (1, 2, 3, 4, 5)
            np.testing.assert_allclose(values, net.history[:, f"{part}_{name}"], rtol=1e-6)
    np.testing.assert_allclose(
        [v for _, v in curve(events, "gradient_norm")], net.history[:, "gradient_norm"], rtol=1e-6
    )
    assert {round(v, 6) for _, v in curve(events, "learning_rate")} == {0.01}


def test_pictures_at_some_epochs_and_the_last(run):
    _, events, _ = run
    for tag in ("attention/early", "attention/middle", "attention/late", "confusion/valid"):
        assert [image.step for image in events.Images(tag)] == [1, 2, 4, 5]
    image = events.Images("attention/early")[0]
    assert (image.width, image.height) == (350, 215)  # as large as a card, so that nothing is scaled
    for layer in (1, 2, 3):
        for kind, least, most in (("entropy", 0, 1), ("rank", 1, 8)):
            points = curve(events, f"attention_{kind}/layer-{layer:02d}")
            assert [step for step, _ in points] == [1, 2, 4, 5]
            assert all(least <= value <= most for _, value in points)


def test_precision_recall_curves(run):
    _, events, _ = run
    assert [event.step for event in events.Tensors("precision_recall/valid")] == [1, 2, 3, 4, 5]
    assert [event.step for event in events.Tensors("precision_recall/test")] == [5]


def test_test_scores_once(run):
    _, events, _ = run
    assert curve(events, "test/average_precision") == [(5, 0.25)]


def test_hyper_parameters_with_final_scores_in_the_same_folder(run):
    net, events, folder = run
    from tensorboard.plugins.hparams import plugin_data_pb2

    found = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    parameters = plugin_data_pb2.HParamsPluginData.FromString(found).session_start_info.hparams
    assert parameters["lr"].number_value == 0.01
    assert parameters["module__num_layers"].number_value == 3
    assert parameters["optimizer"].string_value == "AdamW"
    found = events.summary_metadata["_hparams_/experiment"].plugin_data.content
    metrics = {m.name.tag for m in plugin_data_pb2.HParamsPluginData.FromString(found).experiment.metric_infos}
    assert {"final/valid_average_precision", "test/average_precision"} <= metrics
    assert curve(events, "final/valid_roc_auc")[-1][1] == pytest.approx(net.history[-1, "valid_roc_auc"])
    assert not [path for path in folder.iterdir() if path.is_dir()]


def test_final_scores_are_those_of_the_weights_taken(data, tmp_path):
    x, y, groups = data
    net = small(max_epochs=6, patience=2, lr=0.5, log_dir=tmp_path).fit(x, y, groups=groups)
    best = int(np.argmax(net.history[:, "valid_average_precision"]))
    events = read(tmp_path)
    assert curve(events, "final/epoch") == [(len(net.history), best + 1)]
    assert curve(events, "final/valid_loss")[0][1] == pytest.approx(net.history[best, "valid_loss"])


def test_a_fit_taken_up_again_replaces_later_epochs(data, tmp_path):
    x, y, groups = data
    settings = {"max_epochs": 4, "patience": None, "module": "eegnet", "log_dir": tmp_path / "log"}

    def make(**more):
        return BIOTClassifier(
            **settings, batch_size=16, random_state=0, device="cpu", restart_dir=tmp_path / "r", **more
        )

    class Stop(Exception):
        pass

    net = make()
    steps = []

    def stop(*args, **kw):
        steps.append(1)
        if len(steps) == 3:
            raise Stop
        return type(net)._one_epoch(net, *args, **kw)

    net._one_epoch = stop
    with pytest.raises(Stop):
        net.fit(x, y, groups=groups)
    net = make().fit(x, y, groups=groups)
    assert [step for step, _ in curve(read(tmp_path / "log"), "loss/train")] == [1, 2, 3, 4]
    assert "attention/only" not in read(tmp_path / "log").Tags()["images"]


def test_a_fit_killed_behind_its_last_epoch_still_gets_its_end_once(data, tmp_path):
    x, y, groups = data

    class Killed(Exception):
        pass

    def make():
        return small(max_epochs=3, patience=None, log_dir=tmp_path / "log", restart_dir=tmp_path / "r")

    net = make()
    notify = net.notify

    def kill(name, **kw):
        if name == "on_train_end":
            raise Killed
        return notify(name, **kw)

    net.notify = kill
    with pytest.raises(Killed):
        net.fit(x, y, groups=groups)
    assert "final/epoch" not in read(tmp_path / "log").Tags()["scalars"]
    for _ in range(2):  # the third call finds everything there
        net = make().fit(x, y, groups=groups)
        events = read(tmp_path / "log")
        assert curve(events, "final/epoch") == [(3, 3.0)]
        assert curve(events, "final/valid_loss")[0][1] == pytest.approx(net.history[-1, "valid_loss"])
        assert [image.step for image in events.Images("attention/only")] == [1, 2, 3]
        assert [image.step for image in events.Images("confusion/valid")] == [1, 2, 3]
        assert "_hparams_/session_start_info" in events.summary_metadata
        assert [step for step, _ in curve(events, "loss/train")] == [1, 2, 3]


def test_clone_and_pickle(data, tmp_path):
    x, y, groups = data
    net = small(max_epochs=1, callbacks=[TensorBoardLogger(str(tmp_path / "a"), attention=False)]).fit(
        x, y, groups=groups
    )
    again = pickle.loads(pickle.dumps(net))
    np.testing.assert_array_equal(again.predict_proba(x), net.predict_proba(x))
    clone(net).set_params(callbacks=[TensorBoardLogger(str(tmp_path / "b"))]).fit(x, y, groups=groups)
    assert "loss/train" in read(tmp_path / "b" / "fit-0001").Tags()["scalars"]
    check_callback(TensorBoardLogger, {"log_dir": str(tmp_path / "c")})


def test_no_folder_is_an_error(data):
    x, y, groups = data
    with pytest.raises(ValueError, match="needs a folder"):
        small(max_epochs=1, callbacks=[TensorBoardLogger()]).fit(x, y, groups=groups)


def test_attention_that_cannot_be_recorded_ends_no_training(data, tmp_path, monkeypatch):
    x, y, groups = data

    def fail(*args):
        raise RuntimeError("the map rebuilds the layer's output only to 1")

    monkeypatch.setattr("biot_bd.training.tensorboard.layer_attention", fail)
    small(max_epochs=2, log_dir=tmp_path).fit(x, y, groups=groups)
    (text,) = read(tmp_path).Tensors("attention/windows/text_summary")
    assert b"not shown: the map rebuilds" in text.tensor_proto.string_val[0]


def test_absent_channels_are_drawn_as_absent(tmp_path):
    x, y, groups = make_data()
    x[:, 2] = np.nan
    small(max_epochs=1, log_dir=tmp_path).fit(x, y, groups=groups)
    assert len(read(tmp_path).Images("attention/only")) == 1


def test_without_log_dir_nothing_is_written(data):
    x, y, groups = data
    net = small(max_epochs=1).fit(x, y, groups=groups)
    log_test_metrics(net, {"roc_auc": 0.5})
    with pytest.raises(ValueError, match="both"):
        log_test_metrics(net, {}, y_true=y)
