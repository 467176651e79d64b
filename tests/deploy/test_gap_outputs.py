"""Recordings with several pauses in each format: true times in every output, as its readers see it."""

import csv
import datetime as dt
import http.client
import json
import re
import threading
from html.parser import HTMLParser
from urllib.parse import urlsplit

import mne
import numpy as np
import pytest
from gap_files import BY_HAND, NOT_TOLD, START, TOLD, recorded_readers, write_with_pauses
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd.deploy import Detector
from biot_bd.deploy.live.broadcast import Hub
from biot_bd.deploy.live.json_lines import Lines
from biot_bd.deploy.live.replay import FileSource
from biot_bd.deploy.live.runner import Session
from biot_bd.deploy.live.server import PageServer
from biot_bd.deploy.patient_page import PagePart, write_page
from biot_bd.deploy.results import write_events
from biot_bd.events.detector import EventDetector
from biot_bd.signals.montages import BIOT_16

pytestmark = pytest.mark.filterwarnings("ignore:.*boundary.*:RuntimeWarning")
RATE, LENGTH_S = 200, 170
# A pause shorter than a window, within a loud stretch; one over midnight behind which it is loud at once.
CUTS_S, GAPS_S = (40, 100), (4, 301)
LOUD_S = ((25, 60), (85, 118), (140, 155))
EVENING = START.replace(hour=23, minute=57, second=30)
BEGINS_S = (0, 44, 405)


def quick(kinds, *few):
    return [pytest.param(kind, marks=[] if kind in few else pytest.mark.slow) for kind in kinds]


class Loudness:
    """Probability by amplitude."""

    montage, sfreq, window_s, threshold, precision = BIOT_16, 200.0, 10.0, 0.5, None

    def score(self, batch):
        return np.clip(np.nanstd(batch.x, axis=(1, 2)) / 300, 0, 1)


def detector(causal=False):
    events = EventDetector(
        window_s=10, smoothing_s=0, min_duration_s=3, merge_gap_s=10, causal=causal, threshold=0.5, target=None
    )
    return Detector(Loudness(), events, stride_s=1)


def signal_uv(seconds=LENGTH_S, loud=LOUD_S):
    x = np.random.default_rng(0).normal(0, 30, (16, seconds * RATE))
    for start, stop in loud:
        x[:, start * RATE : stop * RATE] *= 10
    return np.clip(x, -2900, 2900)


def alone(x_uv, causal, cuts_s=CUTS_S, begins_s=BEGINS_S):
    """What is found in each segment as a recording of its own, at its true time."""
    found = []
    for part, begin_s in zip(np.split(x_uv, [cut * RATE for cut in cuts_s], axis=1), begins_s, strict=True):
        if part.shape[1] < 10 * RATE:
            continue
        info = mne.create_info(list(BIOT_16.ch_names), RATE, "eeg")
        events = detector(causal).detect(mne.io.RawArray(part * 1e-6, info, verbose="error")).events
        found += [(event.onset_s + begin_s, event.offset_s + begin_s) for event in events]
    return found


@pytest.fixture(scope="module")
def truth():
    """Events by segment: of ``detect``, and of a causal detector."""
    x_uv = signal_uv()
    found = {causal: alone(x_uv, causal) for causal in (False, True)}
    # The first loud stretch goes on behind the short pause, the second behind the long one.
    assert [sum(begin <= onset for begin in BEGINS_S) for onset, _ in found[False]] == [1, 2, 2, 3, 3]
    assert found[False][0][1] == 40
    assert [found[False][1][0], found[False][3][0]] == [44, 405]
    return found


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder, x_uv = tmp_path_factory.mktemp("gaps"), signal_uv()
    pauses = [(cut * RATE, gap) for cut, gap in zip(CUTS_S, GAPS_S, strict=True)]
    with recorded_readers():
        yield {
            kind: write_with_pauses(folder / kind, kind, x_uv, BIOT_16.ch_names, pauses, RATE, EVENING)
            for kind in (*TOLD, *BY_HAND, *NOT_TOLD)
        }


class Cells(HTMLParser):
    """The text of a page's table cells, row by row."""

    def __init__(self, text):
        super().__init__()
        self.rows, self._open = [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self._open = True
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self._open = self._open and tag not in ("td", "th")

    def handle_data(self, data):
        if self._open:
            self.rows[-1][-1] += data


def seconds(clock):
    hours, minutes, rest = map(float, re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d)?)", clock).groups())
    return hours * 3600 + minutes * 60 + rest


def table(path):
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return [(float(row["onset"]), float(row["onset"]) + float(row["duration"])) for row in rows]


