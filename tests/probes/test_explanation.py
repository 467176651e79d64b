"""Explanations: checked on making, the same after saving."""

import numpy as np
import pytest
from sklearn.base import clone

from biot_bd.probes import Explanation, Probe


def example():
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    values[0, 0, 0] = np.nan
    return Explanation(values, ("window", "layer", "channel"), ("a", "b", "c"), {"probe": "test", "steps": 3})


def test_saved_and_loaded_is_equal(tmp_path):
    explanation = example()
    explanation.save(tmp_path / "maps.npz")
    loaded = Explanation.load(tmp_path / "maps.npz")
    np.testing.assert_array_equal(loaded.values, explanation.values)
    assert loaded.values.dtype == np.float32
    assert (loaded.dims, loaded.layers, loaded.info) == (explanation.dims, explanation.layers, explanation.info)
    assert [path.name for path in tmp_path.iterdir()] == ["maps.npz"]
    Explanation(np.zeros(3), ("time",)).save(tmp_path / "time.npz")
    assert Explanation.load(tmp_path / "time.npz").layers is None


def test_select_by_name_and_number():
    explanation = example()
    np.testing.assert_array_equal(explanation.select(window=1, layer="b"), explanation.values[1, 1])
    np.testing.assert_array_equal(explanation.select(channel=-1), explanation.values[..., -1])
    assert explanation.sizes == {"window": 2, "layer": 3, "channel": 4}
    with pytest.raises(ValueError, match="no axis head; there are window, layer, channel"):
        explanation.select(head=0)
    with pytest.raises(ValueError, match="layers: a, b, c"):
        explanation.select(layer="d")


@pytest.mark.parametrize(
    ("values", "dims", "layers", "message"),
    [
        (np.zeros((2, 3)), ("window",), None, "2 axes, dims name 1"),
        (np.zeros((2, 3)), ("window", "window"), None, "each once"),
        (np.zeros((2, 3)), ("window", "electrode"), None, "names out of window, layer"),
        (np.zeros((2, 3)), ("window", "layer"), None, "layers must be named"),
        (np.zeros((2, 3)), ("window", "channel"), ("a", "b", "c"), "layers must be named"),
        (np.zeros((2, 3)), ("window", "layer"), ("a", "b"), "2 layer names for 3"),
        (np.array(["a"]), ("window",), None, "must be numbers"),
    ],
)
def test_what_does_not_fit_raises(values, dims, layers, message):
    with pytest.raises(ValueError, match=message):
        Explanation(values, dims, layers)


def test_info_must_be_plain():
    with pytest.raises(TypeError, match="no JSON form"):
        Explanation(np.zeros(2), ("window",), info={"model": object()})


def test_other_files_are_named(tmp_path):
    (tmp_path / "x.npz").write_bytes(b"not an archive")
    with pytest.raises(ValueError, match=r"x\.npz: not a saved explanation"):
        Explanation.load(tmp_path / "x.npz")
    np.savez(tmp_path / "y.npz", other=np.zeros(2))
    with pytest.raises(ValueError, match=r"y\.npz: not a saved explanation"):
        Explanation.load(tmp_path / "y.npz")
    with pytest.raises(FileNotFoundError):
        Explanation.load(tmp_path / "z.npz")


def test_a_probe_of_a_plugin_is_cloneable():
    class Energy(Probe):
        def __init__(self, power=2):
            self.power = power

        def __call__(self, model, x, target=None):
            return Explanation(x.abs().pow(self.power).numpy(), ("window", "channel", "time"))

    assert clone(Energy(power=3)).get_params() == {"power": 3}
    with pytest.raises(TypeError, match="abstract"):
        Probe()
