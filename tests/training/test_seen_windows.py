"""A classifier remembers its windows: others of the same subjects are not predicted without being asked to."""

import io
import pickle
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.utils import resample
from training_data import make_data, small

import biot_bd
from biot_bd import PercentileScaler, SubjectLeakError, Windows, load_dataset, load_pipeline, prepare, save_pipeline
from biot_bd.exceptions import SplitError
from biot_bd.signals.subject_array import SubjectArray
from biot_bd.training.fitted_facts import FittedFacts
from biot_bd.training.seen_windows import SeenWindows

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def windows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seen")
    recordings = load_dataset("demo", folder / "edf", n_subjects=3, recordings=1, minutes=2)
    return prepare(recordings, folder / "windows")


@pytest.fixture(scope="module")
def rows(windows):
    """Return windows that train (half of two subjects), the rest of those subjects, and the third subject's."""
    first, second, third = (np.flatnonzero(windows.groups == subject) for subject in sorted(set(windows.groups)))
    return np.r_[first[::2], second[::2]], np.r_[first[1::2], second[1::2]], third


def net(**kwargs):
    return small(max_epochs=1, train_split=None, **kwargs)


@pytest.fixture(scope="module")
def fitted(windows, rows):
    return make_pipeline(PercentileScaler(), net()).fit(windows[rows[0]], windows.y[rows[0]])


@pytest.mark.parametrize("method", ["predict", "predict_proba", "score"])
def test_other_windows_of_a_training_subject_raise(fitted, windows, rows, method):
    other = windows[rows[1]]
    n = len(other)
    with pytest.raises(SubjectLeakError, match=f"other windows of demo/01, demo/02, who test it in {n} of {n} windows"):
        getattr(fitted, method)(*((other, other.y) if method == "score" else (other,)))
    both = windows[np.sort(np.r_[rows[0], rows[1][:1]])]  # one is enough
    with pytest.raises(SubjectLeakError, match="demo/01, who tests it in 1 of"):
        fitted.predict_proba(both)


def test_training_windows_and_new_subjects_are_predicted(fitted, windows, rows):
    trained, _, new = rows
    whole = fitted.predict_proba(windows[trained])
    some = fitted.predict_proba(windows[trained[::-3]])  # other order, and a part of them
    np.testing.assert_allclose(some, whole[::-3], atol=1e-6)
    assert len(fitted.predict(windows[np.r_[trained, new]])) == len(trained) + len(new)
    assert 0 <= fitted.score(windows[new], windows.y[new]) <= 1


def test_what_is_not_protected_is_predicted(fitted, windows, rows, tmp_path):
    """Arrays name no subjects, and a saved model keeps subjects, not windows (docs/evaluation.md)."""
    other = windows[rows[1]]
    expected = clone(fitted).set_params(biotclassifier__seen_subjects="allow").fit(windows[rows[0]], windows.y[rows[0]])
    proba = expected.predict_proba(other)
    np.testing.assert_allclose(fitted.predict_proba(np.asarray(other)), proba, atol=1e-5)
    loaded = load_pipeline(save_pipeline(fitted, tmp_path / "model"))
    np.testing.assert_allclose(loaded.predict_proba(other), proba, atol=1e-5)
    assert loaded[-1].train_subjects_ == ("demo/01", "demo/02")


def test_the_option(fitted, windows, rows):
    copied = pickle.loads(pickle.dumps(fitted))
    other = windows[rows[1]]
    with pytest.raises(SubjectLeakError):
        copied.predict(other)
    copied.set_params(biotclassifier__seen_subjects="warn")  # no new weights
    with pytest.warns(UserWarning, match="trained on other windows of demo/01"):
        warned = copied.predict_proba(other)
    copied.set_params(biotclassifier__seen_subjects="allow")
    np.testing.assert_array_equal(copied.predict_proba(other), warned)
    with pytest.raises(ValueError, match="seen_subjects must be 'raise', 'warn' or 'allow', found 'no'"):
        net(seen_subjects="no").fit(windows, windows.y)


