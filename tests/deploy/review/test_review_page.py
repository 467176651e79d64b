"""The review page in a browser: mark, move, reject, add, save, go on; two windows; a server that was gone."""

import re

import pytest
from browser_pages import check_page, open_page

from biot_bd.deploy import read_detection
from biot_bd.deploy.review import Mark, read_review, review_paths, save_review
from biot_bd.deploy.review.reviewed_results import ReviewedResults
from biot_bd.deploy.review.server import ReviewServer

pytestmark = pytest.mark.slow
NIGHT = "p1/night"


def says(page, where, text):
    page.locator(where, has_text=text).wait_for(timeout=20_000)


def wait_saved(page):
    page.locator("#saved[data-state=saved]").wait_for(timeout=20_000)


def opened(browser, server, **options):
    return open_page(browser, f"{server.url}#p1%2Fnight", **options)


def ready(page):
    says(page, "#now", "Event 1 of 1")
    page.locator("canvas.eeg-traces[aria-label^='EEG from']").wait_for(timeout=20_000)


def saved(results):
    return read_review(review_paths(results, "anna", NIGHT)[0])


def test_by_keyboard_alone_everything_is_marked_and_there_after_a_reload(browser, server, results):
    (event,) = read_detection(results / "p1" / "night_detection.json").detection.events
    found = (event.onset_s, event.offset_s)
    with opened(browser, server) as page:
        ready(page)
        page.keyboard.press("c")
        wait_saved(page)
        assert [(m.kind, m.detected) for m in saved(results).marks] == [("confirmed", found)]
        page.keyboard.press("x")
        says(page, "#now", "rejected")
        page.keyboard.press("u")
        says(page, "#now", "confirmed")
        # The cursor comes in the middle of the page, and goes on by tenths.
        page.keyboard.press("Shift+ArrowRight")
        page.keyboard.press("[")
        says(page, "#now", "moved")
        onset_s = page.evaluate("viewer.cursor_s")
        page.keyboard.press("Delete")
        says(page, "#now", "undecided")
        page.keyboard.press("o")
        says(page, "#now", "moved")
        # A seizure that was missed, from cursor to cursor.
        page.keyboard.press("End")
        page.keyboard.press("a")
        says(page, "#now", "Adding a seizure")
        for _ in range(30):
            page.keyboard.press("Shift+ArrowRight")
        page.keyboard.press("a")
        says(page, "#now", "added")
        says(page, ".eeg-legend", "moved, added")
        page.locator("#remark").fill("</script><b>left</b>")
        page.keyboard.press("Tab")
        says(page, "#events", "</script><b>left</b>")
        page.locator("#whole").focus()
        page.keyboard.press("Space")
        says(page, "#overall", "1 of 2 recordings read whole")
        wait_saved(page)
        page.keyboard.press("Shift+N")  # a ticked box has the focus, and no letters of its own
        page.locator("#name").filter(has_text=re.compile("^p2/day b$")).wait_for(timeout=20_000)
        page.keyboard.press("Shift+P")
        page.locator("#name").filter(has_text=re.compile("^p1/night$")).wait_for(timeout=20_000)
        page.reload()
        ready_again = page.locator("#events tr")
        says(page, "#events", "added")
        assert ready_again.count() == 2
        assert page.locator("#whole").is_checked()
    review = saved(results)
    assert [mark.kind for mark in review.marks] == ["moved", "added"]
    assert (review.marks[0].onset_s, review.marks[0].detected) == (round(onset_s, 2), found)
    assert review.marks[1].offset_s - review.marks[1].onset_s == pytest.approx(3.0)
    assert (review.marks[1].remark, review.read_whole) == ("</script><b>left</b>", True)


def test_a_drag_over_the_eeg_marks_what_was_missed(browser, server, results):
    with opened(browser, server) as page:
        ready(page)
        page.evaluate("viewer.goTo(40)")
        says(page, ".eeg-where", "0:00:40 to 0:00:50")
        box = page.locator("canvas.eeg-traces").bounding_box()
        margin = page.evaluate("viewer.margin")
        at = [box["x"] + margin + (box["width"] - margin) * share for share in (0.2, 0.6)]
        page.mouse.move(at[0], box["y"] + 100)
        page.mouse.down()
        page.mouse.move(at[1], box["y"] + 120, steps=4)
        page.mouse.up()
        page.locator("[data-does=add]").click()
        wait_saved(page)
    (mark,) = saved(results).marks
    assert (mark.kind, mark.onset_s, mark.offset_s) == ("added", pytest.approx(42, abs=0.1), pytest.approx(46, abs=0.1))


def test_two_windows_on_one_recording_lose_nothing(browser, server, results):
    with opened(browser, server, ignored="409") as first, opened(browser, server, ignored="409") as second:
        ready(first)
        ready(second)
        first.keyboard.press("c")
        wait_saved(first)
        second.evaluate("viewer.setSelection({from_s: 46, to_s: 48})")
        second.keyboard.press("a")
        wait_saved(second)
        says(second, "#saved", "with what another window saved")
        says(second, "#events", "confirmed")
        assert not second.locator("#conflict").is_visible()
    assert [mark.kind for mark in saved(results).marks] == ["confirmed", "added"]


def test_two_who_decide_one_event_differently_are_asked(browser, server, results):
    with opened(browser, server, ignored="409") as page:
        ready(page)
        detected = read_review_of(server).detections[0]
        theirs = read_review_of(server).revised([Mark("rejected", *detected, detected=detected)])
        save_review(results, theirs)
        page.keyboard.press("c")
        says(page, "#conflict", "Yours was: confirmed")
        assert saved(results).marks[0].kind == "rejected"
        page.locator("#mine").click()
        says(page, "#now", "confirmed")
        wait_saved(page)
        assert not page.locator("#conflict").is_visible()
    assert [(mark.kind, mark.detected) for mark in saved(results).marks] == [("confirmed", detected)]


def read_review_of(server):
    return server._server.results.review(NIGHT)


def test_a_server_that_was_gone_gets_what_was_not_saved(browser, results):
    server = ReviewServer(ReviewedResults(results, "anna"))
    with opened(browser, server, ignored="ERR_CONNECTION_REFUSED|403") as page:
        ready(page)
        server.close()
        page.keyboard.press("x")
        says(page, "#saved", "not saved: the server does not answer; trying again")
        again = ReviewServer(ReviewedResults(results, "anna"), port=server.port)
        try:
            wait_saved(page)
        finally:
            again.close()
    assert [mark.kind for mark in saved(results).marks] == ["rejected"]


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_is_reached_by_keyboard_read_and_fits(browser, server, width, dark):
    with opened(browser, server, width=width, dark=dark) as page:
        ready(page)
        page.keyboard.press("c")
        wait_saved(page)
        check_page(page)
