"""A fit that is killed and called again equals one that was not, bit for bit."""

import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback, LRScheduler
from torch.optim.lr_scheduler import OneCycleLR
from training_data import make_data, small

from biot_bd.training import BIOTClassifier
from biot_bd.training.resume import array_digest, describe, seeded

SETTINGS = {"max_epochs": 6, "patience": 3, "optimizer": torch.optim.AdamW, "lr": 0.03}


class Killed(Exception):
    pass


class KillAfter(Callback):
    """Stop the fit as a kill would, in the middle of an epoch; a parameter that both runs share switches it off."""

    def __init__(self, switch):
        self.switch = switch

    def on_batch_end(self, net, training=False, **kwargs):
        if not training and len(net.history) == 4 and Path(self.switch).exists():
            raise Killed


def net_with(folder, switch, **kwargs):
    callbacks = [("lr", LRScheduler("StepLR", step_size=2, gamma=0.5)), ("kill", KillAfter(str(switch)))]
    return small(**{**SETTINGS, "restart_dir": folder, "callbacks": callbacks, **kwargs})


def same(a, b, x):
    assert a.history[:, "train_loss"] == b.history[:, "train_loss"]
    assert a.history[:, "valid_average_precision"] == b.history[:, "valid_average_precision"]
    states = a.module_.state_dict(), b.module_.state_dict()
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    np.testing.assert_array_equal(a.predict_proba(x), b.predict_proba(x))


@pytest.mark.parametrize("random_state", [0, None])
def test_goes_on_at_the_last_epoch(data, tmp_path, random_state):
    x, y, groups = data
    switch = tmp_path / "kill"
    torch.manual_seed(3)
    whole = net_with(None, switch, random_state=random_state).fit(x, y, groups=groups)
    switch.touch()
    torch.manual_seed(3)
    with pytest.raises(Killed):
        net_with(tmp_path / "r", switch, random_state=random_state).fit(x, y, groups=groups)
    switch.unlink()
    torch.manual_seed(99)
    again = net_with(tmp_path / "r", switch, random_state=random_state)
    epochs = []
    again.on_epoch_begin = lambda net, **kw: (
        epochs.append(len(net.history) + 1),
        type(net).on_epoch_begin(net, net, **kw),
    )
    again.fit(x, y, groups=groups)
    assert epochs[0] == 4
    same(whole, again, x)
    assert [row["epoch"] for row in again.history] == list(range(1, len(whole.history) + 1))


def test_a_finished_fit_returns_at_once(data, tmp_path):
    x, y, groups = data
    first = small(restart_dir=tmp_path, **SETTINGS).fit(x, y, groups=groups)
    second = small(restart_dir=tmp_path, **SETTINGS)
    second.train_step = None  # a step would fail
    second.fit(x, y, groups=groups)
    same(first, second, x)


def test_best_weights_of_before_the_kill_are_taken(data, tmp_path):
    x, y, groups = data
    settings = {**SETTINGS, "lr": 0.5, "patience": 5, "max_epochs": 6, "random_state": 1}
    switch = tmp_path / "kill"
    whole = net_with(None, switch, **settings).fit(x, y, groups=groups)
    assert int(np.argmax(whole.history[:, "valid_average_precision"])) < 3
    switch.touch()
    with pytest.raises(Killed):
        net_with(tmp_path / "r", switch, **settings).fit(x, y, groups=groups)
    switch.unlink()
    same(whole, net_with(tmp_path / "r", switch, **settings).fit(x, y, groups=groups), x)


@pytest.mark.parametrize("change", ["lr", "data", "labels", "seed"])
def test_other_parameters_or_data_start_afresh(data, tmp_path, change):
    x, y, groups = data
    small(restart_dir=tmp_path, **SETTINGS).fit(x, y, groups=groups)
    settings = dict(SETTINGS)
    if change == "lr":
        settings["lr"] = 0.02
    elif change == "data":
        x = x.copy()
        x[7, 2, 100] += 1e-3
    elif change == "labels":
        y = y.copy()
        y[1] = 1
    else:
        settings["random_state"] = 1
    with pytest.warns(UserWarning, match=r"1 restart point\(s\) of fits with other parameters or data"):
        again = small(restart_dir=tmp_path, **settings).fit(x, y, groups=groups)
    same(small(**settings).fit(x, y, groups=groups), again, x)


def test_a_damaged_file_starts_afresh_with_a_warning(data, tmp_path):
    x, y, groups = data
    first = small(restart_dir=tmp_path, **SETTINGS).fit(x, y, groups=groups)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.warns(UserWarning, match="not a usable restart point"):
        again = small(restart_dir=tmp_path, **SETTINGS).fit(x, y, groups=groups)
    same(first, again, x)


