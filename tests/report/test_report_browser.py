"""The report, the comparison and the explain page in a real browser: what every page owes, and the viewer in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser_pages import DESK, PHONE, check_page, check_reachable, open_page
from handmade_run import HandMade

from biot_bd.evaluation import baseline, compare_finished, cross_validate
from biot_bd.report import write_comparison, write_report
from biot_bd.report.explain.folder import Wanted, explain_to_folder
from biot_bd.report.explain.model import load_model
from biot_bd.report.explain.source import choose_fold
from biot_bd.report.explain.window import window_of_store
from biot_bd.report.run_folder import read_run

pytestmark = pytest.mark.slow
LOOKS = [(DESK, False), (DESK, True), (PHONE, False), (PHONE, True)]


@pytest.fixture
def report(with_events: HandMade, store: Any) -> Path:
    return write_report(with_events.folder, windows=store)


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    subjects = np.repeat([f"site/{n:02d}" for n in range(1, 5)], 20)
    y = np.tile(np.arange(20) % 4 == 0, 4).astype(int)
    x = np.random.default_rng(0).normal(0, 20, (80, 2, 200)) * (1 + y[:, None, None])
    runs = {
        w: cross_validate(baseline(w, x), x, y=y, groups=subjects, progress=False)
        for w in ("always-off", "line-length")
    }
    return write_comparison(compare_finished(runs, tmp_path_factory.mktemp("comparison")))


@pytest.fixture(scope="module")
def explanation(real_run: Path, store: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explanation")
    source = choose_fold(real_run, store, fold=0)
    model = load_model(source.folder)
    explain_to_folder(model, source, window_of_store(model, source, store), folder, Wanted())
    return folder / "explain.html"


@pytest.mark.parametrize(("width", "dark"), LOOKS)
def test_every_page_is_reachable_readable_and_walked_by_keyboard(
    browser: Any, report: Path, comparison: Path, explanation: Path, width: int, dark: bool
) -> None:
    for page_file in (report, comparison, explanation):
        with open_page(browser, page_file, width=width, dark=dark) as page:
            check_page(page)


def test_an_event_opens_in_the_viewer_where_it_lies(browser: Any, report: Path) -> None:
    with open_page(browser, report) as page:
        button = page.locator("button[data-eeg]").first
        button.focus()
        page.keyboard.press("Enter")
        page.wait_for_selector("#opened-eeg canvas")
        page.wait_for_function("() => document.querySelector('#opened-eeg').textContent.includes('negative up')")
        # The seizure begins at 42 s; three seconds before it stand on the page.
        page.wait_for_function("() => document.querySelector('#opened-eeg').textContent.includes('0:00:39 to 0:00:49')")
        assert page.evaluate("() => document.activeElement.id") == "opened-eeg"
        page.keyboard.press("ArrowRight")
        page.wait_for_function("() => document.querySelector('#opened-eeg').textContent.includes('0:00:49 to 0:00:59')")
        page.get_by_role("button", name="Close the viewer").click()
        assert page.locator("#opened-eeg").count() == 0
        assert page.evaluate("() => document.activeElement.dataset.eeg") == button.get_attribute("data-eeg")


# Two stops in front of the last button are passed within one frame, as by a held key, so nothing above it is drawn yet.
LAST_BUTTON = """async () => {
  document.documentElement.style.scrollBehavior = "auto";
  const stops = [...document.querySelectorAll("a[href], button, summary, [tabindex]")]
    .filter((e) => e.tabIndex >= 0 && e.checkVisibility({ contentVisibilityAuto: false }));
  const button = [...document.querySelectorAll("ul.gallery button")].at(-1), at = stops.indexOf(button);
  for (const stop of stops.slice(at - 2, at + 1)) stop.focus();
  const tops = [];
  for (let frame = 0; frame < 6; frame++) {
    await new Promise((drawn) => requestAnimationFrame(() => setTimeout(drawn)));
    tops.push(Math.round(button.getBoundingClientRect().top));
  }
  return tops;
}"""


@pytest.mark.parametrize("width", [DESK, PHONE])
def test_a_focused_button_stays_in_the_window_while_pictures_above_it_are_drawn(
    browser: Any, report: Path, width: int
) -> None:
    with open_page(browser, report, width=width) as page:
        tops = page.evaluate(LAST_BUTTON)
        assert len(set(tops)) == 1
        assert 0 <= tops[0] < page.viewport_size["height"] - 20


def test_the_viewer_fits_a_phone(browser: Any, report: Path) -> None:
    with open_page(browser, report, width=PHONE) as page:
        page.locator("button[data-eeg]").first.click()
        page.wait_for_selector("#opened-eeg canvas")
        check_reachable(page)


def test_the_viewer_shows_the_curve_that_decided(browser: Any, report: Path, with_events: HandMade) -> None:
    from biot_bd.report.examples import decision_of

    decision = decision_of(read_run(with_events.folder), "rec01", 0)
    assert decision is not None
    with open_page(browser, report) as page:
        about, values = page.evaluate(
            """async () => {
              const data = JSON.parse(document.getElementById(document.querySelector("button[data-eeg]").dataset.eeg).textContent);
              const { values } = await readSeries(data.about.curve);
              return [data.about, Array.from(values)];
            }"""
        )
    assert about["name"] == "rec01"
    assert about["threshold"] == decision.threshold
    assert (about["curve"]["from_s"], about["curve"]["step_s"]) == (0, 1)
    np.testing.assert_allclose(values, decision.values, atol=5.1e-5)  # half a step


def test_print_is_pale_and_cuts_nothing_off(browser: Any, report: Path) -> None:
    with open_page(browser, report, dark=True) as page:
        page.emulate_media(media="print")
        look = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        assert look == "rgb(255, 255, 255)"
        assert page.evaluate(
            "() => [...document.querySelectorAll('.scroll, ul.gallery')].every((e) => getComputedStyle(e).overflowX === 'visible')"
        )
        assert page.evaluate("() => [...document.querySelectorAll('button')].every((e) => !e.checkVisibility())")


def test_without_scripts_the_pictures_stand_alone(browser: Any, report: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    try:
        page = context.new_page()
        page.goto(report.as_uri())
        assert page.locator("ul.gallery svg").count() == 3
        assert not page.locator("button[data-eeg]").first.is_visible()
    finally:
        context.close()
