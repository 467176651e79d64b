"""A probe behind an embedder and seeds as an ensemble detect like any classifier."""

import numpy as np
import pytest
from deploy_files import REFERENTIAL, write_edf
from sklearn.pipeline import make_pipeline
from small_composites import PROBES
from small_model import RandomWindows
from small_pipeline import SIZE

from biot_bd import BIOTClassifier, Embedder, PercentileScaler, load_pipeline, save_pipeline
from biot_bd.deploy import Detector
from biot_bd.deploy.engine_candidates import find_candidates
from biot_bd.ensembles import SeedEnsemble
from biot_bd.signals.mapper import MontageMapper
from biot_bd.signals.subject_array import SubjectArray

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """Half a minute, with one electrode flat: some channels of the montage are absent."""
    return write_edf(tmp_path_factory.mktemp("edf") / "a.edf", REFERENTIAL, 30, loud=(10, 20), flat=("EEG F7-REF",))


def saved(folder, probe):
    windows = RandomWindows(16)
    size = {name.removeprefix("module__"): value for name, value in SIZE.items()}
    if probe is None:
        net = BIOTClassifier(max_epochs=1, batch_size=8, patience=None, verbose=0, device="cpu", **SIZE)
        last, steps = SeedEnsemble(net, seeds=(1, 2)), []
    else:
        last, how = PROBES[probe]
        steps = [Embedder("biot", module_params=size, device="cpu", **how)]
    pipeline = make_pipeline(MontageMapper("biot-16"), PercentileScaler(), *steps, last)
    pipeline.fit(windows, windows.y)
    pipeline[-1].threshold_ = 0.4
    return save_pipeline(pipeline, folder)


@pytest.mark.parametrize("probe", ["linear", "attention-pool", None])
def test_a_detector_gives_the_pipelines_probabilities(probe, recording, tmp_path):
    folder = saved(tmp_path / "m", probe)
    detector = Detector.load(folder, engine="torch", stride_s=5)
    found = detector.detect(recording)
    assert len(found.start_s) == 5
    assert detector.scorer.threshold == 0.4
    assert [one.engine for one in find_candidates(folder)[0]] == ["torch"]
    seen = []

    class Kept:
        def __getattr__(self, name):
            return getattr(detector.scorer, name)

        def score(self, batch):
            seen.append(np.where(batch.present[..., None], batch.x, np.nan))
            return detector.scorer.score(batch)

    again = Detector(Kept(), detector.event_detector, stride_s=5).detect(recording)
    x = np.concatenate(seen)
    assert np.isnan(x[..., 0]).any()  # channels of the flat electrode
    pipeline = load_pipeline(folder)[1:]  # the detector has derived the montage
    proba = pipeline.predict_proba(SubjectArray(x, ["a"] * len(x)))[:, 1]
    np.testing.assert_allclose(again.probabilities, proba, atol=1e-6)
    np.testing.assert_allclose(found.probabilities, proba, atol=1e-6)