def test_the_file_holds_no_code(data, tmp_path):
    x, y, groups = data
    small(restart_dir=tmp_path, callbacks=[LRScheduler(OneCycleLR, max_lr=0.1, total_steps=50)], **SETTINGS).fit(
        x, y, groups=groups
    )
    (file,) = tmp_path.iterdir()
    state = torch.load(file, weights_only=True)
    assert {"module", "optimizer", "history", "callbacks", "random"} <= set(state)
    assert not list(tmp_path.glob(".*"))


KILLED_RUN = """
    import sys, time
    sys.path.insert(0, {tests!r})
    import torch
    from training_data import make_data, small
    from test_resume import Slow
    torch.set_num_threads(1)
    x, y, groups = make_data()
    small(max_epochs=8, patience=None, restart_dir=sys.argv[1], callbacks=[Slow()]).fit(x, y, groups=groups)
"""


class Slow(Callback):
    """Say when an epoch ends, and leave time to be killed."""

    def on_epoch_end(self, net, **kwargs):
        print("epoch", len(net.history), flush=True)
        time.sleep(0.3)


@pytest.mark.slow
def test_kill_9(data, tmp_path, capfd):
    x, y, groups = data
    script = tmp_path / "run.py"
    script.write_text(textwrap.dedent(KILLED_RUN.format(tests=str(Path(__file__).parent))))
    command = [sys.executable, "-W", "ignore", str(script), str(tmp_path / "r")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.startswith("epoch 4"):
            break
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        settings = {"max_epochs": 8, "patience": None, "callbacks": [Slow()]}
        capfd.readouterr()
        again = small(restart_dir=tmp_path / "r", **settings).fit(x, y, groups=groups)
        assert capfd.readouterr().out.startswith("epoch 4")
        whole = small(restart_dir=None, **settings).fit(x, y, groups=groups)
        assert capfd.readouterr().out.startswith("epoch 1")
        same(whole, again, x)
    finally:
        torch.set_num_threads(threads)


def test_seeded_puts_everything_back():
    import random

    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    expected = torch.rand(1), np.random.rand(), random.random()  # noqa: NPY002
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    with seeded(5):
        torch.rand(3), np.random.rand(3), random.random()  # noqa: NPY002
    assert (torch.rand(1), np.random.rand(), random.random()) == expected  # noqa: NPY002


def test_descriptions_change_with_content_only():
    assert describe(LRScheduler("StepLR", step_size=2)) == describe(LRScheduler("StepLR", step_size=2))
    assert describe(LRScheduler("StepLR", step_size=2)) != describe(LRScheduler("StepLR", step_size=3))
    assert array_digest(np.zeros((2, 3))) != array_digest(np.zeros((3, 2)))
    assert array_digest(np.zeros(3, np.float32)) != array_digest(np.zeros(3))
    assert array_digest(np.array(["a", "b"], dtype=object)) == array_digest(np.array(["a", "b"], dtype=object))
    x = make_data()[0]
    assert describe(x) == describe(x.copy())


@pytest.mark.parametrize("begun_with", [True, False])
def test_a_fit_in_bf16_goes_on_with_the_optimizer_that_it_began_with(data, tmp_path, begun_with, monkeypatch):
    """Former versions took several passes over the weights (``fused`` unsaid)."""
    x, y, groups = data
    switch = tmp_path / "kill"
    if not begun_with:
        monkeypatch.setattr(BIOTClassifier, "_fused", lambda self, optimizer: {})
    whole = net_with(None, switch, precision="bf16").fit(x, y, groups=groups)
    switch.touch()
    with pytest.raises(Killed):
        net_with(tmp_path / "r", switch, precision="bf16").fit(x, y, groups=groups)
    switch.unlink()
    monkeypatch.undo()
    again = net_with(tmp_path / "r", switch, precision="bf16").fit(x, y, groups=groups)
    assert again.optimizer_.param_groups[0]["fused"] is (True if begun_with else None)
    same(whole, again, x)


def test_one_pass_over_the_weights_is_for_bf16_and_for_nobody_who_said_otherwise(data):
    x, y, groups = data

    def group(**settings):
        return small(**{**SETTINGS, "max_epochs": 1, **settings}).fit(x, y, groups=groups).optimizer_.param_groups[0]

    assert group(precision="bf16")["fused"] is True
    assert group(precision="bf16", finetune="full")["fused"] is True
    assert group()["fused"] is None
    assert group(precision="bf16", optimizer__foreach=True)["fused"] is None
    assert group(precision="bf16", optimizer__fused=False)["fused"] is False
    assert group(precision="bf16", optimizer=torch.optim.SGD)["fused"] is None
