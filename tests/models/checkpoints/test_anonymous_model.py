"""Models without names: what is rewritten, and what the guard still tells."""

import hashlib
import json

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd.evaluation.model_selection.contamination import Origin, check_contamination, comparison_notes
from biot_bd.exceptions import ContaminationError
from biot_bd.models import Provenance, Seen, check_clean
from biot_bd.models.checkpoints.anonymous_facts import PUBLISHED_ENTRIES, replaced_names, rewritten
from biot_bd.models.checkpoints.anonymous_model import anonymise_model, is_anonymous_model
from biot_bd.models.checkpoints.published import KNOWN
from biot_bd.runs import read_json, write_json

A, B = "0a" * 16, "0b" * 16
SEEN = Provenance("models/smith").extended(
    ["clinic/smith", "clinic/jones"], recordings=[("clinic/smith", A), ("clinic/jones", B)]
)


def table(*rows):
    return pd.DataFrame(
        [{"recording": f"r{n}", "subject": s, "digest": d, "namespace_from": None} for n, (s, d) in enumerate(rows)]
    )


def test_numbers_for_names_and_the_salted_digests_stay():
    told = SEEN.without_names()
    text = json.dumps(told.to_dict())
    assert not any(word in text for word in ("smith", "jones", "clinic", "models"))
    assert told.known
    assert [one.salt for one in told.recordings] == [one.salt for one in SEEN.recordings]
    assert len(told.saw_recording(A)) == len(told.saw_recording(B)) == 1
    assert told.saw_recording(A) != told.saw_recording(B)
    assert told.without_names().trained_on == told.trained_on  # twice is once


def test_published_names_and_entries_stay():
    known = KNOWN["six-datasets-18"].provenance
    started = known.extended(["siena/PN00", "clinic/smith"], recordings=[("clinic/smith", A)])
    told = started.without_names(published=PUBLISHED_ENTRIES)
    assert set(known.trained_on) <= set(told.trained_on)
    assert told.saw(["chb-mit/01", "siena/PN00"]) == ["chb-mit/01", "siena/PN00"]
    assert told.known


@pytest.mark.parametrize(
    "seen",
    [
        Provenance("m").extended(["clinic/smith"]),  # of arrays: nothing tells the recordings
        Provenance("m", (Seen("clinic-of-smith", None, "supervised"),)),  # all of a private data set
        Provenance("m", (), known=False),
    ],
)
def test_what_nobody_could_tell_any_more_is_not_known(seen):
    told = seen.without_names()
    assert not told.known
    with pytest.raises(ContaminationError, match="nothing tells"):
        check_clean(told, ["clinic/other"])


def test_the_same_recording_is_refused_under_any_name():
    origins = [Origin("pretrained", SEEN.without_names("mine"))]
    for name in ("clinic/smith", "anonymous-00000000/subject-009", "chb-mit/01"):
        with pytest.raises(ContaminationError, match="the samples are the same"):
            check_contamination(origins, [name], recordings=table((name, A)))


def test_other_recordings_pass_and_outputs_say_that_recordings_alone_were_compared():
    origins = [Origin("pretrained", SEEN.without_names("mine"))]
    for name in ("clinic/smith", "anonymous-00000000/subject-009"):
        rows = table((name, "0c" * 16))
        assert check_contamination(origins, [name], recordings=rows) is None
        assert "recordings alone" in comparison_notes(origins, rows)[0]


@pytest.mark.parametrize(
    "recordings", [None, table(("clinic/other", None)), table(("clinic/other", "0c" * 16), ("clinic/other", None))]
)
def test_where_recordings_are_not_all_told_numbers_are_refused(recordings):
    origins = [Origin("pretrained", SEEN.without_names("mine"))]
    with pytest.raises(ContaminationError, match="nobody can tell"):
        check_contamination(origins, ["clinic/other"], recordings=recordings)


def test_a_model_with_names_but_no_recordings_is_refused_for_anonymous_windows():
    origins = [Origin("pretrained", Provenance("mine").extended(["clinic/smith"]))]
    name = "anonymous-00000000/subject-001"
    with pytest.raises(ContaminationError, match="nobody can tell"):
        check_contamination(origins, [name], recordings=table((name, "0c" * 16)))
    with pytest.raises(ContaminationError, match="nobody can tell"):
        check_clean(origins[0].provenance, [name])


def test_subjects_of_one_anonymous_store_are_compared_by_their_numbers():
    own = Provenance("mine").extended(
        ["anonymous-00000000/subject-001"], recordings=[("anonymous-00000000/subject-001", A)]
    )
    origins = [Origin("pretrained", own)]
    other, same = "anonymous-00000000/subject-002", "anonymous-00000000/subject-001"
    assert check_contamination(origins, [other], recordings=table((other, "0c" * 16))) is None
    with pytest.raises(ContaminationError, match="was trained on anonymous-00000000/subject-001"):
        check_contamination(origins, [same], recordings=table((same, "0c" * 16)))


