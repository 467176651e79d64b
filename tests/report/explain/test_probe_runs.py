"""Probes asked about a window: those that can answer, and why others cannot."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.pipeline import make_pipeline

from biot_bd import BIOT, registry
from biot_bd.models import TokenLayout, TokenMap, signal_layout
from biot_bd.probes import Probe
from biot_bd.report.explain.model import Model, Signal
from biot_bd.report.explain.probe_runs import ProbeRuns, about, run_probes, title_of
from biot_bd.signals.info import SignalInfo

NAMES = ("C3-P3", "C4-P4")
SIGNAL = Signal(
    np.random.default_rng(0).normal(size=(1, 2, 600)).astype(np.float32), SignalInfo(NAMES, 200.0, 600, None)
)


class Loudness(Probe):
    """Standard deviation by `channel` [1]_.

    More words.
    """

    def __call__(self, model, x, target=None):
        values = x.std(dim=-1, keepdim=True).numpy()
        return TokenMap(values, self.layout_by_channel(model, x), probe="loudness-of-a-plugin")


class Refusing(Loudness):
    def __call__(self, model, x, target=None):
        raise ValueError("this model has\nno attention")


@pytest.fixture
def plugin(monkeypatch):
    probes = {"loudness": Loudness, "refusing": Refusing}
    monkeypatch.setattr(registry.probes.__class__, "__getitem__", lambda self, name: probes[name])
    monkeypatch.setattr("biot_bd.report.explain.probe_runs.DEFAULT_PROBES", ("loudness", "refusing", "unknown"))


@pytest.fixture
def model():
    torch.manual_seed(0)
    module = BIOT(n_outputs=2, n_chans=2, n_times=600, sfreq=200, embed_dim=16, num_heads=2, num_layers=2).eval()
    return Model(make_pipeline("passthrough"), module)


def test_defaults_leave_out_what_cannot_answer_and_say_why(plugin, model):
    asked = []
    runs = run_probes(model, SIGNAL, step=asked.append)
    assert list(runs.found) == ["loudness"]
    assert runs.left_out == {"refusing": "this model has no attention", "unknown": "'unknown'"}
    assert asked == ["loudness", "refusing", "unknown", "attention maps"]
    assert runs.found["loudness"].layout.ch_names == NAMES


def test_a_probe_that_was_named_must_answer(plugin, model):
    with pytest.raises(ValueError, match="probe refusing: this model has\nno attention"):
        run_probes(model, SIGNAL, ["loudness", "refusing"])


def test_the_maps_themselves_come_with_it(plugin, model):
    flow = run_probes(model, SIGNAL, ["loudness"]).attention
    assert flow is not None
    assert [weights.shape for weights in flow.maps.values()] == [(1, 2, 10, 10)] * 2
    np.testing.assert_allclose(flow.channels.sum(-1), 1)
    without = run_probes(Model(model.pipeline, torch.nn.Flatten().eval()), SIGNAL, ["loudness"])
    assert without.attention is None


def test_a_plugin_is_described_by_its_own_words():
    assert title_of(Loudness(), "loudness-of-a-plugin") == "Loudness of a plugin"
    assert about(Loudness()) == "Standard deviation by channel."


def test_values_by_sample_are_drawn_in_pieces():
    values = np.random.default_rng(0).random((1, 2, 400))
    by_sample = TokenMap(values, signal_layout(2, 400, 200, NAMES), probe="energy")
    frames = TokenMap(np.ones((1, 2, 2)), TokenLayout(NAMES, [0.0, 1.0], [1.0, 2.0]), probe="other")
    runs = ProbeRuns({}, {"energy": by_sample, "other": frames})
    np.testing.assert_allclose(runs.shown("energy").values, values.reshape(1, 2, 2, 200).sum(-1))
    assert runs.shown("other") is frames
    assert ProbeRuns({}, {"energy": by_sample}).shown("energy") is by_sample
