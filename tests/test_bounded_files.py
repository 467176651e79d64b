"""Arrays and tables of others: what an honest file holds comes, what would fill the memory is told before."""

import io
import resource
import struct
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays, scalar_dtypes
from safetensors import SafetensorError, safe_open

from biot_bd.bounded_files import GROWTH, SPARE, npz_names, read_npy, read_npz, read_table
from biot_bd.exceptions import SavedPipelineError
from biot_bd.models import load_checkpoint
from biot_bd.training.persistence.sizes import weight_shapes

ARRAYS = arrays(scalar_dtypes(), array_shapes(max_dims=3, max_side=5))


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.text("abc", min_size=1), ARRAYS, min_size=1, max_size=3), st.booleans())
def test_what_numpy_writes_is_read(tmp_path_factory, values, compressed):
    path = tmp_path_factory.mktemp("npz") / "x.npz"
    (np.savez_compressed if compressed else np.savez)(path, **values)
    assert sorted(npz_names(path)) == sorted(values)
    for name, found in read_npz(path).items():
        np.testing.assert_array_equal(found, values[name])
    first = min(values)
    np.testing.assert_array_equal(read_npz(path, [first])[first], values[first])
    np.save(path.with_suffix(".npy"), values[first])
    np.testing.assert_array_equal(read_npy(path.with_suffix(".npy")), values[first])


def header(shape):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return file.getvalue()


@pytest.fixture
def little_memory():
    """Let this process have 2 GiB more than it has."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2 * 2**30, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.usefixtures("little_memory")
def test_an_archive_of_kilobytes_does_not_become_gigabytes(tmp_path):
    """Zeros compress a thousandfold: 300 MB in 0.3 MB here, and any number in a real one."""
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as file:
        file.write(header((75 * 2**20,)))
        for _ in range(300):
            file.write(bytes(2**20))
    assert path.stat().st_size < 2**20
    with pytest.raises(ValueError, match=r"x\.npz: [\d,]+ bytes that would become 314,[\d,]+; at most"):
        read_npz(path)
    with pytest.raises(ValueError, match="that would become"):
        npz_names(path)


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("shape", [(10**13,), (2**31, 2**31), (2**62, 4)])
def test_a_shape_that_is_not_there_allocates_nothing(tmp_path, shape):
    (tmp_path / "x.npy").write_bytes(header(shape) + bytes(64))
    with pytest.raises(ValueError, match=r"x\.npy: no readable array"):
        read_npy(tmp_path / "x.npy")
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", header(shape) + bytes(64))
    with pytest.raises(ValueError, match=r"x\.npz: no readable archive"):
        read_npz(tmp_path / "x.npz")


@pytest.mark.parametrize("name", ["../../x.npy", "/x.npy"])
def test_nothing_of_an_archive_is_written_anywhere(tmp_path, name):
    """Names that lead out are keys of arrays, and nothing else: nothing is unpacked to the disk."""
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr(name, header((1,)) + bytes(4))
    before = {path.name for path in tmp_path.parent.iterdir()}
    assert list(read_npz(tmp_path / "x.npz")) == [name.removesuffix(".npy")]
    assert {path.name for path in tmp_path.parent.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["x.npz"]


def test_what_is_no_array_is_told(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.pkl", b"cos\nsystem\n.")
    with pytest.raises(ValueError, match=r"x\.npz: holds 'x\.pkl', which is no array"):
        read_npz(tmp_path / "x.npz")
    np.savez(tmp_path / "y.npz", x=np.zeros(1))
    with pytest.raises(ValueError, match=r"y\.npz: lacks z; it holds x"):
        read_npz(tmp_path / "y.npz", ["z"])
    with pytest.raises(FileNotFoundError):
        read_npz(tmp_path / "gone.npz")


@pytest.mark.usefixtures("little_memory")
def test_a_table_of_kilobytes_does_not_become_gigabytes(tmp_path):
    path = tmp_path / "x.parquet"
    empty = pa.nulls(2**22, pa.int64())
    pq.write_table(pa.table({str(number): empty for number in range(40)}), path)
    assert path.stat().st_size < 2**20
    assert SPARE + GROWTH * path.stat().st_size < 40 * 2**22
    with pytest.raises(ValueError, match=r"x\.parquet: no readable table .*4,194,304 rows in"):
        read_table(path)


@settings(max_examples=10, deadline=None)
@given(n=st.integers(0, 50), seed=st.integers(0, 9))
def test_an_honest_table_is_read(tmp_path_factory, n, seed):
    path = tmp_path_factory.mktemp("table") / "x.parquet"
    table = pd.DataFrame({"start_s": np.random.default_rng(seed).random(n), "subject": ["a"] * n})
    table.to_parquet(path, index=False)
    pd.testing.assert_frame_equal(read_table(path), table)


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("length", [2**20, 2**40, 2**64 - 1])
def test_the_header_of_weights_says_no_more_than_the_file_holds(tmp_path, length):
    """safetensors itself looks; that it still does is what our readers stand on."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", length) + b'{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}')
    with pytest.raises(SafetensorError), safe_open(path, framework="numpy"):
        pass
    with pytest.raises(SavedPipelineError, match=r"model\.safetensors: damaged weights"):
        weight_shapes(path)
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        load_checkpoint(path)
