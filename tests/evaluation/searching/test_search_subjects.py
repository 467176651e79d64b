"""No subject is on two sides of a nested search: outer test, inner test, validation, training."""

import pytest
from sklearn.pipeline import make_pipeline

from biot_bd import BIOTClassifier, PercentileScaler, load_dataset, prepare
from biot_bd.evaluation import SearchRecord, search
from biot_bd.evaluation.searching import trial
from biot_bd.training import FixedSubjects

pytestmark = pytest.mark.usefixtures("one_thread")
TINY = {"module__embed_dim": 8, "module__num_heads": 2, "module__num_layers": 1, "module__hop_length": 200}


@pytest.fixture(scope="module")
def windows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nested")
    recordings = load_dataset("demo", folder / "edf", n_subjects=8, recordings=1, minutes=2)
    return prepare(recordings, folder / "windows", window_s=4, stride_s=4)


class Spy:
    """Notes whose windows each step of each fit is given."""

    def __init__(self, monkeypatch):
        self.fits = []
        split, fit, proba = FixedSubjects.__call__, BIOTClassifier.fit, BIOTClassifier.predict_proba

        def spied_split(fixed, dataset, y, groups=None):
            train, valid = split(fixed, dataset, y, groups)
            self.fits[-1] |= {"train": set(groups[train.indices]), "valid": set(groups[valid.indices])}
            return train, valid

        def spied_fit(net, X, y=None, groups=None, **options):
            seen = set(groups) if groups is not None else set(X.groups)
            self.fits.append({"seen": seen, "train": seen, "valid": set(), "predicted": [], "seed": net.random_state})
            return fit(net, X, y, groups, **options)

        def spied_proba(net, X):
            self.fits[-1]["predicted"].append(set(X.groups))
            return proba(net, X)

        monkeypatch.setattr(FixedSubjects, "__call__", spied_split)
        monkeypatch.setattr(BIOTClassifier, "fit", spied_fit)
        monkeypatch.setattr(BIOTClassifier, "predict_proba", spied_proba)


def test_no_subject_is_on_two_sides_at_any_level(windows, tmp_path, monkeypatch):
    spy, labels = Spy(monkeypatch), []
    scored = trial._scored
    monkeypatch.setattr(trial, "_scored", lambda task: labels.append(task.outer) or scored(task))
    net = BIOTClassifier(max_epochs=1, batch_size=16, verbose=0, device="cpu", **TINY)
    pipeline = make_pipeline(PercentileScaler(), net)
    result = search(
        pipeline,
        {"biotclassifier__lr": [1e-3, 1e-2]},
        windows,
        cv="subject-kfold-2",
        inner_cv="subject-kfold-4",
        scoring=("balanced_accuracy", "roc_auc"),  # needs a threshold, and so the validation subjects
        folder=tmp_path / "run",
        progress=False,
    )
    everybody, splits = set(windows.groups), result.run["splits"]
    inner, outer = spy.fits[: len(labels)], spy.fits[len(labels) :]
    assert (len(inner), len(outer)) == (2 * 2 * 4, 2)
    for number, one in enumerate(inner):
        tested_outside = set(splits[labels[number]]["test"])
        valid, test = one["predicted"]
        assert test.isdisjoint(one["seen"])
        assert one["valid"] == valid
        assert valid
        assert one["train"].isdisjoint(valid)
        assert one["train"] | valid == one["seen"]
        assert one["seen"] | test == everybody - tested_outside
    for split, one in zip(splits, outer, strict=True):
        valid, test = one["predicted"]
        assert (one["train"], one["valid"], valid, test) == tuple(
            set(split[side]) for side in ("train", "valid", "valid", "test")
        )
        assert everybody == one["seen"] | test
        assert one["seen"].isdisjoint(test)
    for fold in (0, 1):  # every subject inside tests a candidate once, and validates
        own = [one for number, one in enumerate(inner) if labels[number] == fold]
        tests = sorted(subject for one in own[:4] for subject in one["predicted"][1])
        assert tests == sorted(everybody - set(splits[fold]["test"]))
    seeds = [one["seed"] for one in spy.fits]
    assert len(set(seeds)) == len(seeds)
    assert SearchRecord.open(tmp_path / "run").trials["state"].eq("finished").all()
