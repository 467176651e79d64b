"""Presets: their published values, what they refuse, what they average, and the golden windows of the published program."""

import dataclasses
import inspect
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from made_cases import recordings, windows_of
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline

from biot_bd import BIOTClassifier, PercentileScaler, cross_validate, load_dataset, load_pipeline, prepare
from biot_bd.evaluation import PROTOCOLS, Result, baseline, compare_table, run_protocol
from biot_bd.evaluation.final_model import fit_all
from biot_bd.evaluation.protocols import as_protocol, averaged
from biot_bd.evaluation.stored_folds import DEFAULTS
from biot_bd.evaluation.studies.run_protocol import model_pipeline
from biot_bd.exceptions import MixedTableError, ProtocolError, SplitError
from biot_bd.report import write_report
from biot_bd.windows.labels import Overlap

TINY = {"module__embed_dim": 16, "module__num_heads": 2, "module__num_layers": 1, "device": "cpu"}
QUIET = {"progress": False}
SIDES = ("train", "valid", "test")


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return windows_of(tmp_path_factory.mktemp("published") / "w", PROTOCOLS["biot-paper"])


@pytest.fixture(scope="module")
def correct(tmp_path_factory):
    return windows_of(tmp_path_factory.mktemp("correct") / "w", PROTOCOLS["ours"], cases=range(1, 7))


@pytest.fixture(scope="module")
def flip(published, tmp_path_factory):
    """Line length under the protocol of the paper."""
    return run_protocol(
        "biot-paper", published, model="line-length", folder=tmp_path_factory.mktemp("flip") / "run", **QUIET
    )


def quick(name, **changes):
    """Return a preset that trains one short epoch, under another name."""
    small = {"max_epochs": 1, "batch_size": 32, "drop_last": False, "patience": 1}
    return dataclasses.replace(PROTOCOLS[name], name=f"{name}-quick", **{**small, **changes})


# --- values -----------------------------------------------------------------------------------------------


def test_values_are_the_published_ones():
    biot = PROTOCOLS["biot-paper"].classifier_parameters()
    assert (biot["optimizer"], biot["lr"], biot["optimizer__weight_decay"]) == (torch.optim.Adam, 1e-3, 1e-5)
    assert (biot["batch_size"], biot["max_epochs"], biot["monitor"]) == (512, 100, "valid_roc_auc")
    assert (biot["criterion"], biot["criterion__alpha"], biot["criterion__gamma"]) == ("focal", 0.8, 0.7)
    code = PROTOCOLS["biot-code"]
    assert (code.cv, code.loss, code.patience, code.threshold) == (
        "biot-code",
        "cross-entropy",
        5,
        "matched-prevalence",
    )
    cbramod = PROTOCOLS["cbramod"].classifier_parameters()
    assert (cbramod["optimizer"], cbramod["lr"], cbramod["optimizer__weight_decay"]) == (torch.optim.AdamW, 1e-4, 0.05)
    assert (cbramod["batch_size"], cbramod["max_epochs"]) == (64, 50)
    rates = [1e-4 * cbramod["schedule"].factor(epoch, 50) for epoch in range(51)]
    np.testing.assert_allclose(rates, 1e-6 + (1e-4 - 1e-6) * (1 + np.cos(np.pi * np.arange(51) / 50)) / 2, rtol=1e-9)
    ours = PROTOCOLS["ours"]
    assert (ours.labels, ours.cv, ours.monitor) == ("overlap", "subject-loo", "valid_average_precision")
    published = [p for p in PROTOCOLS.values() if p.name != "ours"]
    assert {(p.labels, p.resample, p.window_s, p.stride_s) for p in published} == {
        ("biot-official", "fft-window", 10.0, 10.0)
    }


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_preset_builds_a_classifier_and_is_json(name):
    protocol = PROTOCOLS[name]
    net = BIOTClassifier(**protocol.classifier_parameters())
    protocol.check_pipeline(make_pipeline(PercentileScaler(), net))
    assert json.loads(json.dumps(protocol.as_dict()))["lr"] == protocol.lr
    assert set(protocol.prepare_parameters()) <= set(inspect.signature(prepare).parameters)
    assert set(protocol.cross_validate_parameters()) == set(DEFAULTS)
    assert protocol.source
    assert as_protocol(name) is protocol


def test_defaults_are_those_of_cross_validate():
    found = inspect.signature(cross_validate).parameters
    assert {name: found[name].default for name in DEFAULTS} == DEFAULTS


