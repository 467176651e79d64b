"""Pages with EEG: how large, how long to write, how soon drawn, how much memory.

Writes ``pages.md``.  Chromium runs with its processor throttled to a quarter, a screen of a phone
and nothing of earlier runs; the seconds are those from the navigation to the first page of EEG.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
from playwright.sync_api import Browser, Page, sync_playwright

from _bench import SFREQ, write_recording
from biot_bd import Event, EventDetector, registry
from biot_bd.deploy import Detection, Detector, write_detection_record
from biot_bd.deploy.patient_page import PagePart, write_page
from biot_bd.deploy.review.reviewed_results import ReviewedResults
from biot_bd.deploy.review.server import ReviewServer
from biot_bd.io import open_recording, read_excerpt, recording_digest
from biot_bd.signals import plan_montage
from biot_bd.viewer import Traces, ViewedRecording, derived_traces, reading_montage, write_viewer
from detect import repeat, save_model

THROTTLE = 4
MB = 1e6
Measured = tuple[str, str, str]  # what, measured, wanted
ROWS: dict[str, Callable[[Path, Browser, int], Iterator[Measured]]] = {}


def row(name: str) -> Callable[[Callable], Callable]:
    """Register what measures one kind of page: ``(folder, browser, rounds)`` -> lines."""

    def register(run: Callable) -> Callable:
        ROWS[name] = run
        return run

    return register


def spread(values: list[float], digits: int = 2) -> str:
    """Write median and range."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def opened(browser: Browser, path: Path, rate: int = THROTTLE, pages: int = 60) -> dict[str, float]:
    """Open a page with a viewer once: seconds until EEG is drawn, and memory after some paging."""
    page = browser.new_page(viewport={"width": 390, "height": 844})
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    session.send("Emulation.setCPUThrottlingRate", {"rate": rate})
    page.goto(path.as_uri())
    drawn = page.evaluate(
        "startViewers.made[0].ready.then(() => performance.getEntriesByName('eeg-drawn')[0].startTime)"
    )
    loaded = page.evaluate("performance.getEntriesByType('navigation')[0].domComplete")
    begin = time.perf_counter()
    for _ in range(pages):
        page.keyboard.press("ArrowRight")
        page.evaluate("startViewers.made[0].loading")
    turn_ms = 1000 * (time.perf_counter() - begin) / pages
    found = {"drawn_s": drawn / 1000, "loaded_s": loaded / 1000, "turn_ms": turn_ms}
    metrics = {m["name"]: m["value"] for m in session.send("Performance.getMetrics")["metrics"]}
    found["heap_mb"] = metrics["JSHeapUsedSize"] / MB
    found["process_mb"] = _own_memory(browser, page)
    page.close()
    return found


def first_part_cpu_s(browser: Browser, path: Path, rate: int = THROTTLE) -> float:
    """Return processor seconds of the page's main thread until EEG is drawn.

    Of a copy that ends behind the start of the viewer: on a machine that does other work, too,
    this holds where the seconds on the clock do not.
    """
    start = "<script>startViewers();</script>"
    first = path.read_text("utf-8").partition(start)[0]
    cut = path.with_suffix(".first.html")
    cut.write_text(f"{first}{start}</section></main></body></html>", "utf-8")
    page = browser.new_page(viewport={"width": 390, "height": 844})
    session = page.context.new_cdp_session(page)
    session.send("Performance.setTimeDomain", {"timeDomain": "threadTicks"})
    session.send("Performance.enable")
    session.send("Emulation.setCPUThrottlingRate", {"rate": rate})
    page.goto(cut.as_uri())
    page.evaluate("startViewers.made[0].ready")
    metrics = {m["name"]: m["value"] for m in session.send("Performance.getMetrics")["metrics"]}
    page.close()
    return metrics["ThreadTime"]


def _own_memory(browser: Browser, page: Page) -> float:
    """Return the largest memory of a renderer that no other process shares, in MB."""
    session = browser.new_browser_cdp_session()
    infos = session.send("SystemInfo.getProcessInfo")["processInfo"]
    return max(psutil.Process(i["id"]).memory_full_info().uss for i in infos if i["type"] == "renderer") / MB


