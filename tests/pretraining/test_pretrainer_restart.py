"""A pretraining that is killed and called again equals one that was not, bit for bit."""

import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_pretraining import HiddenLevel, make_windows, rows, same_weights, small_net

from biot_bd import BIOTClassifier

pytestmark = pytest.mark.usefixtures("one_thread")

DROPOUT = {"module__drop_prob": 0.2}
SEVERAL = {"biot-contrastive": 0.5, HiddenLevel: 1.0}


class Killed(Exception):
    pass


class KillAfter(Callback):
    """Stop the fit as a kill would, in the middle of an epoch, while a file is there."""

    def __init__(self, switch):
        self.switch = switch

    def on_batch_end(self, net, training=False, **kwargs):
        if training and len(net.history) == 3 and Path(self.switch).exists():
            raise Killed


class Pause(Callback):
    """Say when an epoch ends, and leave time to be killed."""

    def on_epoch_end(self, net, **kwargs):
        print("epoch", len(net.history), flush=True)
        time.sleep(0.3)


def same_optimizers(a, b):
    first, second = a.optimizer_.state_dict(), b.optimizer_.state_dict()
    assert first["param_groups"] == second["param_groups"]
    assert first["state"].keys() == second["state"].keys()
    for key, state in first["state"].items():
        assert all(torch.equal(torch.as_tensor(v), torch.as_tensor(second["state"][key][k])) for k, v in state.items())


@pytest.mark.parametrize(
    "settings",
    [
        {"schedule": "cosine"},
        pytest.param({"precision": "fp16"}, marks=pytest.mark.slow),
        pytest.param({"random_state": None}, marks=pytest.mark.slow),
    ],
)
def test_it_goes_on_at_the_last_epoch(tmp_path, settings):
    x, subjects = make_windows()
    switch = tmp_path / "kill"
    common = {"objective": SEVERAL, "max_epochs": 4, "callbacks": [KillAfter(str(switch))], **DROPOUT, **settings}
    torch.manual_seed(5)
    whole = small_net(**common).fit(x, groups=subjects)
    switch.touch()
    torch.manual_seed(5)
    with pytest.raises(Killed):
        small_net(restart_dir=tmp_path / "r", **common).fit(x, groups=subjects)
    switch.unlink()
    torch.manual_seed(99)
    again = small_net(restart_dir=tmp_path / "r", **common)
    begun = []
    again.on_epoch_begin = lambda net, **kw: (
        begun.append(len(net.history) + 1),
        type(net).on_epoch_begin(net, net, **kw),
    )
    again.fit(x, groups=subjects)
    assert begun == [3, 4]
    assert rows(whole) == rows(again)
    assert same_weights(whole, again)
    same_optimizers(whole, again)
    np.testing.assert_array_equal(whole.transform(x), again.transform(x))


def test_a_finished_fit_returns_at_once(tmp_path):
    x, subjects = make_windows()
    first = small_net(restart_dir=tmp_path, max_epochs=1).fit(x, groups=subjects)
    second = small_net(restart_dir=tmp_path, max_epochs=1)
    second.train_step = None  # a step would fail
    assert same_weights(first, second.fit(x, groups=subjects))


def test_curves_of_a_fit_that_is_taken_up_again_have_each_epoch_once(tmp_path):
    x, subjects = make_windows()
    switch = tmp_path / "kill"
    switch.touch()
    common = {"max_epochs": 4, "callbacks": [KillAfter(str(switch))], "log_dir": tmp_path / "tb"}
    with pytest.raises(Killed):
        small_net(restart_dir=tmp_path / "r", **common).fit(x, groups=subjects)
    switch.unlink()
    net = small_net(restart_dir=tmp_path / "r", **common).fit(x, groups=subjects)
    events = EventAccumulator(str(tmp_path / "tb")).Reload().Scalars("loss/valid")
    np.testing.assert_allclose([event.value for event in events], net.history[:, "valid_loss"], rtol=1e-6)
    assert [event.step for event in events] == [1, 2, 3, 4]


@pytest.mark.parametrize("change", ["lr", "objective", "data", "seed"])
def test_other_parameters_or_data_start_afresh(tmp_path, change):
    x, subjects = make_windows()
    small_net(restart_dir=tmp_path, max_epochs=1).fit(x, groups=subjects)
    settings = {"lr": {"lr": 0.02}, "objective": {"objective__mask_ratio": 0.3}, "seed": {"random_state": 1}}
    if change == "data":
        x = x.copy()
        x[7, 2, 100] += 1e-3
    net = small_net(restart_dir=tmp_path, max_epochs=1, **settings.get(change, {}))
    with pytest.warns(UserWarning, match="fits with other parameters or data"):
        net.fit(x, groups=subjects)


def test_the_file_holds_no_code_and_no_rows_of_batches(tmp_path):
    x, subjects = make_windows()
    small_net(objective=SEVERAL, restart_dir=tmp_path, max_epochs=1).fit(x, groups=subjects)
    (file,) = tmp_path.iterdir()
    state = torch.load(file, weights_only=True)
    assert {"module", "optimizer", "history", "seed", "precision"} <= set(state)
    assert any(name.startswith("objectives.HiddenLevel.") for name in state["module"])
    assert '"batches": []' in state["history"]


def test_restart_points_of_classifiers_keep_their_form(tmp_path):
    """What a classifier writes names its plans where earlier versions look for them."""
    x, subjects = make_windows()
    y = np.arange(len(x)) % 2
    sizes = {"module__embed_dim": 16, "module__num_heads": 2, "module__num_layers": 1}
    BIOTClassifier(max_epochs=1, restart_dir=tmp_path, device="cpu", **sizes).fit(x, y, groups=subjects)
    state = torch.load(next(tmp_path.iterdir()), weights_only=True)
    assert state["format"] == 2
    assert state["training_plan"] == {"precision": "fp32", "micro_batch": None}
    assert state["inference_plan"] == {"precision": "fp32", "micro_batch": None}
    assert set(state) == {
        *("format", "fingerprint", "module", "criterion", "optimizer", "training_plan", "inference_plan"),
        *("scaler", "history", "callbacks", "random"),
    }


KILLED_RUN = """
    import sys
    sys.path.insert(0, {tests!r})
    import torch
    from tiny_pretraining import make_windows, small_net
    from test_pretrainer_restart import DROPOUT, SEVERAL, Pause
    torch.set_num_threads(1)
    x, subjects = make_windows()
    settings = dict(objective=SEVERAL, max_epochs=6, callbacks=[Pause()], **DROPOUT)
    small_net(restart_dir=sys.argv[1], **settings).fit(x, groups=subjects)
"""


@pytest.mark.slow
def test_sigkill_in_the_middle_of_a_training(tmp_path, capfd):
    script = tmp_path / "run.py"
    script.write_text(textwrap.dedent(KILLED_RUN.format(tests=str(Path(__file__).parent))))
    command = [sys.executable, "-W", "ignore", str(script), str(tmp_path / "r")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.startswith("epoch 3"):
            break
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    x, subjects = make_windows()
    settings = {"objective": SEVERAL, "max_epochs": 6, "callbacks": [Pause()], **DROPOUT}
    capfd.readouterr()
    again = small_net(restart_dir=tmp_path / "r", **settings).fit(x, groups=subjects)
    assert capfd.readouterr().out.startswith("epoch 3")
    whole = small_net(**settings).fit(x, groups=subjects)
    assert rows(whole) == rows(again)
    assert same_weights(whole, again)
    same_optimizers(whole, again)
