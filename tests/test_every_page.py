"""What every page owes its readers, at desk and phone width, light and dark, from a file or from this machine alone."""

import shutil

import pytest
from browser_pages import (
    DESK,
    PHONE,
    check_accessible,
    check_contrast,
    check_keyboard,
    check_reachable,
    open_all,
    open_page,
)
from deploy_files import BIPOLAR, write_edf
from handmade_run import real_run, store
from live_signals import loudness, signal
from small_model import save_small_model

from biot_bd.cli import main
from biot_bd.deploy.live import Chunk, LiveDetector
from biot_bd.deploy.live.broadcast import Hub
from biot_bd.deploy.live.server import PageServer
from biot_bd.deploy.review.reviewed_results import ReviewedResults
from biot_bd.deploy.review.server import ReviewServer
from biot_bd.events.detector import EventDetector, save_event_detector
from biot_bd.report import write_report

__all__ = ["real_run", "store"]

pytestmark = pytest.mark.slow
SFREQ = 256
FILES = {
    "report": "report/report.html",
    "comparison": "compare/comparison.html",
    "study": "study/comparison.html",
    "search": "search/report.html",
    "explanation": "explain/explain.html",
    "embeddings": "embeddings/report.html",
    "detection": "detect/night_report.html",
    "viewer": "detect/night_viewer-01.html",
}


def run(*words):
    assert main([str(word) for word in words]) == 0


@pytest.fixture(scope="module")
def made(real_run, store, tmp_path_factory):
    """A folder with every page that is a file."""
    root = tmp_path_factory.mktemp("pages")
    write_report(shutil.copytree(real_run, root / "report"))
    run("compare", real_run, shutil.copytree(real_run, root / "again"), "-o", root / "compare")
    run("study", "-o", root / "study", "--store", store.folder, "--baseline", "line-length", "--cv", "subject-kfold-2")
    grid = ("--grid", "C=0.01,0.1,1", "--grid", "class_weight=balanced,null", "--model", "line-length")
    run("search", store.folder, "-o", root / "search", *grid, "--inner-cv", "subject-kfold-2")
    run("explain", real_run, store.folder, "-o", root / "explain")
    small = ("--param", "embed_dim=16", "--param", "num_heads=2", "--param", "num_layers=1")
    run("embed", store.folder, "-o", root / "embeddings", "--map", "pca", "--cache", root / "cache", *small)
    model = save_small_model(root / "model")
    save_event_detector(EventDetector(window_s=10, threshold=1e-4, smoothing_s=0, target=None), model)
    recording = write_edf(root / "in" / "night.edf", [*BIPOLAR, "FZ-CZ"], seconds=100, loud=(20, 40))
    run("detect", model, recording, "-o", root / "detect", "--html", "--viewer")
    return root


@pytest.fixture
def live():
    """The live page behind an alarm, a lost channel and a gap."""
    hub = Hub({"source": "a <test>", "model": "loudness"})
    x = signal(seconds=60, loud=((20, 50),))
    x[4, 30 * SFREQ :] = x[4, 30 * SFREQ]
    detector = loudness(min_duration_s=5, merge_gap_s=5)
    live = LiveDetector(detector, BIPOLAR, SFREQ, emit=hub.line, screen=hub, where="a <test>")
    hub.about({**live.facts(), "ch_names": detector.scorer.montage.ch_names, "threshold": 0.5})
    hub.about({"start_time": "2026-11-21T22:03:00"})
    live.push(Chunk(x, SFREQ))
    hub.status({**live.status(), "lag_s": 0.2})
    server = PageServer(hub)
    yield server.url
    server.close()


@pytest.fixture
def review(made, tmp_path):
    results = shutil.copytree(made / "detect", tmp_path / "results")
    server = ReviewServer(ReviewedResults(results, "anna"))
    yield server.url
    server.close()


@pytest.fixture(params=[*FILES, "live", "review"])
def page_at(request):
    name = request.param
    return request.getfixturevalue("made") / FILES[name] if name in FILES else request.getfixturevalue(name)


@pytest.mark.parametrize(("width", "dark"), [(DESK, False), (PHONE, True)], ids=["desk-light", "phone-dark"])
@pytest.mark.parametrize(
    "check", [check_reachable, check_keyboard, check_contrast, check_accessible], ids=lambda check: check.__name__
)
def test_every_page(browser, page_at, check, width, dark):
    with open_page(browser, page_at, width=width, dark=dark) as page:
        page.wait_for_timeout(500)
        page.wait_for_selector("[aria-busy=true]", state="detached")
        open_all(page)
        check(page)
