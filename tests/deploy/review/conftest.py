"""A folder of results with two recordings, as `biot-bd detect` writes one."""

import shutil

import pytest
from deploy_files import BIPOLAR, write_edf
from live_signals import Loudness
from review_client import Client

from biot_bd import Detector, EventDetector
from biot_bd.deploy.recording_files import find_items
from biot_bd.deploy.results import Outputs, write_detection
from biot_bd.deploy.review.reviewed_results import ReviewedResults
from biot_bd.deploy.review.server import ReviewServer


@pytest.fixture(scope="session")
def detected(tmp_path_factory):
    """Recordings of 100 s, the first loud twice, the second never, and what was found in them."""
    root = tmp_path_factory.mktemp("review")
    loud = write_edf(root / "in" / "p1" / "night.edf", [*BIPOLAR, "FZ-CZ"], seconds=60, loud=(10, 30))
    write_edf(root / "in" / "p2" / "day b.edf", [*BIPOLAR, "FZ-CZ"], seconds=60, seed=1)
    assert loud.is_file()
    events = EventDetector(window_s=10, smoothing_s=0, min_duration_s=2, merge_gap_s=2, threshold=0.5, target=None)
    detector = Detector(Loudness(), events, stride_s=5)
    outputs = Outputs(root / "out")
    for item in find_items([root / "in"]):
        write_detection(detector.detect(item.path), item, outputs, detector.scorer.montage, root / "model")
    return root


@pytest.fixture
def results(detected, tmp_path):
    return shutil.copytree(detected / "out", tmp_path / "out")


@pytest.fixture
def server(results):
    server = ReviewServer(ReviewedResults(results, "anna"))
    yield server
    server.close()


@pytest.fixture
def client(server):
    return Client(server.port)
