"""The head to be turned in a real browser, alone and inside another page."""

import pytest
from browser_pages import DESK, PHONE, check_page, open_page
from drawn_maps import BIOT, a_matrix

from biot_bd.probes.figures import head_fragment, head_html

pytestmark = pytest.mark.slow
MATRIX = a_matrix(16, absent=(5,), spread=0.3)


@pytest.fixture
def page_file(tmp_path):
    path = tmp_path / "head.html"
    path.write_text(head_html(MATRIX, BIOT, caution="failed", footnote="encoder.layers.3"), encoding="utf-8")
    return path


@pytest.mark.parametrize("width", [DESK, PHONE])
def test_it_owes_what_every_page_owes(browser, page_file, width):
    with open_page(browser, page_file, width=width) as page:
        check_page(page)


def test_it_is_turned_by_keys_pointer_and_buttons_and_shows_one_channel(browser, page_file):
    with open_page(browser, page_file) as page:
        at = "() => document.querySelector('svg text tspan').getAttribute('x')"
        places = [page.evaluate(at)]
        page.focus("svg")
        page.keyboard.press("ArrowRight")
        places.append(page.evaluate(at))
        box = page.locator("svg").bounding_box()
        page.mouse.move(box["x"] + 30, box["y"] + 30)
        page.mouse.down()
        page.mouse.move(box["x"] + 90, box["y"] + 60)
        page.mouse.up()
        places.append(page.evaluate(at))
        page.get_by_role("button", name="Left").click()
        places.append(page.evaluate(at))
        assert len(set(places)) == 4
        page.select_option("select", "0")
        assert page.locator("[data-part=counted]").inner_text() == "20 of 28"  # to and from 14 others
        assert page.locator("[data-part=told]").inner_text().startswith("Fp1-F7 looks most at")
        page.select_option("select", "5")
        assert page.locator("[data-part=told]").inner_text() == "F8-T8 is absent."
        page.focus("svg")
        page.keyboard.press("Escape")
        assert page.locator("[data-part=counted]").inner_text() == "20 of 210"
        page.locator("svg .hit").first.click(force=True)
        assert page.locator("select").input_value() == "0"


def test_the_style_of_another_page_does_not_change_its_colours(browser, tmp_path):
    path = tmp_path / "other.html"
    style = "svg path { stroke: #123456; fill: #123456 } svg circle { fill: #123456 }"
    path.write_text(f"<!doctype html><style>{style}</style>{head_fragment(MATRIX, BIOT)}", encoding="utf-8")
    with open_page(browser, path) as page:
        found = page.evaluate(
            "() => [...document.querySelectorAll('svg g path')].map((e) => getComputedStyle(e).stroke)"
        )
        assert len(found) > 20
        assert "rgb(18, 52, 86)" not in found
