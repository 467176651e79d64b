"""Fixtures that all tests share."""

import os
import shutil
from pathlib import Path

import pytest

import biot_bd  # noqa: F401  (installs the torchaudio guard)

os.environ.setdefault("MNE_LOGGING_LEVEL", "ERROR")
pytest.register_assert_rewrite("browser_pages")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real recordings and golden numbers beside the checkout."""
    folder = Path(os.environ.get("BIOT_BD_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    if not (folder / "golden").is_dir():
        pytest.skip(f"no golden numbers and real recordings at {folder} (set BIOT_BD_SHARED)")
    return folder


@pytest.fixture(scope="module")
def one_thread():
    """Run a module's tests on one thread of torch: tiny models gain nothing from more, and sums keep their order."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def own_folders(tmp_path_factory):
    """Keep choices of precision and versions of models out of the user's folders, also in subprocesses."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BIOT_BD_CACHE", str(tmp_path_factory.mktemp("precision-cache")))
        patch.setenv("BIOT_BD_REGISTRY", str(tmp_path_factory.mktemp("registry") / "none"))
        yield


@pytest.fixture(scope="session")
def browser():
    """One Chromium for all tests of a worker; see `browser_pages.open_page`."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no Chromium on the path")
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()
