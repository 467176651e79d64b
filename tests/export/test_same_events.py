"""A detector finds the same events with torch and with the engines of an exported model."""

import numpy as np
import pytest
from deploy_files import save_edf
from edf_files import BIPOLAR
from gap_files import write_with_pause
from sklearn.pipeline import make_pipeline
from small_model import RandomWindows, save_small_model

from biot_bd import BIOTClassifier, PercentileScaler, save_pipeline
from biot_bd.datasets.demo import generate_demo
from biot_bd.deploy import Detector
from biot_bd.export import export_model
from biot_bd.signals.mapper import MontageMapper

pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")
pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.slow]  # an export takes 20 s
BOUND = 1e-5
QUICK = ("onnx", "openvino")  # both read model.onnx


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A saved model, and the same exported as ONNX."""
    place = tmp_path_factory.mktemp("same")
    model = save_small_model(place / "model")
    return model, {"onnx": export_model(model, place / "onnx")}


def detectors(folders, **settings):
    """One detector for each way to run the model, torch first."""
    model, exported = folders
    found = {"torch": Detector.load(model, engine="torch", precision="fp32", **settings)}
    for form, folder in exported.items():
        for engine in QUICK if form == "onnx" else (form,):
            found[f"{form} by {engine}"] = Detector.load(folder, engine=engine, precision="fp32", **settings)
    return found


def check_same(folders, source, *, at_least=1, **settings):
    """Compare what all ways find in one recording, at a threshold in the widest gap of probabilities."""
    first = detectors(folders, **settings)["torch"].detect(source)
    known = np.sort(first.probabilities[np.isfinite(first.probabilities)])
    part, threshold = known[len(known) // 3 : 2 * len(known) // 3 + 2], 0.5
    if len(part) > 1:
        below, above = part[(middle := int(np.argmax(np.diff(part)))) : middle + 2]
        threshold = float(0.62 * below + 0.38 * above)  # the mean of the two is what a second in both windows has
    settings |= {"threshold": threshold, "smoothing_s": 0, "min_duration_s": 0, "release_fraction": 1}
    found = {name: detector.detect(source) for name, detector in detectors(folders, **settings).items()}
    truth = found.pop("torch")
    assert len(truth.events) >= at_least
    for name, result in found.items():
        np.testing.assert_array_equal(result.start_s, truth.start_s, err_msg=name)
        np.testing.assert_allclose(result.probabilities, truth.probabilities, rtol=0, atol=BOUND, err_msg=name)
        times = [[(event.onset_s, event.offset_s) for event in one.events] for one in (result, truth)]
        assert times[0] == times[1], name
        confidences = [[event.confidence for event in one.events] for one in (result, truth)]
        np.testing.assert_allclose(*confidences, rtol=0, atol=BOUND, err_msg=name)
    return truth


def eeg_like(seconds, sfreq, n_chans, seed=0):
    """Noise whose amplitude swells and falls, in microvolts."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * sfreq)) / sfreq
    return np.clip(rng.standard_normal((n_chans, len(t))) * (30 + 25 * np.sin(t / 3)), -2500, 2500)


@pytest.mark.parametrize("causal", [False, True])
def test_in_a_real_recording(folders, shared, causal):
    check_same(folders, shared / "data/chbmit-excerpts/chb01/chb01_03.edf", causal=causal)


def test_where_channels_are_absent_and_the_rate_is_odd(folders, tmp_path):
    names = [name for name in BIPOLAR if name not in ("FP1-F7", "T8-P8", "C3-P3")]
    path = save_edf(tmp_path / "odd.edf", names, eeg_like(60, 173, len(names)), 173)
    assert check_same(folders, path, on_missing="drop").channels["C3-P3"] == "missing"


def test_where_the_recording_pauses(folders, tmp_path):
    path = write_with_pause(tmp_path / "pause", "edf+d", eeg_like(70, 200, len(BIPOLAR), 1), BIPOLAR, 30 * 200, 25)
    assert np.diff(check_same(folders, path).start_s).max() > 25


def test_in_a_live_signal_one_window_at_a_time(folders):
    x, found = eeg_like(40, 256, len(BIPOLAR), 2), {}
    for name, detector in detectors(folders, causal=True, threshold=0.5).items():
        stream = detector.stream(BIPOLAR, 256)
        rows = [BIPOLAR.index(name) for name in stream.needed]
        for part in np.array_split(x[rows], 37, axis=1):
            stream.push(part)
        found[name] = stream.finish().probabilities
    truth = found.pop("torch")
    assert len(truth) > 4
    assert np.isfinite(truth).all()
    for name, probabilities in found.items():
        np.testing.assert_allclose(probabilities, truth, rtol=0, atol=BOUND, err_msg=name)


@pytest.fixture(scope="module")
def every_folder(folders, tmp_path_factory):
    """The same beside an export for OpenVINO."""
    model, exported = folders
    return model, exported | {"openvino": export_model(model, tmp_path_factory.mktemp("all") / "ov", "openvino")}


@pytest.mark.parametrize("causal", [False, True])
def test_in_every_real_excerpt(every_folder, shared, causal):
    files = sorted((shared / "data/chbmit-excerpts").rglob("*.edf"))
    assert len(files) > 20
    assert sum(len(check_same(every_folder, path, at_least=0, causal=causal).events) for path in files) > 2


def test_in_demo_recordings(every_folder, tmp_path):
    generate_demo(tmp_path / "demo", n_subjects=3, recordings=1, minutes=5)
    files = sorted((tmp_path / "demo").rglob("*.edf"))
    assert len(files) == 3
    for path in files:
        check_same(every_folder, path, stride_s=5)


def test_with_a_model_of_full_size(shared, tmp_path):
    windows = RandomWindows(8)
    net = BIOTClassifier(max_epochs=1, batch_size=8, patience=None, random_state=0, verbose=0, train_split=None)
    fitted = make_pipeline(MontageMapper("biot-16"), PercentileScaler(), net).fit(windows, windows.y)
    model = save_pipeline(fitted, tmp_path / "model")
    folders = model, {form: export_model(model, tmp_path / form, form) for form in ("onnx", "openvino")}
    for name in ("chb01/chb01_03.edf", "chb01/chb01_16.edf", "chb03/chb03_01_ict.edf"):
        check_same(folders, shared / "data/chbmit-excerpts" / name, at_least=0)