def test_a_personal_model_says_that_it_is_one(windows):
    own = windows.query("subject == 'demo/01'")
    earlier, later = own[: len(own) // 2 + 3], own[len(own) // 2 + 3 :]
    with pytest.raises(SubjectLeakError, match="seen_subjects='allow'"):
        net().fit(earlier, earlier.y).predict(later)
    assert len(net(seen_subjects="allow").fit(earlier, earlier.y).predict(later)) == len(later)


def test_what_is_remembered_follows_the_weights(windows, rows):
    trained, other, _ = rows
    model = net().fit(windows[trained], windows.y[trained])
    weights = io.BytesIO()
    model.save_params(f_params=weights)
    model.partial_fit(windows[other], windows.y[other])
    model.predict(windows[np.r_[trained, other]])  # both trained it
    model.fit(windows[other], windows.y[other])
    with pytest.raises(SubjectLeakError):
        model.predict(windows[trained])  # a new fit forgets
    weights.seek(0)
    model.load_params(f_params=weights)  # nobody knows what these saw
    assert model.facts_.seen is None
    assert len(model.predict(windows[trained])) == len(trained)


def test_a_model_without_windows_remembers_none():
    x, y, groups = make_data(n_subjects=2)
    assert net().fit(x, y, groups=groups).facts_.seen is None


def test_facts_are_saved_without_windows(windows, rows):
    facts = net().fit(windows[rows[0]], windows.y[rows[0]]).facts_
    assert facts.seen is not None
    assert "seen" not in facts.as_dict()
    assert FittedFacts.from_dict(facts.as_dict()).seen is None
    with pytest.raises(ValueError, match="do not have seen"):
        FittedFacts.from_dict({**facts.as_dict(), "seen": None})


def test_the_error_is_public():
    assert biot_bd.SubjectLeakError is SubjectLeakError
    assert issubclass(SubjectLeakError, SplitError)


def test_numbers_of_windows(windows):
    """The same window has the same number in every selection, other windows and tables others."""
    place = {number: i for i, number in enumerate(windows.row_ids.tolist())}
    assert len(place) == len(windows)
    some = windows.map(PercentileScaler())[5:40:3][::-1]
    assert [place[number] for number in some.row_ids.tolist()] == list(range(len(windows)))[5:40:3][::-1]
    cut = windows.relabel("overlap", stride_s=10)
    joined = Windows.concat([cut, windows])
    assert joined.row_ids.tolist() == [*cut.row_ids.tolist(), *windows.row_ids.tolist()]
    assert not set(cut.row_ids.tolist()) & set(place)
    assert pickle.loads(pickle.dumps(some)).row_ids.tolist() == some.row_ids.tolist()


def test_sides_that_scikit_learn_takes_know_each_other(windows):
    train, test = windows[np.arange(5), ...], windows[np.arange(5, 9), ...]
    assert train.other_side is test
    assert test.other_side is None
    assert train.map(PercentileScaler()).other_side is test
    assert train[1:].other_side is None
    assert pickle.loads(pickle.dumps(train)).other_side is None
    assert windows[:5].other_side is windows.other_side is None  # a user's selections
    mask = np.arange(len(windows)) < 5
    assert windows[mask, ...].other_side is None
    drawn = windows[[3, 3, 6], ...]
    more = windows[[6, 7], ...]
    assert drawn.other_side is None  # they share a window
    assert len(more) == 2
    del test
    assert train.other_side is None  # no longer in use
    second = windows[np.arange(9, 12), ...]
    assert train.other_side is None
    other = windows.map(PercentileScaler())[np.arange(3), ...]
    assert second.other_side is None  # of other windows
    assert other.other_side is None


def test_sides_in_threads_are_of_their_own(windows):
    taken = []

    def take(rows, turn, next_turn):
        turn.acquire()
        train = windows[rows[:4], ...]
        next_turn.release()
        turn.acquire()
        test = windows[rows[4:], ...]
        taken.append(train.other_side is test)
        next_turn.release()

    first, second = threading.Semaphore(1), threading.Semaphore(0)
    threads = [
        threading.Thread(target=take, args=args)
        for args in ((np.arange(9), first, second), (np.arange(9, 18), second, first))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert taken == [True, True]


def test_a_training_side_is_refused_before_anything_is_done(windows):
    train, test, labels, _ = train_test_split(windows, windows.y, random_state=0)
    model = net()
    with (
        pytest.warns(UserWarning, match="nothing was trained"),
        pytest.raises(
            SubjectLeakError, match=f"in {len(test)} of {len(test)} windows, would train the same model; keep"
        ),
    ):
        model.fit(train, labels)
    assert not hasattr(model, "facts_")
    net(seen_subjects="allow").fit(train, labels)
    twice = Windows.concat([windows, windows])
    with pytest.warns(UserWarning, match="nothing"), pytest.raises(SubjectLeakError):  # a window on both sides
        net().fit(*(sides := train_test_split(twice, twice.y, random_state=0))[::2])
    assert len(sides[1])
    drawn, again = (resample(windows, n_samples=60, random_state=seed) for seed in (0, 1))
    assert len(again) == len(net().fit(drawn, drawn.y).predict(drawn))  # not a split: windows are in both


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_leak_is_what_sets_say(data):
    """Against a plain truth: some asked window is new, and its subject trained."""
    n = data.draw(st.integers(1, 12))
    groups = np.array(data.draw(st.lists(st.sampled_from("abcd"), min_size=n, max_size=n)), dtype=object)
    x = SubjectArray(np.zeros((n, 1, 1)), groups)
    fits = data.draw(st.lists(st.lists(st.integers(0, n - 1), min_size=1), min_size=1, max_size=3))
    asked = data.draw(st.lists(st.integers(0, n - 1), max_size=12))
    seen = None
    for fit in fits:
        made = SeenWindows.of(x[fit])
        seen = made if seen is None else seen.joined(made)
    trained = {row for fit in fits for row in fit}
    whose = {groups[row] for row in trained}
    new = [row for row in asked if row not in trained and groups[row] in whose]
    found = seen.leak(x[np.array(asked, dtype=int)])
    assert (found is not None) == bool(new)
    if new:
        assert f" in {len(new)} of {len(asked)} windows" in found
        with pytest.raises(SubjectLeakError):
            seen.check(x[np.array(asked, dtype=int)])
