"""The contamination guard and the names of data sets: the recordings decide, names of folders do not."""

import json
import shutil

import pytest
from two_clinics import anonymous_copy, prepared, save_model, tiny, write_clinic

from biot_bd import ContaminationError, SubjectSplit, Windows, cross_validate, load_pipeline
from biot_bd.evaluation import recalibrate
from biot_bd.evaluation.final_model import fit_all
from biot_bd.evaluation.model_selection.contamination import check_contamination, comparison_notes, find_origins
from biot_bd.exceptions import SubjectLeakError
from biot_bd.models import provenance_of


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("identity")


@pytest.fixture(scope="module")
def seen(place):
    """The windows that the model saw."""
    return prepared(write_clinic(place / "a" / "recordings"), place / "seen")


@pytest.fixture(scope="module")
def model(place, seen):
    return save_model(seen, place / "model")


@pytest.fixture(scope="module")
def hidden(place, seen):
    """The same recordings, anonymised, in another folder under other names of subjects."""
    root = anonymous_copy(place / "a" / "recordings", place / "b" / "study", rename=lambda s: "kid" + s[-1])
    return prepared(root, place / "hidden")


@pytest.fixture(scope="module")
def others(place):
    """Another hospital whose folder and children are called the same."""
    return write_clinic(place / "c" / "recordings", seed=1)


def checked(source, windows, **options):
    origins = find_origins([{"pretrained": str(source)}])
    return check_contamination(origins, set(windows.groups), recordings=windows.recordings, **options)


def test_the_same_folder_is_refused_by_name(model, seen):
    with pytest.raises(ContaminationError, match=r"was trained on recordings/P01, .* among the 3 test subjects"):
        checked(model, seen)


def test_another_name_does_not_hide_a_recording(model, hidden):
    with pytest.raises(ContaminationError, match=r"kid1__visit of study/kid1 \(there of recordings/P01\)") as caught:
        cross_validate(tiny(pretrained=str(model)), hidden, cv="subject-loo", progress=False)
    assert "\n" not in str(caught.value)
    with pytest.raises(ContaminationError, match="kid2__visit"):
        list(SubjectSplit("subject-loo", checkpoint=str(model)).split(hidden))
    with pytest.raises(ContaminationError, match="kid3__visit"):
        fit_all(tiny(pretrained=str(model)), hidden, "never-made", hold_out=["study/kid3"])


def test_only_recordings_that_test_matter(model, hidden, others, place):
    mixed = Windows.concat([hidden.query("subject == 'study/kid1'"), prepared(others, place / "o", namespace="o")])
    origins = find_origins([{"pretrained": str(model)}])
    assert check_contamination(origins, ["o/P01"], recordings=mixed.recordings) is None
    with pytest.raises(ContaminationError, match=r"kid1__visit of study/kid1"):
        check_contamination(origins, ["o/P01", "study/kid1"], recordings=mixed.recordings)


def test_what_was_allowed_is_told_everywhere(model, hidden, place):
    run = cross_validate(
        tiny(pretrained=str(model)),
        hidden,
        cv="subject-kfold-2",
        folder=place / "run",
        progress=False,
        allow_contaminated=True,
    )
    facts = json.loads((place / "run" / "run.json").read_text())
    assert facts["contamination"].startswith("contaminated: ")
    assert "kid1__visit of study/kid1" in facts["contamination"]
    assert facts["contaminated_subjects"] == ["study/kid1", "study/kid2", "study/kid3"]
    assert run.metrics["contamination"] == facts["contamination"]


def test_it_holds_through_chains(model, seen, hidden, others, place):
    second = save_model(prepared(others, place / "others-a", namespace="a"), place / "second", pretrained=str(model))
    assert len(provenance_of(second).recordings) == 2
    with pytest.raises(ContaminationError, match=r"kid1__visit of study/kid1 \(there of recordings/P01\)"):
        checked(second, hidden)
    text = (second / "pipeline.json").read_text()
    plain = [digest for windows in (seen, Windows.open(place / "others-a")) for digest in windows.recordings["digest"]]
    assert len(plain) == 6
    assert not any(digest in text for digest in plain)


