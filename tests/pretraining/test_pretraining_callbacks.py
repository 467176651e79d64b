"""What a pretraining says while it runs: a line an epoch, curves, a warning of collapse."""

import warnings

import numpy as np
import pytest
from skorch.callbacks import LRScheduler
from skorch.history import History
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_pretraining import make_windows, small_net

from biot_bd.pretraining.collapse import CollapseWarning

pytestmark = pytest.mark.usefixtures("one_thread")


class Net:
    """A history and nothing else."""

    def __init__(self, spreads):
        self.history = History()
        self.spreads = list(spreads)

    def epoch(self, callback):
        self.history.new_epoch()
        self.history.record("valid_embedding_std", self.spreads[len(self.history) - 1])
        callback.on_epoch_end(self)


@pytest.mark.parametrize(
    ("spreads", "at"), [([0.8, 0.5, 0.3], None), ([0.8, 0.5, 0.005, 0.004], 3), ([0.009], 1), ([2.0, 0.03], 2)]
)
def test_collapse_is_told_once_below_the_floor(spreads, at):
    net, callback = Net(spreads), CollapseWarning(floor=0.01, share=0.02).initialize()
    for number in range(1, len(spreads) + 1):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            net.epoch(callback)
        assert len(told) == (number == at)


def test_the_warning_says_what_was_found():
    net = Net([0.8, 0.005])
    callback = CollapseWarning().initialize()
    net.epoch(callback)
    with pytest.warns(
        UserWarning, match=r"valid_embedding_std is 0.005 after epoch 2 \(first epoch: 0.8, floor: 0.016\)"
    ):
        net.epoch(callback)


def test_a_line_an_epoch_goes_to_stderr_and_none_without_verbose(capsys):
    x, subjects = make_windows()
    small_net("biot-contrastive", verbose=1).fit(x, groups=subjects)
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("epoch 2 of 2  train loss ")
    assert "  chance " in lines[1]
    small_net(max_epochs=1).fit(x, groups=subjects)
    assert capsys.readouterr() == ("", "")


def test_curves_hold_every_number_of_the_history(tmp_path):
    x, subjects = make_windows()
    net = small_net(log_dir=tmp_path, callbacks=[]).fit(x, groups=subjects)
    events = EventAccumulator(str(tmp_path)).Reload()
    expected = {"loss/train", "loss/valid", "masked_fraction/train", "masked_fraction/valid", "chance/train"}
    assert expected | {"chance/valid", "learning_rate", "gradient_norm"} <= set(events.Tags()["scalars"])
    for tag, column in (("loss/valid", "valid_loss"), ("chance/train", "train_chance")):
        found = [(event.step, event.value) for event in events.Scalars(tag)]
        wanted = [(i + 1, value) for i, value in enumerate(net.history[:, column])]
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_schedulers_of_skorch_step_as_nobody_gave_an_accelerator():
    """They ask a net's ``accelerator`` whether the optimizer was left out."""
    net = small_net(max_epochs=2, callbacks=[LRScheduler("StepLR", step_size=1, gamma=0.5, event_name="rate")], lr=0.1)
    x, groups = make_windows()
    net.fit(x, groups=groups)
    assert net.history[:, "rate"] == [0.1, 0.05]
    assert net.get_params()["accelerator"] == "auto"
