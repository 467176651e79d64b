"""Make every page and take pictures of each: 1280 and 390 px wide, light and dark.

    python benchmarks/look.py OUT --run RUN --model MODEL --recordings RECORDING [RECORDING ...]
    python benchmarks/look.py OUT page.html http://127.0.0.1:8765/

Pages are made by the commands, as users make them, in ``OUT/pages``; pictures lie in
``OUT/pictures``, long pages in several, from the top.  Needs Chromium.  Errors that a page's
console tells, and a page that is wider than its window, are printed.
"""

from __future__ import annotations

import argparse
import queue
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

WIDTHS, HEIGHTS = (1280, 390), {1280: 1600, 390: 1400}
MOST_PARTS = 8
BIOT_BD = (sys.executable, "-W", "ignore", "-c", "from biot_bd.cli import main; raise SystemExit(main())")
READY_S = 90.0
LIVE_S = 14.0  # until a live page has a window to show
HOLD_S = 1.0  # until a page has drawn
# What a browser leaves undrawn until somebody scrolls there.
SHOW_ALL = """() => document.querySelectorAll("*").forEach((e) => {
  if (getComputedStyle(e).contentVisibility === "auto") e.style.contentVisibility = "visible";
  if (e.loading === "lazy") e.loading = "eager";
})"""


def report_page(out: Path, given: argparse.Namespace) -> list[Path]:
    """The report, of a copy of the run."""
    copy = out / "run"
    shutil.copytree(given.run, copy, dirs_exist_ok=True)
    _call("report", copy)
    return [copy / "report.html"]


def detect_pages(out: Path, given: argparse.Namespace) -> list[Path]:
    """The pages of patients, and what lies beside them."""
    results = out / "detect"
    _call("detect", given.model, *given.recordings, "-o", results, "--html", *_if_known("detect", "--viewer"))
    return sorted(results.rglob("*.html"))


def explain_page(out: Path, given: argparse.Namespace) -> list[Path]:
    """Attention of one fold's model."""
    from biot_bd.runs import read_json

    windows = given.windows or read_json(given.run / "run.json")["data"]["folder"]
    _call("explain", given.run, windows, "-o", out / "explain")
    return [out / "explain" / "explain.html"]


def compare_page(out: Path, given: argparse.Namespace) -> list[Path]:
    """The run beside itself."""
    copy = out / "again"
    shutil.copytree(given.run, copy, dirs_exist_ok=True)
    _call("compare", given.run, copy, "-o", out / "compare")
    return sorted((out / "compare").rglob("*.html"))


@contextmanager
def live_page(out: Path, given: argparse.Namespace) -> Iterator[str]:
    """A replay in real time."""
    words = ("stream", given.model, given.recordings[0], "--page", "--port", "0", "--stay")
    with _serving(*words) as url:
        time.sleep(LIVE_S)
        yield url


@contextmanager
def review_page(out: Path, given: argparse.Namespace) -> Iterator[str]:
    """The review of what ``detect`` wrote."""
    with _serving("review", out / "detect", "--reviewer", "look", "--port", "0") as url:
        yield url


FILES: dict[str, Callable[[Path, argparse.Namespace], list[Path]]] = {
    "detect": detect_pages,
    "report": report_page,
    "explain": explain_page,
    "compare": compare_page,
}
SERVED = {"live": live_page, "review": review_page}


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("out", type=Path)
    words.add_argument("pages", nargs="*", help="HTML files and addresses, instead of making pages")
    words.add_argument("--run", type=Path, help="run folder of cv or demo")
    words.add_argument("--windows", help="its prepared windows, where they have moved")
    words.add_argument("--model", type=Path, help="saved model")
    words.add_argument("--recordings", type=Path, nargs="+", default=[])
    words.add_argument("--only", help=f"of {', '.join([*FILES, *SERVED])}, separated by commas")
    given = words.parse_args()
    chosen = given.only.split(",") if given.only else [*FILES, *SERVED]
    pages, pictures = given.out / "pages", given.out / "pictures"
    pages.mkdir(parents=True, exist_ok=True)
    pictures.mkdir(parents=True, exist_ok=True)
    failed = []
    with _chromium() as browser:
        for page in given.pages:
            url = page if "://" in page else Path(page).resolve().as_uri()
            take(browser, url, pictures, re.sub(r"\W+", "-", url.split("/", 3)[-1])[-40:].strip("-"))
        for name in [] if given.pages else chosen:
            try:
                if name in SERVED:
                    with SERVED[name](pages, given) as url:
                        take(browser, url, pictures, name)
                else:
                    for file in FILES[name](pages, given):
                        take(browser, file.resolve().as_uri(), pictures, f"{name}-{file.stem}")
            except (RuntimeError, OSError) as error:
                failed.append(name)
                print(f"{name}: {error}", flush=True)
    raise SystemExit(bool(failed))


def take(browser: Any, url: str, folder: Path, name: str) -> None:
    """Take pictures of one page in both widths and colours."""
    for width in WIDTHS:
        for colours in ("light", "dark"):
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=colours)
            page.on("console", lambda said: print(f"{name}: {said.text}") if said.type == "error" else None)
            page.on("pageerror", lambda error: print(f"{name}: {error}"))
            page.goto(url)
            page.evaluate(SHOW_ALL)
            page.wait_for_timeout(1000 * HOLD_S)
            whole = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
            if whole[0] > width:
                print(f"{name}: {whole[0]} px wide in a window of {width} px", flush=True)
            for part in range(min(MOST_PARTS, -(-whole[1] // HEIGHTS[width]))):
                top = part * HEIGHTS[width]
                clip = {"x": 0, "y": top, "width": width, "height": min(HEIGHTS[width], whole[1] - top)}
                page.screenshot(path=folder / f"{name}-{width}-{colours}-{part}.png", full_page=True, clip=clip)
            page.close()
    print(f"{name}: done", flush=True)


@contextmanager
def _chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


def _call(*words: Any) -> None:
    done = subprocess.run([*BIOT_BD, *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"biot-bd {words[0]} ended with {done.returncode}: {done.stderr.strip()[-300:]}")


def _if_known(command: str, option: str) -> list[str]:
    said = subprocess.run([*BIOT_BD, command, "--help"], capture_output=True, text=True).stdout
    return [option] if option in said else []


@contextmanager
def _serving(*words: Any) -> Iterator[str]:
    """Run a command that serves a page, and give the address that it says."""
    child = subprocess.Popen(
        [*BIOT_BD, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
    )
    said: queue.Queue[str] = queue.Queue()

    def read() -> None:
        for line in child.stdout or ():
            said.put(line)

    threading.Thread(target=read, daemon=True).start()
    try:
        text, end = "", time.monotonic() + READY_S
        while not (found := re.search(r"http://\S+", text)):
            if child.poll() is not None and said.empty():
                raise RuntimeError(f"biot-bd {words[0]} ended with {child.returncode}: {text.strip()[-300:]}")
            if time.monotonic() > end:
                raise RuntimeError(f"biot-bd {words[0]} said no address in {READY_S:g} s: {text.strip()[-300:]}")
            with suppress(queue.Empty):
                text += said.get(timeout=0.5)
        yield found[0].rstrip(".,;:")
    finally:
        child.terminate()
        child.wait(timeout=30)


if __name__ == "__main__":
    main()
