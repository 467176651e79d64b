"""What a model was trained on, and the refusal to test it on those subjects."""

import json

import pytest
from checkpoint_files import encoder_of, tiny
from hypothesis import given
from hypothesis import strategies as st
from torch import save as torch_save

import biot_bd
from biot_bd.exceptions import ContaminationError
from biot_bd.models import provenance_of, save_checkpoint
from biot_bd.models.checkpoints.provenance import Provenance, Seen, check_clean
from biot_bd.models.checkpoints.published import KNOWN, by_blob_id, git_blob_id, listed
from biot_bd.runs import write_json

CHBMIT = [f"chb-mit/{i:02d}" for i in (*range(1, 21), 22, 23, 24)]


def test_what_the_published_checkpoints_saw_of_chb_mit():
    assert provenance_of("prest-16").saw(CHBMIT) == []
    assert provenance_of("shhs-prest-18").saw(CHBMIT) == []
    six = provenance_of("six-datasets-18")
    assert six.saw(CHBMIT) == CHBMIT[:20]
    assert KNOWN["six-datasets-18"].trained_on[-1].subjects == tuple(CHBMIT[:20])
    assert set(CHBMIT) - set(six.saw(CHBMIT)) == {"chb-mit/22", "chb-mit/23", "chb-mit/24"}
    assert [KNOWN[name].n_channels for name in KNOWN] == [16, 18, 18]


def test_the_public_error_is_a_value_error():
    assert biot_bd.exceptions.ContaminationError is ContaminationError
    assert issubclass(ContaminationError, ValueError)


def test_refusal_says_who_and_how_to_go_on():
    six = provenance_of("six-datasets-18")
    with pytest.raises(
        ContaminationError, match=r"six-datasets-18 was trained on chb-mit/03 of chb-mit \(supervised\)"
    ):
        check_clean(six, ["chb-mit/03", "chb-mit/22"])
    text = check_clean(six, ["chb-mit/03", "chb-mit/22"], allow=True)
    assert text.startswith("contaminated: six-datasets-18 was trained on chb-mit/03")
    assert check_clean(six, ["chb-mit/22", "chb-mit/23"]) is None
    assert check_clean(None, CHBMIT) is None


def test_many_subjects_are_counted():
    with pytest.raises(ContaminationError, match="and 8 more"):
        check_clean(provenance_of("six-datasets-18"), CHBMIT)


@pytest.mark.parametrize("subjects", [None, []])
def test_data_without_subjects_are_refused(subjects):
    with pytest.raises(ContaminationError, match="no subjects"):
        check_clean(provenance_of("prest-16"), subjects)
    assert "no subjects" in check_clean(provenance_of("prest-16"), subjects, allow=True)


def test_whole_data_sets():
    provenance = Provenance("mine", (Seen("tuab", None, "unsupervised"),))
    assert provenance.saw(["tuab/a", "tuab/b", "tuabx/a", "chb-mit/01", "tuab"]) == ["tuab", "tuab/a", "tuab/b"]


def test_an_unknown_checkpoint_is_refused(tmp_path):
    path = tmp_path / "weights.ckpt"
    torch_save(encoder_of(tiny()), path)
    found = provenance_of(path)
    assert found == Provenance(str(path), (), known=False)
    with pytest.raises(ContaminationError, match=r"nothing tells.*weights\.ckpt\.json"):
        check_clean(found, ["set/01"])
    write_json(
        tmp_path / "weights.ckpt.json", {"trained_on": [{"dataset": "set", "subjects": ["set/02", "03"], "how": "x"}]}
    )
    found = provenance_of(str(path))
    assert found.known
    assert check_clean(found, ["set/01"]) is None
    assert found.saw(["set/01", "set/02", "set/03"]) == ["set/02", "set/03"]


def test_a_sidecar_of_other_weights_is_refused(tmp_path):
    path = save_checkpoint(tiny(), tmp_path / "a.ckpt", ["set/01"])
    assert provenance_of(path).saw(["set/01"]) == ["set/01"]
    torch_save(encoder_of(tiny(seed=1)), path)
    with pytest.raises(ValueError, match="the record of another file"):
        provenance_of(path)


@pytest.mark.parametrize(
    "content",
    [
        {"trained_on": "chb-mit"},
        {"trained_on": [{"dataset": "chb-mit"}]},
        {"trained_on": [{"dataset": "chb-mit", "subjects": "01"}]},
        {"trained_on": [{"dataset": "chb-mit", "subjects": [1]}]},
        {"trained_on": [{"dataset": 3, "subjects": None}]},
        {"trained_on": [], "known": "yes"},
    ],
)
def test_a_damaged_record_names_the_file(tmp_path, content):
    path = tmp_path / "weights.ckpt"
    torch_save(encoder_of(tiny()), path)
    (tmp_path / "weights.ckpt.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"weights\.ckpt\.json: .*(trained_on|known|subjects)"):
        provenance_of(path)


def test_chains():
    first = Provenance("a").extended(["set/02", "set/01"], source="first")
    second = first.extended(["other/07"], how="unsupervised", source="second")
    assert second.trained_on == (
        Seen("set", ("set/01", "set/02"), "supervised"),
        Seen("other", ("other/07",), "unsupervised"),
    )
    assert second.saw(["set/01", "other/07", "set/09"]) == ["other/07", "set/01"]
    assert second.extended(["set/02", "set/01"]) == second
    # Training on nameless windows makes the whole chain unknown.
    assert not second.extended([]).known
    assert not Provenance("x", (), known=False).extended(["set/01"]).known
    assert first.joined(Provenance("x", (Seen("z", None, "?"),), known=False)).saw(["z/1"]) == ["z/1"]


subjects = st.lists(st.from_regex(r"[a-z]{1,4}/[0-9]{1,2}", fullmatch=True), max_size=5)
seen = st.builds(Seen, st.sampled_from(["a", "chb-mit"]), st.none() | subjects.map(tuple), st.sampled_from(["s", "u"]))
provenances = st.builds(Provenance, st.text(min_size=1), st.lists(seen, max_size=3).map(tuple), st.booleans())


@given(provenances)
def test_json_and_back(provenance):
    assert Provenance.from_dict(json.loads(json.dumps(provenance.to_dict()))) == provenance
    assert Provenance.from_dict({"trained_on": provenance.to_dict()}) == provenance


@given(provenances, subjects)
def test_training_on_somebody_is_never_forgotten(provenance, names):
    assert provenance.extended(names).saw(names) == sorted(set(names))
    assert set(provenance.saw(names)) <= set(names)


def test_blob_ids_are_those_of_git(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "hello").write_bytes(b"hello world\n")
    assert git_blob_id(tmp_path / "empty") == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    assert git_blob_id(tmp_path / "hello") == "3b18e512dba79e4c8300dd08aeb37f8e728b8dad"


def test_published_files_are_known_by_id_and_repository():
    for one in KNOWN.values():
        assert by_blob_id(one.blob_id) is one
        assert listed(one.repository) is listed(one.name) is one
        assert provenance_of(one.repository).trained_on == one.trained_on
    assert by_blob_id("0" * 40) is None
    assert listed("me/mine") is None


def test_a_folder_with_its_record(tmp_path):
    (tmp_path / "trained_on.json").write_text(json.dumps({"trained_on": [{"dataset": "d", "subjects": None}]}))
    assert provenance_of(tmp_path).saw(["d/1", "e/1"]) == ["d/1"]
    (tmp_path / "trained_on.json").unlink()
    assert not provenance_of(tmp_path).known
    with pytest.raises(FileNotFoundError, match="prest-16"):
        provenance_of("prest16")
