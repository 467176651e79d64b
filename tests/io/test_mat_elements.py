"""MATLAB files are looked at before SciPy reads them: whatever it writes passes, what ends early is told."""

import contextlib
import io
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import scipy.sparse
from gap_files import write_with_pause
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd.exceptions import DetectionError
from biot_bd.io import open_recording
from biot_bd.io.mat_elements import check_mat, read_element


def cells(values):
    array = np.empty(len(values), object)
    for i, value in enumerate(values):
        array[i] = value
    return array


ARRAYS = st.sampled_from(
    [np.zeros((2, 3)), np.zeros((0, 4)), np.arange(3, dtype="i1"), np.ones((2, 2)) * 1j, np.float32(3), True, "text"]
    + ["", [], scipy.sparse.eye(3).tocsc(), scipy.sparse.csc_matrix(np.eye(2) * 1j), np.uint64(7)]
)
VALUES = st.recursive(
    ARRAYS,
    lambda inner: (
        st.dictionaries(st.sampled_from("abc"), inner, min_size=1) | st.lists(inner, min_size=2, max_size=3).map(cells)
    ),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from("xyz"), VALUES, min_size=1), st.booleans())
def test_what_scipy_writes_passes(tmp_path_factory, values, compressed):
    path = tmp_path_factory.mktemp("mat") / "x.set"
    scipy.io.savemat(path, values, appendmat=False, do_compression=compressed)
    check_mat(path)


def test_other_versions_are_left_to_their_readers(tmp_path):
    scipy.io.savemat(tmp_path / "x.set", {"a": np.zeros(3)}, appendmat=False, format="4")
    check_mat(tmp_path / "x.set")
    (tmp_path / "y.set").write_bytes(b"\x89HDF\r\n\x1a\n" * 40)
    check_mat(tmp_path / "y.set")


OF_MATLAB = Path(scipy.io.matlab.__file__).parent / "tests" / "data"


@pytest.mark.skipif(not OF_MATLAB.is_dir(), reason="this SciPy comes without the files that MATLAB wrote for its tests")
def test_of_the_files_that_matlab_wrote_those_pass_that_scipy_reads():
    passed, read = set(), set()
    for path in OF_MATLAB.iterdir():
        with contextlib.suppress(ValueError):
            check_mat(path)
            passed.add(path.name)
        with contextlib.suppress(Exception), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scipy.io.loadmat(path, variable_names=None)
            read.add(path.name)
    assert len(read) > 80
    assert read <= passed, sorted(read - passed)


def element(kind, data):
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)


def matrix(mat_class, sizes, *parts, kind=5):
    flags = element(6, struct.pack("<II", mat_class, 0))
    return element(
        14, flags + element(kind, struct.pack(f"<{len(sizes)}i", *sizes)) + element(1, b"x") + b"".join(parts)
    )


ONE = matrix(6, [1, 1], element(9, bytes(8)))


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (matrix(6, [], element(9, bytes(8))), "the sizes of a matrix in an element of type 5 and 0 bytes"),
        (matrix(6, [1], element(9, bytes(8))), "a matrix of 1 sizes"),
        (matrix(6, [1] * 33, element(9, bytes(8))), "and 132 bytes"),
        (matrix(6, [1, -1], element(9, bytes(8))), "the sizes of a matrix of -1"),
        (matrix(6, [1, 1], element(9, bytes(8)), kind=2), "in an element of type 2"),
        (matrix(1, [1, 3], ONE), "a matrix of 3 others holds 1"),
        (matrix(2, [1, 1], element(5, bytes(4)), element(1, b"a" * 8), ONE), "names of fields, 0 bytes each"),
        (matrix(2, [1, 2], element(5, b"\4\0\0\0"), element(1, b"a\0\0\0"), ONE), "a matrix of 2 others holds 1"),
    ],
)
def test_sizes_that_scipy_would_trust_are_told(tmp_path, made, told):
    header = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x100) + b"IM"
    (tmp_path / "x.set").write_bytes(header + ONE)
    check_mat(tmp_path / "x.set")
    (tmp_path / "x.set").write_bytes(header + made)
    with pytest.raises(ValueError, match=told):
        check_mat(tmp_path / "x.set")


@pytest.mark.parametrize("kind", [0, 8, 10, 11, 14, 15, 19, 99])
def test_elements_of_no_type_of_numbers_or_letters_are_told(kind):
    with pytest.raises(ValueError, match=f"an element of type {kind}, "):
        read_element(io.BytesIO(struct.pack("<II", kind, 8) + bytes(8)), "<")


def test_elements_of_numbers_are_read_with_their_padding():
    file = io.BytesIO(struct.pack("<II", 2, 3) + b"abc" + bytes(5) + struct.pack("<HH4s", 1, 2, b"de"))
    assert read_element(file, "<", keep=8) == (b"abc", 16)
    assert read_element(file, "<", keep=8) == (b"de", 8)


def test_a_file_that_was_cut_is_one_line(tmp_path):
    x_uv = 30 * np.random.default_rng(0).normal(size=(2, 800))
    path = write_with_pause(tmp_path, "eeglab", x_uv, ["FP1-F7", "F7-T7"], 400, 5)
    whole = path.read_bytes()
    for n_bytes in np.linspace(130, len(whole) - 1, 12).astype(int):
        path.write_bytes(whole[:n_bytes])
        with pytest.raises(DetectionError, match=r"rec\.set: ") as told:
            open_recording(path)
        assert "\n" not in str(told.value)
