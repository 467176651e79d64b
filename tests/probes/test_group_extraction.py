"""Maps of a whole store: the probe's own numbers, what the model said, parts that are kept, bands and conditions."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.pipeline import make_pipeline

from biot_bd import BandPass, BIOTClassifier, PercentileScaler, load_dataset, prepare, record_attention
from biot_bd.probes import AttentionProbe, MapGroup, Probe, TokenMap, explain_group, group_extraction

pytestmark = pytest.mark.usefixtures("one_thread")
SIZE = {"module__embed_dim": 16, "module__num_heads": 2, "module__num_layers": 2, "module__hop_length": 200}


class Loudness(Probe):
    """Mean absolute value by channel; counts its calls."""

    calls = 0

    def __init__(self, power=1.0):
        self.power = power

    def __call__(self, model, x, target=None):
        type(self).calls += 1
        self.check_input(model, x)
        values = (x.abs() ** self.power).mean(dim=-1, keepdim=True).numpy() * (1 + target)
        return TokenMap(values, self.layout_by_channel(model, x), probe="loudness", unit="loudness")


@pytest.fixture(scope="module")
def windows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("group")
    return prepare(load_dataset("demo", folder / "edf", n_subjects=2, recordings=1, minutes=2), folder / "windows")


@pytest.fixture(scope="module")
def fitted(windows):
    net = BIOTClassifier(max_epochs=1, train_split=None, device="cpu", random_state=0, verbose=0, **SIZE)
    return make_pipeline(PercentileScaler(), net).fit(windows, windows.y)


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(group_extraction, "PART", 8)


def test_maps_matrices_and_what_the_model_said_are_those_of_the_model(windows, fitted):
    chosen = windows[::6]
    group = explain_group(fitted, chosen, batch_size=3)
    x = torch.from_numpy(np.asarray(fitted[:-1].transform(chosen), dtype=np.float32))
    found = AttentionProbe()(fitted[-1].module_.eval(), x)
    np.testing.assert_allclose(group.values, found.values, rtol=1e-4, atol=1e-7)
    with torch.no_grad(), record_attention(fitted[-1].module_) as trace:
        fitted[-1].module_(x)
    np.testing.assert_allclose(group.matrices, np.swapaxes(trace.channel_matrix(), 0, 1), rtol=1e-4, atol=1e-6)
    assert group.roles == ("early", "late")
    table = group.table
    proba = fitted.predict_proba(chosen)
    np.testing.assert_allclose(table["probability"], proba[:, 1], rtol=1e-5)
    np.testing.assert_array_equal(table["predicted"], fitted.predict(chosen))
    np.testing.assert_allclose(table["confidence"], proba[np.arange(len(proba)), fitted.predict(chosen)], rtol=1e-5)
    expected = {(1, 1): "hit", (1, 0): "miss", (0, 1): "false alarm", (0, 0): "rejection"}
    pairs = zip(table["label"], table["predicted"], strict=True)
    assert table["outcome"].tolist() == [expected[pair] for pair in pairs]
    assert table["start_s"].tolist() == chosen.metadata["start_s"].tolist()
    assert group.layout.ch_names == windows.ch_names
    assert group.info["generated"]


def test_a_call_that_was_stopped_goes_on(windows, fitted, tmp_path, small_parts, monkeypatch):
    whole = explain_group(fitted, windows, Loudness(), batch_size=8)
    computed = group_extraction._Part.computed

    def stopped(part):
        if part.start >= 24:
            raise KeyboardInterrupt
        return computed(part)

    with monkeypatch.context() as patch:
        patch.setattr(group_extraction._Part, "computed", stopped)
        with pytest.raises(KeyboardInterrupt):
            explain_group(fitted, windows, Loudness(), folder=tmp_path / "group", batch_size=8)
    assert len(list((tmp_path / "group" / "parts").iterdir())) == 3
    before = Loudness.calls
    again = explain_group(fitted, windows, Loudness(), folder=tmp_path / "group", batch_size=8)
    assert Loudness.calls - before == -(-len(windows) // 8) - 3
    np.testing.assert_array_equal(again.values, whole.values)
    pd.testing.assert_frame_equal(again.table, whole.table, check_dtype=False)
    assert {path.name for path in (tmp_path / "group").iterdir()} == {
        "extraction.json", "group.json", "values.npy", "matrices.npy", "table.parquet",
    }  # fmt: skip
    before = Loudness.calls
    opened = explain_group(fitted, windows, Loudness(), folder=tmp_path / "group", batch_size=8)
    assert Loudness.calls == before
    np.testing.assert_array_equal(opened.values, MapGroup.load(tmp_path / "group").values)
    for other, what in (
        ((fitted, windows, Loudness(2.0)), "parameters"),
        ((fitted, windows[:9], Loudness()), "windows"),
    ):
        with pytest.raises(ValueError, match=f"holds a group of other {what}"):
            explain_group(*other, folder=tmp_path / "group")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not empty"):
        explain_group(fitted, windows, Loudness(), folder=tmp_path / "full")


def test_bands_are_the_windows_filtered_before_the_model_scales_them(windows, fitted):
    chosen = windows[:4]
    group = explain_group(fitted, chosen, Loudness(), bands=("alpha",), matrices=False)
    assert group.bands == ("all", "alpha")
    limited = fitted[0].transform(chosen.map(BandPass(8.0, 13.0, method="iir")))
    expected = np.abs(np.asarray(limited)).mean(axis=-1, keepdims=True) * 2  # target 1
    np.testing.assert_allclose(group.select("band == 'alpha'").values, expected, rtol=1e-5)
    assert group.by_band().bands == ("alpha",)
    assert group.matrices is None
    assert group.info["no_matrices"] == "not asked for"
    own = explain_group(fitted, chosen, Loudness(), bands={"fast": (20, 40)}, matrices=False)
    assert own.bands == ("all", "fast")


def test_conditions_and_evenly_spread_windows(windows, fitted):
    conditions = {"first minute": "start_s < 60", "second": "start_s >= 60"}
    group = explain_group(fitted, windows, Loudness(), conditions=conditions, per_subject=3, matrices=False)
    counts = group.table.groupby(["subject", "label"]).size()
    assert (counts <= 3).all()
    assert set(group.by_condition()) <= set(conditions)
    early = group.table["start_s"] < 60
    assert (group.table["condition"][early] == "first minute").all()
    with pytest.raises(ValueError, match=r"are of the conditions 'a' and 'b'; one at most"):
        explain_group(fitted, windows, Loudness(), conditions={"a": "start_s >= 0", "b": "start_s < 20"})


def test_wrong_questions_are_refused(windows, fitted):
    with pytest.raises(ValueError, match="bands must be names out of delta, theta, alpha, beta, gamma"):
        explain_group(fitted, windows, bands=("ripple",))
    with pytest.raises(TypeError, match="prepared Windows"):
        explain_group(fitted, np.zeros((2, 16, 2000)))
    with pytest.raises(ValueError, match="the model knows no class 7"):
        explain_group(fitted, windows, label=7)
    with pytest.raises(ValueError, match="fit it, or load a saved one"):
        explain_group(make_pipeline(PercentileScaler(), BIOTClassifier()), windows)
    with pytest.raises(ValueError, match=r"condition 'x': 'oops' is no expression"):
        explain_group(fitted, windows, conditions={"x": "oops"})


def test_a_model_without_attention_has_no_matrices_and_says_why(windows):
    net = BIOTClassifier("shallow", max_epochs=1, train_split=None, device="cpu", random_state=0, verbose=0)
    fitted = make_pipeline(PercentileScaler(), net).fit(windows[:8], np.arange(8) % 2)
    group = explain_group(fitted, windows[:3], Loudness())
    assert group.matrices is None
    assert group.info["no_matrices"]


class BySample(Probe):
    """The signal itself."""

    def __call__(self, model, x, target=None):
        return TokenMap(x.numpy(), self.layout_by_sample(model, x), probe="by-sample", signed=True)


def test_values_by_sample_are_kept_as_sums_over_seconds(windows, fitted):
    chosen = windows[:3]
    group = explain_group(fitted, chosen, BySample(), matrices=False)
    x = np.asarray(fitted[:-1].transform(chosen))
    np.testing.assert_allclose(group.values, x.reshape(3, 16, 10, 200).sum(axis=-1), rtol=1e-3, atol=1e-3)
    assert group.layout.frame_stop_s.tolist() == list(range(1, 11))
