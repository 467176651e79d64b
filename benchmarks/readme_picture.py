"""Make the picture of the README: the page of `biot-bd detect` for a recording of CHB-MIT.

    python benchmarks/readme_picture.py CHBMIT docs/_static/detect_chb01_03.png

``CHBMIT`` is a folder as on PhysioNet with the cases chb01, chb02 and chb03.  A small BIOT is
trained on chb02 and chb03, so that it has not seen the subject of chb01_03; with ``--model``
another one detects.  The picture shows what a page looks like; it is no result.  Needs Chromium.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

RECORDING = "chb01_03"
TRAINED_ON = ("2", "3")
SMALL = ("embed_dim=32", "num_heads=4", "num_layers=2", "hop_length=100")
BIOT_BD = (sys.executable, "-W", "ignore", "-c", "from biot_bd.cli import main; raise SystemExit(main())")
WIDTH, HEIGHT = 1280, 900
MARGIN = 12
HOLD_MS = 1500
COLOURS = 96


def biot_bd(*words: object) -> None:
    """Run a command as users do."""
    subprocess.run([*BIOT_BD, *map(str, words)], check=True)


def train(recordings: Path, folder: Path) -> Path:
    """Return a small model that has not seen the subject of the recording."""
    cases = [word for case in TRAINED_ON for word in ("--subjects", f"chb-mit/{int(case):02d}")]
    biot_bd("prepare", "chb-mit", recordings, "-o", folder / "windows", "--stride-s", 1, *cases)
    sizes = [word for size in SMALL for word in ("--param", f"module__{size}")]
    few_windows = ("--batch-size", 4, "--lr", 1e-3, "--epochs", 40, "--validation-fraction", 0)
    biot_bd("train", folder / "windows", "-o", folder / "model", *few_windows, *sizes)
    return folder / "model"


def make_page(model: Path, recordings: Path, folder: Path) -> Path:
    """Detect in the recording, and return the page."""
    source = folder / "recordings" / RECORDING[:5]
    source.mkdir(parents=True)
    shutil.copy(recordings / RECORDING[:5] / f"{RECORDING}.edf", source)
    biot_bd("detect", model, source.parent, "-o", folder / "results", "--html", "--stride-s", 1)
    (page,) = (folder / "results").rglob("*_report.html")
    return page


def take_picture(page: Path, to: Path) -> None:
    """Write the part of a page about its first recording as PNG: curve, events, EEG."""
    from playwright.sync_api import sync_playwright

    to.parent.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        tab = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        tab.goto(page.resolve().as_uri())
        tab.wait_for_timeout(HOLD_MS)  # until the EEG is drawn
        top = tab.locator("h2", has_text=RECORDING).first.bounding_box()
        viewer = tab.locator(".eeg-viewer").first.bounding_box()
        if top is None or viewer is None:
            raise SystemExit(f"{page}: no event was found, so the page shows no EEG; try another --model")
        height = viewer["y"] + viewer["height"] + 2 * MARGIN - top["y"]
        clip = {"x": 0, "y": top["y"] - MARGIN, "width": WIDTH, "height": height}
        tab.screenshot(path=to, full_page=True, clip=clip)
        browser.close()
    shrink(to)


def shrink(picture: Path) -> None:
    """Write a PNG anew with few colours, which a page has anyway: a third of the bytes."""
    from PIL import Image

    with Image.open(picture) as image:
        few = image.convert("RGB").quantize(COLOURS)
    few.save(picture, optimize=True)


def main() -> None:
    """Make the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--model", type=Path, help="Saved model that detects, in place of a small one.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = given.model or train(given.recordings, folder)
        take_picture(make_page(model, given.recordings, folder), given.picture)


if __name__ == "__main__":
    main()
