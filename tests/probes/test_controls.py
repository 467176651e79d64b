"""Controls: no model is run."""

import numpy as np
import torch

from biot_bd.probes import EnergyProbe, RandomProbe


class Unrunnable(torch.nn.Module):
    sfreq = 50.0

    def forward(self, x):
        raise AssertionError("a control ran the model")


def test_energy_by_hand():
    x = torch.randn(2, 3, 100) + 7
    x[0, 1] = torch.nan
    found = EnergyProbe()(Unrunnable().eval(), x)
    expected = (x.numpy() - x.numpy().mean(-1, keepdims=True)) ** 2
    np.testing.assert_allclose(found.values, expected, rtol=1e-4, atol=1e-5)
    assert found.layout.frame_stop_s[-1] == 2.0


def test_random_by_seed_and_content():
    x = torch.randn(2, 3, 1000)
    x[0, 1] = torch.nan
    model = Unrunnable().eval()
    found = RandomProbe(3)(model, x).values
    np.testing.assert_array_equal(found, RandomProbe(3)(model, x).values)
    assert not np.array_equal(found[1], RandomProbe(4)(model, x).values[1])
    assert np.isnan(found[0, 1]).all()
    there = found[~np.isnan(found)]
    assert 0 <= there.min() < 0.01
    assert 0.99 < there.max() < 1
    assert abs(np.corrcoef(found[0, 0], found[1, 0])[0, 1]) < 0.15
    assert abs(np.corrcoef(found[1, 0], x[1, 0])[0, 1]) < 0.15