def test_a_changed_preset_needs_another_name():
    changed = dataclasses.replace(PROTOCOLS["ours"], lr=1.0, batch_size=3)
    with pytest.raises(ValueError, match="lr, batch_size"):
        as_protocol(changed)
    assert as_protocol(dataclasses.replace(changed, name="mine")).lr == 1.0
    for wrong in ("custom", ""):
        with pytest.raises(ValueError, match="name"):
            dataclasses.replace(changed, name=wrong)
    with pytest.raises(ValueError, match="rmsprop"):
        dataclasses.replace(changed, name="mine", optimizer="rmsprop")
    with pytest.raises(ValueError, match="biot-paper, biot-code, cbramod, ours"):
        as_protocol("biot")
    with pytest.raises(TypeError, match="int"):
        as_protocol(3)


# --- preparation ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["biot-paper", "biot-code", "cbramod"])
def test_excerpts_give_the_published_windows_labels_and_inputs(name, shared, tmp_path):
    golden = np.load(shared / "golden/chbmit-official-rule-inputs.npz")
    rule = json.loads((shared / "golden/chbmit-official-rule-windows.json").read_text())["chb01"]
    excerpts = load_dataset("chb-mit", shared / "data" / "chbmit-excerpts", subjects="chb01")
    windows = prepare(excerpts, tmp_path / "w", dtype="float32", **PROTOCOLS[name].prepare_parameters())
    PROTOCOLS[name].check_windows(windows)
    table = pd.read_parquet(tmp_path / "w" / "windows.parquet")
    for recording in ("chb01_03", "chb01_15"):
        found = table[table["recording"] == recording]
        rows = zip(found["start_sample"], found["n_samples"], found["kind"].astype(str), found["label"], strict=True)
        expected = [
            (w["start_sample"], w["samples"], w["kind"], w["label"]) for w in rule if w["recording"] == recording
        ]
        assert sorted(rows) == sorted(expected)
    # What a model is given, through the steps that the protocol's pipeline has in front of it.
    prefix = model_pipeline("biot", windows, protocol=name)[:-1].fit(windows)
    assert len(golden.files) == 4
    for key in golden.files:
        recording, start = key.rsplit("-", 1)
        [row] = np.flatnonzero(
            (table["recording"] == recording) & (table["start_sample"] == int(start)) & (table["kind"] == "grid")
        )
        np.testing.assert_allclose(prefix.transform(windows[[row]])[0], golden[key], atol=2e-6, rtol=0)


def test_windows_of_another_kind_are_refused_by_name(published, correct):
    with pytest.raises(ProtocolError) as caught:
        PROTOCOLS["ours"].check_windows(published)
    for part in ("labels is 'biot-official', not 'overlap'", "stride_s is 10.0, not 5.0", "resample is 'fft-window'"):
        assert part in str(caught.value)
    with pytest.raises(ProtocolError, match="labels is 'overlap', not 'biot-official'"):
        cross_validate(baseline("line-length", correct), correct, protocol="biot-code", **QUIET)
    with pytest.raises(ProtocolError, match=r"stride_s is 2\.5"):
        PROTOCOLS["ours"].check_windows(correct.relabel("overlap", stride_s=2.5))
    with pytest.raises(ProtocolError, match=r"labels is 'overlap\(guard_s=60\)'"):
        PROTOCOLS["ours"].check_windows(correct.relabel(Overlap(guard_s=60)))
    with pytest.raises(ProtocolError, match="montage is 'biot-16', not 'biot-18'"):
        dataclasses.replace(PROTOCOLS["ours"], name="18", montage="biot-18").check_windows(correct)
    with pytest.raises(ProtocolError, match="ndarray"):
        PROTOCOLS["ours"].check_windows(np.zeros((3, 16, 2000)))
    PROTOCOLS["ours"].check_windows(correct[:5].map(PercentileScaler()))


# --- training ---------------------------------------------------------------------------------------------


def test_a_pipeline_that_trains_otherwise_is_refused(correct):
    good = PROTOCOLS["ours"].classifier_parameters()
    other = make_pipeline(PercentileScaler(), BIOTClassifier(**{**good, "lr": 0.5, "criterion__gamma": 1.0}, **TINY))
    with pytest.raises(ProtocolError, match=r"lr is 0\.5, not 0\.001; criterion__gamma is 1\.0, not 2\.0"):
        cross_validate(other, correct, protocol="ours", **QUIET)
    without = {k: v for k, v in PROTOCOLS["cbramod"].classifier_parameters().items() if k != "schedule"}
    with pytest.raises(ProtocolError, match=r"schedule is None, not Cosine\(by_epoch=True\)"):
        PROTOCOLS["cbramod"].check_pipeline(BIOTClassifier(**without))
    PROTOCOLS["ours"].check_pipeline(baseline("line-length", correct))


