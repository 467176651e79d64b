"""All maps of a window in one file: what is read is what was written, named axis by axis."""

from __future__ import annotations

import json

import numpy as np
import pytest

from biot_bd.models import TokenLayout, TokenMap
from biot_bd.probes import ExplainedMaps, load_maps

LAYOUT = TokenLayout(("C3", "C4"), [0.0, 0.5], [1.0, 1.5])


def made() -> ExplainedMaps:
    rng = np.random.default_rng(0)
    classed = TokenLayout(("C3", "C4"), [np.nan, np.nan], [np.nan, np.nan], special=("class",), readout="class")
    return ExplainedMaps(
        probes={
            "token-ig": TokenMap(rng.normal(size=(1, 2, 2)), LAYOUT, probe="token-ig", signed=True, target=(1,)),
            "band": TokenMap(rng.random((1, 3, 2, 2)), LAYOUT, probe="band", bands=("delta", "theta", "alpha")),
            "class": TokenMap(rng.random((1, 2, 2)), classed, probe="class", special=np.ones((1, 1))),
        },
        attention={"layers.0": rng.random((1, 4, 5, 5)).astype(np.float32), "layers.1": np.ones((1, 4, 4, 4))},
        layouts={"layers.0": classed, "layers.1": None},
        eeg_uv=np.array([[1.0, 2.0], [np.nan, np.nan]]),
        ch_names=("C3", "C4"),
        sfreq=200.0,
        facts={"window": {"start_s": 5.0}},
    )


def test_what_is_read_is_what_was_written(tmp_path):
    before = made()
    before.save(tmp_path / "maps.npz")
    after = load_maps(tmp_path / "maps.npz")
    assert list(after.probes) == ["token-ig", "band", "class"]
    for name, found in before.probes.items():
        read = after.probes[name]
        np.testing.assert_array_equal(read.values, found.values)
        assert read.as_dict() == found.as_dict()
    np.testing.assert_array_equal(after.probes["class"].special, [[1.0]])
    for layer, weights in before.attention.items():
        np.testing.assert_array_equal(after.attention[layer], weights)
    assert after.layouts["layers.1"] is None
    assert after.layouts["layers.0"].as_dict() == before.layouts["layers.0"].as_dict()
    np.testing.assert_array_equal(after.eeg_uv, before.eeg_uv)
    assert (after.ch_names, after.sfreq, after.facts) == (before.ch_names, before.sfreq, before.facts)


def test_numpy_alone_reads_arrays_and_their_axes(tmp_path):
    made().save(tmp_path / "maps.npz")
    with np.load(tmp_path / "maps.npz", allow_pickle=False) as stored:
        axes = json.loads(str(stored["about"]))["axes"]
        assert axes["probe/band"] == ["window", "band", "channel", "frame"]
        assert axes["attention/layers.0"] == ["window", "head", "query", "key"]
        assert all(stored[name].ndim == len(named) for name, named in axes.items())


def test_other_files_are_refused_by_name(tmp_path):
    np.savez(tmp_path / "other.npz", about=np.array('{"format": "x", "version": 1}'))
    (tmp_path / "text.npz").write_text("no maps")
    for name in ("other.npz", "text.npz"):
        with pytest.raises(ValueError, match=rf"{name}: no file of maps"):
            load_maps(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        load_maps(tmp_path / "none.npz")
