import mne
import numpy as np
import pytest

from biot_bd.io.channel_readers import EdfReader, NotPlainEdfError, RawReader, open_reader


def all_files(shared):
    return sorted(p for p in (shared / "data").rglob("*") if p.suffix.lower() in (".edf", ".bdf"))


def read(reader, index, start=0, stop=None):
    out = np.empty((reader.n_samples if stop is None else stop) - start, np.float32)
    reader.block(start, start + len(out)).read(index, out)
    return out


def test_every_file_is_read_as_mne_reads_it(shared):
    fast = 0
    for path in all_files(shared):
        raw = mne.io.read_raw(path, verbose="error")
        reader = open_reader(raw, raw.ch_names)
        assert (reader.n_samples, reader.sfreq) == (len(raw.times), raw.info["sfreq"]), path
        expected = raw.get_data() * 1e6
        for i in range(len(raw.ch_names)):
            # float32 has 24 bits; offset and scale round once each.
            top = max(reader.ranges_uv[i] if reader.ranges_uv else 0, np.abs(expected[i]).max())
            np.testing.assert_allclose(read(reader, i), expected[i], rtol=0, atol=top * 2**-22, err_msg=str(path))
        fast += isinstance(reader, EdfReader)
    assert fast >= 70


def test_only_the_needed_channels_have_to_be_plain(shared):
    path = next((shared / "data/epilepsy2bids-headers").rglob("PN00-1.edf"))
    raw = mne.io.read_raw_edf(path, verbose="error")
    with pytest.raises(NotPlainEdfError, match="SPO2"):
        EdfReader(path, raw.ch_names)
    eeg = [name for name in raw.ch_names if name.startswith("EEG")]
    assert isinstance(open_reader(raw, eeg), EdfReader)


def test_channels_that_occur_twice_are_told_apart(shared):
    raw = mne.io.read_raw_edf(shared / "data/chbmit-excerpts/chb01/chb01_03.edf", verbose="error")
    reader = open_reader(raw, ["T8-P8-1", "T8-P8-0"])
    assert isinstance(reader, EdfReader)
    np.testing.assert_allclose(read(reader, 0), raw.get_data("T8-P8-1")[0] * 1e6, atol=1e-3)


@pytest.mark.parametrize("how", ["renamed", "loaded and changed", "cropped", "recalibrated"])
def test_a_recording_that_differs_from_its_file_is_read_by_mne(shared, how):
    raw = mne.io.read_raw_edf(shared / "data/chbmit-excerpts/chb01/chb01_03.edf", verbose="error")
    if how == "renamed":
        raw.rename_channels({"FP1-F7": "left"})
    elif how == "loaded and changed":
        raw.load_data().apply_function(lambda x: x * 3)
    elif how == "cropped":
        raw.crop(1, 20)
    else:
        raw._cals *= 2
    reader = open_reader(raw, raw.ch_names[:2])
    assert isinstance(reader, RawReader)
    np.testing.assert_allclose(read(reader, 0), raw.get_data([0])[0] * 1e6, rtol=1e-6)


def test_a_file_shorter_than_its_header_says_is_left_to_mne(shared, tmp_path):
    whole = (shared / "data/chbmit-excerpts/chb01/chb01_03.edf").read_bytes()
    path = tmp_path / "cut.edf"
    path.write_bytes(whole[: len(whole) // 2 + 101])
    raw = mne.io.read_raw_edf(path, verbose="error")
    reader = open_reader(raw, ["FP1-F7"])
    np.testing.assert_allclose(read(reader, 0), raw.get_data(["FP1-F7"])[0] * 1e6, atol=1e-3)
