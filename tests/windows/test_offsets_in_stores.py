"""Windows with offsets in a store: scaled alike by the cache, on reading, packed and as arrays."""

import mne
import numpy as np
import pytest

from biot_bd import PercentileScaler, Windows, prepare
from biot_bd.signals.montages import BIOT_16
from biot_bd.windows import Overlap
from biot_bd.windows.store import read_manifest

OFFSETS_UV = {"int16": 900.0, "float32": 25_000.0}  # by what such a store holds them in


@pytest.fixture(scope="module", params=OFFSETS_UV)
def stores(request, make, tmp_path_factory):
    """Two recordings, without and with offsets: one channel throughout, one from second 20 on."""
    folder, rng = tmp_path_factory.mktemp("offsets"), np.random.default_rng(0)
    x = rng.normal(0, 30, (16, 40 * 200))
    ridden = x.copy()
    ridden[2] += OFFSETS_UV[request.param]
    ridden[7, 20 * 200 :] -= OFFSETS_UV[request.param]
    found = []
    for name, signals in (("plain", [x, x]), ("ridden", [x, ridden])):
        info = mne.create_info(list(BIOT_16.ch_names), 200.0, "eeg")
        raws = [mne.io.RawArray(one * 1e-6, info, verbose="error") for one in signals]
        items = [(raw, f"{name}-r{i}", f"{name}-s{i}", []) for i, raw in enumerate(raws)]
        found.append(prepare(make.dataset(items), folder / name))
    return request.param, *found


def test_every_way_of_reading_gives_what_the_scaler_makes_of_the_array(stores):
    dtype, plain, ridden = stores
    assert {r.dtype for t in ridden.tables for r in t.recordings} >= {dtype}
    x = np.asarray(ridden)
    assert abs(x[7:, 2].mean()) > 800  # microvolts stay as they were recorded
    for q in (95, 80):
        expected = PercentileScaler(q).transform(x)
        scaled = ridden.map(PercentileScaler(q))
        np.testing.assert_allclose(np.asarray(scaled), expected, atol=2e-3)
        rows = np.array([11, 0, 13, 7, 7])
        values, scales = scaled.read_packed(rows)
        np.testing.assert_allclose(values * scales[..., None], expected[rows], atol=2e-3)
        further = scaled.map(PercentileScalerAgain())
        np.testing.assert_allclose(np.asarray(further), 2 * expected, atol=4e-3)
        # And nearly what it makes of the signal without offsets.
        difference = np.abs(np.asarray(scaled) - np.asarray(plain.map(PercentileScaler(q))))
        difference[:, 7, :][[9, 10]] = 0  # the window that holds the step
        assert difference.max() < 0.1


def test_percentiles_and_notes(stores):
    _, plain, ridden = stores
    table = ridden.tables[0]
    without = plain.tables[0].percentiles
    np.testing.assert_array_equal(table.percentiles[:7], without[:7])
    np.testing.assert_allclose(table.percentiles[7:, 2], without[7:, 2], rtol=0.02)
    (note,) = [note for note in read_manifest(ridden.folder)["notes"] if "offset" in note]
    assert note.startswith("ridden-r1: an offset far larger")
    assert "T7-P7 (7 windows)" in note
    assert read_manifest(plain.folder)["notes"] == []
    assert "has_offset" not in plain.tables[0].frame


def test_relabelled_and_joined_windows_know_their_offsets(stores):
    _, plain, ridden = stores
    for windows in (ridden.relabel(Overlap(), stride_s=10), Windows.concat([plain[:3], ridden[7:]])):
        expected = PercentileScaler().transform(np.asarray(windows))
        np.testing.assert_allclose(np.asarray(windows.map(PercentileScaler())), expected, atol=2e-3)


class PercentileScalerAgain(PercentileScaler):
    """A step behind the scaler."""

    def output_info(self, info):
        return info

    def apply(self, x, present, info):
        return 2 * x, present