def test_a_published_checkpoint_says_of_anonymous_subjects_that_they_are_none_of_its_own():
    name = "anonymous-00000000/subject-001"
    origins = [Origin("pretrained", KNOWN["six-datasets-18"].provenance)]
    assert check_contamination(origins, [name], recordings=table((name, "0c" * 16))) is None


FACTS = {
    "format": "biot_bd pipeline",
    "pipeline": {
        "params": {"pretrained": "/eeg/smith/model", "log_dir": "/eeg/smith/log"},
        "fitted": {"provenance": SEEN.to_dict()},
    },
    "record": {
        "title": "as models/smith, of clinic/jones",
        "notes": ["made in /eeg/smith on 2019-11-23 21:43", "clinic/smith has few seizures"],
        "subjects": {"train": ["clinic/jones"], "valid": ["clinic/smith"], "test": []},
        "data": {
            "folder": "/eeg/smith/windows",
            "subjects": {"clinic/jones": {"n_windows": 2}, "clinic/smith": {"n_windows": 1}},
        },
        "trained_on": SEEN.to_dict(),
        "study": "0123456789abcdef",
    },
}


def test_a_folder_is_rewritten_with_one_number_a_subject(tmp_path):
    folder = tmp_path / "m"
    exported = folder / "exports/onnx"
    write_json(folder / "pipeline.json", FACTS)
    write_json(folder / "config.json", {"n_chans": 2, "chs_info": None})
    write_json(
        folder / "metrics.json",
        {
            "subjects": {"clinic/smith": {"auc": 0.5}},
            "seizures": [{"recording": "smith-night", "subject": "clinic/smith"}],
        },
    )
    write_json(
        folder / "tuning.json",
        {"reviewer": "dr-brown", "date": "2019-11-23", "chosen_on": {"what": "reviewed by dr-brown, 2019-11-23"}},
    )
    write_json(exported / "events.json", {"validation": {"subjects": ["clinic/smith"]}})
    write_json(
        exported / "artifact.json",
        {
            "created": "2019-11-23T21:43:17+00:00",
            "source": {"folder_name": "smith", "record": FACTS["record"]},
            "files": {"events.json": "old", "model.onnx": "old"},
        },
    )
    (exported / "model.onnx").write_bytes(b"graph")
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "tensorboard").mkdir()
    (folder / "tensorboard/events.out.tfevents.1.smith-pc").write_bytes(b"x")
    (folder / "README.md").write_text("by Smith")
    anonymise_model(folder)
    everything = "".join(f"{p}{p.read_text()}" for p in sorted(folder.rglob("*")) if p.is_file()).lower()
    assert not any(
        word in everything for word in ("smith", "jones", "clinic", "brown", "/eeg", "2019", "0123456789abcdef")
    )
    found = read_json(folder / "pipeline.json")
    number = found["record"]["subjects"]["valid"][0]
    assert number in found["record"]["notes"][1]
    assert list(read_json(folder / "metrics.json")["subjects"]) == [number]
    assert read_json(exported / "events.json")["validation"]["subjects"] == [number]
    assert found["record"]["data"]["subjects"][number] == {"n_windows": 1}
    digest = hashlib.sha256((exported / "events.json").read_bytes()).hexdigest()
    assert read_json(exported / "artifact.json")["files"] == {
        "events.json": digest,
        "model.onnx": hashlib.sha256(b"graph").hexdigest(),
    }
    assert is_anonymous_model(found)
    assert read_json(folder / "config.json") == {"n_chans": 2, "chs_info": None}


def test_a_folder_that_holds_no_model_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="no saved or exported model"):
        anonymise_model(tmp_path)


words = st.text(st.characters(categories=("L", "N"), include_characters=" -_./'"), min_size=1, max_size=12).map(
    lambda text: f"Zq{text}qZ"
)


@settings(max_examples=50)
@given(words, words, words)
def test_names_of_any_letters_leave_every_place(subject, recording, reviewer):
    name = f"space/{subject.replace('/', '-')}"
    facts = {
        "subjects": {"train": [name], "valid": []},
        "by": {"subjects": {name: 1}, "recordings": {recording: {"subject": name}}},
        "notes": [f"{name} in {recording}, read by {reviewer}"],
        "reviewer": reviewer,
        "folder": f"/eeg/{recording}",
    }
    text = json.dumps(rewritten(facts, replaced_names([facts])), ensure_ascii=False)
    assert not any(word in text for word in (name, recording, reviewer))


def test_subjects_without_a_data_set_are_numbered_as_in_the_record():
    seen = Provenance("m").extended(["p0", "p1"], recordings=[("p0", A), ("p1", B)])
    facts = {"record": {"subjects": {"train": ["p0", "p1"], "valid": []}, "trained_on": seen.to_dict()}}
    told = rewritten(facts, replaced_names([facts]))["record"]
    assert Provenance.from_dict(told["trained_on"]).known
    assert Provenance.from_dict(told["trained_on"]).saw(told["subjects"]["train"]) == sorted(told["subjects"]["train"])
    assert "p0" not in json.dumps(told)
