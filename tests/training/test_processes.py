"""Several processes that train one classifier, skorch's AccelerateMixin, and no device."""

import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from shared_classifier_fits import FITS, GROUPS, Accelerated, X, Y, accelerated, fitted, net
from sklearn.base import clone
from torch.utils.data import BatchSampler

from biot_bd import load_pipeline, save_pipeline
from biot_bd.training import BIOTClassifier
from biot_bd.training.net.distributed import find_processes
from biot_bd.training.net.processes import Processes
from biot_bd.training.net.shares import BatchParts, part_lengths

pytestmark = pytest.mark.usefixtures("one_thread")
HERE = Path(__file__).parent
TINY = {"module__embed_dim": 8, "module__num_heads": 2, "module__num_layers": 1, "max_epochs": 1, "random_state": 0}


def launch(*command, **variables):
    """Run a command in two processes under torchrun; return what it ended with."""
    paths = [str(HERE.parents[1]), str(HERE), os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, **variables, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [*torchrun, *map(str, command)], env=env, capture_output=True, text=True, timeout=300, check=False
    )


def launch_fits(folder, *names, **variables):
    return launch(HERE / "shared_classifier_fits.py", folder, *names, **variables)


def read(folder, name):
    return [torch.load(folder / f"{name}-{rank}.pt", weights_only=True) for rank in (0, 1)]


def greatest_difference(a, b):
    assert a.keys() == b.keys()
    return max(float((a[key].double() - b[key].double()).abs().max()) for key in a)


# --- one process ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def alone():
    return net(max_epochs=1).fit(X, Y, groups=GROUPS)


@pytest.mark.parametrize("device", [None, "cpu", "auto"])
def test_accelerates_mixin_trains_as_the_classifier_itself(device, alone, tmp_path):
    pytest.importorskip("accelerate")
    mixed = accelerated(device=device, max_epochs=1)
    before = mixed.get_params()
    mixed.fit(X, Y, groups=GROUPS)
    expected = alone.predict_proba(X)
    np.testing.assert_array_equal(mixed.predict_proba(X), expected)
    assert mixed.get_params() == before
    assert "accelerator=Accelerator(num_processes=1)" in repr(mixed)
    copy = clone(mixed)
    assert type(copy) is Accelerated
    assert copy.accelerator is mixed.accelerator
    assert {**copy.get_params(), "accelerator": 0} == {**before, "accelerator": 0}
    unpickled = pickle.loads(pickle.dumps(mixed))
    assert unpickled.accelerator is None  # it belongs to the process that made it
    saved = save_pipeline(mixed, tmp_path / "model")
    assert "Accelerate" not in (saved / "pipeline.json").read_text()
    loaded = load_pipeline(saved)
    assert type(loaded) is BIOTClassifier
    for same in (unpickled, loaded):
        np.testing.assert_array_equal(same.predict_proba(X), expected)


def test_what_a_class_defines_in_front_of_the_mixin_stays():
    pytest.importorskip("accelerate")

    class Watched(Accelerated):
        n_steps = 0

        def train_step(self, batch, **fit_params):
            self.n_steps += 1
            return super().train_step(batch, **fit_params)

    watched = Watched(accelerator=accelerated().accelerator, device="cpu", **TINY).fit(X, Y, groups=GROUPS)
    assert watched.n_steps == watched.history[-1]["train_batch_count"]
    assert Watched.train_step_single is BIOTClassifier.train_step_single


def fake_accelerator(**values):
    usual = {"process_index": 0, "num_processes": 1, "device": torch.device("cpu"), "distributed_type": "NO"}
    return SimpleNamespace(**{"gradient_accumulation_steps": 1, "mixed_precision": "no", **usual, **values})


@pytest.mark.parametrize(
    ("values", "parameters", "message"),
    [
        ({"mixed_precision": "bf16"}, {}, r"precision='fp32', which decides here; say precision='bf16'"),
        ({"gradient_accumulation_steps": 4}, {}, r"say batch_size= for the step and micro_batch="),
        ({"distributed_type": "DistributedType.FSDP"}, {}, r"of the type FSDP is not known here"),
        ({"num_processes": 2}, {}, r"WORLD_SIZE is 1 and accelerate finds 2"),
    ],
)
def test_what_an_accelerator_would_do_otherwise_is_refused_in_one_line(values, parameters, message, monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    classifier = BIOTClassifier(accelerator=fake_accelerator(**values), device="cpu", **TINY, **parameters)
    with pytest.raises(ValueError, match=message) as error:
        classifier.fit(X, Y, groups=GROUPS)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("device", "message"), [("cuda:0", "would put all processes on one"), ("cpu", "but the Accelerator is on cuda")]
)
def test_several_processes_on_one_device_are_refused(device, message, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    gpu = fake_accelerator(num_processes=2, distributed_type="MULTI_GPU", device=torch.device("cuda", 1))
    with pytest.raises(ValueError, match=message):
        find_processes(gpu, device)


def test_an_accelerator_is_one_or_is_refused():
    with pytest.raises(ValueError, match=r"'auto', None or an accelerate.Accelerator, found 'gpu'"):
        BIOTClassifier(accelerator="gpu", **TINY).fit(X, Y, groups=GROUPS)


def test_a_process_of_a_launcher_can_be_told_to_train_alone(monkeypatch, alone):
    monkeypatch.setenv("WORLD_SIZE", "2")
    told = net(max_epochs=1, accelerator=None).fit(X, Y, groups=GROUPS)
    np.testing.assert_array_equal(told.predict_proba(X), alone.predict_proba(X))


def test_no_device_is_torchs_default(tmp_path):
    expected = BIOTClassifier(device="cpu", **TINY).fit(X, Y, groups=GROUPS).predict_proba(X)
    none = clone(BIOTClassifier(device=None, **TINY)).fit(X, Y, groups=GROUPS)
    assert none.get_params()["device"] is None
    assert none.device == "cpu"
    for same in (none, pickle.loads(pickle.dumps(none)), load_pipeline(save_pipeline(none, tmp_path / "model"))):
        assert same.get_params()["device"] is None
        np.testing.assert_array_equal(same.predict_proba(X), expected)
    assert next(none.partial_fit(X, Y, groups=GROUPS).module_.parameters()).device == torch.device("cpu")


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 5), st.booleans())
def test_parts_of_a_batch_are_the_batch(n_windows, batch_size, n, drop_last):
    whole = list(BatchSampler(range(n_windows), batch_size, drop_last=drop_last))
    parts = [BatchParts(whole, rank, n) for rank in range(n)]
    given_out = [list(part) for part in parts]
    for number, batch in enumerate(whole):
        places = [part.places[number] for part in parts]
        own = [batches[number][: place.n] for batches, place in zip(given_out, places, strict=True)]
        assert [i for part in own for i in part] == batch
        assert [place.start for place in places] == [sum(map(len, own[:rank])) for rank in range(n)]
        assert [place.n for place in places] == part_lengths(len(batch), n)
        assert all(batches[number] for batches in given_out)  # a module needs something to run on
        assert {(place.batch, place.n_all) for place in places} == {(number, len(batch))}