def test_what_a_protocol_fixes_cannot_be_given_beside_it(published):
    line = baseline("line-length", published)
    for options in (
        {"cv": "subject-kfold-3"},
        {"threshold": 0.3},
        {"scoring": ["roc_auc"]},
        {"validation_fraction": 0.5},
    ):
        with pytest.raises(ProtocolError, match=f"'biot-code' fixes {next(iter(options))}"):
            cross_validate(line, published, protocol="biot-code", **options, **QUIET)
    with pytest.raises(ValueError, match=r"'biot-code' fixes lr at 0\.001"):
        run_protocol("biot-code", published, params={"lr": 1.0}, **QUIET)
    with pytest.raises(ValueError, match="takes no 'lr'"):
        run_protocol("biot-code", published, model="line-length", params={"lr": 1.0}, **QUIET)


def test_a_schedule_trains_is_saved_and_loaded(correct, tmp_path):
    params = {**quick("cbramod", max_epochs=2).classifier_parameters(), **TINY}
    pipeline = model_pipeline("biot", correct, params=params)
    fit_all(pipeline, correct[:60], tmp_path / "model")
    loaded = load_pipeline(tmp_path / "model")[-1]
    assert quick("cbramod", max_epochs=2).check_pipeline(loaded) is None
    assert loaded.schedule.get_params() == {"warmup_epochs": 0.0, "final": 0.01, "start": 0.0, "by_epoch": True}


# --- results ----------------------------------------------------------------------------------------------


def test_the_flip_is_averaged_over_both_folds(flip):
    assert [(f["valid"], f["test"]) for f in flip.run["splits"]] == [
        (["chb-mit/20"], ["chb-mit/22", "chb-mit/23"]),
        (["chb-mit/22", "chb-mit/23"], ["chb-mit/20"]),
    ]
    own = flip.metrics["protocol"]
    assert (own["name"], own["averaging"]) == ("biot-paper", "folds")
    folds = []
    for _, part in flip.predictions.query("part == 'test'").groupby("fold"):
        y, proba = part["y_true"], part["proba"]
        called = proba >= part["threshold"]
        folds.append([average_precision_score(y, proba), roc_auc_score(y, proba), balanced_accuracy_score(y, called)])
    for name, expected in zip(flip.scoring, np.mean(folds, axis=0), strict=True):
        assert own["scores"][name] == {"value": pytest.approx(expected), "n": 2, "reason": None}
    valid = flip.predictions.query("part == 'valid' and fold == 0")
    n_seizure = int(valid["y_true"].sum())
    assert valid["threshold"].iloc[0] == np.sort(valid["proba"])[-n_seizure]


def test_a_mean_of_folds_needs_all_folds():
    cell = {"value": None, "reason": "no seizure windows"}
    metrics = {"scoring": ["m"], "folds": [{"fold": 0, "m": {"value": 0.5, "reason": None}}, {"fold": 1, "m": cell}]}
    assert averaged(metrics, "folds")["m"] == {"value": None, "n": 2, "reason": "fold 1: no seizure windows"}
    with pytest.raises(ValueError, match="subjects, folds"):
        averaged(metrics, "median")


def test_a_result_shows_its_protocol_everywhere(flip, published):
    stored = json.loads((flip.folder / "run.json").read_text())
    assert stored["protocol"] == json.loads(json.dumps(PROTOCOLS["biot-paper"].as_dict()))
    assert flip.protocol == "biot-paper"
    assert "protocol biot-paper" in stored["title"]
    text = " ".join(str(flip).split())
    for part in ("protocol: biot-paper", "by biot-paper, mean of the folds", "label rule 'biot-official'"):
        assert part in text
    html = write_report(flip.folder, windows=published).read_text()
    assert "by biot-paper, mean of the folds" in html
    assert re.search(r"Protocol</\w+>\s*<\w+[^>]*>biot-paper<", html)


def test_without_a_preset_a_result_is_custom(correct, tmp_path):
    result = cross_validate(baseline("line-length", correct), correct, folder=tmp_path / "r", **QUIET)
    assert result.run["protocol"] == {"name": "custom"}
    assert result.protocol == "custom"
    assert "protocol: custom" in str(result)
    assert "protocol: custom" in write_report(tmp_path / "r", windows=correct).read_text()
    assert Result({}, pd.DataFrame(), {}).protocol == "custom"


