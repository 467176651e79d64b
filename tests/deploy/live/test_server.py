"""The live page: what the server lets in, what viewers get, and the page in a real browser."""

import http.client
import json
import threading
import time

import pytest
from deploy_files import BIPOLAR
from live_signals import loudness, signal

from biot_bd.deploy.live import Chunk, LiveDetector
from biot_bd.deploy.live.broadcast import KEEP_DECISIONS, QUEUE, Hub
from biot_bd.deploy.live.server import PageServer
from biot_bd.signals.montages import BIOT_16

SFREQ = 256


@pytest.fixture
def hub():
    return Hub({"source": "test <b>bold</b>", "sfreq": SFREQ, "ch_names": list(BIPOLAR), "threshold": 0.5, "notes": []})


@pytest.fixture
def server(hub):
    server = PageServer(hub)
    yield server
    server.close()


def get(server, path="/", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, body.decode()


class Follower:
    """A viewer without a browser: reads server-sent events."""

    def __init__(self, server):
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        self.connection.request("GET", "/events")
        self.response = self.connection.getresponse()

    def next(self):
        event = None
        while True:
            line = self.response.readline().decode().rstrip("\n")
            if line.startswith("event: "):
                event = line[7:]
            elif line.startswith("data: "):
                return event, json.loads(line[6:])

    def close(self):
        self.response.close()
        self.connection.close()


def test_the_page_needs_nothing_from_elsewhere(server):
    for path, kind in (
        ("/", "text/html"),
        ("/live.js", "text/javascript"),
        ("/live.css", "text/css"),
        ("/traces.js", "text/javascript"),
        ("/viewer.css", "text/css"),
        ("/?x=1", "text/html"),
    ):
        response, body = get(server, path)
        assert (response.status, response.getheader("Content-Type").split(";")[0]) == (200, kind)
        assert "default-src 'none'" in response.getheader("Content-Security-Policy")
        assert response.getheader("X-Content-Type-Options") == "nosniff"
        assert "http://" not in body
        assert "https://" not in body
    assert get(server, "/../../secret")[0].status == 404
    assert get(server, "/live.html")[0].status == 404


def test_the_server_listens_on_this_machine_only(server):
    assert server._server.server_address[0] == "127.0.0.1"
    assert server.url == f"http://127.0.0.1:{server.port}/"


def test_a_port_in_use_is_an_error(server, hub):
    with pytest.raises(OSError, match=f"127.0.0.1:{server.port}.*choose another port"):
        PageServer(hub, port=server.port)


def test_viewers_get_the_state_and_then_what_is_new(server, hub):
    hub.decision({"time_s": 1.0, "probability": 0.25, "curve": 0.2, "alarm": False})
    first = Follower(server)
    event, state = first.next()
    assert event == "state"
    assert state["about"]["source"] == "test <b>bold</b>"
    assert [d["time_s"] for d in state["decisions"]] == [1]
    second = Follower(server)
    assert second.next()[0] == "state"
    hub.decision({"time_s": 2.0, "probability": float("nan"), "curve": None, "alarm": False})
    hub.line({"type": "alarm", "onset_s": 1.0, "time_s": 2.0, "confidence": 0.9})
    hub.line({"type": "decision", "time_s": 2.0})  # of no interest
    hub.status({"lag_s": 0.1})
    for viewer in (first, second):
        assert viewer.next() == ("decision", {"time_s": 2.0, "probability": None, "curve": None, "alarm": False})
        assert viewer.next()[1]["type"] == "alarm"
        assert viewer.next() == ("status", {"lag_s": 0.1})
        viewer.close()


def test_a_slow_viewer_stalls_nobody_and_gets_everything_anew(hub):
    slow, quick = hub.join(), hub.join()
    assert [event for event, _ in hub.wait(slow, 0)] == ["state"]
    assert [event for event, _ in hub.wait(quick, 0)] == ["state"]
    n = KEEP_DECISIONS + 100
    for i in range(n):
        hub.decision({"time_s": float(i), "probability": 0.5, "curve": 0.5, "alarm": False})
        assert len(slow.messages) <= QUEUE
        if i % 50 == 0:
            assert hub.wait(quick, 0)
    ((event, text),) = hub.wait(slow, 0)
    assert event == "state"
    decisions = json.loads(text)["decisions"]
    assert (len(decisions), decisions[-1]["time_s"]) == (KEEP_DECISIONS, n - 1)
    assert all(event == "decision" for event, _ in hub.wait(quick, 0))


def test_a_viewer_that_reads_nothing_does_not_hold_the_detector(server, hub):
    stuck = Follower(server)
    while not hub.n_viewers:
        time.sleep(0.01)
    live = LiveDetector(loudness(), BIPOLAR, SFREQ, screen=hub)
    begin = time.monotonic()
    for _ in range(20):
        live.push(Chunk(signal(seconds=20, loud=()), SFREQ))
    passed = time.monotonic() - begin
    assert passed < 60  # a writer that waits for its reader would wait for ever
    stuck.close()


def test_viewers_that_went_are_forgotten(server, hub):
    viewer = Follower(server)
    viewer.next()
    assert hub.n_viewers == 1
    viewer.close()
    end = time.monotonic() + 10
    while hub.n_viewers and time.monotonic() < end:
        hub.decision({"time_s": 0.0, "probability": 0.5, "curve": 0.5, "alarm": False})
        time.sleep(0.05)
    assert hub.n_viewers == 0


class Feeder:
    """Feeds a live detector in a thread, some times faster than real time."""

    def __init__(self, hub, seconds=200, loud=((30, 70),)):
        x = signal(seconds=seconds, loud=loud)
        x[4, 20 * SFREQ :] = x[4, 20 * SFREQ]
        live = LiveDetector(
            loudness(min_duration_s=5, merge_gap_s=5), BIPOLAR, SFREQ, emit=hub.line, screen=hub, where="a <test>"
        )
        hub.about({**live.facts(), "ch_names": BIOT_16.ch_names, "threshold": 0.5, "model": "loudness"})
        self.stop = threading.Event()

        def feed():
            for begin in range(0, x.shape[1], 64):
                if self.stop.is_set():
                    return
                live.push(Chunk(x[:, begin : begin + 64], SFREQ))
                hub.status({**live.status(), "lag_s": 0.0, "load": 0.1})
                self.stop.wait(0.012)

        self.thread = threading.Thread(target=feed, daemon=True)
        self.thread.start()

    def close(self):
        self.stop.set()
        self.thread.join(timeout=10)


def strokes(page, canvas):
    """Return how many pixels of a canvas are painted."""
    return page.evaluate(
        """(id) => { const c = document.getElementById(id);
        const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
        let n = 0; for (let i = 3; i < d.length; i += 4) if (d[i]) n += 1; return n; }""",
        canvas,
    )


def until(page, expression, seconds=30):
    """Wait until an expression holds; the page's own policy forbids the evaluation that playwright would wait with."""
    end = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < end, f"waited in vain for {expression}"
        page.wait_for_timeout(50)


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_in_a_browser(browser, hub, width, tmp_path):
    server = PageServer(hub)
    port = server.port
    page = browser.new_page(viewport={"width": width, "height": 900})
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    asked = []
    page.on("request", lambda sent: asked.append(sent.url))
    page.goto(server.url)
    feeder = Feeder(hub)
    try:
        # EEG and probability move on.
        until(page, "document.getElementById('time').textContent > '0:00:12'")
        until(page, "document.getElementById('probability').textContent.endsWith('%')")
        assert strokes(page, "eeg") > 3000
        before = page.evaluate("decisions.length")
        until(page, f"decisions.length > {before + 3}")
        # The alarm, in words, for everybody.
        page.wait_for_selector("#state[data-state=alarm]", timeout=30000)
        assert "ALARM" in page.inner_text("#state")
        until(page, "document.getElementById('announce').textContent.startsWith('Alarm')")
        assert "▲ Alarm at" in page.inner_text("#alarms li.alarm")
        assert page.get_attribute("#announce", "aria-live") == "assertive"
        assert page.title().startswith("▲ ALARM")
        # The curve is drawn as high since the decision before: there the alarm begins.
        since, drawn = page.evaluate(
            """() => { const k = decisions.findIndex((d) => d.curve !== null && d.curve >= about.threshold);
            return [lines.find((line) => line.type === "alarm").onset_s, decisions[k - 1].time_s]; }"""
        )
        assert since == drawn
        page.screenshot(path=tmp_path / f"page-{width}.png", full_page=True)
        page.wait_for_selector("#log li.channels")
        assert "lost " + BIOT_16.ch_names[4] in page.inner_text("#log")
        assert page.inner_text("#channels") == "15 of 16"
        # Keyboard: pause keeps the picture, time goes on; traces grow and shrink.
        page.keyboard.press("p")
        assert page.get_attribute("#pause", "aria-pressed") == "true"
        at = page.evaluate("view.at")
        until(page, f"newest() > {at} + 2")
        assert page.evaluate("view.at") == at
        page.keyboard.press("p")
        until(page, f"view.at > {at}")
        finer = page.evaluate("view.uvPerMm")
        page.keyboard.press("+")
        assert page.evaluate("view.uvPerMm") < finer
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        # Nothing is wider than the screen.
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        # The event is closed.
        page.wait_for_selector("#alarms li.event", timeout=30000)
        # The server goes and comes back: the page finds it by itself.
        server.close()
        page.wait_for_selector("#state[data-state=lost]")
        hub.closed = False
        server = PageServer(hub, port=port)
        page.wait_for_selector("#state[data-state=live]", timeout=20000)
        known = page.evaluate("decisions.length")
        until(page, f"decisions.length > {known + 2}")
        hub.line({"type": "end", "reason": "end of signal"})
        page.wait_for_selector("#state[data-state=ended]")
        assert problems == []
        assert {url.split("/")[2] for url in asked if url.startswith("http")} == {f"127.0.0.1:{port}"}
        assert page.inner_text("#source").startswith("a <test>")
    finally:
        feeder.close()
        server.close()
        page.close()
