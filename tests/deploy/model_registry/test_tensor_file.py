"""Tensors read without a library, against the library."""

import json
import struct

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from biot_bd.deploy.model_registry.tensor_file import TensorFile

KINDS = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool]  # fmt: skip


def test_tensors_of_every_type_and_shape_are_those_that_safetensors_wrote(tmp_path):
    torch.manual_seed(0)
    shapes = [(), (1,), (0, 3), (2, 3), (4, 1, 5)]
    written = {f"{kind}-{len(shape)}": (torch.randn(shape) * 40).abs().to(kind) for kind in KINDS for shape in shapes}
    save_file(written, tmp_path / "x.safetensors", metadata={"format": "pt"})
    found = TensorFile(tmp_path / "x.safetensors")
    assert found.names == sorted(written)
    for name, tensor in written.items():
        expected = tensor.float().numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()
        assert found.shape(name) == tensor.shape
        assert found.read(name).dtype == expected.dtype
        np.testing.assert_array_equal(found.read(name), expected)


def write(path, header, content=b"\0" * 16):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content)
    return path


TENSOR = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}


@pytest.mark.parametrize(
    "header",
    [
        b"{",
        [1],
        {"x": TENSOR | {"data_offsets": [0, 20]}},
        {"x": TENSOR | {"data_offsets": [4, 20]}},
        {"x": TENSOR | {"data_offsets": [-16, 0]}},
        {"x": TENSOR | {"shape": [-4]}},
        {"x": TENSOR | {"shape": [2**40]}},
        {"x": TENSOR | {"dtype": "F4"}},
        {"x": {"dtype": "F32"}},
        {"x": 3},
    ],
)
def test_what_is_damaged_is_refused_with_the_file_named(tmp_path, header):
    with pytest.raises(ValueError, match=r"x\.safetensors"):
        TensorFile(write(tmp_path / "x.safetensors", header))


def test_a_header_longer_than_the_file_is_not_read(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", 2**62) + b"{}")
    with pytest.raises(ValueError, match="a header of"):
        TensorFile(tmp_path / "x.safetensors")
