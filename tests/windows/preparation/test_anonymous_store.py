"""Stores without names: numbers that stay, and what is refused."""

import datetime
import shutil

import pandas as pd
import pytest
from planted_names import found_in, found_in_text, plant

from biot_bd import load_dataset, prepare
from biot_bd.events.texts import SEIZURE
from biot_bd.exceptions import StoreInUseError
from biot_bd.runs import read_json
from biot_bd.windows import Annotated, Windows
from biot_bd.windows.preparation.anonymity import is_kind
from biot_bd.windows.store_users import note_user

TODAY = [datetime.date.today()]


@pytest.fixture(scope="module")
def edf(tmp_path_factory):
    return plant(tmp_path_factory.mktemp("recordings"), seconds=25, subjects=("quillfeather", "thistlewood"))


@pytest.fixture(scope="module")
def windows(edf, tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    return prepare(load_dataset("recordings-folder", edf), folder / "windows", anonymous=True, key=folder / "key.tsv")


def subjects_of(key):
    table = pd.read_csv(key, sep="\t")
    return dict(zip(table["name"], table["recording"] + " " + table["subject"], strict=True))


def test_nothing_in_a_store_names_anybody(windows):
    assert windows.anonymous
    assert found_in(windows.folder, TODAY) == []
    assert found_in_text(f"{windows!r} {windows.metadata.to_csv()} {windows.fingerprint}", TODAY) == []
    assert list(windows.recordings["recording"]) == [f"recording-000{n}" for n in range(1, 5)]
    assert {name.rpartition("/")[2] for name in windows.groups} == {"subject-001", "subject-002"}


def test_kinds_of_seizures_stay_and_free_text_goes(windows):
    kinds = {row[2] for one in windows.entries for row in one.annotations}
    assert kinds == {"sz_foc_ia"}
    assert len(windows.seizures) == 4


@pytest.mark.parametrize(
    ("text", "stays"),
    [
        (SEIZURE, True),
        ("sz_gen_m_tonicClonic", True),
        ("fnsz", True),
        ("sz_Smith", False),
        ("Smith", False),
        ("", False),
    ],
)
def test_words_for_kinds_are_those_of_the_standards(text, stays):
    assert is_kind(text) is stays


def test_descriptions_that_the_label_rule_asks_for_stay(edf, tmp_path):
    rule = Annotated(
        classes=("rest", "asked"), descriptions={"Patient asked for Mr Oppenshaw": "asked"}, background="rest"
    )
    made = prepare(load_dataset("recordings-folder", edf), tmp_path / "w", labels=rule, anonymous=True)
    assert set(made.classes) == {"rest", "asked"}


def test_numbers_stay_when_recordings_come_go_and_are_renamed(edf, tmp_path):
    copy, key = shutil.copytree(edf, tmp_path / "copy"), tmp_path / "key.tsv"

    def prepared():
        prepare(load_dataset("recordings-folder", copy), tmp_path / "w", anonymous=True, key=key)
        return subjects_of(key)

    before = prepared()
    plant(tmp_path / "more", seconds=25, subjects=("quillfeather", "thistlewood", "applegarth"))
    shutil.move(next((tmp_path / "more").rglob("Applegarth")), copy / "Aaron")
    after = prepared()
    assert before.items() <= after.items()
    assert {number.partition(" ")[0] for name, number in after.items() if name not in before} == {
        "recording-0005",
        "recording-0006",
    }
    for path in [*(copy / "Thistlewood").iterdir()]:
        path.rename(path.with_name(f"renamed-{path.name}"))
    (copy / "Thistlewood").rename(copy / "Zoe")
    assert {*prepared().values()} == {*after.values()}


def test_two_stores_of_the_same_recordings_share_no_name_and_are_known_as_the_same(edf, windows, tmp_path):
    other = prepare(load_dataset("recordings-folder", edf), tmp_path / "w", anonymous=True)
    assert not set(other.groups) & set(windows.groups)
    assert list(other.recordings["digest"]) == list(windows.recordings["digest"])


def test_a_store_with_names_and_one_without_are_not_mixed(edf, windows, tmp_path):
    dataset = load_dataset("recordings-folder", edf)
    prepare(dataset, tmp_path / "named")
    for overwrite in (False, True):
        with pytest.raises(ValueError, match="choose another folder"):
            prepare(dataset, tmp_path / "named", anonymous=True, overwrite=overwrite)
        with pytest.raises(ValueError, match="holds anonymous windows"):
            prepare(dataset, windows.folder, overwrite=overwrite)


def test_who_uses_an_anonymous_store_is_not_told_but_counts(edf, tmp_path):
    dataset = load_dataset("recordings-folder", edf)
    made = prepare(dataset, tmp_path / "w", anonymous=True)
    note_user(made, tmp_path / "quillfeather")
    assert found_in(tmp_path / "w", TODAY) == []
    with pytest.raises(StoreInUseError, match="a run or model that is not named"):
        prepare(dataset, tmp_path / "w", stride_s=10, anonymous=True)


def test_a_key_without_anonymous_and_a_key_among_the_windows_are_refused(edf, tmp_path):
    dataset = load_dataset("recordings-folder", edf)
    with pytest.raises(ValueError, match="anonymous=True"):
        prepare(dataset, tmp_path / "w", key=tmp_path / "key.tsv")
    with pytest.raises(ValueError, match="who is who"):
        prepare(dataset, tmp_path / "w", anonymous=True, key=tmp_path / "w/key.tsv")
    assert not (tmp_path / "w").exists()


def test_a_killed_call_leaves_numbers_for_the_next(edf, tmp_path):
    dataset, key = load_dataset("recordings-folder", edf), tmp_path / "key.tsv"
    prepare(dataset, tmp_path / "w", anonymous=True, key=key)
    before = subjects_of(key)
    (tmp_path / "w/manifest.json").unlink()  # as where it was killed while it wrote signals
    prepare(dataset, tmp_path / "w", anonymous=True, key=key)
    assert subjects_of(key) == before


def test_pseudonyms_of_a_published_data_set_stay(tmp_path):
    made = prepare(
        load_dataset("demo", tmp_path / "edf", n_subjects=2, recordings=1, minutes=1), tmp_path / "w", anonymous=True
    )
    assert all(name.startswith("demo/") for name in made.groups)
    assert list(made.recordings["recording"]) == ["recording-0001", "recording-0002"]
    assert Windows.open(tmp_path / "w").anonymous
    assert read_json(tmp_path / "w/manifest.json")["recordings"][0]["source"] is None