def test_a_folder_of_another_protocol_is_not_continued(correct, tmp_path):
    line = baseline("line-length", correct)
    cross_validate(line, correct, folder=tmp_path, protocol="ours", **QUIET)
    again = cross_validate(line, correct, folder=tmp_path, protocol="ours", **QUIET)
    assert again.protocol == "ours"
    with pytest.raises(ValueError, match="protocol"):
        cross_validate(line, correct, folder=tmp_path, **QUIET)


# --- the same folds for all models ------------------------------------------------------------------------


def test_neural_and_other_models_get_the_same_subjects(correct):
    protocol = quick("ours")
    biot = run_protocol(protocol, correct, params=TINY, **QUIET)
    power = run_protocol(protocol, correct, model="spectral-power", **QUIET)
    assert biot.run["splits"] == power.run["splits"]
    for result in (biot, power):
        for fold in result.run["splits"]:
            for part in ("valid", "test"):
                rows = result.predictions.query(f"fold == {fold['fold']} and part == @part")
                assert sorted(rows["subject"].unique()) == sorted(fold[part])
    places = ["fold", "part", "window", "subject", "y_true"]
    pd.testing.assert_frame_equal(biot.predictions[places], power.predictions[places])
    table = compare_table({"BIOT": biot, "power": power})
    assert table["protocol"].tolist() == ["ours-quick"] * 2
    assert table.loc["power", "roc_auc"] == pytest.approx(power.metrics["macro"]["roc_auc"]["value"])


def test_stored_splits_of_another_run_are_used(correct, tmp_path):
    line = baseline("line-length", correct)
    first = cross_validate(
        line, correct, folder=tmp_path / "first", cv=GroupKFold(2), validation_fraction=0.4, random_state=5, **QUIET
    )
    for source in (first, tmp_path / "first"):
        second = cross_validate(baseline("spectral-power", correct), correct, splits_from=source, **QUIET)
        assert [[f[s] for s in SIDES] for f in second.run["splits"]] == [
            [f[s] for s in SIDES] for f in first.run["splits"]
        ]
        assert second.run["splits_from"] == first.run["fingerprint"]
        assert second.run["parameters"]["cv"] == first.run["parameters"]["cv"]
    same_seed = cross_validate(line, correct, splits_from=first, random_state=5, **QUIET)
    assert [f["seed"] for f in same_seed.run["splits"]] == [f["seed"] for f in first.run["splits"]]
    pd.testing.assert_frame_equal(same_seed.predictions, first.predictions)


def test_stored_splits_keep_left_out_recordings(flip, published):
    again = cross_validate(baseline("always-on", published), published, splits_from=flip, **QUIET)
    assert [f["dropped_recordings"] for f in again.run["splits"]] == [
        f["dropped_recordings"] for f in flip.run["splits"]
    ]
    X, y, subjects = np.zeros((len(published), 1, 10)), published.y, published.groups
    run = json.loads(json.dumps(flip.run))
    run["splits"][0]["dropped_recordings"] = ["chb21_01"]
    with pytest.raises(SplitError, match="chb21_01"):
        cross_validate(
            baseline("always-on", X), X, y=y, groups=subjects,
            splits_from=dataclasses.replace(flip, run=run), **QUIET,
        )  # fmt: skip


def test_stored_splits_that_do_not_fit_raise(flip, correct, published, tmp_path):
    line = baseline("line-length", correct)
    with pytest.raises(SplitError, match="chb-mit/07"):
        cross_validate(line, correct, splits_from=flip, **QUIET)
    with pytest.raises(FileNotFoundError, match=r"run\.json"):
        cross_validate(line, correct, splits_from=tmp_path, **QUIET)
    with pytest.raises(TypeError, match="int"):
        cross_validate(line, correct, splits_from=3, **QUIET)
    with pytest.raises(ProtocolError, match="splits_from fixes cv"):
        cross_validate(line, published, splits_from=flip, cv="subject-kfold-2", **QUIET)
    with pytest.raises(ProtocolError, match="split by 'biot-code', the stored splits by 'biot-paper'"):
        cross_validate(line, published, splits_from=flip, protocol="biot-code", **QUIET)
    run = json.loads(json.dumps(flip.run))
    run["splits"][0]["train"].append("chb-mit/22")
    with pytest.raises(SplitError, match="chb-mit/22"):
        cross_validate(line, published, splits_from=dataclasses.replace(flip, run=run), **QUIET)


# --- side by side -----------------------------------------------------------------------------------------


