"""``experiments/label_efficiency.py``: who has labels, what the tables say, and a small study end to end."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def script():
    path = Path(__file__).parents[2] / "experiments" / "label_efficiency.py"
    spec = importlib.util.spec_from_file_location("label_efficiency", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Labelled:
    """What the order of subjects is made from."""

    def __init__(self, labels):
        self.groups = np.repeat(list(labels), [len(own) for own in labels.values()])
        self.y = np.concatenate(list(labels.values()))


@pytest.mark.parametrize("seed", range(8))
def test_the_first_subject_with_labels_has_both_classes_and_larger_sets_hold_smaller(script, seed):
    windows = Labelled({"a/1": [0, 0], "a/2": [0, 1], "a/3": [1, 1], "a/4": [0, 1], "a/5": [0, 0]})
    order = script.order_of(windows, seed)
    assert order[0] in ("a/2", "a/4")
    assert sorted(order) == ["a/1", "a/2", "a/3", "a/4", "a/5"]
    # The others stay in the order of the seed.
    drawn = np.random.default_rng(seed).permutation(sorted(order)).tolist()
    assert order[1:] == [one for one in drawn if one != order[0]]


def test_without_a_subject_of_both_classes_there_is_nothing_to_learn(script):
    with pytest.raises(ValueError, match="no subject to learn from has windows of both classes"):
        script.order_of(Labelled({"a/1": [0, 0], "a/2": [1, 1]}), 0)


def test_counts_are_shares_of_the_subjects_or_what_is_asked_for(script, tmp_path):
    usual = script.parse(["--out", str(tmp_path)])
    assert script.counts_of(usual, 100) == [1, 5, 10, 25, 100]
    assert script.counts_of(usual, 6) == [1, 2, 6]
    asked = script.parse(["--out", str(tmp_path), "--counts", "4,2"])
    assert script.counts_of(asked, 6) == [2, 4]
    with pytest.raises(ValueError, match="from 1 to 3 subjects, found 4, 2"):
        script.counts_of(asked, 3)


def made_up(gain):
    """Scores of ten subjects and two seeds; fine-tuning is better than scratch by ``gain``."""
    rng, rows = np.random.default_rng(0), []
    for subject in range(10):
        base = rng.uniform(0.6, 0.8)
        for seed in (0, 1):
            for regime, more in (("scratch", 0.0), ("frozen", -0.1), ("fine-tuned", gain)):
                score = base + more + 0.01 * seed + rng.normal(0, 1e-3)
                facts = {"seed": seed, "count": 5, "regime": regime, "subject": f"t/{subject}"}
                rows.append({**facts, "roc_auc": score, "average_precision": score / 2})
    return pd.DataFrame(rows)


def test_differences_are_paired_by_subject_so_they_show_what_intervals_of_scores_hide(script):
    table = script.table_of(made_up(0.02)).set_index(["metric", "count", "regime"])
    tuned, scratch = table.loc[("roc_auc", 5, "fine-tuned")], table.loc[("roc_auc", 5, "scratch")]
    assert tuned["low"] < scratch["high"]
    assert tuned["gain"] == pytest.approx(0.02, abs=1e-3)
    assert 0.015 < tuned["gain low"] < tuned["gain high"] < 0.025
    assert tuned["value"] == pytest.approx(made_up(0.02).query("regime == 'fine-tuned'")["roc_auc"].mean())


def test_the_words_say_gain_loss_and_neither(script):
    words = script.sentences(script.table_of(made_up(0.02)))
    assert "AUROC, fine-tuned: is above scratch with 5 labelled subjects." in words
    assert "AUROC, frozen: is below scratch with 5 labelled subjects." in words
    words = script.sentences(script.table_of(made_up(0.0)))
    assert "AUROC, fine-tuned: is not told apart from scratch with 5 labelled subjects." in words


@pytest.fixture(scope="module")
def done(script, tmp_path_factory):
    out = tmp_path_factory.mktemp("label-efficiency")
    assert script.main(["--out", str(out), "--quick"]) == 0
    return out


@pytest.mark.slow
def test_a_small_study_writes_tables_and_plot_that_fit_a_page(done):
    cells = pd.read_csv(done / "cells.csv")
    assert len(cells) == 2 * 3 * 3 * 3  # seeds, counts, regimes, test subjects
    assert cells["subject"].str.startswith("demo-test-0/").all()
    text = (done / "label_efficiency.md").read_text(encoding="utf-8")
    assert text.count("| 6 |") == 2
    assert "Generated data: no clinical result." in text
    assert (done / "label_efficiency.svg").read_text(encoding="utf-8").startswith("<?xml")
    assert (done / "label_efficiency.png").stat().st_size > 10_000
    own = [set(json.loads((done / f"cells/seed-0/{n}-scratch.json").read_text())["subjects"]) for n in (1, 2, 6)]
    assert own[0] < own[1] < own[2]


@pytest.mark.slow
def test_no_pretraining_saw_a_test_subject_and_classifiers_inherit_what_it_saw(script, done):
    from biot_bd.models import provenance_of

    seen = provenance_of(done / "pretrained" / "seed-0")
    tested = pd.read_csv(done / "cells.csv")["subject"].unique().tolist()
    assert seen.known
    assert seen.saw(tested) == []
    options = script.parse(["--out", str(done), "--quick"])
    learn, _ = script.windows_of(options)
    subjects = sorted(set(learn.groups))
    own = learn[np.flatnonzero(learn.groups == script.order_of(learn, 0)[0])]
    classifier = script.pipeline_of(options, "fine-tuned", 0, len(own)).fit(own, own.y)[-1]
    assert classifier.provenance_.saw(subjects) == subjects  # of one subject it saw labels, of the others windows


@pytest.mark.slow
def test_the_frozen_encoder_stays_as_pretraining_left_it(script, done):
    from biot_bd.pretraining import load_pretraining

    options = script.parse(["--out", str(done), "--quick"])
    learn, test = script.windows_of(options)
    fitted = script.pipeline_of(options, "frozen", 0, len(learn)).fit(learn, learn.y)
    expected = load_pretraining(done / "pretrained" / "seed-0").transform(test)
    np.testing.assert_array_equal(fitted[0].transform(test), expected)


@pytest.mark.slow
def test_the_same_command_goes_on_and_other_settings_are_refused(script, done, monkeypatch, capsys):
    before = (done / "cells.csv").read_bytes()
    monkeypatch.setattr(script, "pipeline_of", lambda *args: pytest.fail("trained again"))
    assert script.main(["--out", str(done), "--quick"]) == 0
    assert (done / "cells.csv").read_bytes() == before
    assert script.main(["--out", str(done), "--quick", "--lr", "0.5"]) == 1
    assert "a study with other settings" in capsys.readouterr().err
