"""Callbacks of skorch are saved and restored with a pipeline, by names and numbers."""

import json
import shutil
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, fbeta_score, make_scorer
from skorch import callbacks as sc
from torch.optim.lr_scheduler import CosineAnnealingLR
from training_data import make_data

from biot_bd import BIOTClassifier, load_pipeline, save_pipeline
from biot_bd.exceptions import SavedPipelineError
from biot_bd.training.persistence.audit import audit

KEPT = {
    "EarlyStopping": lambda: sc.EarlyStopping(patience=3),
    "EpochScoring": lambda: sc.EpochScoring("roc_auc", lower_is_better=False),
    "EpochScoring of a metric": lambda: sc.EpochScoring(f1_score, lower_is_better=False),
    "EpochScoring of a scorer": lambda: sc.EpochScoring(make_scorer(fbeta_score, beta=2.0), lower_is_better=False),
    "BatchScoring": lambda: sc.BatchScoring("accuracy", lower_is_better=False),
    "PassthroughScoring": lambda: sc.PassthroughScoring("train_loss", on_train=True),
    "Freezer": lambda: sc.Freezer("encoder*"),
    "Unfreezer": lambda: sc.Unfreezer("encoder*", at=2),
    "ParamMapper": lambda: sc.ParamMapper(["a*", "b*"]),
    "Initializer": lambda: sc.Initializer("final*.weight", fn=partial(torch.nn.init.uniform_, a=-1e-3, b=1e-3)),
    "LRScheduler": lambda: sc.LRScheduler("StepLR", step_size=1),
    "LRScheduler by class": lambda: sc.LRScheduler(CosineAnnealingLR, T_max=3),
    "LRScheduler of skorch": lambda: sc.LRScheduler(sc.WarmRestartLR, max_lr=0.1),
    "GradientNormClipping": lambda: sc.GradientNormClipping(1.0),
    "EpochTimer": lambda: sc.EpochTimer(),
    "PrintLog": lambda: sc.PrintLog(),
    "ProgressBar": lambda: sc.ProgressBar(),
}
WRITERS = {
    "Checkpoint": lambda folder: sc.Checkpoint(dirname=folder, monitor=lambda net: True),
    "TrainEndCheckpoint": lambda folder: sc.TrainEndCheckpoint(dirname=folder),
    "LoadInitState": lambda folder: sc.LoadInitState(sc.Checkpoint(dirname=folder)),
    "TensorBoard": lambda folder: sc.TensorBoard(object()),
}


def shallow(**kwargs):
    settings = {"max_epochs": 1, "batch_size": 16, "random_state": 0, "device": "cpu"} | kwargs
    return BIOTClassifier("shallow", **settings)


@pytest.fixture(scope="module")
def fitted():
    x, y, groups = make_data()
    return shallow().fit(x, y, groups=groups)


def described(callback):
    """Parameters as plain things; of scorers their text tells all."""
    return {k: repr(v) if "scoring" in k or isinstance(v, partial) else v for k, v in callback.get_params().items()}


SHAPES = [lambda cb: [("cb", cb)], lambda cb: [cb], lambda cb: (cb,), lambda cb: cb]


@pytest.mark.parametrize(
    ("make", "shape"),
    [*((make, SHAPES[0]) for make in KEPT.values()), *((KEPT["EarlyStopping"], shape) for shape in SHAPES[1:])],
)
def test_it_comes_back_as_it_was(fitted, tmp_path, make, shape):
    fitted.set_params(callbacks=shape(make()))
    again = load_pipeline(save_pipeline(fitted, tmp_path))
    fitted.set_params(callbacks=None)
    (found,) = [item[1] if isinstance(item, tuple) else item for item in again._given_callbacks()]
    assert type(found) is type(make())
    assert described(found) == described(make())
    assert type(again.callbacks) is type(shape(make()))
    assert audit(tmp_path).problems == []


