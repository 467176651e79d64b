"""Samplers: probabilities in closed form, epochs that repeat and go on after a kill, and never a validation window."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.utils.class_weight import compute_class_weight
from skorch.callbacks import Callback
from test_input_data import recordings
from torch.utils.data import SequentialSampler
from training_data import SUBJECTS, make_data, small

from biot_bd.signals import PercentileScaler
from biot_bd.training import BackgroundSubsample, ClassBalanced, SubjectBalanced, load_pipeline, save_pipeline
from biot_bd.training.sampling.strategies import PAGE_SHUFFLE, SAMPLERS, class_counts, make_epochs, resolve_sampler
from biot_bd.windows import prepare
from biot_bd.windows.labels import Overlap

# Shuffling by pages is for Windows alone: see test_data_loading.py.
NAMES = [name for name in SAMPLERS if name != PAGE_SHUFFLE]


@st.composite
def training_side(draw, n_classes=2):
    """Targets and subjects of some windows; every class occurs."""
    n = draw(st.integers(n_classes, 60))
    y = draw(st.lists(st.integers(0, n_classes - 1), min_size=n, max_size=n))
    y[:n_classes] = range(n_classes)
    subjects = draw(st.lists(st.sampled_from(["a/1", "a/2", "b/1", "c/9"]), min_size=n, max_size=n))
    return np.array(y), np.array(subjects, dtype=object)


def share(p, chosen):
    return float(np.asarray(p)[chosen].sum())


# --- probabilities ----------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(training_side(n_classes=3), st.sampled_from([0.0, 0.5, 1.0]))
def test_classes_have_the_shares_of_the_formula(side, strength):
    y, _ = side
    p = ClassBalanced(strength=strength)(y).weights
    n = np.array([np.sum(y == c) for c in range(3)])
    wanted = [float(n[c]) ** (1 - strength) / sum(float(k) ** (1 - strength) for k in n) for c in range(3)]
    np.testing.assert_allclose([share(p, y == c) for c in range(3)], wanted, rtol=1e-12)
    for c in range(3):  # within a class all windows are alike
        assert len(set(p[torch.from_numpy(y == c)].tolist())) == 1


@settings(deadline=None, max_examples=60)
@given(training_side())
def test_subjects_of_a_class_are_equally_likely_by_subject(side):
    y, subjects = side
    p = ClassBalanced(by_subject=True)(y, subjects).weights
    for c in (0, 1):
        of_class = sorted(set(subjects[y == c]))
        for subject in of_class:
            assert share(p, (y == c) & (subjects == subject)) == pytest.approx(0.5 / len(of_class), rel=1e-12)


@settings(deadline=None, max_examples=60)
@given(training_side(), st.sampled_from([0.0, 0.3, 1.0]))
def test_subjects_have_the_shares_of_the_formula(side, strength):
    y, subjects = side
    epochs = SubjectBalanced(strength=strength)(y, subjects)
    n = {subject: float(np.sum(subjects == subject)) for subject in subjects}
    total = sum(k ** (1 - strength) for k in n.values())
    for subject, k in n.items():
        assert share(epochs.weights, subjects == subject) == pytest.approx(k ** (1 - strength) / total, rel=1e-12)
    expected = [len(y) * share(epochs.weights, y == c) for c in (0, 1)]
    np.testing.assert_allclose(epochs.class_counts, expected)


def test_strength_zero_leaves_the_data_as_they_are():
    y, subjects = np.array([0, 0, 0, 1]), np.array(["a", "b", "b", "b"], dtype=object)
    for sampler in (ClassBalanced(strength=0), SubjectBalanced(strength=0)):
        np.testing.assert_allclose(sampler(y, subjects).weights, 0.25)


@pytest.mark.parametrize("name", ["class-balanced", "subject-balanced", "class-subject-balanced"])
def test_draws_follow_the_probabilities(name):
    rng = np.random.default_rng(4)
    y = (rng.random(80) < 0.1).astype(int)
    y[:2] = 0, 1
    subjects = rng.choice(["a", "b", "c"], 80, p=[0.7, 0.2, 0.1]).astype(object)
    epochs = replace(SAMPLERS[name], epoch_size=40000)(y, subjects)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = np.array(list(epochs))
    assert len(drawn) == len(epochs) == 40000
    found = np.bincount(drawn, minlength=80)
    assert chisquare(found, 40000 * np.asarray(epochs.weights)).pvalue > 1e-4
    np.testing.assert_allclose(np.bincount(y[drawn]), epochs.class_counts, rtol=0.03)


@pytest.mark.parametrize(("size", "wanted"), [(None, 40), (7, 7), (0.5, 20), (2.0, 80), (1e-9, 1)])
def test_epoch_size(size, wanted):
    y = np.arange(40) % 4 // 3
    assert len(ClassBalanced(epoch_size=size)(y)) == wanted
    assert len(list(SubjectBalanced(epoch_size=size)(y, np.full(40, "a", dtype=object)))) == wanted


# --- background -------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=80)
@given(training_side(n_classes=3), st.sampled_from([0.05, 1.0, 1.5, 100.0]), st.booleans(), st.integers(0, 99))
def test_all_seizure_windows_and_a_subsample_of_background(side, ratio, by_subject, seed):
    y, subjects = side
    epochs = BackgroundSubsample(ratio, by_subject=by_subject)(y, subjects)
    n_other, n_background = int(np.sum(y > 0)), int(np.sum(y == 0))
    wanted = min(n_background, max(1, round(ratio * n_other)))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        drawn = list(epochs)
    assert len(drawn) == len(set(drawn)) == len(epochs) == n_other + wanted
    assert set(np.flatnonzero(y > 0)) <= set(drawn)
    np.testing.assert_array_equal(np.bincount(y[drawn], minlength=3), epochs.class_counts)
    if by_subject:  # dealt out one by one, as long as a subject has some
        sizes = [int(np.sum((y == 0) & (subjects == p))) for p in sorted(set(subjects[y == 0]))]
        dealt = [0] * len(sizes)
        while sum(dealt) < wanted:
            for i, size in enumerate(sizes):
                if dealt[i] < size and sum(dealt) < wanted:
                    dealt[i] += 1
        found = [sum(y[i] == 0 and subjects[i] == p for i in drawn) for p in sorted(set(subjects[y == 0]))]
        assert sorted(found) == sorted(dealt)


def test_every_background_window_is_equally_likely_and_epochs_differ():
    y = np.r_[np.ones(5, dtype=int), np.zeros(100, dtype=int)]
    epochs = BackgroundSubsample(ratio=4)(y)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = [list(epochs) for _ in range(2000)]
    assert len({tuple(sorted(d)) for d in drawn}) == 2000
    times = np.bincount(np.concatenate(drawn), minlength=105)
    assert (times[:5] == 2000).all()
    # 20 of 100 in each epoch; five standard deviations of a binomial distribution
    np.testing.assert_allclose(times[5:], 400, atol=5 * np.sqrt(2000 * 0.2 * 0.8))
    first = np.array([d[0] for d in drawn])
    assert 0.1 < np.mean(first < 5) < 0.3  # in random order: 5 of 25


def test_the_background_class_may_be_another():
    epochs = BackgroundSubsample(ratio=1, background=1)(np.array([1, 1, 1, 1, 0]))
    assert len(epochs) == 2
    np.testing.assert_array_equal(epochs.class_counts, [1, 1])


# --- what is refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: ClassBalanced(strength=1.1), "strength must lie between"),
        (lambda: SubjectBalanced(strength="much"), "strength must lie between"),
        (lambda: ClassBalanced(epoch_size=0), "epoch_size must be"),
        (lambda: SubjectBalanced(epoch_size=float("nan")), "epoch_size must be"),
        (lambda: ClassBalanced(epoch_size=True), "epoch_size must be"),
        (lambda: BackgroundSubsample(ratio=0), "ratio must be positive"),
        (lambda: BackgroundSubsample(ratio=float("inf")), "ratio must be positive"),
        (lambda: BackgroundSubsample(background=-1), "position among the classes"),
        (lambda: BackgroundSubsample()(np.zeros(3, dtype=int)), "found 3 and 0"),
        (lambda: resolve_sampler("class-ballanced"), "did you mean 'class-balanced'"),
        (lambda: resolve_sampler(3), "must be None, a name"),
        (lambda: resolve_sampler(ClassBalanced), "must be None, a name"),
        (lambda: make_epochs(lambda y, subjects: 3, np.array([0, 1]), None), "must return a torch Sampler"),
        (lambda: make_epochs(lambda y, subjects: [], np.array([0, 1]), None), "would be empty"),
        (lambda: SubjectBalanced()(np.array([0, 1]), np.array(["a", None], dtype=object)), "window 1 has no subject"),
        (lambda: SubjectBalanced()(np.array([0, 1]), np.array(["", "a"], dtype=object)), "window 0 has no subject"),
        (lambda: SubjectBalanced()(np.array([0, 1]), np.array(["a"], dtype=object)), r"shape \(2,\), found \(1,\)"),
    ],
)
def test_bad_values_are_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()


@pytest.mark.parametrize(
    "sampler", ["subject-balanced", "class-subject-balanced", BackgroundSubsample(by_subject=True)]
)
def test_missing_subjects_are_an_error(data, sampler):
    x, y, _ = data
    with pytest.raises(ValueError, match="needs the subject of each training window"):
        small(sampler=sampler, train_split=None).fit(x, y)


def test_more_windows_than_torch_can_weigh(monkeypatch):
    monkeypatch.setattr("biot_bd.training.sampling.strategies.MOST_WEIGHTS", 3)
    with pytest.raises(ValueError, match="at most 3 weighted windows, found 4"):
        ClassBalanced()(np.array([0, 0, 0, 1]))


def test_two_samplers_are_an_error(data):
    x, y, groups = data
    net = small(sampler="class-balanced", iterator_train__sampler=SequentialSampler(range(4)))
    with pytest.raises(ValueError, match="either sampler or iterator_train__sampler"):
        net.fit(x, y, groups=groups)


# --- in the classifier ------------------------------------------------------------------------------------


class Seen(Callback):
    """Note which windows each pass reads; the first sample of a window is its number."""

    def on_train_begin(self, net, **kwargs):
        self.seen_ = {True: [], False: []}

    def on_epoch_begin(self, net, **kwargs):
        for part in self.seen_.values():
            part.append([])

    def on_batch_end(self, net, batch=None, training=False, **kwargs):
        self.seen_[training][-1] += batch[0][:, 0, 0].round().int().tolist()


def numbered(data):
    x, y, groups = data
    x = x.copy()
    x[:, 0, 0] = np.arange(len(x))
    return x, y, groups


def seen_by(net):
    return next(callback for _, callback in net.callbacks_ if isinstance(callback, Seen)).seen_


@pytest.mark.parametrize("sampler", [*NAMES, BackgroundSubsample(1.0, by_subject=True)])
def test_training_draws_no_validation_window_and_validation_reads_each_once(data, sampler):
    x, y, groups = numbered(data)
    net = small(sampler=sampler, callbacks=[Seen()], patience=None).fit(x, y, groups=groups)
    seen = seen_by(net)
    assert len(seen[True]) == net.max_epochs
    train = set(np.flatnonzero(np.isin(groups, net.train_subjects_)))
    valid = set(range(len(x))) - train
    assert len(valid) > 0
    for epoch in seen[True]:
        assert set(epoch) <= train
    for epoch in seen[False]:
        assert sorted(epoch) == sorted(valid)
    assert len({tuple(epoch) for epoch in seen[True]}) == net.max_epochs


def test_epochs_are_as_long_as_the_sampler_says(data):
    x, y, groups = numbered(data)
    n_train = len(small(callbacks=[Seen()], max_epochs=1).fit(x, y, groups=groups).train_subjects_) * 10
    n_seizure = n_train * 4 // 10
    for sampler, length in (
        ("class-balanced", n_train),
        (ClassBalanced(epoch_size=11), 11),
        (BackgroundSubsample(0.5), n_seizure + n_seizure // 2),
    ):
        net = small(sampler=sampler, callbacks=[Seen()], max_epochs=2, batch_size=8).fit(x, y, groups=groups)
        assert [len(epoch) for epoch in seen_by(net)[True]] == [length] * 2
        assert net.history[:, "train_batch_count"] == [-(-length // 8)] * 2
    all_at_once = small(sampler=ClassBalanced(epoch_size=11), max_epochs=1, batch_size=-1).fit(x, y, groups=groups)
    assert all_at_once.history[0, "train_batch_count"] == 1
    dropping = small(sampler=ClassBalanced(epoch_size=20), iterator_train__drop_last=True, max_epochs=1, batch_size=8)
    assert dropping.fit(x, y, groups=groups).history[0, "train_batch_count"] == 2


def test_without_a_sampler_each_window_is_read_once(data):
    x, y, groups = numbered(data)
    net = small(callbacks=[Seen()]).fit(x, y, groups=groups)
    train = np.flatnonzero(np.isin(groups, net.train_subjects_)).tolist()
    assert all(sorted(epoch) == train for epoch in seen_by(net)[True])
    assert net.training_note_ is None
    assert "train_scores_on" not in net.history[-1]


def same(a, b, x):
    assert a.history[:, "train_loss"] == b.history[:, "train_loss"]
    states = a.module_.state_dict(), b.module_.state_dict()
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    np.testing.assert_array_equal(a.predict_proba(x), b.predict_proba(x))


@pytest.mark.parametrize("sampler", NAMES)
def test_random_state_repeats_the_epochs(data, sampler):
    x, y, groups = numbered(data)
    if sampler == "background-subsample":
        sampler = BackgroundSubsample(0.5)
    nets = [small(sampler=sampler, callbacks=[Seen()], random_state=s).fit(x, y, groups=groups) for s in (3, 3, 4)]
    same(nets[0], nets[1], x)
    epochs = [seen_by(net)[True] for net in nets]
    assert epochs[0] == epochs[1] != epochs[2]


class Killed(Exception):
    pass


class KillAt(Callback):
    """Stop the fit in the middle of its third epoch while a file exists."""

    def __init__(self, switch):
        self.switch = switch

    def on_batch_end(self, net, training=False, **kwargs):
        if not training and len(net.history) == 3 and Path(self.switch).exists():
            raise Killed


@pytest.mark.parametrize("random_state", [0, None])
@pytest.mark.parametrize(
    ("sampler", "augment"),
    [
        ("class-balanced", None),
        ("subject-balanced", None),
        ("class-subject-balanced", "light"),
        (BackgroundSubsample(0.5, by_subject=True), "strong"),
        (None, ["FTSurrogate", "MaskEncoding"]),
    ],
)
def test_a_killed_fit_equals_one_that_was_not(data, tmp_path, sampler, augment, random_state):
    x, y, groups = data
    switch = tmp_path / "kill"
    settings = {
        "sampler": sampler,
        "augment": augment,
        "max_epochs": 5,
        "patience": None,
        "random_state": random_state,
        "callbacks": [("kill", KillAt(str(switch)))],
    }

    def fit(folder, seed):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        return small(restart_dir=folder, **settings).fit(x, y, groups=groups)

    whole = fit(None, 3)
    switch.touch()
    with pytest.raises(Killed):
        fit(tmp_path / "r", 3)
    switch.unlink()
    again = fit(tmp_path / "r", 99)
    same(whole, again, x)
    assert len(again.history) == 5


def test_another_sampler_is_another_fit(data, tmp_path):
    x, y, groups = data
    small(restart_dir=tmp_path, sampler=BackgroundSubsample(1.0)).fit(x, y, groups=groups)
    with pytest.warns(UserWarning, match="other parameters or data"):
        small(restart_dir=tmp_path, sampler=BackgroundSubsample(2.0)).fit(x, y, groups=groups)


@pytest.fixture(scope="module")
def windows(tmp_path_factory):
    return prepare(
        recordings(),
        tmp_path_factory.mktemp("windows"),
        sfreq=200,
        window_s=2.0,
        stride_s=2.0,
        labels=Overlap(min_overlap_s=1.0),
        dtype="float32",
    )


def test_windows_and_arrays_draw_alike(windows):
    array = windows.read(np.arange(len(windows)))
    for sampler in NAMES:
        of_windows = small(sampler=sampler, max_epochs=2).fit(windows, windows.y)
        of_array = small(sampler=sampler, max_epochs=2).fit(array, windows.y, groups=windows.groups)
        same(of_windows, of_array, array)


# --- what follows the drawn classes -----------------------------------------------------------------------


def test_priors_and_balanced_weights_follow_what_is_drawn(data):
    x, y, groups = data
    correct = {"criterion": "cross-entropy", "criterion__prior_correction": True, "max_epochs": 1}
    plain = small(**correct).fit(x, y, groups=groups)
    assert plain.class_counts_ == [30, 20]
    np.testing.assert_allclose(plain.criterion_.log_prior.exp(), [0.6, 0.4], rtol=1e-6)
    drawn = small(sampler="class-balanced", **correct).fit(x, y, groups=groups)
    np.testing.assert_allclose(drawn.criterion_.log_prior.exp(), [0.5, 0.5], rtol=1e-6)
    fewer = small(sampler=BackgroundSubsample(0.25), **correct).fit(x, y, groups=groups)
    assert fewer.class_counts_ == [5, 20]
    np.testing.assert_allclose(fewer.criterion_.log_prior.exp(), [0.2, 0.8], rtol=1e-6)
    weights = {
        name: small(sampler=name, class_weight="balanced", max_epochs=1).fit(x, y, groups=groups).class_weight_
        for name in (None, "class-balanced")
    }
    train_y = y[np.isin(groups, plain.train_subjects_)]
    assert weights[None] == compute_class_weight("balanced", classes=np.array([0, 1]), y=train_y).tolist()
    np.testing.assert_allclose(weights["class-balanced"], [1, 1])


def test_a_sampler_of_ones_own():
    x, y, groups = numbered(make_data())

    def first_half(targets, subjects):
        assert subjects.shape == targets.shape
        return SequentialSampler(range(len(targets) // 2))

    net = small(sampler=first_half, callbacks=[Seen()], max_epochs=1).fit(x, y, groups=groups)
    train = np.flatnonzero(np.isin(groups, net.train_subjects_))
    assert seen_by(net)[True] == [train[: len(train) // 2].tolist()]
    assert net.class_counts_ == [30, 20]  # it does not say its own
    assert class_counts(None, y, 2) == [36, 24]


def test_training_scores_say_that_they_are_of_drawn_windows(data):
    x, y, groups = data
    net = small(sampler="class-balanced", augment="light").fit(x, y, groups=groups)
    assert net.history[:, "train_scores_on"] == ["sampled and augmented"] * len(net.history)
    assert "sampler='class-balanced'" in net.training_note_
    assert "GaussianNoise" in net.training_note_


# --- as a parameter ---------------------------------------------------------------------------------------


def test_clone_pickle_grid(data, windows):
    x, y, groups = data
    net = small(sampler=ClassBalanced(by_subject=True), augment=["TimeReverse"], max_epochs=1)
    copied = clone(net)
    assert copied.sampler == net.sampler
    assert copied.augment == net.augment
    fitted = pickle.loads(pickle.dumps(net.fit(x, y, groups=groups)))
    np.testing.assert_array_equal(fitted.predict_proba(x), net.predict_proba(x))
    assert fitted.sampler == net.sampler
    search = GridSearchCV(
        make_pipeline(PercentileScaler(), small(max_epochs=1, patience=None)),
        {
            "biotclassifier__sampler": [None, "subject-balanced", BackgroundSubsample(1.0)],
            "biotclassifier__augment": [None, "light"],
        },
        cv=GroupKFold(2),
        scoring="average_precision",
        error_score="raise",
    )
    search.fit(windows, windows.y, groups=windows.groups)
    assert len(search.cv_results_["params"]) == 6


@pytest.mark.parametrize(
    "sampler", ["background-subsample", ClassBalanced(strength=0.5, epoch_size=12), BackgroundSubsample(2.0, True)]
)
def test_saved_and_loaded(data, tmp_path, sampler):
    x, y, groups = data
    net = small(sampler=sampler, max_epochs=1).fit(x, y, groups=groups)
    loaded = load_pipeline(save_pipeline(net, tmp_path))
    assert loaded.sampler == sampler
    assert type(loaded.sampler) is type(sampler)
    assert loaded.class_counts_ == net.class_counts_
    np.testing.assert_array_equal(loaded.predict_proba(x), net.predict_proba(x))


def test_a_subject_with_few_windows_counts_as_much(data):
    x, y, groups = numbered(data)
    keep = np.r_[np.arange(12), np.arange(20, 60)]  # the second subject keeps two windows
    x, y, groups = x[keep], y[keep], groups[keep]
    sampler = SubjectBalanced(epoch_size=5000)
    net = small(sampler=sampler, callbacks=[Seen()], max_epochs=1, batch_size=1000, train_split=None, patience=None)
    (epoch,) = seen_by(net.fit(x, y, groups=groups))[True]
    of = dict(zip(x[:, 0, 0].astype(int).tolist(), groups, strict=True))
    times = np.array([sum(of[i] == subject for i in epoch) for subject in SUBJECTS])
    np.testing.assert_allclose(times / 5000, 1 / 6, atol=0.03)