def close(found, expected, off=0.1):
    """Whether these are the same numbers, and as many."""
    found, expected = (np.array(list(values), float) for values in (found, expected))
    return found.shape == expected.shape and np.allclose(found, expected, rtol=0, atol=off, equal_nan=True)


def check_table_and_json(folder, found, truth, begins_s=BEGINS_S):
    events = table(write_events(folder / "events.tsv", found, "tsv"))
    assert close(events, truth)
    facts = json.loads(write_events(folder / "events.json", found, "json").read_text())
    assert close([(event["onset_s"], event["offset_s"]) for event in facts["events"]], truth)
    assert close([start for start, _ in facts["segments"]], begins_s, 0.01)


def check_page(folder, found, truth):
    rows = Cells(write_page(folder / "page.html", "p", [PagePart(found)], [], "m").read_text()).rows
    head = next(row for row in rows if "onset" in row)
    events = [dict(zip(head, row, strict=True)) for row in rows[rows.index(head) + 1 :]]
    assert close([(seconds(event["onset"]), seconds(event["offset"])) for event in events], truth, 0.6)
    if found.start_time is None:
        assert "clock" not in head
        return
    for event, (onset_s, _) in zip(events, truth, strict=True):
        said = dt.datetime.fromisoformat(f"{event['date']} {event['clock']}").replace(tzinfo=dt.UTC)
        assert abs((said - EVENING).total_seconds() - onset_s) <= 0.6


@pytest.mark.parametrize("kind", [*TOLD, *BY_HAND])
def test_detect_tells_true_times_in_table_json_and_page(files, truth, tmp_path, kind):
    found = detector().detect(files[kind])
    assert found.start_time == (None if kind == "eeglab" else EVENING)
    check_table_and_json(tmp_path, found, truth[False])
    check_page(tmp_path, found, truth[False])


@pytest.mark.parametrize("kind", quick(NOT_TOLD, "bdf-status"))
def test_pauses_of_a_length_that_nobody_tells_count_nothing_and_page_and_replay_say_so(files, tmp_path, kind):
    begins_s = (0, *CUTS_S)
    found = detector(True).detect(files[kind])
    truth = alone(signal_uv(), True, begins_s=begins_s)
    check_table_and_json(tmp_path, found, truth, begins_s)
    check_page(tmp_path, found, truth)
    assert "not told" in (tmp_path / "page.html").read_text()
    with Lines(tmp_path / "lines.jsonl", echo=False) as lines:
        source = FileSource(files[kind], speed=float("inf"), chunk_s=7)
        ended = Session(detector(True), lines, "m", status_s=0).run(source)
    written = [json.loads(line) for line in (tmp_path / "lines.jsonl").read_text().splitlines()]
    assert close(of(written, "event", "onset_s", "offset_s"), truth)
    assert of(written, "gap", "start_s", "seconds") == [(cut, 0) for cut in CUTS_S]
    assert any("not told" in note for note in written[0]["notes"])
    check_table_and_json(tmp_path, ended.result.detection, truth, begins_s)