def hour_of_traces(folder: Path, seconds: int) -> tuple[Traces, float]:
    """Return traces of a generated recording (23 channels, 256 Hz) and how long that took."""
    path = write_recording(folder / "hour.edf", seconds, seed=1)
    begin = time.perf_counter()
    recording = open_recording(path)
    names = recording.raw.ch_names
    plan = plan_montage(reading_montage(registry.montages["biot-16"], names, recording.unusable), names)
    x, start_s, sfreq = read_excerpt(recording, plan.needed, 0, seconds)
    return derived_traces(x, sfreq, start_s, plan), time.perf_counter() - begin


@row("viewer of an hour (18 channels, one file)")
def hour(folder: Path, browser: Browser, rounds: int, seconds: int = 3600) -> Iterator[Measured]:
    """Measure the file that `detect --viewer` writes for an hour."""
    traces, read_s = hour_of_traces(folder, seconds)
    rng = np.random.default_rng(0)
    times = np.arange(seconds) + 0.5
    viewed = ViewedRecording(
        "hour",
        seconds,
        start_time="2021-01-01T22:00:00",
        sfreq=SFREQ,
        events=[{"onset_s": at, "offset_s": at + 30.0} for at in np.linspace(0.1, 0.9, 10) * seconds],
        curve_times_s=times,
        curve=rng.random(seconds),
        window_times_s=times[::5],
        window_probabilities=rng.random(len(times[::5])),
        threshold=0.8,
    )
    path, written = folder / "hour.html", []
    for _ in range(rounds):
        begin = time.perf_counter()
        write_viewer(path, viewed, [traces])
        written.append(time.perf_counter() - begin)
    found = [opened(browser, path) for _ in range(rounds)]
    plain = [opened(browser, path, rate=1)["drawn_s"] for _ in range(rounds)]
    yield "size", f"{path.stat().st_size / MB:.1f} MB", "at most 25 MB"
    yield "written in, after reading and deriving the traces", f"{spread(written)} s ({read_s:.1f} s before)", ""
    yield (
        f"first EEG drawn, processor throttled {THROTTLE} times",
        f"{spread([f['drawn_s'] for f in found])} s",
        "under 1 s",
    )
    spent = [first_part_cpu_s(browser, path) for _ in range(rounds)]
    yield f"processor time until then, throttled {THROTTLE} times", f"{spread(spent)} s", "under 1 s"
    yield "first EEG drawn, not throttled", f"{spread(plain)} s", ""
    yield "all of the file read, throttled", f"{spread([f['loaded_s'] for f in found])} s", ""
    yield "a page turned and drawn, throttled", f"{spread([f['turn_ms'] for f in found], 0)} ms", ""
    yield "JS heap after 60 pages", f"{spread([f['heap_mb'] for f in found], 0)} MB", ""
    yield (
        "memory of the page's process, unshared (USS)",
        f"{spread([f['process_mb'] for f in found], 0)} MB",
        "under 200 MB",
    )


@row("detect page of a night (8 h, 23 channels at 256 Hz, 20 events)")
def night(folder: Path, browser: Browser, rounds: int, hours: int = 8) -> Iterator[Measured]:
    """Measure `detect --html` beside detection alone, with a full-size model.

    The recording is noise that falls off with 1/f**2, an hour repeated; the events lie where they
    are put.
    """
    model = save_model(folder / "model")
    recording = repeat(write_recording(folder / "hour.edf", 3600, seed=0, slope=2.0), hours)
    detector, rng = Detector.load(model), np.random.default_rng(0)
    onsets = np.linspace(300, hours * 3600 - 300, 20).round()
    events = [Event(at, at + float(rng.integers(15, 90)), 0.9) for at in onsets.tolist()]
    path, detected, written = folder / "night.html", [], []
    for _ in range(rounds):
        begin = time.perf_counter()
        found = detector.detect(recording)
        middle = time.perf_counter()
        write_page(path, "night", [PagePart(replace(found, events=events))], [], "model")
        detected.append(middle - begin)
        written.append(time.perf_counter() - middle)
    page = browser.new_page()
    page.goto(path.as_uri())
    shown = page.evaluate("startViewers.made[0].ready.then(() => startViewers.made[0].about)")
    left_out = [note for note in shown["notes"] if "left out" in note]
    page.close()
    times = [(a + b) / a for a, b in zip(detected, written, strict=True)]
    yield "size", f"{path.stat().st_size / MB:.2f} MB", "at most 5 MB"
    yield "EEG kept", f"{shown['resolution']}; {left_out[0] if left_out else 'all stretches'}", "60 s on either side"
    yield "detection alone", f"{spread(detected, 1)} s", ""
    yield "page written in", f"{spread(written)} s", ""
    yield "detection and page, times detection alone", spread(times), "at most 1.2"


