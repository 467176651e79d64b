"""The page of a comparison of foundation models, against the table that it shows."""

import re

import pytest
from made_cases import recordings

from biot_bd import prepare
from biot_bd.evaluation import run_study
from biot_bd.exceptions import RunFolderError
from biot_bd.report import write_study_page
from biot_bd.report.study_page import study_picture


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("page")
    windows = prepare(recordings(cases=[2, 3, 4, 5]), root / "windows", stride_s=10)
    plan = {
        "title": "<script>alert('x')</script>",
        "cohorts": [{"name": "clinic", "stores": windows.folder}],
        "models": [{"name": "labram"}, {"name": "six-datasets-18"}],
        "strategies": ["linear"],
        "random_starts": False,
        "baselines": ["line-length"],
        "cv": "subject-kfold-2",
        "n_resamples": 200,
    }
    return run_study(plan, root / "study")


def test_the_page_shows_each_row_and_why_some_have_no_scores(study):
    text = write_study_page(study).read_text(encoding="utf-8")
    for row in study.rows:
        assert f'<th scope="row">{row["row"]}</th>' in text
    line = next(row for row in study.rows if row["row"] == "line-length")
    assert f"<td>{line['average_precision']:.3f}" in text
    assert "<td>refused</td>" in text
    assert "labram knows no channels" in text
    assert "six-datasets-18/linear: contaminated:" in text
    assert "Not a result: fewer than 5 subjects (clinic)" in text


def test_what_a_plan_says_is_no_markup_and_links_lead_somewhere(study):
    page = write_study_page(study.folder)
    text = page.read_text(encoding="utf-8")
    assert "<script>alert" not in text
    links = [link for link in re.findall(r'href="([^"#]+)"', text) if not link.startswith("data:")]
    assert "clinic/comparison.html" in links
    assert all((page.parent / link).exists() for link in links)
    assert not re.search(r'(src|href)="https?:', text)


def test_the_picture_says_in_words_what_it_shows(study):
    rows = [row for row in study.rows if row["average_precision"] is not None and row["row"] != "chance"]
    picture = str(study_picture("clinic", rows, 0.25))
    best = max(rows, key=lambda row: row["average_precision"])
    assert f"{len(rows)} rows" in picture
    assert f"that of {best['row']}, {best['average_precision']:.3f}; guessing gives 0.250" in picture
    assert picture.count('class="mean"') == len(rows)


def test_a_damaged_table_is_named(study):
    table = study.folder / "comparison.json"
    kept = table.read_text()
    try:
        table.write_text(kept.replace('"roc_auc"', '"roc"'))
        with pytest.raises(RunFolderError, match=r"comparison\.json"):
            write_study_page(study.folder)
    finally:
        table.write_text(kept)
