"""``comparison.html`` against the numbers of a study whose comparison was made from hand-written scores."""

from __future__ import annotations

import html.parser
import json
import re
from pathlib import Path
from typing import Any

import pytest

from biot_bd.evaluation.statistics.intervals import macro_interval
from biot_bd.evaluation.statistics.paired_tests import holm, paired_test
from biot_bd.report.comparison_page import comparison_picture, write_comparison

HOSTILE = "<script>alert('x')</script>"
SCORES = {
    "scratch": {"site/01": 0.31, "site/02": 0.42, "site/03": None, "site/04": 0.55},
    "linear-probe": {"site/01": 0.35, "site/02": 0.40, "site/03": None, "site/04": 0.61},
    "full": {"site/01": 0.52, "site/02": 0.63, "site/03": None, "site/04": 0.70},
}


def comparison_of(scores: dict[str, Any], metric: str = "average_precision") -> dict[str, Any]:
    regimes = {
        name: {
            "subjects": {metric: values},
            "macro": {metric: macro_interval(values, n_resamples=199).as_dict()},
            "pooled": {metric: macro_interval(values, n_resamples=199).as_dict()},
            "seeds": {"0": {metric: 0.5}},
        }
        for name, values in scores.items()
    }
    names = list(scores)
    found = [(b, a) for i, a in enumerate(names) for b in names[i + 1 :]]
    tests = [paired_test(scores[a], scores[b], n_resamples=199) for a, b in found]
    adjusted = holm([test.p_permutation for test in tests])
    return {
        "scoring": [metric],
        "level": 0.95,
        "method": "percentile bootstrap",
        "n_resamples": 199,
        "random_state": 0,
        "against": None,
        "subjects": list(next(iter(scores.values()))),
        "prevalence": dict.fromkeys(next(iter(scores.values())), 0.125),
        "regimes": regimes,
        "tests": [
            {"metric": metric, "first": a, "second": b, **t.as_dict(), "p_holm": p}
            for (a, b), t, p in zip(found, tests, adjusted, strict=True)
        ],
        "caveats": ["only 3 subjects, says the test"],
    }


def write_study(folder: Path, scores: dict[str, Any] = SCORES, **changes: Any) -> dict[str, Any]:
    comparison = comparison_of(scores)
    study = {
        "kind": "comparison of regimes",
        "state": "finished",
        "title": "A hand-made study",
        "notes": ["a remark of the study"],
        "not_a_result": None,
        "contamination": {},
        "protocol": {"name": "custom"},
        "started": "2026-11-21T10:00:00+00:00",
        "finished": "2026-11-21T11:00:00+00:00",
        "seeds": [0],
        "regimes": {name: {"pipeline": f"Pipeline({name})"} for name in scores},
        "runs": {},
        "parameters": {"cv": "subject-loo", "threshold": "balanced-accuracy"},
        "data": {
            "label_rule": "overlap",
            "generated": False,
            "subjects": {"site/01": {}},
            "n_windows": 10,
            "n_seizure_windows": 3,
            "hours": 0.5,
            "fingerprint": "fedcba",
        },
        **changes,
    }
    for name in scores:
        (folder / name / "seed-0").mkdir(parents=True)
    (folder / next(iter(scores)) / "seed-0" / "report.html").write_text("the report")
    (folder / "comparison.json").write_text(json.dumps(comparison))
    (folder / "study.json").write_text(json.dumps(study))
    return comparison


