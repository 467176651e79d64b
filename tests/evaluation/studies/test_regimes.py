"""Several regimes on the same folds and seeds: what is the same, what is stored, what resumes, what is refused."""

import json

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from biot_bd import BIOTClassifier
from biot_bd.evaluation import Result
from biot_bd.evaluation.statistics.intervals import macro_interval
from biot_bd.evaluation.statistics.paired_tests import paired_test
from biot_bd.evaluation.studies.compare_regimes import StudyResult, compare_regimes
from biot_bd.evaluation.studies.comparison import compare_runs
from biot_bd.exceptions import ContaminationError, RunFolderError
from biot_bd.models.checkpoints.provenance import Provenance, Seen

SCORING = ("average_precision", "roc_auc")


def power(x):
    return np.log(np.var(x, axis=2))


def one_channel(x):
    return np.log(np.var(x[:, :1], axis=2))


def cohort(n_subjects=6, n_windows=20, seed=0):
    rng = np.random.default_rng(seed)
    subjects = np.repeat([f"set/{i:02d}" for i in range(n_subjects)], n_windows)
    y = np.tile(np.arange(n_windows) % 4 == 0, n_subjects).astype(int)
    X = rng.standard_normal((len(y), 3, 100)) * (1 + 0.25 * y[:, None, None])
    return X.astype("float32"), y, subjects


def regimes():
    return {
        "chance": make_pipeline(FunctionTransformer(power), DummyClassifier(strategy="prior")),
        "one-channel": make_pipeline(FunctionTransformer(one_channel), LogisticRegression()),
        "power": make_pipeline(FunctionTransformer(power), LogisticRegression()),
    }


def study(folder, which=None, **options):
    X, y, subjects = cohort()
    settings = {
        "cv": "subject-kfold-3",
        "seeds": (0, 1),
        "n_resamples": 99,
        "scoring": SCORING,
        "progress": False,
        **options,
    }
    return compare_regimes(X, which or regimes(), folder, y=y, groups=subjects, **settings)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return study(tmp_path_factory.mktemp("study") / "s", title="A test", notes=["made in a test"])


def test_all_regimes_have_the_same_folds_and_seeds(done):
    for seed in (0, 1):
        splits = [done.results(name)[seed].run["splits"] for name in regimes()]
        assert splits[0] == splits[1] == splits[2]
        assert done.results("power")[seed].run["seed"] == seed
    assert done.results("power")[0].run["splits"] != done.results("power")[1].run["splits"]


def test_every_regime_and_seed_is_a_run_folder_of_its_own(done):
    for name in regimes():
        for seed in (0, 1):
            folder = done.folder / name / f"seed-{seed}"
            assert Result.open(folder).run["title"] == f"A test: {name}, seed {seed}"
            assert done.study["runs"][name][str(seed)] == f"{name}/seed-{seed}"


def test_scores_intervals_and_tests_are_those_of_the_runs(done):
    metric = "roc_auc"
    mine = {}
    for name in regimes():
        tables = [done.results(name)[seed].table[metric] for seed in (0, 1)]
        mine[name] = (tables[0] + tables[1]) / 2
        stored = done.comparison["regimes"][name]["subjects"][metric]
        assert stored == pytest.approx(mine[name].to_dict())
        interval = macro_interval(mine[name].astype(float), n_resamples=99)
        found = done.comparison["regimes"][name]["macro"][metric]
        assert (found["value"], found["low"], found["high"]) == pytest.approx(
            (interval.value, interval.low, interval.high)
        )
        assert (found["method"], found["n_defined"]) == (interval.method, interval.n_subjects)
    test = paired_test(mine["power"].astype(float), mine["chance"].astype(float), n_resamples=99)
    row = done.tests.query("metric == 'roc_auc' and first == 'power' and second == 'chance'").iloc[0]
    assert row["difference"] == pytest.approx(test.difference.value)
    assert row["p_permutation"] == pytest.approx(test.p_permutation)
    assert row["p_holm"] >= row["p_permutation"]
    assert len(done.tests) == 3 * 2
    assert done.comparison["regimes"]["chance"]["macro"][metric]["value"] == pytest.approx(0.5)


def test_the_table_and_the_text(done):
    table = done.table
    assert list(table["regime"].unique()) == list(regimes())
    assert set(table["average"]) == {"macro", "pooled"}
    assert (table["low"] <= table["value"] + 1e-9).all()
    text = " ".join(str(done).split())
    for part in ("A test", "power - chance", "made in a test", "6 subjects are few", "means over seeds by subject"):
        assert part in text
    assert "NOT A RESULT" not in text  # six subjects, no generated data, hours unknown