@row("review page of a night (8 h, 23 channels at 256 Hz, 20 events)")
def review(folder: Path, browser: Browser, rounds: int, hours: int = 8) -> Iterator[Measured]:
    """Measure the page of `biot-bd review`, which reads the EEG from the file piece by piece."""
    recording = repeat(write_recording(folder / "hour.edf", 3600, seed=0, slope=2.0), hours)
    montage, seconds, rng = registry.montages["biot-16"], hours * 3600, np.random.default_rng(0)
    starts = np.arange(0.0, seconds - 9, 5)
    onsets = np.linspace(300, seconds - 300, 20).round().tolist()
    setting = {"montage": "biot-16", "sfreq": 200.0, "window_s": 10.0, "stride_s": 5.0, "on_missing": "raise"}
    setting |= {"causal": False, "precision": "fp32", "smoothing": "mean"}
    found = Detection(
        str(recording),
        [Event(at, at + 60.0, 0.9) for at in onsets],
        starts,
        rng.random(len(starts)),
        10.0,
        5.0,
        float(seconds),
        float(SFREQ),
        dict.fromkeys(montage.ch_names, ""),
        [],
        {**setting, "events": EventDetector(target=None).setting()},
        segments=[(0.0, float(seconds))],
        digest=recording_digest(open_recording(recording).raw),
    )
    write_detection_record(folder / "results" / "night_detection.json", found, folder / "model", patient="night")
    opening = []
    for _ in range(rounds):
        server = ReviewServer(ReviewedResults(folder / "results", "anna"))
        time.sleep(1)  # nobody opens the page before its address was printed
        opening.append(reviewed(browser, server.url, onsets))
        server.close()
    yield (
        f"first EEG drawn, processor throttled {THROTTLE} times",
        f"{spread([f['drawn_s'] for f in opening])} s",
        "under 1 s",
    )
    yield "a place elsewhere in the night drawn, throttled", f"{spread([f['jump_ms'] for f in opening], 0)} ms", ""
    yield "JS heap after 20 events", f"{spread([f['heap_mb'] for f in opening], 0)} MB", ""
    process = spread([f["process_mb"] for f in opening], 0)
    yield "memory of the page's process, unshared (USS)", f"{process} MB", "under 200 MB"


def reviewed(browser: Browser, url: str, places_s: list[float]) -> dict[str, float]:
    """Open a review page once: seconds until EEG is drawn, and to other places; memory."""
    page = browser.new_page(viewport={"width": 390, "height": 844})
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    session.send("Emulation.setCPUThrottlingRate", {"rate": THROTTLE})
    page.goto(url)
    page.locator("canvas.eeg-traces").wait_for()
    drawn = "viewer.ready.then(() => performance.getEntriesByName('eeg-drawn')[0].startTime)"
    found = {"drawn_s": page.evaluate(drawn) / 1000}
    begin = time.perf_counter()
    for at in reversed(places_s):
        page.evaluate(f"viewer.goTo({at})")
    found["jump_ms"] = 1000 * (time.perf_counter() - begin) / len(places_s)
    metrics = {m["name"]: m["value"] for m in session.send("Performance.getMetrics")["metrics"]}
    found |= {"heap_mb": metrics["JSHeapUsedSize"] / MB, "process_mb": _own_memory(browser, page)}
    page.close()
    return found


def main() -> None:
    """Measure all kinds of pages, or those named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(ROWS)}; all by default")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "pages.md")
    options = parser.parse_args()
    lines = [
        "# Pages with EEG",
        "",
        f"{datetime.date.today().isoformat()}, {_processor()}, {psutil.cpu_count()} cores, load {psutil.getloadavg()[0]:.1f}; "
        f"medians of {options.rounds} rounds (range). Written by `benchmarks/pages.py`.",
        "",
        "| page | what | measured | wanted |",
        "|---|---|---|---|",
    ]
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with sync_playwright() as play, tempfile.TemporaryDirectory() as folder:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        lines.insert(3, f"Chromium {browser.version}.")
        for name, run in ROWS.items():
            if options.names and name not in options.names:
                continue
            for what, measured, wanted in run(Path(folder), browser, options.rounds):
                lines.append(f"| {name} | {what} | {measured} | {wanted} |")
                print(lines[-1], flush=True)
        browser.close()
    options.out.write_text("\n".join(lines) + "\n", "utf-8")


def _processor() -> str:
    """Return the processor's name."""
    told = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in told.read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
