"""MultiScaleBIOT in a classifier: fit, save, load, start from weights, and leave for an engine."""

import numpy as np
import pytest
import torch
from sklearn.pipeline import make_pipeline
from small_pipeline import few_windows, save_small_pipeline

from biot_bd import BIOT, BIOTClassifier, PercentileScaler, load_pipeline, save_pipeline
from biot_bd.exceptions import CheckpointError
from biot_bd.export.biot_graph import BIOTGraph
from biot_bd.export.gate_inputs import make_inputs
from biot_bd.export.graph import ExportGraph
from biot_bd.export.source import read_source
from biot_bd.models import MultiScaleBIOT, provenance_of, save_checkpoint

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("multi-scale") / "model"
    return save_small_pipeline(
        place, module="multi-scale-biot", module__channel_attention=True, module__scale_factors=(1, 4)
    )


def fitted(source, **parameters):
    net = BIOTClassifier(
        "multi-scale-biot", pretrained=str(source), max_epochs=1, batch_size=8, patience=None, random_state=0, verbose=0,
        device="cpu", **parameters,
    )  # fmt: skip
    windows = few_windows()
    return make_pipeline(PercentileScaler(), net).fit(windows, windows.y)


def test_it_starts_from_a_checkpoint_of_biot_and_is_saved_without_it(tmp_path):
    windows = few_windows()
    biot = BIOT(embed_dim=16, num_heads=2, num_layers=2, n_chans=4, n_times=400, n_outputs=2)
    names = list(reversed(windows.info.ch_names))  # the token table has another order than the data
    file = save_checkpoint(biot, tmp_path / "biot.ckpt", ["set/01"], ch_names=names)
    pipeline = fitted(file, module__channel_attention=True, finetune="linear-probe")
    module = pipeline[-1].module_
    assert module.channel_ids == (3, 2, 1, 0)
    # The head alone was trained: what it reads is what BIOT gives.
    x = torch.as_tensor(pipeline[:-1].transform(windows).read(np.arange(4)))
    again = BIOT.from_checkpoint(file, ch_names=windows.info.ch_names, n_times=400).eval()
    with torch.no_grad():
        expected = again(x, return_features=True)["features"]
        torch.testing.assert_close(module.eval()(x, return_features=True)["features"], expected, atol=1e-5, rtol=1e-5)
    saved = save_pipeline(pipeline, tmp_path / "model")
    file.unlink()
    assert np.array_equal(load_pipeline(saved).predict_proba(windows), pipeline.predict_proba(windows))


def test_a_saved_model_can_be_started_from_and_its_record_goes_on(folder, tmp_path):
    windows = few_windows()
    before, after = load_pipeline(folder)[-1].module_, MultiScaleBIOT.from_checkpoint(folder)
    assert (after.scale_factors, after.n_times) == ((1, 4), 2000)
    assert all(torch.equal(value, before.state_dict()[name]) for name, value in after.state_dict().items())
    pipeline = fitted(folder, finetune="layer-decay")
    assert pipeline[-1].module_.get_config()["channel_attention"]
    seen = provenance_of(save_pipeline(pipeline, tmp_path / "next")).trained_on
    assert {one.dataset for one in seen} == {"p0", "p1", "p2", "p3"}
    assert pipeline[-1].pretrained_report_.source == str(folder)
    with pytest.raises(CheckpointError, match=r"scale_factors=\(1, 2\) but the checkpoint needs \(1, 4\)"):
        fitted(folder, module__scale_factors=(1, 2))
    with pytest.raises(CheckpointError, match="weights of a MultiScaleBIOT, which BIOT cannot take"):
        BIOT.from_checkpoint(folder)
    assert windows.shape == (16, 4, 400)


def test_the_graph_for_engines_gives_the_pipeline_s_probabilities(folder):
    source = read_source(folder)
    graph, made = ExportGraph(source), make_inputs(4, 400, 200.0, n_plain=16)
    assert type(graph.network) is BIOTGraph
    with torch.inference_mode():
        probabilities, embedding = graph(torch.from_numpy(made.x), torch.from_numpy(made.present))
    np.testing.assert_allclose(probabilities, source.probabilities(made.x, made.present), atol=1e-5)
    assert embedding.shape == (len(made.x), 16)


@pytest.mark.slow
def test_engines_give_its_numbers(folder, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("openvino")
    from biot_bd import export_model
    from biot_bd.export.engines import onnx, openvino, pt2

    source, made = read_source(folder), make_inputs(4, 400, 200.0, n_plain=16)
    expected = source.probabilities(made.x, made.present)
    for engine, file in ((onnx, "model.onnx"), (openvino, "model.xml"), (pt2, "model.pt2")):
        name = engine.__name__.rpartition(".")[2]
        written = export_model(folder, tmp_path / name, format=name)  # refuses what does not pass its gates
        found, _ = engine.build(written / file, ["x", "present"], "fp32")(made.x, made.present)
        np.testing.assert_allclose(found, expected, atol=1e-5)