def test_recalibration_is_refused_what_trained_under_other_names(model, hidden):
    loaded = load_pipeline(model)
    with pytest.raises(ValueError, match=r"recordings/P0. trained the model"):
        recalibrate(loaded, hidden)
    (validated,) = loaded.valid_subjects_
    of_validation = hidden.query(f"subject == 'study/kid{validated[-1]}'")
    assert recalibrate(loaded, of_validation, method="sigmoid").recalibration.subjects


def test_two_hospitals_with_one_name_are_a_doubt_until_told_apart(model, others, place):
    with pytest.raises(ContaminationError, match=r"no recording is the same here.*namespace=") as caught:
        checked(model, prepared(others, place / "doubt"))
    assert "\n" not in str(caught.value)
    allowed = checked(model, Windows.open(place / "doubt"), allow=True)
    assert allowed.subjects == ("recordings/P01", "recordings/P02", "recordings/P03")
    assert checked(model, prepared(others, place / "apart", namespace="clinic-c")) is None
    # Who says the same name on purpose means the same child.
    with pytest.raises(ContaminationError, match="who are among the 3 test subjects"):
        checked(model, prepared(others, place / "same", namespace="recordings"))


def test_models_and_stores_of_before_are_compared_by_name_which_is_said(model, seen, hidden, others, place):
    old = shutil.copytree(model, place / "old-model")
    (old / "pipeline.json").write_text(json.dumps(without_recordings(json.loads((old / "pipeline.json").read_text()))))
    assert provenance_of(old).known
    with pytest.raises(ContaminationError, match="who are among the 3"):
        checked(old, seen)
    assert checked(old, hidden) is None
    run = cross_validate(tiny(pretrained=str(old)), hidden, cv="subject-kfold-2", progress=False)
    assert [note for note in run.run["notes"] if "by name alone, as it does not tell which recordings" in note]
    clean = prepared(others, place / "noted", namespace="clinic-d")
    assert noted(model, clean) == []
    manifest = place / "noted" / "manifest.json"
    manifest.write_text(json.dumps(without_digests(json.loads(manifest.read_text()))))
    shutil.copytree(place / "noted", place / "old-store")
    (note,) = noted(model, Windows.open(place / "old-store"))
    assert "do not tell all recordings" in note


def noted(model, windows):
    return comparison_notes(find_origins([{"pretrained": str(model)}]), windows.recordings)


def without_recordings(facts):
    """Return a description without what the models of before did not say."""
    if isinstance(facts, list):
        return [without_recordings(item) for item in facts]
    if not isinstance(facts, dict):
        return facts
    told = "trained_on" in facts
    return {k: without_recordings(v) for k, v in facts.items() if not (told and k == "recordings")}


def without_digests(manifest):
    new = ("digest", "namespace_from")
    entries = [{k: v for k, v in entry.items() if k not in new} for entry in manifest["recordings"]]
    return manifest | {"recordings": entries}


def test_one_recording_under_two_subjects_is_refused(seen, hidden, place):
    with pytest.raises(
        SubjectLeakError, match=r"'P01__rec1' of recordings/P01 and 'kid1__visit' of study/kid1 are one"
    ):
        Windows.concat([seen, hidden])
    # Of one data set, too.
    root = write_clinic(place / "d" / "twice", subjects=("P01", "P02"))
    shutil.copytree(root / "P01", root / "P09")
    with pytest.warns(UserWarning, match=r"'P01__rec1' of twice/P01 and 'P09__rec1' of twice/P09 are one recording"):
        windows = prepared(root, place / "twice")
    with pytest.raises(SubjectLeakError, match="P09__rec1"):
        cross_validate(tiny(), windows, progress=False)
    with pytest.raises(SubjectLeakError, match="P09__rec1"):
        list(SubjectSplit("subject-loo").split(windows))
    assert len(list(SubjectSplit("subject-loo").split(windows.query("recording != 'P09__rec1'")))) == 2