def follow(url, lines):
    """Collect the lines of a live page until it ends."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    connection.request("GET", "/events")
    response, event = connection.getresponse(), None
    while text := response.readline().decode():
        if text.startswith("event: "):
            event = text[7:].strip()
        elif text.startswith("data: ") and event in ("state", "line"):
            data = json.loads(text[6:])
            lines[:] = [*data["lines"]] if event == "state" else [*lines, data]
    connection.close()


def of(lines, kind, *fields):
    return [tuple(line[field] for field in fields) for line in lines if line["type"] == kind]


@pytest.mark.parametrize("kind", quick((*TOLD, *BY_HAND), "edf+d", "nihon"))
def test_a_replay_tells_true_times_in_lines_table_and_live_page(files, truth, tmp_path, kind):
    shown, threads = [], []

    def on_page(url):
        threads.append(threading.Thread(target=follow, args=(url, shown)))
        threads[0].start()

    with Lines(tmp_path / "lines.jsonl", echo=False) as lines:
        shows = {"output": tmp_path / "out.tsv", "page": ("127.0.0.1", 0)}
        source = FileSource(files[kind], speed=float("inf"), chunk_s=7)
        ended = Session(detector(True), lines, "m", status_s=0, **shows).run(source, on_page=on_page)
    threads[0].join(timeout=60)
    written = [json.loads(line) for line in (tmp_path / "lines.jsonl").read_text().splitlines()]
    for told in (written, shown):
        assert close(of(told, "event", "onset_s", "offset_s"), truth[True])
        assert close(of(told, "alarm", "onset_s"), [(onset,) for onset, _ in truth[True]])
        assert close(of(told, "gap", "start_s", "stop_s", "seconds"), [(40, 44, 4), (104, 405, 301)], 0.01)
    assert close(table(tmp_path / "out.tsv"), truth[True])
    check_table_and_json(tmp_path, ended.result.detection, truth[True])
    check_page(tmp_path, ended.result.detection, truth[True])


@pytest.mark.slow
def test_a_browser_shows_true_times_on_the_live_page(files, truth, browser):
    for kind in (*TOLD, *BY_HAND):
        path = files[kind]
        hub = Hub({"source": "x", "ch_names": [], "notes": []})
        with Lines(echo=False) as lines:
            lines.listeners.append(hub.line)
            Session(detector(True), lines, "m", status_s=0).run(FileSource(path, speed=float("inf"), chunk_s=7))
        server, page = PageServer(hub), browser.new_page()
        page.goto(server.url)
        page.wait_for_selector("#alarms li.event")
        events = page.locator("#alarms li.event").all_inner_texts()[::-1]
        gaps = page.locator("#log li.gap").all_inner_texts()[::-1]
        server.close()
        page.close()
        said = [tuple(map(seconds, re.findall(r"\d+:\d\d:\d\d\.\d", text))) for text in events]
        assert close(said, truth[True])
        said = [tuple(map(seconds, re.findall(r"\d+:\d\d:\d\d\.\d", text))) for text in gaps]
        assert said == [(40, 44), (104, 405)]


# Any pauses


@settings(max_examples=3, deadline=None)
@given(data=st.data(), kind=st.sampled_from(["edf+d", "brainvision", "skips", "mff"]))
def test_any_pauses_give_each_segment_its_events_at_its_time(tmp_path_factory, files, data, kind):
    x_uv = signal_uv(100, ((20, 45), (60, 85)))
    cuts = sorted(data.draw(st.sets(st.integers(5, 95), min_size=1, max_size=3)))
    # Shorter than what a live signal's stamps may be off, than a window, and longer.
    gaps = [data.draw(st.sampled_from([0.1, 0.15, 0.3, 2.5, 7, 60])) for _ in cuts]
    begins = [0.0, *np.add(cuts, np.cumsum(gaps)).tolist()]
    pauses = [(cut * RATE, gap) for cut, gap in zip(cuts, gaps, strict=True)]
    path = write_with_pauses(tmp_path_factory.mktemp("any"), kind, x_uv, BIOT_16.ch_names, pauses, RATE)
    for causal in (False, True):
        events = alone(x_uv, causal, cuts, begins)
        found = detector(causal).detect(path)
        assert close([event[:2] for event in found.events], events)
    with Lines(echo=False) as lines:
        ended = Session(detector(True), lines, "m", status_s=0).run(FileSource(path, speed=float("inf"), chunk_s=3.3))
    replayed = ended.result.detection
    assert close([event[:2] for event in replayed.events], [event[:2] for event in found.events], 1e-6)
    assert close(replayed.segments, found.segments, 1e-6)
    # Segments shorter than a window have no curve, here and there.
    assert close(replayed.start_s, found.start_s, 1e-6)
    assert close(replayed.probabilities, found.probabilities, 1e-6)
    assert replayed.duration_s == pytest.approx(found.duration_s)


def test_a_replay_follows_a_clock_that_runs_off(tmp_path):
    x_uv = signal_uv(300, ((250, 280),))
    path = write_with_pauses(tmp_path, "edf+d", x_uv, BIOT_16.ch_names, [(k * RATE, 0.0008) for k in range(1, 300)])
    found = detector(True).detect(path)
    assert len(found.segments) == 1
    assert found.events[0].onset_s == pytest.approx(alone(x_uv, True, (), (0,))[0][0] * 1.0008, abs=0.02)
    with Lines(echo=False) as lines:
        ended = Session(detector(True), lines, "m", status_s=0).run(FileSource(path, speed=float("inf")))
    replayed = ended.result.detection
    assert close([event[:2] for event in replayed.events], [event[:2] for event in found.events], 0.01)
    assert replayed.duration_s == pytest.approx(found.duration_s)


@pytest.mark.parametrize(("limit_s", "length_s"), [(30, 30), (42, 44), (50, 50), (500, 475)])
def test_a_replay_stops_on_the_recordings_clock(files, limit_s, length_s):
    with Lines(echo=False) as lines:
        source = FileSource(files["edf+d"], speed=float("inf"))
        ended = Session(detector(True), lines, "m", status_s=0).run(source, duration_s=limit_s)
    assert ended.result.detection.duration_s == pytest.approx(length_s if limit_s != 42 else 40)
    assert ended.reason == ("duration" if limit_s < 475 else "end of signal")
