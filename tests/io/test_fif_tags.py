"""Tags of FIF files that do not lead to an end are told; whatever MNE writes is read."""

import struct

import mne
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd.exceptions import DetectionError
from biot_bd.io import open_recording
from biot_bd.io.fif_tags import check_fif

NO_FILE_ID = 1  # MNE reads nothing of a file that does not begin with its own first tag


def chain(sizes, leads_to):
    """Return tags one behind the other, the last of which leads to one of them, or ends the file."""
    at, found, data = 0, [], b""
    for k, size in enumerate(sizes):
        found.append(at)
        following = 0 if k < len(sizes) - 1 else (-1 if leads_to is None else found[leads_to % len(found)] or 16)
        data += struct.pack(">4i", NO_FILE_ID, 1, size, following) + bytes(size)
        at += 16 + size
    return data


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(0, 40), min_size=2, max_size=8), leads_to=st.integers(1, 7))
def test_tags_in_a_circle_are_told_and_others_end(tmp_path_factory, sizes, leads_to):
    path = tmp_path_factory.mktemp("x") / "x_raw.fif"
    path.write_bytes(chain([0, *sizes], leads_to))
    with pytest.raises(ValueError, match=r"lead back to byte \d+"):
        check_fif(path)
    with pytest.raises(DetectionError, match=r"x_raw\.fif: ") as told:
        open_recording(path)
    assert "\n" not in str(told.value)
    path.write_bytes(chain([0, *sizes], None))
    check_fif(path)


@pytest.mark.parametrize("name", ["x_raw.fif", "x_raw.fif.gz"])
def test_what_mne_writes_is_read(tmp_path, name):
    raw = mne.io.RawArray(np.ones((1, 500)), mne.create_info(["Fp1"], 100.0, "eeg"), verbose="error")
    raw.save(tmp_path / name, verbose="error")
    check_fif(tmp_path / name)
    assert open_recording(tmp_path / name).duration_s == 5.0
