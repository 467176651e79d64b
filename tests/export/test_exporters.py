import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from small_pipeline import save_small_pipeline

import biot_bd
from biot_bd.export.engines import onnx, openvino, pt2
from biot_bd.export.exporters import export_onnx, export_openvino, export_pt2
from biot_bd.export.gate_inputs import make_inputs
from biot_bd.export.source import read_source
from biot_bd.testing import check_exporter

pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return read_source(save_small_pipeline(tmp_path_factory.mktemp("exporters") / "model"))


@pytest.fixture(scope="module")
def written(source, tmp_path_factory):
    return export_onnx(source, tmp_path_factory.mktemp("written") / "onnx")


def check_engine(build, file, source, inputs=("x", "present")):
    """Compare an engine with torch, window by window and in batches of all sizes."""
    made = make_inputs(source.n_chans, source.n_times, 200.0, source.takes_absent_channels)
    expected = source.probabilities(made.x, made.present)
    run = build(file, list(inputs), "fp32")
    for size in (1, 3, 64, len(made.x)):
        found, embedding = run(made.x[-size:], made.present[-size:])
        assert embedding.shape[0] == size
        assert found.shape == (size, 2)
        np.testing.assert_allclose(found, expected[-size:], atol=5e-6)
    return run(made.x, made.present)


def test_onnxruntime_and_openvino_give_the_numbers_of_torch(source, written):
    assert [path.name for path in written.iterdir()] == ["model.onnx"]
    results = [check_engine(module.build, written / "model.onnx", source) for module in (onnx, openvino)]
    for first, second in zip(*results, strict=True):  # probabilities and embeddings
        np.testing.assert_allclose(first, second, atol=1e-4, rtol=1e-4)


def test_the_onnx_graph_says_what_it_takes(source, written):
    from onnxruntime import InferenceSession

    session = InferenceSession(written / "model.onnx", providers=["CPUExecutionProvider"])
    (x, present), (probabilities, embedding) = session.get_inputs(), session.get_outputs()
    assert (x.name, x.type, x.shape[1:]) == ("x", "tensor(float)", [4, 400])
    assert isinstance(x.shape[0], str)
    assert (present.name, present.type, present.shape[1:]) == ("present", "tensor(bool)", [4])
    assert (probabilities.name, embedding.name) == ("probabilities", "embedding")
    flat = np.ones((2, 4, 400), np.float32)
    found = session.run(None, {"x": flat, "present": np.ones((2, 4), bool)})
    assert all(np.isnan(out).all() for out in found)


def names_of_source_files(file):
    """Return how often a file, or a part of an archive, holds a path of this package's source."""
    parts = [file.read_bytes()]
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            parts = [archive.read(name) for name in archive.namelist()]
    return sum(part.count(text) for part in parts for text in (b'File "', str(Path(biot_bd.__file__).parent).encode()))


def test_a_graph_names_no_file_of_this_machine(written):
    """torch.onnx.export writes the stack trace of every node into it, absolute paths included."""
    assert names_of_source_files(written / "model.onnx") == 0


@pytest.mark.slow
def test_openvino_and_pt2_files(source, tmp_path):
    folder = export_openvino(source, tmp_path / "ov")
    check_engine(openvino.build, folder / "model.xml", source)
    file = export_pt2(source, tmp_path / "pt2") / "model.pt2"
    check_engine(pt2.build, file, source)
    assert [names_of_source_files(one) for one in (*folder.iterdir(), file)] == [0, 0, 0]


@pytest.mark.slow
@pytest.mark.parametrize("exporter", [export_onnx, export_openvino, export_pt2])
def test_exporters_keep_to_their_contract(exporter, source, tmp_path):
    check_exporter(exporter, source.folder, tmp_path / "out")


@pytest.mark.slow
def test_a_pipeline_in_memory_is_exported_as_its_saved_folder(source, tmp_path):
    from biot_bd import load_pipeline

    file = export_onnx(load_pipeline(source.folder), tmp_path / "memory") / "model.onnx"
    check_engine(onnx.build, file, source)


def test_a_batch_that_is_baked_in_is_refused(source):
    from biot_bd.exceptions import ExportError
    from biot_bd.export.graph import ExportGraph

    class Baked(torch.nn.Module):
        def forward(self, x, present):
            return x.mean(dim=(1, 2)).reshape(3, 1) * torch.ones(3, 2), x[:, 0]

    graph = ExportGraph(source)
    graph.network = Baked()
    with pytest.raises(ExportError, match=r"Baked: torch\.export cannot follow it with a free batch"):
        graph.program()
