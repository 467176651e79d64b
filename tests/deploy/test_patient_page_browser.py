"""A patient's page in Chromium: what is drawn, keys, phones, print, and no request to anybody."""

from dataclasses import replace

import numpy as np
import pytest
from browser_pages import DESK, PHONE, check_page, check_reachable, open_page
from deploy_files import save_edf
from test_detection_record import Loudness

from biot_bd.deploy import Detector, curve_of, read_detection, write_detection_record
from biot_bd.deploy.patient_page import PagePart, write_page
from biot_bd.deploy.patient_pages import write_missing_viewers
from biot_bd.deploy.recording_files import Item
from biot_bd.deploy.results import Outputs
from biot_bd.deploy.viewer_files import viewer_links, viewer_paths
from biot_bd.events.detector import EventDetector
from biot_bd.signals.montages import BIOT_16

pytestmark = pytest.mark.slow
NAMES = [*(name.upper() for name in BIOT_16.ch_names), "FZ-CZ", "CZ-PZ"]


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Three recordings, one after another by the clock of none; the second without an event."""
    folder, found = tmp_path_factory.mktemp("patient"), []
    for number, louds in enumerate([((100, 130), (250, 300)), (), ((60, 90),)]):
        rng = np.random.default_rng(number)
        x = np.cumsum(rng.normal(0, 6, (18, 400 * 256)), axis=1)
        x -= np.stack([np.convolve(row, np.ones(256) / 256, "same") for row in x])
        for start, stop in louds:
            x[:, start * 256 : stop * 256] += 300 * np.sign(np.sin(np.arange((stop - start) * 256) / 256 * 20))
        path = save_edf(folder / f"in/night-{number}.edf", NAMES, list(np.clip(x, -790, 790)), 256)
        events = EventDetector(window_s=10, smoothing_s=10, min_duration_s=3, threshold=0.5, target=None)
        one = Detector(Loudness(), events, stride_s=2).detect(path)
        assert len(one.events) == len(louds)
        record = write_detection_record(folder / f"out/night-{number}_detection.json", one, folder, patient="p")
        found.append(read_detection(record))
    return found


@pytest.fixture(scope="module")
def page_file(records):
    folder = records[0].path.parent
    item = Item(records[0].source, records[0].path.with_name(records[0].stem), "p")
    write_missing_viewers(item, records[0], Outputs(folder, viewer=True))
    path = folder / "p_report.html"
    links = viewer_links(path, viewer_paths(folder / "night-0"))
    assert links == [("night-0_viewer-01.html", "hour 1")]
    parts = [PagePart(record.detection, record, links if not n else []) for n, record in enumerate(records)]
    return write_page(path, "p", parts, ["bad.edf: the file is empty"], "model")


IN_STROKE = """([curve, points]) => { const svg = curve.ownerSVGElement; return points.map(([x, y]) => {
  const point = svg.createSVGPoint(); point.x = x; point.y = y; return curve.isPointInStroke(point); }); }"""


def test_the_line_in_the_browser_is_the_curve_of_the_record(browser, page_file, records):
    with open_page(browser, page_file) as page:
        for number, record in enumerate(records):
            curve, scale = curve_of(record.detection), 1000 / record.detection.duration_s
            path = page.locator(".plot.curve .line").nth(number).element_handle()
            box = page.locator(".plot.curve svg").nth(number).bounding_box()
            seconds = range(3, 397, 7)
            on = [[(curve.times_s[s] + 0.5) * scale, 100 * (1 - curve.values[s])] for s in seconds]
            assert all(page.evaluate(IN_STROKE, [path, on]))
            off = 6 * 106 / box["height"]  # six pixels
            beside = [[x, y - off if y > 50 else y + off] for x, y in on]
            flat = [abs(curve.values[s - 1] - curve.values[s + 1]) < 1e-3 for s in seconds]
            crossed = page.evaluate(IN_STROKE, [path, beside])
            assert not any(hit for hit, is_flat in zip(crossed, flat, strict=True) if is_flat)
            for event in record.detection.events:
                second = int(event.onset_s)
                assert curve.values[second] >= 0.5 > curve.values[second - 1]


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [DESK, PHONE])
def test_it_is_reachable_readable_and_asks_nobody(browser, page_file, width, dark):
    with open_page(browser, page_file, width=width, dark=dark) as page:
        page.wait_for_function("startViewers.made.length === 2")
        check_page(page)


def test_events_are_shown_by_button_and_by_keys(browser, page_file):
    with open_page(browser, page_file) as page:
        first = "startViewers.made[0].view.from_s"
        page.evaluate("Promise.all(startViewers.made.map((viewer) => viewer.ready))")
        shown = page.evaluate("startViewers.made.map((v) => v.events.map((e) => Math.round(e.onset_s)))")
        assert [len(events) for events in shown] == [2, 1]
        button = page.get_by_role("button", name="Show event 2").first
        button.focus()
        page.keyboard.press("Enter")
        page.wait_for_function(f"{first} > {shown[0][1] - 10}")
        page.wait_for_function("document.activeElement.tagName === 'CANVAS'")
        assert page.evaluate(first) <= shown[0][1] <= page.evaluate(first) + 10
        page.keyboard.press("p")
        page.wait_for_function(f"{first} < {shown[0][0]}")
        page.keyboard.press("n")
        page.wait_for_function(f"{first} > {shown[0][1] - 10}")
        before = page.evaluate(first)
        page.keyboard.press("ArrowRight")
        page.wait_for_function(f"{first} === {before} + 10")
        # The other viewer's page stayed where it was.
        assert page.evaluate("startViewers.made[1].view.from_s") < shown[1][0]


def test_print_and_no_scripts_show_the_onset_of_each_event(browser, page_file):
    with open_page(browser, page_file) as page:
        assert page.locator(".still").first.is_hidden()
        page.emulate_media(media="print")
        assert [page.locator(".still").nth(k).is_visible() for k in range(3)] == [True] * 3
        assert page.locator(".eeg-viewer").first.is_hidden()
    plain = browser.new_context(java_script_enabled=False, viewport={"width": PHONE, "height": 900})
    page = plain.new_page()
    page.goto(page_file.as_uri())
    assert page.locator(".still").count() == 3
    assert page.locator(".still").last.is_visible()
    assert page.locator("[data-show]").first.is_hidden()
    plain.close()


def test_the_viewer_of_an_hour_opens_at_its_first_event(browser, page_file, records):
    with open_page(browser, page_file) as page:
        address = page.get_by_role("link", name="hour 1").get_attribute("href")
    with open_page(browser, page_file.parent / address, width=PHONE) as page:
        page.evaluate("startViewers.made[0].ready")
        onset_s = records[0].detection.events[0].onset_s
        assert onset_s - 10 < page.evaluate("startViewers.made[0].view.from_s") <= onset_s
        assert page.evaluate("startViewers.made[0].events.length") == 2
        check_reachable(page)


def test_names_stay_text(browser, records, tmp_path):
    odd = replace(
        records[0].detection, notes=["</script><script>window.bad = 1</script>"], setting=records[0].detection.setting
    )
    path = write_page(tmp_path / "x.html", "<img src=x onerror='window.bad = 1'>", [PagePart(odd)], ["<b>x</b>"], "m")
    with open_page(browser, path) as page:
        assert page.evaluate("window.bad") is None
        assert "onerror" in page.locator("h1").inner_text()