def test_started_ones_are_kept_as_given_and_train_again(tmp_path):
    x, y, groups = make_data()
    names = ["EpochScoring of a scorer", "BatchScoring", "Freezer", "Initializer", "PrintLog", "LRScheduler"]
    started = [(f"cb{n}", KEPT[name]()) for n, name in enumerate(names)]
    net = shallow(callbacks=started, max_epochs=2).fit(x, y, groups=groups)
    again = load_pipeline(save_pipeline(net, tmp_path))
    np.testing.assert_array_equal(again.predict_proba(x), net.predict_proba(x))
    kept = dict(again.callbacks)
    assert (kept["cb2"].at, kept["cb2"].schedule, kept["cb2"].patterns) == (1, None, ["encoder*"])
    again.fit(x, y, groups=groups)
    np.testing.assert_allclose(again.history[:, "train_loss"], net.history[:, "train_loss"], rtol=0)
    assert again.history[:, "fbeta_score"] == net.history[:, "fbeta_score"]


@pytest.mark.parametrize(
    ("writer", "shape"), [*((w, SHAPES[0]) for w in WRITERS), *(("Checkpoint", s) for s in SHAPES)]
)
def test_what_writes_is_left_out_by_loading(fitted, tmp_path, writer, shape):
    fitted.set_params(callbacks=shape(WRITERS[writer](str(tmp_path / "theirs"))))
    save_pipeline(fitted, tmp_path / "model")
    fitted.set_params(callbacks=None)
    shutil.rmtree(tmp_path / "theirs", ignore_errors=True)  # skorch made it
    with pytest.warns(UserWarning, match="belongs to the run that trained the model: callback"):
        again = load_pipeline(tmp_path / "model")
    assert again._given_callbacks() == []
    assert not (tmp_path / "theirs").exists()


@pytest.mark.parametrize("names", [("accuracy", "tensorboard"), ["accuracy", "tensorboard"]])
def test_writers_named_in_a_list_or_tuple_are_left_out(fitted, tmp_path, names):
    fitted.set_params(callbacks=names)
    save_pipeline(fitted, tmp_path)
    fitted.set_params(callbacks=None)
    with pytest.warns(UserWarning, match="callback tensorboard"):
        again = load_pipeline(tmp_path)
    assert list(again.callbacks) == ["accuracy"]
    named = [(one.name, one.problem) for one in audit(tmp_path).named if one.what == "registered"]
    assert ("callbacks:accuracy", None) in named


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"$function": "os:system"}, "may not be loaded"),
        ({"$function": "builtins:eval"}, "may not be loaded"),
        ({"$function": "sklearn.metrics:get_scorer"}, "may not be loaded"),
        ({"$function": "sklearn.metrics:pairwise.os.system_score"}, "may not be loaded"),
        ({"$function": "torch.nn.init:__getattr__"}, "may not be loaded"),
        ({"$function": "torch.nn.init:nothing_"}, "installation lacks"),
        ({"$function": ["builtins", "print"]}, "may not be loaded"),
        ({"$partial": [{"$function": "os:system"}, ["true"], {"$dict": []}]}, "may not be loaded"),
        ({"$partial": [{"$class": "torch.nn:Linear"}, [], {"$dict": []}]}, "damaged"),
        ({"$scorer": [{"$function": "os:system"}, "predict", True, {"$dict": []}]}, "may not be loaded"),
    ],
)
def test_a_file_names_no_other_function(fitted, tmp_path, value, message):
    save_pipeline(fitted, tmp_path)
    file = tmp_path / "pipeline.json"
    content = json.loads(file.read_text())
    stop = {"$object": {"$class": "skorch.callbacks:EarlyStopping"}, "params": {"sink": value}}
    content["pipeline"]["params"]["callbacks"] = [stop]
    file.write_text(json.dumps(content))
    with pytest.raises(SavedPipelineError, match=message):
        load_pipeline(tmp_path)


def test_the_audit_names_functions_and_refuses_others(fitted, tmp_path):
    fitted.set_params(callbacks=[sc.EarlyStopping()])
    save_pipeline(fitted, tmp_path)
    fitted.set_params(callbacks=None)
    assert ("function", "builtins:print") in [(one.what, one.name) for one in audit(tmp_path).named]
    file = tmp_path / "pipeline.json"
    file.write_text(file.read_text().replace("builtins:print", "builtins:eval"))
    assert any("'builtins:eval' may not be loaded" in problem for problem in audit(tmp_path).problems)
