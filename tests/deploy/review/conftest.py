"""A folder of results with two recordings, as `biot-bd detect` writes one."""

import pytest
from deploy_files import BIPOLAR, write_edf
from live_signals import loudness

from biot_bd import Detector, EventDetector
from biot_bd.deploy.recording_files import find_items
from biot_bd.deploy.results import Outputs, write_detection
from biot_bd.deploy.review.reviewed_results import ReviewedResults
from biot_bd.deploy.review.server import ReviewServer


@pytest.fixture(scope="session")
def detected(tmp_path_factory):
    """Recordings of 100 s, loud from 20 to 40 s and from 60 to 80 s, and what was found in them."""
    root = tmp_path_factory.mktemp("review")
    for number, name in enumerate(("p1/night.edf", "p2/day <b>.edf")):
        write_edf(root / "in" / name, [*BIPOLAR, "FZ-CZ"], seconds=100, seed=number, loud=(20, 40))
    detector = Detector(loudness(), EventDetector(window_s=10, smoothing_s=0, target=None), stride_s=5)
    outputs = Outputs(root / "out")
    for item in find_items([root / "in"]):
        detection = detector.detect(item.path)
        write_detection(detection, item, outputs, detector.scorer.montage, root / "model")
    return root


@pytest.fixture
def results(detected, tmp_path):
    import shutil

    return shutil.copytree(detected / "out", tmp_path / "out")


@pytest.fixture
def server(results):
    server = ReviewServer(ReviewedResults(results, "anna"))
    yield server
    server.close()
