"""Windows that a run or a model was made from are not replaced behind its back."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
from child_commands import bound_by_permissions
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from biot_bd import BIOTClassifier, Windows, prepare
from biot_bd.evaluation import fit_all
from biot_bd.exceptions import StoreInUseError
from biot_bd.windows import Overlap
from biot_bd.windows.store_users import note_user, users_of


@pytest.fixture
def prepared(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared") / "w"
    prepare(small, folder)
    return folder


@pytest.fixture
def store(prepared, tmp_path):
    """A store that the run beside it uses."""
    folder = shutil.copytree(prepared, tmp_path / "w")
    (tmp_path / "run").mkdir()
    note_user(Windows.open(folder), tmp_path / "run")
    return folder


def content(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


OTHERS = {
    "window": ({"window_s": 5}, "window_s is 10.0 there and 5.0 here"),
    "stride": ({"stride_s": 10}, "stride_s is 5.0 there and 10.0 here"),
    "rule": ({"labels": Overlap(min_overlap_s=2)}, "label_parameters is"),
    "bad": ({"on_bad": "warn"}, "on_bad is 'drop' there and 'warn' here"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_parameters_are_refused_and_the_store_stays_as_it_is(small, store, kind):
    options, message = OTHERS[kind]
    before = content(store)
    with pytest.raises(StoreInUseError) as caught:
        prepare(small, store, **options)
    text = str(caught.value)
    assert message in text
    assert str(store.parent / "run") in text
    assert "--overwrite" in text
    assert "\n" not in text
    assert content(store) == before
    prepare(small, store, overwrite=True, **options)
    assert users_of(store) == []


@settings(max_examples=5, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    stride_s=st.sampled_from([2.5, 5.0, 7.5]),
    window_s=st.sampled_from([5.0, 10.0]),
    n=st.integers(1, 6),
    noted=st.booleans(),
)
def test_only_what_changes_windows_in_use_is_refused(small, prepared, tmp_path_factory, stride_s, window_s, n, noted):
    base = tmp_path_factory.mktemp("drawn")
    folder = shutil.copytree(prepared, base / "w")
    before = Windows.open(folder).fingerprint
    if noted:
        (base / "run").mkdir()
        note_user(Windows.open(folder), base / "run")
    dataset = type(small)(small.datasets[:n])
    same = (stride_s, window_s, n) == (5.0, 10.0, len(small.datasets))
    if noted and not same:
        with pytest.raises(StoreInUseError):
            prepare(dataset, folder, stride_s=stride_s, window_s=window_s)
        assert Windows.open(folder).fingerprint == before
    else:
        assert (prepare(dataset, folder, stride_s=stride_s, window_s=window_s).fingerprint == before) == same


def test_recordings_that_are_new_gone_or_changed_are_named(small, make, store, tmp_path):
    fewer = type(small)(small.datasets[:-1])
    with pytest.raises(StoreInUseError, match=r"r5 is not in the data set"):
        prepare(fewer, store)
    more = make.dataset([(make.edf(tmp_path / "z.edf", 30, 7), "z", "p/9", [(3, 20)])])
    with pytest.raises(StoreInUseError, match=r"z is new"):
        prepare(type(small)([*small.datasets, *more.datasets]), store)
    assert set(Windows.open(store).metadata["recording"]) == {f"r{n}" for n in range(6)}


@pytest.mark.parametrize("moved", ["run", "store", "both", "copied"])
def test_a_run_or_a_store_that_was_moved_is_protected(small, store, tmp_path, moved):
    place = store
    if moved == "copied":
        shutil.copytree(tmp_path / "run", tmp_path / "other")
        shutil.rmtree(tmp_path / "run")
    elif moved == "both":
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "run").rename(tmp_path / "elsewhere" / "run")
        place = store.rename(tmp_path / "elsewhere" / "w")
    elif moved == "run":
        (tmp_path / "run").rename(tmp_path / "other")
    else:
        place = store.rename(tmp_path / "w2")
    before = content(place)
    with pytest.raises(StoreInUseError) as caught:
        prepare(small, place, stride_s=10)
    assert f"{tmp_path / 'run'}{'' if moved == 'store' else ' (moved or deleted since)'} was made from" in str(
        caught.value
    )
    assert content(place) == before
    assert len(prepare(small, place, stride_s=10, overwrite=True)) > 0
    assert users_of(place) == []


def test_a_training_that_fails_at_once_does_not_use_the_store(store, tmp_path):
    shutil.rmtree(store / "users")
    with pytest.raises(ValueError, match="lr"):
        fit_all(BIOTClassifier(lr="fast", device="cpu", max_epochs=1), Windows.open(store), tmp_path / "model")
    assert users_of(store) == []


def test_a_relabelled_table_is_in_use_only_where_signals_change(small, store, tmp_path):
    shutil.rmtree(store / "users")
    other = Windows.open(store).relabel("overlap", window_s=5)
    note_user(other, tmp_path / "run")
    prepare(small, store, stride_s=10)
    assert Windows.open(other.folder).fingerprint == other.fingerprint
    with pytest.raises(StoreInUseError, match="not in the data set"):
        prepare(type(small)(small.datasets[:2]), store, stride_s=10)


def test_the_same_call_does_not_ask(small, store):
    before = content(store)
    prepare(small, store)
    assert content(store) == before


def test_what_failed_stays_out_of_windows_in_use(small, make, tmp_path):
    folder, path = tmp_path / "w", make.edf(tmp_path / "z.edf", 4)
    short = make.dataset([(path, "z", "p/9", [])])
    both = type(small)([*small.datasets, *short.datasets])
    with pytest.warns(UserWarning, match="1 of 7 recordings were skipped"):
        windows = prepare(both, folder, on_error="skip")
    (tmp_path / "run").mkdir()
    note_user(windows, tmp_path / "run")
    before = content(folder)
    with pytest.warns(UserWarning, match="1 of 7 recordings were skipped"):
        prepare(both, folder, on_error="skip")
    assert content(folder) == before


def test_a_killed_preparation_of_windows_in_use_is_finished_first(small, store):
    (store / "manifest.json").unlink()  # as a killed call leaves it
    with pytest.raises(StoreInUseError, match="did not finish, and this call makes others"):
        prepare(small, store, stride_s=10)
    assert len(prepare(small, store)) > 0
    assert users_of(store)


def test_overwriting_takes_other_signals_and_other_recordings(small, make, store, tmp_path):
    relabelled = Windows.open(store).relabel("overlap", window_s=5)
    with pytest.raises(ValueError, match=r"other signals: sfreq is 200.0 there and 100.0 here.*--overwrite"):
        prepare(small, store, sfreq=100)
    windows = prepare(small, store, sfreq=100, overwrite=True)
    assert windows.sfreq == 100
    assert not relabelled.folder.exists()
    other = make.dataset([(make.edf(tmp_path / "z.edf", 30, 7), "z", "other/1", [(3, 20)])])
    assert set(prepare(other, store, sfreq=100, overwrite=True).groups) == {"other/1"}
    assert {p.stem for p in (store / "signals").iterdir()} == {"z"}


def test_a_note_that_is_damaged_is_named(small, store):
    (note,) = (store / "users").iterdir()
    note.write_text(json.dumps(["run"]))
    with pytest.raises(ValueError, match=rf"{note.name}: not the note of a user"):
        prepare(small, store, stride_s=10)


def test_a_store_that_may_not_be_written_is_used_all_the_same(store, tmp_path):
    def note():
        bound_by_permissions()  # of this thread alone
        with pytest.raises(PermissionError):
            (users / "x").touch()
        note_user(Windows.open(store), tmp_path)

    users = store / "users"
    before = set(users.iterdir())
    users.chmod(0o555)
    store.chmod(0o555)
    try:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(note).result()
    finally:
        store.chmod(0o755)
        users.chmod(0o755)
    assert set(users.iterdir()) == before