class TwoOfOne(Processes):
    """The first of two processes, where the other is the same."""

    n = 2

    def gathered(self, value):
        return [value, {**value, "data": "other"}]


@pytest.mark.parametrize(
    ("module", "error", "message"),
    [
        ("biot", RuntimeError, r"2 processes of this fit differ in data: all must be given the same"),
        ("shallow", ValueError, r"normalises over the batch, of which each of 2 processes sees a part"),
    ],
)
def test_processes_that_cannot_train_one_model_say_so(module, error, message, monkeypatch):
    monkeypatch.setattr("biot_bd.training.classifier._sharing.processes_of", lambda net: TwoOfOne())
    with pytest.raises(error, match=message):
        BIOTClassifier(module, device="cpu", max_epochs=1).fit(X, Y, groups=GROUPS)


# --- two processes --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """All fits, shared by two processes, by one launch."""
    pytest.importorskip("accelerate")
    folder = tmp_path_factory.mktemp("two")
    done = launch_fits(folder, *FITS)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def assert_same_in_both(folder, name):
    first, second = read(folder, name)
    assert greatest_difference(first["weights"], second["weights"]) == 0
    assert torch.equal(first["proba"], second["proba"])
    assert len(first["proba"]) == len(X)  # every window once, in both
    for fact in ("history", "train_windows", "subjects"):
        assert first[fact] == second[fact]
    return first, second


EXACT = (
    "plain",
    "mixin",
    "adamw",
    "weighted",
    "one-left",
    "micro",
    "micro-logits",
    "stopped-early",
    "sampled",
    "scored",
)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXACT)
def test_two_processes_learn_what_one_learns_of_the_same_batches(name, two_processes, tmp_path):
    first, _ = assert_same_in_both(two_processes, name)
    one = fitted(name, tmp_path)
    assert greatest_difference(one["weights"], first["weights"]) < 1e-5
    np.testing.assert_allclose(one["proba"], first["proba"], atol=1e-5)
    assert one["train_windows"] == first["train_windows"]
    assert one["subjects"] == first["subjects"]
    assert len(one["history"]) == len(first["history"])
    for a, b in zip(one["history"], first["history"], strict=True):
        assert a.keys() == b.keys()
        for key in a:
            if isinstance(a[key], str):
                assert a[key] == b[key]
            else:
                np.testing.assert_allclose(a[key], b[key], rtol=1e-5, atol=1e-6, err_msg=key)
    assert one["history"][0]["train_loss"] != one["history"][-1]["train_loss"]
    if name == "stopped-early":
        assert 2 < len(one["history"]) < 12


@pytest.mark.slow
def test_dropout_augmentation_and_mixup_leave_the_processes_alike(two_processes, tmp_path):
    first, _ = assert_same_in_both(two_processes, "dropout")
    assert first["history"][-1]["train_loss"] < first["history"][0]["train_loss"]
    assert greatest_difference(fitted("dropout", tmp_path)["weights"], first["weights"]) > 1e-4  # other numbers


@pytest.mark.slow
def test_low_precision_is_that_of_one_process_within_its_rounding(two_processes, tmp_path):
    first, _ = assert_same_in_both(two_processes, "bf16")
    np.testing.assert_allclose(fitted("bf16", tmp_path)["proba"], first["proba"], atol=5e-3)


@pytest.mark.slow
def test_the_first_process_alone_writes_and_a_killed_fit_goes_on(two_processes, tmp_path):
    first, second = assert_same_in_both(two_processes, "written")
    assert {"kept", "tensorboard"} <= set(first["callbacks"])
    assert not {"kept", "tensorboard", "print_log"} & set(second["callbacks"])
    assert len(list((two_processes / "log").glob("events*"))) == 1
    assert [path.suffix for path in (two_processes / "restart").iterdir()] == [".pt"]
    killed = launch_fits(tmp_path, "written", KILLED_IN_EPOCH="3")
    assert killed.returncode != 0
    assert not list(tmp_path.glob("written-*.pt"))  # the other process ended, too
    resumed = launch_fits(tmp_path, "written")
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    for expected, found in zip((first, second), assert_same_in_both(tmp_path, "written"), strict=True):
        assert greatest_difference(expected["weights"], found["weights"]) == 0
        assert expected["history"] == found["history"]
