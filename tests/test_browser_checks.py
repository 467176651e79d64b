"""The checks of pages find what they are there for, and nothing on a page without faults."""

import pytest
from browser_pages import check_accessible, check_contrast, check_keyboard, check_page, check_reachable, open_page

pytestmark = pytest.mark.slow

GOOD = """<h1>A page</h1><p>Text <a href="#x">link</a></p><button>press</button>
<div style="overflow-x: auto" tabindex="0" role="region" aria-label="Wide"><table><tr><th>a</th><td><div style="width: 900px">wide</div></td></tr></table></div>
<details><summary>more</summary><p id="x">hidden</p></details>
<label><input type="radio" name="r">one</label><label><input type="radio" name="r">two</label>
<svg width="80" height="30" role="img" aria-label="x"><rect width="80" height="30" fill="#123"/><text x="4" y="20" fill="#fff">words</text></svg>"""


@pytest.fixture
def opened(browser, tmp_path):
    def write(body, **options):
        file = tmp_path / "page.html"
        head = "<!DOCTYPE html><html lang='en'><head><meta charset='utf-8'><title>t</title><meta name='viewport' content='width=device-width'></head>"
        file.write_text(f"{head}<body><main>{body}</main></body></html>")
        return open_page(browser, file, width=390, **options)

    return write


def test_a_good_page_passes(opened):
    with opened(GOOD) as page:
        check_page(page)


@pytest.mark.parametrize(
    ("check", "body", "says"),
    [
        (check_reachable, "<table><tr><td><div style='width: 900px'>wide</div></td></tr></table>", "the page is"),
        (
            check_reachable,
            "<div style='overflow-x: auto'><img width=900 height=9 alt=''></div>",
            "without the keyboard",
        ),
        (check_reachable, "<div style='overflow: hidden'><img width=900 height=9 alt=''></div>", "cut off"),
        (check_keyboard, "<style>button { outline: none }</style><button>a</button><a href='#'>b</a>", "not visible"),
        (
            check_keyboard,
            "<button onkeydown='event.preventDefault()'>a</button><button>b</button>",
            "never comes to <button>b",
        ),
        (check_keyboard, "<a href='#' style='position: fixed; left: -999px'>a</a><a href='#'>b</a>", "outside"),
        (check_contrast, "<p style='color: #999'>pale</p>", "color-contrast"),
        (check_contrast, "<svg><rect width=99 height=99 fill='#888'/><text y=20 fill='#777'>pale</text></svg>", "to 1"),
        (check_accessible, "<button></button>", "button-name"),
    ],
)
def test_a_fault_is_found(opened, check, body, says):
    with opened(body) as page, pytest.raises(AssertionError, match=says):
        check(page)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("<script>console.error('told')</script>", "console: told"),
        ("<script>missing()</script>", "page error"),
        ("<img alt='' src='other.png'>", "other.png|ERR_FILE_NOT_FOUND"),
        ("<img alt='' src='http://127.0.0.1:9/other.png'>", r"127\.0\.0\.1|ERR"),
    ],
)
def test_a_page_that_fails_or_asks_others_is_found(opened, body, says):
    with pytest.raises(AssertionError, match=says), opened(body) as page:
        page.wait_for_timeout(200)


def test_requests_of_another_file_are_found_whatever_the_console_says(opened):
    with pytest.raises(AssertionError, match=r"other\.png"), opened("<img alt='' src='other.png'>", ignored="ERR_"):
        pass