def test_it_opens_again_and_an_unfinished_one_does_not(done, tmp_path):
    again = StudyResult.open(done.folder)
    assert again.comparison == done.comparison
    assert again.study["state"] == "finished"
    with pytest.raises(FileNotFoundError, match=r"no study\.json.*run the same study again"):
        StudyResult.open(tmp_path)
    with pytest.raises(KeyError, match="there are chance"):
        done.results("nothing")


def test_a_finished_study_is_not_computed_again_and_grows(tmp_path, monkeypatch):
    some = {name: regimes()[name] for name in ("chance", "power")}
    first = study(tmp_path / "s", some, seeds=(0,))
    before = (tmp_path / "s/power/seed-0/folds/00/fold.json").stat().st_mtime_ns
    grown = study(tmp_path / "s", seeds=(0, 1))
    assert (tmp_path / "s/power/seed-0/folds/00/fold.json").stat().st_mtime_ns == before
    assert grown.study["started"] == first.study["started"]
    assert grown.regimes == list(regimes())
    fresh = study(tmp_path / "t", seeds=(0, 1))
    assert json.loads((tmp_path / "s/comparison.json").read_text()) == {"version": 2, **fresh.comparison}


def test_an_interrupted_study_goes_on(tmp_path, monkeypatch):
    import biot_bd.evaluation.studies.compare_regimes as module

    calls, real = [], module.cross_validate

    def dies(*args, **kwargs):
        calls.append(kwargs["folder"].parent.name)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(module, "cross_validate", dies)
    with pytest.raises(KeyboardInterrupt):
        study(tmp_path / "s")
    with pytest.raises(FileNotFoundError, match=r"comparison\.json"):
        StudyResult.open(tmp_path / "s")
    monkeypatch.setattr(module, "cross_validate", real)
    assert study(tmp_path / "s").comparison == study(tmp_path / "t").comparison


def test_another_study_in_the_folder_is_refused(tmp_path):
    study(tmp_path / "s", seeds=(0,))
    with pytest.raises(RunFolderError, match=r"another study.*validation_fraction"):
        study(tmp_path / "s", seeds=(0,), validation_fraction=0.5)
    changed = {**regimes(), "power": make_pipeline(FunctionTransformer(power), LogisticRegression(C=3.0))}
    with pytest.raises(RunFolderError, match=r"another study.*C: was 1\.0, now is 3\.0"):
        study(tmp_path / "s", changed, seeds=(0,))
    assert (tmp_path / "s/comparison.json").is_file()
    (tmp_path / "full").mkdir()
    (tmp_path / "full/letter.txt").write_text("mine")
    with pytest.raises(RunFolderError, match=r"no study folder.*letter\.txt"):
        study(tmp_path / "full")


@pytest.mark.parametrize(
    ("which", "options", "message"),
    [
        ({}, {}, "no regimes"),
        ({"../up": 1}, {}, "becomes a folder"),
        ({"A": 1, "a": 2}, {}, "but for capitals"),
        (None, {"seeds": ()}, "at least one"),
        (None, {"seeds": (1, 1)}, "given twice"),
        (None, {"against": "nobody"}, "there are chance, one-channel, power"),
        (None, {"cv": "subject-kfold-9"}, "2 to 6 folds"),
    ],
)
def test_bad_calls_leave_nothing_behind(tmp_path, which, options, message):
    X, y, subjects = cohort()
    chosen = regimes() if which is None else which
    with pytest.raises(ValueError, match=message):
        compare_regimes(X, chosen, tmp_path / "s", y=y, groups=subjects, progress=False, **options)
    assert not (tmp_path / "s").exists()


def test_a_regime_that_cannot_be_trained_is_refused_before_the_first_is(tmp_path):
    X, y, subjects = cohort()
    bad = BIOTClassifier(finetune="label-smoothing", criterion="focal")
    with pytest.raises(ValueError, match=r"regime 'smooth': LabelSmoothing.*cross-entropy"):
        compare_regimes(X, {**regimes(), "smooth": bad}, tmp_path / "s", y=y, groups=subjects, progress=False)
    assert not (tmp_path / "s").exists()


