"""The exporter keeps the contract of biot_bd, and what it writes gives the pipeline's probabilities."""

import numpy as np
import pytest
import torch
from sklearn.pipeline import make_pipeline

from biot_bd import BIOTClassifier, MontageMapper, PercentileScaler, load_dataset, prepare, registry, save_pipeline
from biot_bd.export import graph_of
from biot_bd.testing import check_exporter
from biot_bd_tutorial.npz_archive import export_npz


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """A tiny BIOT, trained for one epoch on generated recordings."""
    folder = tmp_path_factory.mktemp("exporter")
    recordings = load_dataset("demo", folder / "recordings", n_subjects=2, recordings=1, minutes=2)
    windows = prepare(recordings, folder / "windows")
    size = {"module__embed_dim": 16, "module__num_heads": 2, "module__num_layers": 1}
    classifier = BIOTClassifier(max_epochs=1, train_split=None, verbose=0, random_state=0, **size)
    return make_pipeline(MontageMapper("biot-16"), PercentileScaler(), classifier).fit(windows, windows.y)


def read(path):
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)


def test_found_by_name():
    assert registry.exporters["npz"] is export_npz
    assert registry.exporters.owner("npz") == "tutorial"


def test_the_exporter_keeps_the_contract(pipeline, tmp_path):
    check_exporter(export_npz, pipeline, tmp_path / "model.npz")


def test_the_probabilities_are_those_of_the_pipeline(pipeline, tmp_path):
    found = read(export_npz(pipeline, tmp_path / "model.npz"))
    assert found["probe_uv"].shape == (4, 16, 2000)
    expected = pipeline[1:].predict_proba(found["probe_uv"])  # the windows have the montage's channels already
    np.testing.assert_allclose(found["probe_probabilities"], expected, atol=1e-5)


def test_the_weights_are_all_that_the_graph_needs(pipeline, tmp_path):
    """A graph whose own weights were lost computes the same again with those of the archive."""
    found = read(export_npz(pipeline, tmp_path / "model.npz"))
    weights = {name.removeprefix("weight."): torch.from_numpy(x) for name, x in found.items() if "weight." in name}
    x = torch.from_numpy(found["probe_uv"])
    with graph_of(pipeline) as graph, torch.no_grad():
        for value in graph.state_dict().values():
            value.zero_()
        inputs = (x, torch.ones(x.shape[:2], dtype=torch.bool))[: len(graph.input_names)]
        assert not np.allclose(graph(*inputs)[0], found["probe_probabilities"])
        graph.load_state_dict(weights)
        np.testing.assert_array_equal(graph(*inputs)[0], found["probe_probabilities"])


def test_a_saved_model_gives_the_same_archive(pipeline, tmp_path):
    one = read(export_npz(pipeline, tmp_path / "one.npz"))
    other = read(export_npz(save_pipeline(pipeline, tmp_path / "model"), tmp_path / "other.npz"))
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[name], other[name]) for name in one)
