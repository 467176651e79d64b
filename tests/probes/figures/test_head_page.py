"""A head to be turned, in one file that asks for nothing."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from drawn_maps import BIOT, a_matrix

from biot_bd.probes.figures import head_fragment, head_html
from biot_bd.probes.figures._links import Links


def data_of(page):
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', page, re.S)[1])


def test_the_page_holds_all_links_in_their_order_and_no_address():
    matrix = a_matrix(16, absent=(3,))
    page = head_html(matrix, BIOT, caution="failed", footnote="encoder.layers.0")
    data = data_of(page)
    wanted = Links.of(matrix, BIOT).pairs()
    assert [one[:2] for one in data["links"]] == [[i, j] for i, j, _ in wanted]
    assert data["n_links"] == len(wanted) == 15 * 14
    np.testing.assert_allclose([one[2] for one in data["links"]], [ratio for *_, ratio in wanted], atol=1e-4)
    addresses = set(re.findall(r"(?:https?:)?//[\w.]+", page.replace("http://www.w3.org", "")))
    assert {one for one in addresses if not one.startswith("// ")} == set()
    assert "Caution: failed" in page
    assert page.count("<tr>") == 21


def test_names_cannot_break_out():
    names = ["</script><b>x", '"onload=', "C4"]
    page = head_fragment(a_matrix(3), names, title="<i>", name="head-2")

    class Tags(HTMLParser):
        def __init__(self):
            super().__init__()
            self.found = []

        def handle_starttag(self, tag, attributes):
            self.found += [tag, *(name for name, _ in attributes)]

    tags = Tags()
    tags.feed(page)
    assert not {"b", "onload"} & set(tags.found)
    assert tags.found.count("i") == 1  # the key's own
    assert data_of(page)["names"] == names
    with pytest.raises(ValueError, match="plain identifier"):
        head_fragment(a_matrix(3), names, name='x"')


def test_many_channels_keep_the_strongest_and_say_of_how_many():
    data = data_of(head_fragment(a_matrix(64), [f"E{k}" for k in range(64)]))
    assert (len(data["links"]), data["n_links"], data["on_head"]) == (1000, 64 * 63, False)
