from __future__ import annotations

import html.parser
import json
import re
from pathlib import Path
from typing import Any

import pytest
from handmade_run import HOSTILE, SUBJECTS, HandMade, write_run

from biot_bd.report import write_report


class Page(html.parser.HTMLParser):
    """Cells with data-metric, tags and all text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.cells: dict[tuple[str, str], dict[str, Any]] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._cell: dict[str, Any] | None = None
        self._raw = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        self._raw = tag in ("style", "script")
        if "data-metric" in found:
            self._cell = self.cells[str(found["data-of"]), str(found["data-metric"])] = {**found, "text": ""}

    def handle_endtag(self, tag: str) -> None:
        if tag == "td":
            self._cell = None
        self._raw = False

    def handle_data(self, data: str) -> None:
        if self._raw:
            return
        self.words.append(data)
        if self._cell is not None:
            self._cell["text"] += data

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


def page_of(folder: Path, **options: Any) -> Page:
    return Page(write_report(folder, **options).read_text(encoding="utf-8"))


def check_cell(cell: dict[str, Any], score: dict[str, Any]) -> None:
    if score["value"] is None:
        assert cell["data-value"] == "null"
        assert score["reason"] in cell["text"]
    else:
        assert float(cell["data-value"]) == score["value"]
        assert cell["text"].startswith(f"{score['value']:.3f}")  # an interval may follow


def test_every_score_stands_in_the_page(hand_made: HandMade) -> None:
    cells = page_of(hand_made.folder).cells
    metrics = hand_made.metrics
    wanted = {("pooled", m) for m in metrics["scoring"]} | {("macro", m) for m in metrics["scoring"]}
    wanted |= {(subject, m) for subject in metrics["subjects"] for m in metrics["scoring"]}
    wanted |= {(f"fold-{n}", m) for n in range(3) for m in metrics["scoring"]}
    assert set(cells) == wanted
    for name in metrics["scoring"]:
        check_cell(cells["pooled", name], metrics["pooled"][name])
        check_cell(cells["macro", name], metrics["macro"][name])
        for subject, entry in metrics["subjects"].items():
            check_cell(cells[subject, name], entry[name])
        for fold in range(3):
            facts = json.loads((hand_made.folder / "folds" / f"{fold:02d}" / "fold.json").read_text())
            check_cell(cells[f"fold-{fold}", name], facts["scores"]["pooled"][name])


def test_undefined_scores_show_their_reason_and_never_nan(hand_made: HandMade) -> None:
    page = page_of(hand_made.folder)
    assert page.cells["site/03", "roc_auc"]["text"] == "none: no seizure windows"
    assert not re.search(r"\bnan\b", page.text, re.IGNORECASE)
    assert "Not drawn, for want of one of the two classes: site/03" in page.text


def test_prevalence_ratio_and_number_of_subjects(hand_made: HandMade) -> None:
    text = page_of(hand_made.folder).text
    pooled, prevalence = hand_made.metrics["pooled"]["average_precision"]["value"], hand_made.metrics["prevalence"]
    assert f"{pooled / prevalence:.1f} × the prevalence of {prevalence:.3f}" in text
    assert "mean of 2 subjects" in text


def test_nothing_is_loaded_from_elsewhere(hand_made: HandMade, store: Any) -> None:
    text = write_report(hand_made.folder, windows=store).read_text(encoding="utf-8")
    page = Page(text)
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "img", "object", "embed") or (
            tag == "link" and attributes["href"] == "data:,"
        )
        for name in ("src", "href", "xlink:href", "srcset", "action", "data"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:", "tables/")), (tag, name, value)
        assert not any(name.startswith("on") for name in attributes)
    assert not re.search(r"https?://|//[a-z]+\.[a-z]|@import|url\((?!#)", text)


def test_every_picture_and_table_can_be_read_aloud(hand_made: HandMade, store: Any) -> None:
    text = write_report(hand_made.folder, windows=store).read_text(encoding="utf-8")
    page = Page(text)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    pictures = [attributes for tag, attributes in page.tags if tag == "svg" and "aria-hidden" not in attributes]
    assert len(pictures) >= 5
    for attributes in pictures:
        assert attributes["role"] == "img"
        assert set(str(attributes["aria-labelledby"]).split()) <= set(ids)
    assert all(attributes.get("scope") in ("row", "col") for tag, attributes in page.tags if tag == "th")
    targets = [str(a["href"])[1:] for tag, a in page.tags if tag == "a" and str(a["href"]).startswith("#")]
    assert targets
    assert set(targets) <= set(ids)


def test_missing_store_is_said(hand_made: HandMade) -> None:
    page = page_of(hand_made.folder)
    assert "No EEG is shown: the prepared windows are no longer at" in page.text
    assert str(hand_made.folder / "no-such-store") in page.text
    assert "No attention maps are shown" in page.text


def test_store_prepared_otherwise_is_said(hand_made: HandMade, store: Any) -> None:
    hand_made.table["start_s"] += 1.5
    hand_made.rewrite()
    assert "prepared with other parameters since" in page_of(hand_made.folder, windows=store).text


def test_store_that_run_json_names_is_opened(hand_made: HandMade, store: Any) -> None:
    hand_made.run["data"]["folder"] = str(store.folder)
    hand_made.rewrite()
    page = page_of(hand_made.folder)
    assert "No EEG is shown" not in page.text
    assert "annotated seizures in this span: 42 to 70 s" in page.text


def test_eeg_of_a_hit_shows_channels_scale_and_threshold(hand_made: HandMade, store: Any) -> None:
    page = page_of(hand_made.folder, windows=store)
    assert "A detected seizure: " in page.text
    assert re.search(r"\d+ µV", page.text)
    assert all(name in page.text for name in store.ch_names)
    called = hand_made.table["proba"] >= hand_made.table["threshold"]
    hits = hand_made.table[called & (hand_made.table["y_true"] == 1)]
    assert f"Chosen out of {len(hits)} seizure windows that were found" in page.text
    assert "fold 0 holds no saved model" in page.text or "made by hand" in page.text


def test_generated_data_and_no_result_are_said_first(hand_made: HandMade) -> None:
    hand_made.run["data"]["generated"] = True
    hand_made.run["not_a_result"] = "only 3 subjects"
    hand_made.rewrite()
    text = write_report(hand_made.folder).read_text(encoding="utf-8")
    head = text[: text.index("<main")]
    assert head.count('class="banner"') == 2
    assert "not a clinical result" in head
    assert "Not a result: only 3 subjects" in head


def test_real_data_has_no_banner(hand_made: HandMade) -> None:
    assert 'class="banner"' not in write_report(hand_made.folder).read_text(encoding="utf-8")


def test_hostile_names_are_escaped(tmp_path: Path) -> None:
    subjects = {f"{HOSTILE}/01": HOSTILE, "site/02": "rec02", "site/03": '"><img src=x onerror=y>'}
    made = write_run(tmp_path / "run", subjects, data={"folder": f"/gone/{HOSTILE}"})
    made.run |= {"title": HOSTILE, "notes": [HOSTILE], "pipeline": HOSTILE}
    made.rewrite()
    text = write_report(made.folder).read_text(encoding="utf-8")
    page = Page(text)
    assert HOSTILE in page.text
    assert not [tag for tag, _ in page.tags if tag in ("script", "img")]
    assert (f"{HOSTILE}/01", "roc_auc") in page.cells


def test_hostile_names_in_the_eeg_are_escaped(hand_made: HandMade, store: Any) -> None:
    from biot_bd.report.drawing.curves import eeg_picture
    from biot_bd.report.examples import choose_examples, excerpt_around

    example = choose_examples(hand_made.table)[0]
    excerpt = excerpt_around(store, hand_made.table, example, {})
    object.__setattr__(excerpt, "ch_names", [HOSTILE, *excerpt.ch_names[1:]])
    page = Page(str(eeg_picture("eeg", HOSTILE, excerpt)))
    assert not [tag for tag, _ in page.tags if tag == "script"]
    assert page.text.count(HOSTILE) >= 2


def test_report_is_written_atomically(hand_made: HandMade, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_report(hand_made.folder)
    before = path.read_bytes()
    files = sorted(p.name for p in hand_made.folder.iterdir())

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_report(hand_made.folder)
    assert path.read_bytes() == before
    assert sorted(p.name for p in hand_made.folder.iterdir()) == files


def test_unfinished_run_is_refused(hand_made: HandMade) -> None:
    (hand_made.folder / "metrics.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"metrics\.json"):
        write_report(hand_made.folder)
    assert not (hand_made.folder / "report.html").exists()


def test_unknown_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        write_report(tmp_path / "nowhere")


def test_one_class_only(tmp_path: Path) -> None:
    made = write_run(tmp_path / "run", SUBJECTS)
    made.table["y_true"] = 0
    none = {"value": None, "reason": "no seizure windows"}
    made.metrics["pooled"] = dict.fromkeys(made.metrics["scoring"], none)
    made.metrics["macro"] = {
        m: {"value": None, "n_subjects": 0, "reason": "defined for no subject"} for m in made.metrics["scoring"]
    }
    made.metrics["prevalence"] = 0.0
    made.rewrite()
    page = page_of(made.folder)
    assert "No curves: the test windows hold only one class." in page.text
    assert page.cells["macro", "roc_auc"]["text"] == "none: defined for no subject"


def test_arrays_without_times_or_recordings(tmp_path: Path) -> None:
    made = write_run(
        tmp_path / "run",
        SUBJECTS,
        data={"folder": None, "label_rule": None, "ch_names": None, "sfreq": None, "hours": None},
    )
    made.table[["start_s", "stop_s"]] = float("nan")
    made.table["recording"] = None
    made.table["recording"] = made.table["recording"].astype("string")
    made.rewrite()
    page = page_of(made.folder)
    assert "run.json names no folder of prepared windows" in page.text
    assert "Label rule: not known" in page.text
    assert not re.search(r"\bnan\b", page.text, re.IGNORECASE)


def test_kept_epoch_is_the_first_best_of_what_was_watched() -> None:
    from biot_bd.report.run_folder import Fold
    from biot_bd.report.run_page import _best_epoch

    history = [{"valid_average_precision": v, "valid_loss": 1 - v} for v in (0.2, 0.7, 0.7, 0.5)]
    fold = Fold(0, {"valid": ["a"]}, history, None)
    assert _best_epoch(fold, "valid_average_precision") == 2
    assert _best_epoch(fold, "valid_loss") == 2
    assert _best_epoch(fold, None) is None
    assert _best_epoch(Fold(0, {"valid": []}, history, None), "valid_loss") is None
