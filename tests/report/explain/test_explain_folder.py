"""A window of a store explained, with models that cross_validate really made."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cheap_pictures import take_no_pictures
from sklearn.pipeline import make_pipeline

from biot_bd import AttentionProbe, Embedder, PercentileScaler, save_pipeline
from biot_bd.embedding import LinearProbe
from biot_bd.probes import ProbeResult, ProbeTable, load_maps
from biot_bd.report.explain.folder import Wanted, check_place, explain_to_folder
from biot_bd.report.explain.model import (
    load_model,
    model_input,
    model_input_uv,
    module_name,
    seizure_probability,
    signal_of,
)
from biot_bd.report.explain.source import choose_fold
from biot_bd.report.explain.window import window_of_store

ASKED = ["attention", "attention-qk"]


@pytest.fixture(scope="module")
def explained(real_run: Path, store: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], Any]:
    """Return a folder, its facts and the window, of the fold that tests site/02."""
    source = choose_fold(real_run, store, recording="rec02")
    model = load_model(source.folder)
    window = window_of_store(model, source, store, recording="rec02")
    folder = tmp_path_factory.mktemp("explained") / "out"
    with pytest.MonkeyPatch.context() as patch:
        take_no_pictures(patch)
        facts = explain_to_folder(model, source, window, folder, Wanted(ASKED, command="biot-bd explain"))
    return folder, facts, window


def test_the_network_gets_what_the_classifier_predicts_on(real_run: Path, store: Any) -> None:
    model = load_model(real_run / "folds" / "00" / "model")
    x = model_input(model, signal_of(store[:5]))
    assert x.ch_names == tuple(store.ch_names)
    with torch.no_grad():
        proba = torch.softmax(model.module(torch.from_numpy(x.x)), dim=1).numpy()
    np.testing.assert_allclose(proba, model.pipeline.predict_proba(store[:5]), atol=1e-6)
    np.testing.assert_allclose(seizure_probability(model, signal_of(store[:5])), proba[:, 1], atol=1e-6)
    np.testing.assert_array_equal(model_input_uv(model, signal_of(store[:5])).x, np.asarray(store[:5]))


def test_a_probe_behind_an_embedder_is_one_network_to_look_into(store: Any, tmp_path: Path) -> None:
    size = {"embed_dim": 16, "num_heads": 2, "num_layers": 2}
    pipeline = make_pipeline(PercentileScaler(), Embedder("biot", module_params=size, device="cpu"), LinearProbe(C=1.0))
    rows = np.sort(np.concatenate([np.flatnonzero(store.y == label)[:20] for label in (0, 1)]))
    pipeline.fit(store[rows], store.y[rows])
    model = load_model(save_pipeline(pipeline, tmp_path))
    assert model.size.startswith("small BIOT")
    assert [type(step) for step in model.steps] == [PercentileScaler]
    np.testing.assert_allclose(
        seizure_probability(model, signal_of(store[:5])), pipeline.predict_proba(store[:5])[:, 1], atol=1e-6
    )
    x = torch.from_numpy(model_input(model, signal_of(store[:2])).x)
    assert AttentionProbe()(model.module, x).values.shape[:2] == (2, len(store.ch_names))


def test_full_size_is_not_called_small() -> None:
    from biot_bd import BIOT

    full = BIOT(n_outputs=2, n_chans=16, n_times=2000, sfreq=200)
    assert module_name(full)[0] == "BIOT"
    assert module_name(torch.nn.Linear(2, 2)) == ("Linear", 6)


def test_the_fold_is_one_that_never_saw_the_subject(real_run: Path, store: Any) -> None:
    source = choose_fold(real_run, store, recording="rec02")
    assert source.subjects == ("site/02",)
    fold = json.loads((source.folder.parent / "fold.json").read_text())
    assert "site/02" not in fold["train"] + fold["valid"]
    assert source.threshold == 0.05
    assert source.not_a_result == "only 3 subjects, only 6.2 min of EEG"
    with pytest.raises(ValueError, match="no windows of recording 'rec99'; there are rec01"):
        choose_fold(real_run, store, recording="rec99")
    with pytest.raises(ValueError, match="no fold 7; there are 0, 1, 2"):
        choose_fold(real_run, store, fold=7)


def test_the_window_is_the_seizure_window_that_the_model_is_most_certain_of(real_run: Path, store: Any) -> None:
    source = choose_fold(real_run, store, recording="rec02")
    model = load_model(source.folder)
    told: list[tuple[int, int]] = []
    window = window_of_store(model, source, store, step=lambda *done: told.append(done))
    rows = np.flatnonzero((store.y == 1) & (store.groups == "site/02"))
    proba = model.pipeline.predict_proba(store[rows])[:, 1]
    best = rows[int(proba.argmax())]
    assert (window.recording, window.begin_s) == tuple(store.metadata.iloc[best][["recording", "start_s"]])
    assert window.probability == pytest.approx(proba.max(), abs=1e-6)
    assert window.label == 1
    assert told[-1] == (len(rows), len(rows))
    np.testing.assert_array_equal(window.explained().x[0], np.asarray(store[int(best)]))
    assert window.inside() == [(max(42 - window.begin_s, 0), min(70 - window.begin_s, 10))]


def test_without_seizures_it_is_the_most_probable_window_and_says_so(real_run: Path, store: Any) -> None:
    source = choose_fold(real_run, store, recording="rec03")
    model = load_model(source.folder)
    window = window_of_store(model, source, store)
    rows = np.flatnonzero(store.groups == "site/03")
    assert window.probability == pytest.approx(model.pipeline.predict_proba(store[rows])[:, 1].max(), abs=1e-6)
    assert window.how.endswith("out of all 24, none of which is labelled seizure")


def test_a_moment_chooses_the_window_around_it(real_run: Path, store: Any) -> None:
    source = choose_fold(real_run, store, recording="rec01")
    model = load_model(source.folder)
    window = window_of_store(model, source, store, recording="rec01", at_s=33.0)
    assert (window.begin_s, window.end_s) == (30.0, 40.0)  # its middle is nearer than that of 25 to 35 s
    with pytest.raises(ValueError, match="no window covers 500 s; its windows lie between 0 and 125 s"):
        window_of_store(model, source, store, recording="rec01", at_s=500)
    with pytest.raises(ValueError, match="name one with --recording"):
        window_of_store(model, replace(source, subjects=None), store, at_s=33)


def test_the_eeg_around_is_that_of_the_recording(real_run: Path, store: Any) -> None:
    source = choose_fold(real_run, store, recording="rec02")
    model = load_model(source.folder)
    excerpt = window_of_store(model, source, store, recording="rec02", at_s=50).excerpt(model, 0.05)
    assert (excerpt.start_s, excerpt.stop_s) == (20.0, 80.0)
    whole = np.load(store.folder / "signals" / "rec02.npy")
    step = store.entries[1].steps_uv if hasattr(store.entries[1], "steps_uv") else store.entries[1]["steps_uv"]
    np.testing.assert_allclose(excerpt.signal_uv, (whole * np.asarray(step)[:, None])[:, 4000:16000], rtol=1e-5)
    assert excerpt.seizures == [(42.0, 70.0)]


def test_written_maps_are_those_of_the_probes(explained: Any, real_run: Path, store: Any) -> None:
    folder, facts, window = explained
    stored = load_maps(folder / "maps.npz")
    model = load_model(choose_fold(real_run, store, recording="rec02").folder)
    x = torch.from_numpy(model_input(model, window.explained()).x)
    np.testing.assert_array_equal(stored.probes["attention"].values, AttentionProbe()(model.module, x).values)
    assert stored.probes["attention"].layout.ch_names == tuple(store.ch_names)
    assert len(stored.attention) == 3
    for weights in stored.attention.values():
        np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)
    np.testing.assert_array_equal(stored.eeg_uv, window.explained().x[0])
    assert stored.facts["window"]["start_s"] == facts["window"]["start_s"] == window.begin_s


def test_facts_name_every_file_and_the_weights(explained: Any) -> None:
    folder, facts, _ = explained
    assert facts == json.loads((folder / "explain.json").read_text())
    assert sorted(facts["files"]) == sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    assert len(facts["weights_sha256"]) == 64
    assert facts["target"] == {"output": 1, "means": "seizure"}
    (pair,) = facts["agreement"]
    assert pair["probes"] == ASKED
    assert facts["means_nothing_because"] == ["the model's scores are no result (only 3 subjects, only 6.2 min of EEG)"]


def test_the_page_stands_alone_and_says_what_it_does_not_mean(explained: Any) -> None:
    folder, facts, window = explained
    page = (folder / "explain.html").read_text(encoding="utf-8")
    assert window.place in page
    assert "This evidence means nothing clinically: the model&#39;s scores are no result (only 3 subjects" in page
    assert facts["weights_sha256"] in page
    assert "biot-bd explain" in page
    for remote in ("http:", "https:"):
        assert remote not in page.replace("http://www.w3.org", "")
    assert page.count("<img") >= 4
    assert 'alt=""' not in page


def test_a_named_probe_that_cannot_answer_raises_and_writes_nothing(real_run: Path, store: Any, tmp_path: Path) -> None:
    source = choose_fold(real_run, store, recording="rec02")
    model = load_model(source.folder)
    window = window_of_store(model, source, store, recording="rec02", at_s=50)
    no_attention = replace(model, module=torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(32000, 2)).eval())
    with pytest.raises(ValueError, match="probe attention: "):
        explain_to_folder(no_attention, source, window, tmp_path / "out", Wanted(["attention"]))
    with pytest.raises(ValueError, match=r"--target 2: the model has the outputs 0 \(no seizure\), 1 \(seizure\)"):
        explain_to_folder(model, source, window, tmp_path / "out", Wanted(target=2))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_something_else_is_left_alone(explained: Any, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"is no explanation and not empty \(thesis.txt\); name a new folder"):
        check_place(tmp_path)
    check_place(explained[0])
    check_place(tmp_path / "new")


def test_tests_of_probes_stand_in_the_page_and_mark_those_that_fail(
    real_run: Path, store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_no_pictures(monkeypatch)
    asked: dict[str, Any] = {}

    def evaluate(module, x, probes, *, target):
        asked.update(x=x, probes=list(probes), target=target)
        facts = {"probe": "attention", "title": "tells evidence apart"}
        return ProbeTable(
            [
                ProbeResult(test="planted-distractor", outcome="failed", value=0.5, bound=0.9, **facts),
                ProbeResult(test="completeness", outcome="not applicable", reason="no shares", **facts),
            ]
        )

    monkeypatch.setattr("biot_bd.probes.evaluate", evaluate)
    source = choose_fold(real_run, store, recording="rec02")
    model = load_model(source.folder)
    window = window_of_store(model, source, store, recording="rec02", at_s=50)
    facts = explain_to_folder(model, source, window, tmp_path / "out", Wanted(["attention"], tested=True))
    assert (asked["probes"], asked["target"]) == (["attention"], 1)
    nearest = model_input(model, window.explained()).x[0]
    assert any(np.array_equal(one, nearest) for one in asked["x"].numpy())
    assert [row["outcome"] for row in facts["tests"]] == ["failed", "not applicable"]
    page = (tmp_path / "out" / "explain.html").read_text(encoding="utf-8")
    assert "This probe failed 1 of 1 tests: tells evidence apart: 0.5 (at least 0.9)." in page
    assert "no shares" in page