def test_one_table_of_several_results(flip, published):
    always = run_protocol("biot-paper", published, model="always-on", **QUIET)
    table = compare_table([flip, always])
    assert table.index.tolist() == ["line-length, protocol biot-paper", "always-on, protocol biot-paper"]
    assert (table["averaging"] == "folds").all()
    assert (table["n"] == 2).all()
    assert (table[["not_comparable", "contaminated"]] == "").all(axis=None)
    assert table["roc_auc"].iloc[1] == 0.5
    assert table["roc_auc"].iloc[0] == pytest.approx(flip.metrics["protocol"]["scores"]["roc_auc"]["value"])
    by_subject = compare_table({"a": flip.folder, "b": always}, averaging="subjects")
    assert by_subject["n"].tolist() == [3, 3]


def test_a_mixed_table_is_refused_or_marked(flip, correct, published):
    line = baseline("line-length", correct)
    ours = run_protocol("ours", correct, model="line-length", **QUIET)
    with pytest.raises(MixedTableError) as caught:
        compare_table({"published": flip, "ours": ours})
    for part in (
        "label rule 'overlap', not 'biot-official'",
        "data ",
        "protocol 'ours', not 'biot-paper'",
        "mark_mixed",
    ):
        assert part in str(caught.value)
    table = compare_table({"published": flip, "ours": ours}, mark_mixed=True)
    assert table.loc["published", "not_comparable"] == ""
    assert "label rule 'overlap'" in table.loc["ours", "not_comparable"]
    custom = cross_validate(line, published, cv="biot-paper", threshold="matched-prevalence", **QUIET)
    with pytest.raises(MixedTableError, match="protocol 'custom', not 'biot-paper'"):
        compare_table([flip, custom])
    part = run_protocol("ours", correct.query("subject != 'chb-mit/06'"), model="line-length", **QUIET)
    with pytest.raises(MixedTableError, match="data "):
        compare_table({"all": ours, "part": part})
    other = cross_validate(line, published, cv="subject-kfold-2", **QUIET)
    with pytest.raises(MixedTableError, match="splits_from"):
        compare_table({"paper": custom, "kfold": other})
    changed = run_protocol(dataclasses.replace(PROTOCOLS["ours"], name="x"), correct, model="line-length", **QUIET)
    again = run_protocol(
        dataclasses.replace(PROTOCOLS["ours"], name="x", lr=1.0), correct, model="line-length", **QUIET
    )
    with pytest.raises(MixedTableError, match="'x' with other values"):
        compare_table({"a": changed, "b": again})


def test_tables_that_cannot_be_made(flip):
    with pytest.raises(ValueError, match="nothing"):
        compare_table([])
    with pytest.raises(ValueError, match="two results are called"):
        compare_table([flip, flip])
    for wrong in (flip, "folder", [3]):
        with pytest.raises(TypeError):
            compare_table(wrong)


def test_a_pipeline_of_your_own_runs_under_a_protocol(correct):
    own = make_pipeline(*baseline("line-length", correct)[:-1], LogisticRegression())
    result = run_protocol("ours", correct, model=own, **QUIET)
    assert result.protocol == "ours"
    with pytest.raises(ValueError, match="on the pipeline itself"):
        run_protocol("ours", correct, model=own, params={"C": 1}, **QUIET)


# --- the page ---------------------------------------------------------------------------------------------

PAGE = Path(__file__).parents[2] / "docs" / "protocols.md"


def test_the_page_shows_the_presets_as_they_are():
    rows = {
        cells[0]: cells[1:]
        for line in PAGE.read_text(encoding="utf-8").split("## Use one")[0].splitlines()
        if line.startswith("|") and len(cells := [cell.strip(" `") for cell in line.strip("|").split("|")]) == 5
    }
    names = {
        "labels": "labels", "resampling to 200 Hz": "resample", "montage": "montage", "split": "cv", "optimiser": "optimizer",
        "learning rate": "lr", "weight decay": "weight_decay", "batch": "batch_size", "epochs": "max_epochs",
        "schedule": "schedule", "loss": "loss", "selection": "monitor", "patience": "patience", "threshold": "threshold",
        "mean of": "averaging",
    }  # fmt: skip
    assert rows[""] == list(PROTOCOLS)
    for row, attribute in names.items():
        assert rows[row] == [str(getattr(protocol, attribute)) for protocol in PROTOCOLS.values()], row
    times = [f"{p.window_s:g} s, {p.stride_s:g} s" for p in PROTOCOLS.values()]
    assert rows["window, stride"] == times
    assert {p.sfreq for p in PROTOCOLS.values()} == {200.0}


def test_the_code_on_the_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    exec(code, {"recordings": recordings(range(1, 5))})
    assert "always on" in capsys.readouterr().out
