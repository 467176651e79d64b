"""The live page's picture in a real browser: where a known signal is painted, and what the page says of how."""

import pytest
from browser_pages import open_page

from biot_bd.deploy.live.broadcast import Hub
from biot_bd.deploy.live.server import PageServer

pytestmark = pytest.mark.slow
STEP_S, MM_PX = 0.01, 96 / 25.4
# The middle of what is painted blue (the left side), seconds before the end, in CSS pixels from the top.
PAINTED = """([ago, span]) => {
  const c = document.getElementById("eeg"), scale = window.devicePixelRatio, wide = c.width / scale, left = wide < 500 ? 52 : 66;
  const d = c.getContext("2d").getImageData(Math.round((left + (1 - ago / span) * (wide - left)) * scale), 0, 1, c.height).data;
  let sum = 0, weight = 0;
  for (let y = 0; y < c.height - 40 * scale; y++) { const blue = d[4 * y + 2] - d[4 * y]; if (blue > 30) { sum += (y + 0.5) * blue / scale; weight += blue; } }
  return weight ? sum / weight : null;
}"""


def block(start_s, values):
    return {"start_s": start_s, "step_s": STEP_S, "uv": [[float(v) for v in values]]}


@pytest.fixture
def page(browser):
    """Six seconds of 0 uV, then three of -60 uV, a gap of two seconds, and one second of 0 uV."""
    hub = Hub({"source": "s", "ch_names": ["Fp1-F7"], "channels": {"Fp1-F7": "FP1 minus F7 <b>"}, "threshold": 0.5})
    hub.about({"start_time": "2026-11-21T23:59:58", "notes": []})
    hub.signal([block(0, [0] * 600), block(6, [-60] * 300), block(11, [0] * 100)])
    hub.line({"type": "alarm", "onset_s": 5.0, "time_s": 8.0, "confidence": 0.9})
    server = PageServer(hub)
    with open_page(browser, server.url, ignored="EventSource|ERR_") as page:
        page.wait_for_selector("#wall:not(:empty)")
        page.keyboard.press("f")  # no filter: levels stay
        page.wait_for_timeout(300)
        yield page
    server.close()


def test_negative_is_up_by_the_sensitivity_that_is_told_and_turns_round(page):
    said = page.inner_text("#how")
    assert "negative up" in said
    assert "no display filter" in said
    mm_of_uv = 1 / float(said.split(" µV/mm")[0])
    zero, low = (page.evaluate(PAINTED, [ago, 10]) for ago in (7.5, 4.5))
    assert zero - low == pytest.approx(60 * mm_of_uv * MM_PX, abs=1.5)
    page.keyboard.press("i")
    page.wait_for_timeout(300)
    assert "positive up" in page.inner_text("#how")
    turned = [page.evaluate(PAINTED, [ago, 10]) for ago in (7.5, 4.5)]
    assert turned[1] - turned[0] == pytest.approx(60 * mm_of_uv * MM_PX, abs=1.5)
    assert page.inner_text("#polarity") == "Positive up"


def test_a_gap_stays_empty(page):
    assert page.evaluate(PAINTED, [1.6, 10]) is None
    assert page.evaluate("eeg.map((e) => [e.start_s, e.n])") == [[0, 900], [11, 100]]


def test_the_clock_goes_over_midnight_beside_the_recordings_time(page):
    assert page.inner_text("#time") == "0:00:12"
    assert page.inner_text("#wall") == "clock 00:00:10"
    assert "0:00:08.0 (00:00:06)" in page.inner_text("#alarms")
    page.get_by_text("About this run").click()
    assert "2026-11-21 23:59:58; headers of anonymised files often hold invented dates" in page.inner_text("#notes")


def test_the_source_names_stay_text(page):
    page.get_by_text("Channels and what the source calls them").click()
    assert page.inner_text("#names") == "Fp1-F7: FP1 minus F7 <b>"


def test_filters_are_chosen_told_and_switched_off(page):
    page.select_option("#highPass", "1")
    page.wait_for_timeout(300)
    assert "display filter: high-pass 1 Hz, low-pass off, notch off" in page.inner_text("#how")
    # Three seconds after the step, exp(-2 pi 1 Hz 3 s / sqrt 2) of it is left: the traces meet again.
    assert abs(page.evaluate(PAINTED, [7.5, 10]) - page.evaluate(PAINTED, [3.05, 10])) < 2
    assert page.evaluate("document.querySelector('#lowPass option[value=\"70\"]').disabled")  # of 100 Hz
    page.keyboard.press("Escape")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("f")
    assert "no display filter" in page.inner_text("#how")
    assert page.input_value("#highPass") == "0"


def test_what_is_kept_does_not_grow(browser):
    hub = Hub({"source": "s", "ch_names": ["Fp1-F7"], "threshold": 0.5})
    server = PageServer(hub)
    with open_page(browser, server.url, ignored="EventSource|ERR_") as page:
        page.locator("#source").filter(has_not_text="Waiting").wait_for()  # the first state would clear what is kept
        page.evaluate(
            "() => { for (let k = 0; k < 4000; k++) keep({ start_s: k / 4, step_s: 0.01, uv: [Array(25).fill(k)] }); }"
        )
        assert page.evaluate("eeg.map((e) => [e.uv[0].length, stretchEnd(e)])") == [[12000, 1000]]
        assert page.evaluate("eeg[0].uv[0][eeg[0].n - 1]") == 3999
        assert page.evaluate("eeg[0].n") >= 6000
    server.close()