class Warm(DummyClassifier):
    """Says that it starts from weights of which the record is given."""

    def __init__(self, pretrained=None, strategy="prior", random_state=None, constant=None):
        super().__init__(strategy=strategy, random_state=random_state, constant=constant)
        self.pretrained = pretrained


def test_contamination_of_one_regime_is_refused_before_any_and_marked_where_allowed(tmp_path):
    seen = Provenance("weights", (Seen("set", ("set/03",), "supervised"),))
    which = {"power": regimes()["power"], "warm": make_pipeline(FunctionTransformer(power), Warm(seen))}
    with pytest.raises(ContaminationError, match="set/03"):
        study(tmp_path / "s", which, seeds=(0,))
    assert not (tmp_path / "s").exists()
    found = study(tmp_path / "s", which, seeds=(0,), allow_contaminated=True)
    assert set(found.study["contamination"]) == {"warm"}
    text = " ".join(str(found).split())
    assert "warm (contaminated)" in text
    assert "warm: contaminated: weights was trained on set/03" in text


def test_against_one_regime(tmp_path):
    found = study(tmp_path / "s", seeds=(0,), against="chance", scoring="roc_auc")
    assert list(found.tests[["first", "second"]].itertuples(index=False, name=None)) == [
        ("one-channel", "chance"),
        ("power", "chance"),
    ]
    assert "one seed" in " ".join(found.notes)


def test_runs_that_do_not_belong_together_are_not_compared(done, tmp_path):
    results = {name: done.results(name) for name in ("chance", "power")}
    with pytest.raises(ValueError, match="has the seeds"):
        compare_runs({"chance": results["chance"], "power": {0: results["power"][0]}})
    with pytest.raises(ValueError, match="differ in their subjects of the folds"):
        compare_runs({"a": results["chance"], "b": {0: results["power"][1], 1: results["power"][0]}})
    other = {
        seed: Result(r.metrics, r.predictions, {**r.run, "data": {**r.run["data"], "label_rule": "x"}})
        for seed, r in results["power"].items()
    }
    with pytest.raises(ValueError, match="differ in their label rule"):
        compare_runs({"a": results["chance"], "b": other})


def test_a_regime_that_is_added_gets_the_folds_of_a_study_that_a_former_version_began(tmp_path, monkeypatch):
    """What the former rule chose is stood in for by always the first subject with seizures."""
    some = {name: regimes()[name] for name in ("chance", "power")}
    options = {"seeds": (0,), "cv": "subject-loo"}
    with monkeypatch.context() as former:
        former.setattr(
            "biot_bd.evaluation.model_selection.folds.rotate",
            lambda y, subjects, trains, fraction, random_state: [(train[0],) for train in trains],
        )
        begun = study(tmp_path / "s", some, **options)
    stored = begun.results("power")[0].run["splits"]
    assert {valid for split in stored for valid in split["valid"]} == {"set/00", "set/01"}
    grown = study(tmp_path / "s", **options)
    for name in regimes():
        assert grown.results(name)[0].run["splits"] == stored
    (tmp_path / "s" / "power" / "seed-0" / "folds" / "02" / "fold.json").unlink()  # goes on as it began
    assert study(tmp_path / "s", **options).results("power")[0].run["splits"] == stored
    fresh = study(tmp_path / "t", **options).results("power")[0].run["splits"]
    assert len({valid for split in fresh for valid in split["valid"]}) == 6


@pytest.mark.slow
def test_seeds_of_a_regime_are_compared_by_their_attention(tmp_path):
    x, y, subjects = cohort(3, 8)
    x = np.tile(x, (1, 1, 3))
    tiny = {"module__embed_dim": 8, "module__num_heads": 2, "module__num_layers": 1, "module__hop_length": 100}
    both = {"power": regimes()["power"], "biot": BIOTClassifier(max_epochs=1, patience=None, device="cpu", **tiny)}
    options = {"y": y, "groups": subjects, "seeds": (0, 1), "progress": False, "n_resamples": 99}
    compare_regimes(x, both, tmp_path, cv="subject-loo", **options)
    folds = sorted(path.name for path in (tmp_path / "biot/attention-agreement").iterdir())
    assert folds == ["fold-00", "fold-01", "fold-02"]
    (point,) = (
        EventAccumulator(str(tmp_path / "biot/attention-agreement/fold-00"))
        .Reload()
        .Scalars("attention_agreement/only")
    )
    assert -1 <= point.value <= 1
    assert not (tmp_path / "power/attention-agreement").exists()