class Page(html.parser.HTMLParser):
    """Cells with data-metric, links and all text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.source, self.cells, self.links, self.words, self.ids = text, {}, [], [], []
        self._raw = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self._raw = tag in ("style", "script")
        if "id" in found:
            self.ids.append(found["id"])
        if tag == "a":
            self.links.append(found.get("href"))
        if "data-metric" in found:
            self.cells[found["data-average"], found["data-of"], found["data-metric"]] = found["data-value"]

    def handle_endtag(self, tag: str) -> None:
        self._raw = False

    def handle_data(self, data: str) -> None:
        if not self._raw:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


def page_of(folder: Path) -> Page:
    path = write_comparison(folder)
    assert path == folder / "comparison.html"
    return Page(path.read_text(encoding="utf-8"))


def test_every_score_and_test_stands_in_the_page(tmp_path: Path) -> None:
    comparison = write_study(tmp_path)
    page = page_of(tmp_path)
    for average in ("macro", "pooled"):
        for name, regime in comparison["regimes"].items():
            cell = regime[average]["average_precision"]
            assert float(page.cells[average, name, "average_precision"]) == cell["value"]
            assert f"{cell['value']:.3f} {cell['low']:.3f} to {cell['high']:.3f}" in page.text
    assert len(page.cells) == 6
    for test in comparison["tests"]:
        assert f"{test['first']} − {test['second']}" in page.text
        assert f"{test['p_permutation']:.3f} (exact)" in page.text
        assert f"{test['difference']['value']:+.3f} [" in page.text
    assert "AUC-PR is undefined for site/03, who count in no test of it" in page.text
    for part in (
        "only 3 subjects, says the test",
        "a remark of the study",
        "overlap",
        "protocol: custom",
        "subject-loo",
        "0.125",
    ):
        assert part in page.text


def test_the_picture_has_a_dot_a_subject_and_regime(tmp_path: Path) -> None:
    comparison = comparison_of(SCORES)
    text = str(comparison_picture(comparison))
    tips = re.findall(r'class="subject"><title>([^<]*)</title>', text)
    wanted = {f"{p}, {n}: {v:.3f}" for n, values in SCORES.items() for p, v in values.items() if v is not None}
    assert set(tips) == wanted
    assert len(tips) == len(wanted)
    means = re.findall(r'class="mean"><title>([^:<]*):', text)
    assert means == list(SCORES)
    # Places: the dot of site/01 in scratch lies where its score says between the axis' ends.
    x = {tip: float(at) for at, tip in re.findall(r'<circle cx="([\d.]+)"[^>]*><title>([^<]*)</title>', text)}
    left = x["site/01, scratch: 0.310"]
    right = x["site/04, full: 0.700"]
    middle = x["site/02, scratch: 0.420"]
    assert (middle - left) / (right - left) == pytest.approx((0.42 - 0.31) / (0.70 - 0.31), abs=0.01)


def test_scores_outside_0_to_1_and_undefined_regimes_are_drawn(tmp_path: Path) -> None:
    scores = {"a": {"p": -3.0, "q": 5.0, "r": 1.0}, "b": {"p": None, "q": None, "r": None}}
    text = str(comparison_picture(comparison_of(scores, "likelihood")))
    assert "undefined" in text
    places = [float(at) for at in re.findall(r'<circle cx="([\d.]+)"', text)]
    assert all(0 < at < 460 for at in places)


def test_links_lead_to_reports_or_folders(tmp_path: Path) -> None:
    write_study(tmp_path)
    page = page_of(tmp_path)
    own = [link for link in page.links if not link.startswith(("#", "tables/"))]
    assert own == ["scratch/seed-0/report.html", "linear-probe/seed-0", "full/seed-0"]
    assert all((tmp_path / link).exists() for link in own)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))


def test_generated_data_no_result_and_contamination_stand_on_top(tmp_path: Path) -> None:
    write_study(
        tmp_path,
        not_a_result="generated data, only 3 subjects",
        contamination={"full": "contaminated: weights saw site/01"},
        data={"label_rule": None, "generated": True},
    )
    page = page_of(tmp_path)
    top = page.text[: page.text.index("Scores Plot")]
    for part in ("Generated data: not a clinical result", "Not a result", "Contaminated: full started"):
        assert part in top
    assert "contaminated: weights saw site/01" in page.text
    assert "full (contaminated)" in page.text


def test_a_clean_study_has_no_banner(tmp_path: Path) -> None:
    write_study(tmp_path)
    assert 'class="banner"' not in page_of(tmp_path).source


def test_text_from_outside_is_escaped_and_nothing_is_loaded_from_elsewhere(tmp_path: Path) -> None:
    scores = {"scratch": {HOSTILE: 0.5, "site/02": 0.4}, "full": {HOSTILE: 0.7, "site/02": 0.6}}
    write_study(tmp_path, scores, title=HOSTILE, notes=[HOSTILE])
    source = page_of(tmp_path).source
    assert "<script" not in source
    assert HOSTILE in page_of(tmp_path).text
    assert not re.search(r'(?:src|href)="(?:https?:)?//', source)


def test_one_regime_and_an_unfinished_study(tmp_path: Path) -> None:
    write_study(tmp_path / "one", {"scratch": SCORES["scratch"]})
    assert "there is nothing to test it against" in page_of(tmp_path / "one").text
    with pytest.raises(FileNotFoundError, match=r"no study\.json"):
        write_comparison(tmp_path)


def test_event_scores_of_regimes_stand_in_the_page(tmp_path: Path) -> None:
    comparison = write_study(tmp_path)
    rates = {"scratch": [4.0, 8.0], "full": [1.0, 2.0]}
    named = {name: dict(zip(("site/01", "site/02"), values, strict=True)) for name, values in rates.items()}
    test = paired_test(named["full"], named["scratch"], n_resamples=199)
    comparison["events"] = {
        "scorer": {"name": "timescoring", "version": "0.0.7", "parameters": {"tolerance_start_s": 30.0}},
        "regimes": {
            name: {"subjects": {"fa_per_24h": values}, "macro": {"fa_per_24h": macro_interval(values).as_dict()}}
            for name, values in named.items()
        },
        "tests": [
            {
                "metric": "fa_per_24h",
                "first": "full",
                "second": "scratch",
                **test.as_dict(),
                "p_holm": test.p_permutation,
            }
        ],
    }
    (tmp_path / "comparison.json").write_text(json.dumps(comparison, allow_nan=False))
    text = write_comparison(tmp_path).read_text(encoding="utf-8")
    assert re.search(r'data-event="fa_per_24h" data-of="scratch">6[ <]', text)
    assert re.search(r'data-event="fa_per_24h" data-of="full">1\.5[ <]', text)
    assert "Scored by timescoring 0.0.7 (counts 30 s before)" in text
    assert "False alarms per 24 h</td><td>-4.5" in text.replace("\n", "")
