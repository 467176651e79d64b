"""Kaggle's HMS: the exact layout on the disk, its votes in windows, loss, metric, submission."""

import numpy as np
import pandas as pd
import pytest
import torch
from hms_files import CHANNELS, PATIENTS, VOTES, row, write_eeg, write_hms
from scipy.special import rel_entr
from sklearn.pipeline import make_pipeline

from biot_bd import BIOTClassifier, cross_validate, load_dataset, load_pipeline, prepare, registry, save_pipeline
from biot_bd.datasets import find_layouts
from biot_bd.exceptions import EmptyDatasetError, RecordingError, SubjectLeakError
from biot_bd.signals import PercentileScaler
from biot_bd.testing import check_dataset, check_label_rule, check_loss, check_metric
from biot_bd.windows import Windows
from biot_bd_hms.kl_loss import KLDivergence
from biot_bd_hms.kl_metric import KL_DIVERGENCE, kl_divergence
from biot_bd_hms.layout import CLASSES
from biot_bd_hms.submission import submission
from biot_bd_hms.votes import HMSMiddle, HMSVotes

ANNOTATIONS = [(20.0, 10.0, "votes 3 0 0 0 0 1"), (24.0, 10.0, "votes 0 2 0 0 0 0"), (60.0, 10.0, "eyes closed")]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_hms(tmp_path_factory.mktemp("kaggle") / "hms")


@pytest.fixture(scope="module")
def windows(root, tmp_path_factory):
    return prepare(load_dataset("hms", root), tmp_path_factory.mktemp("store"), labels="hms-votes")


def network(**settings):
    sizes = {"module__embed_dim": 8, "module__num_heads": 1, "module__num_layers": 1, "module__drop_prob": 0.0}
    given = {"criterion": "kl-divergence", "classes": None, "monitor": "valid_loss", "max_epochs": 4, "device": "cpu"}
    return make_pipeline(PercentileScaler(), BIOTClassifier(**{**sizes, **given, "random_state": 0, **settings}))


def copy_of(root, tmp_path, table=None):
    """Return another folder with the same recordings and a changed table."""
    other = tmp_path / "hms"
    other.mkdir()
    for name in ("train_eegs", "test_eegs"):
        (other / name).symlink_to(root / name)
    for name in ("train.csv", "test.csv"):
        pd.read_csv(root / name).to_csv(other / name, index=False)
    if table is not None:
        table.to_csv(other / "train.csv", index=False)
    return other


# --- the data set ---------------------------------------------------------------------------------


def test_the_data_set_loss_metric_and_rules_pass_the_checks(root):
    check_dataset(load_dataset("hms", root))
    check_dataset(load_dataset("hms", root, part="test"))
    check_loss(registry.losses["kl-divergence"])
    check_metric(registry.metrics["kl_divergence"])
    for settings in ({}, {"window_s": 40.0}):
        check_label_rule(HMSVotes, settings, annotations=ANNOTATIONS)
    check_label_rule(HMSMiddle)


def test_signals_are_the_columns_of_the_file_in_volts_read_when_asked_for(root):
    raw = load_dataset("hms", root).datasets[1].raw
    assert not raw.preload
    table = pd.read_parquet(root / "train_eegs" / "1000001.parquet")
    assert (raw.ch_names, raw.info["sfreq"], raw.n_times) == (CHANNELS, 200.0, 10_000)
    assert raw.get_channel_types() == ["eeg"] * 19 + ["ecg"]
    np.testing.assert_allclose(raw.get_data(), table.to_numpy(float).T * 1e-6, rtol=1e-12)
    np.testing.assert_array_equal(raw.get_data(["O2", "Fp1"], 7000, 7003), raw.get_data()[[18, 0], 7000:7003])


def test_any_stretch_of_a_file_of_several_row_groups_is_read(root, tmp_path):
    other = copy_of(root, tmp_path)
    (other / "train_eegs").unlink()
    (other / "train_eegs").mkdir()
    table = write_eeg(tmp_path / "whole.parquet", 50, 5)
    table.to_parquet(other / "train_eegs" / "1000001.parquet", row_group_size=1700)
    raw = load_dataset("hms", other).datasets[0].raw
    for start, stop in ((0, 10_000), (1699, 1701), (3400, 5100), (9_999, 10_000)):
        np.testing.assert_allclose(raw.get_data(None, start, stop), table.to_numpy(float)[start:stop].T * 1e-6)


def test_a_window_is_the_middle_ten_seconds_of_its_row_with_the_share_of_votes(root, windows):
    labels = pd.read_csv(root / "train.csv").sort_values(["eeg_id", "eeg_label_offset_seconds"])
    votes = labels[VOTES].to_numpy(float)
    order = windows.metadata.assign(at=range(len(windows))).sort_values(["recording", "start_s"])["at"].to_numpy()
    assert windows.classes == CLASSES
    np.testing.assert_allclose(windows.targets[order], votes / votes.sum(axis=1, keepdims=True), atol=1e-12)
    np.testing.assert_array_equal(windows.y[order], votes.argmax(axis=1))
    np.testing.assert_allclose(windows.metadata["start_s"].to_numpy()[order], labels["eeg_label_offset_seconds"] + 20)
    assert set(windows.groups) == {f"hms/{patient}" for patient in PATIENTS}
    eeg = pd.read_parquet(root / "train_eegs" / "1000000.parquet")
    first = int(order[1])  # its second row begins at 4 s
    expected = (eeg["Fp1"] - eeg["F7"]).to_numpy()[4800:6800]
    found = windows[np.array([first])].read([0])[0, list(windows.ch_names).index("Fp1-F7")]
    np.testing.assert_allclose(found, expected, atol=0.1)


def test_the_whole_fifty_seconds_may_be_the_window(root, tmp_path):
    found = prepare(load_dataset("hms", root, patients=PATIENTS[:2]), tmp_path, labels=HMSVotes(window_s=50.0))
    assert found.shape[1:] == (16, 10_000)
    assert sorted(found.metadata["start_s"])[:2] == [0.0, 0.0]
    again = Windows.open(tmp_path)
    np.testing.assert_array_equal(again.targets, found.targets)


def test_rows_with_few_votes_are_left_out_and_counted():
    table = HMSVotes(min_votes=3)(20_000, 200.0, [], annotations=ANNOTATIONS)
    assert table["start_sample"].tolist() == [4000]
    assert table.attrs["notes"] == ["1 windows left out, fewer than 3 votes"]
    far = HMSVotes(window_s=50.0)(10_000, 200.0, [], window_s=50.0, annotations=[(22.0, 10.0, "votes 1 0 0 0 0 0")])
    assert (len(far), far.attrs["notes"]) == (0, ["1 windows left out, they would leave the recording"])


def test_gaps_and_absent_channels_stay_absent(root, tmp_path):
    other = copy_of(root, tmp_path)
    (other / "train_eegs").unlink()
    (other / "train_eegs").mkdir()
    write_eeg(other / "train_eegs" / "1000000.parquet", 60, 3, gap=slice(0, 5000))
    write_eeg(other / "train_eegs" / "1000001.parquet", 50, 4, absent=("T3",))
    eeg = write_eeg(other / "train_eegs" / "1000010.parquet", 60, 5)
    eeg.assign(Fpz=1.0).drop(columns="EKG").to_parquet(other / "train_eegs" / "1000010.parquet")
    dataset = load_dataset("hms", other)
    outcomes = dataset.outcomes.set_index("recording")
    assert outcomes.loc["hms-1000010", "detail"] == "column(s) left out: Fpz; without the column(s) EKG"
    assert outcomes.loc["hms-1000011", "outcome"] == "missing-file"
    found = prepare(dataset, tmp_path / "store", labels="hms-votes", on_missing="drop")
    frame, present = found.metadata, pd.DataFrame(found.present, columns=found.ch_names)
    lacking = present[(frame["recording"] == "hms-1000001").to_numpy()].iloc[0]
    assert set(lacking.index[~lacking]) == {"F7-T7", "T7-P7", "C3-T7", "T7-C3"} & set(found.ch_names)
    of_gap = frame["recording"] == "hms-1000000"  # 20 s to 30 s are half a gap, 30 s to 40 s none
    assert frame.loc[of_gap, "start_s"].tolist() == [30.0]
    assert present[of_gap.to_numpy()].all(axis=None)


def test_folders_are_recognised(root):
    assert [layout.dataset for layout in find_layouts(root)] == ["hms"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seizure_vote": -1}, "votes that are no whole numbers"),
        ({"lpd_vote": 1.5}, "votes that are no whole numbers"),
        ({"gpd_vote": np.nan}, "no number as gpd_vote"),
        ({"eeg_label_offset_seconds": 31.0}, "outside of the 60 s"),
        ({"eeg_label_offset_seconds": -2.0}, "outside of the 60 s"),
        (dict.fromkeys(VOTES, 0), None),
    ],
)
def test_rows_that_cannot_be_are_refused_with_their_label(root, tmp_path, change, told):
    table = pd.read_csv(root / "train.csv").astype(dict.fromkeys(VOTES, float))
    table.loc[1, list(change)] = list(change.values())
    other = copy_of(root, tmp_path, table)
    if told is None:
        detail = load_dataset("hms", other).outcomes.set_index("recording").loc["hms-1000000", "detail"]
        assert detail.startswith("1 row(s) without a vote left out")
        return
    with pytest.raises(RecordingError, match=f"1000000.parquet: label_id 10000001 has .*{told}"):
        load_dataset("hms", other)
    skipped = load_dataset("hms", other, on_error="skip")
    assert skipped.outcomes.set_index("recording").loc["hms-1000000", "outcome"] == "bad-annotation"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: pd.concat([t, t.iloc[[3]]]), "label_id 10000003 occurs twice"),
        (lambda t: t.assign(patient_id=np.arange(len(t))), "eeg_id 1000000 is of several patients"),
        (lambda t: t.assign(patient_id=t["patient_id"].where(t.index != 5)), "row 5: patient_id is nan"),
        (lambda t: t.drop(columns=["grda_vote"]), r"lacks the column\(s\) grda_vote"),
    ],
)
def test_tables_that_cannot_be_are_refused(root, tmp_path, change, told):
    with pytest.raises(ValueError, match=told):
        load_dataset("hms", copy_of(root, tmp_path, change(pd.read_csv(root / "train.csv"))))


def test_a_file_that_is_no_parquet_or_has_other_columns_is_named(root, tmp_path):
    other = copy_of(root, tmp_path)
    (other / "train_eegs").unlink()
    (other / "train_eegs").mkdir()
    with pytest.raises(EmptyDatasetError, match="none of 12 recordings"):
        load_dataset("hms", other)
    damaged = other / "train_eegs" / "1000000.parquet"
    damaged.write_bytes(b"PAR1 nothing")
    with pytest.raises(RecordingError, match=r"1000000.parquet: no readable parquet"):
        load_dataset("hms", other)
    pd.DataFrame({"time": np.arange(10_000), "LL": 0.0}).to_parquet(damaged)
    with pytest.raises(RecordingError, match=r"columns .*'time', 'LL'"):
        load_dataset("hms", other)


def test_what_experts_are_said_to_agree_on_is_compared_with_the_votes(root, tmp_path):
    table = pd.read_csv(root / "train.csv")
    table.loc[0, "expert_consensus"] = "Other"
    detail = load_dataset("hms", copy_of(root, tmp_path, table)).outcomes["detail"]
    assert detail[0] == "expert_consensus is not the class with most votes in 1 row(s); votes count"
    assert (detail[1:] == "").all()


# --- loss and metric ------------------------------------------------------------------------------


def test_the_loss_is_the_divergence_of_scipy_and_its_gradient_p_minus_t():
    rng = np.random.default_rng(0)
    logits = torch.tensor(rng.normal(0, 3, (9, 6)), requires_grad=True)
    targets = rng.dirichlet(np.full(6, 0.3), 9)
    targets[0] = np.eye(6)[2]
    loss = KLDivergence(reduction="sum")(logits, torch.tensor(targets))
    loss.backward()
    proba = logits.softmax(dim=1).detach().numpy()
    assert loss.item() == pytest.approx(rel_entr(targets, proba).sum(), rel=1e-10)
    np.testing.assert_allclose(logits.grad.numpy(), proba - targets, atol=1e-12)


def test_the_metric_is_kaggles_mean_over_rows_with_its_clipping():
    targets = np.array([[1.0, 0, 0, 0, 0, 0], [0.5, 0.5, 0, 0, 0, 0]])
    proba = np.array([[0.5, 0.1, 0.1, 0.1, 0.1, 0.1], [0.25, 0.75, 0, 0, 0, 0]])
    by_hand = (np.log(2) + 0.5 * np.log(2) + 0.5 * np.log(2 / 3)) / 2
    assert kl_divergence(targets, proba) == pytest.approx(by_hand)
    never = kl_divergence(targets[:1], [[0.0, 1.0, 0, 0, 0, 0]])
    assert never == pytest.approx(15 * np.log(10))
    assert KL_DIVERGENCE([0, 0], targets, targets=targets).value == pytest.approx(1e-15, abs=2e-15)


# --- training and submission ----------------------------------------------------------------------


def test_patients_are_cross_validated_on_their_votes(windows):
    result = cross_validate(
        network(), windows, cv="subject-kfold-2", scoring=("kl_divergence", "accuracy"), progress=False
    )
    test = result.predictions[result.predictions["part"] == "test"]
    proba, shares = (test[[f"{stem}_{k}" for k in range(6)]].to_numpy() for stem in ("proba", "target"))
    np.testing.assert_array_equal(shares, windows.targets[test["window"]])
    assert result.metrics["pooled"]["kl_divergence"]["value"] == pytest.approx(rel_entr(shares, proba).sum(1).mean())
    assert result.run["data"]["classes"] == list(CLASSES)
    for split in result.run["splits"]:
        assert not set(split["train"]) & set(split["test"])


def test_training_on_votes_lowers_their_divergence(windows):
    fitted = network(train_split=None, max_epochs=12, lr=3e-3, batch_size=8).fit(windows, windows.targets)
    losses = fitted[-1].history[:, "train_loss"]
    assert losses[-1] < 0.7 * losses[0]
    constant = kl_divergence(windows.targets, np.tile(windows.targets.mean(axis=0), (len(windows), 1)))
    assert kl_divergence(windows.targets, fitted.predict_proba(windows)) < constant + 0.2


def test_a_saved_model_makes_the_submission_that_kaggle_takes(root, windows, tmp_path):
    pipeline = network(max_epochs=1).fit(windows)
    save_pipeline(pipeline, tmp_path / "model")
    table = submission(load_pipeline(tmp_path / "model"), root, tmp_path / "submission.csv", store=tmp_path / "s")
    written = pd.read_csv(tmp_path / "submission.csv")
    pd.testing.assert_frame_equal(written, table, check_exact=False, rtol=1e-12)
    assert written.columns.tolist() == ["eeg_id", *VOTES]
    assert written["eeg_id"].tolist() == [8_000_002, 9_000_001]  # as the sample has them
    np.testing.assert_allclose(written[VOTES].sum(axis=1), 1, atol=1e-12)
    middle = Windows.open(tmp_path / "s" / "test")
    assert middle.metadata["start_s"].tolist() == [20.0, 20.0]
    of_first = (middle.metadata["recording"] == "hms-8000002").to_numpy()
    np.testing.assert_allclose(table[VOTES].to_numpy()[0], pipeline.predict_proba(middle)[of_first][0], atol=1e-6)


def test_a_recording_without_a_window_is_told_or_gets_even_shares(root, windows, tmp_path):
    other = copy_of(root, tmp_path)
    (other / "test_eegs").unlink()
    (other / "test_eegs").mkdir()
    write_eeg(other / "test_eegs" / "9000001.parquet", 50, 1)
    pipeline = network(max_epochs=1).fit(windows)
    with pytest.raises(ValueError, match=r"no window of 1 of 2 recordings, e.g. 8000002"):
        submission(pipeline, other, tmp_path / "out.csv")
    table = submission(pipeline, other, tmp_path / "out.csv", absent="uniform").set_index("eeg_id")
    np.testing.assert_allclose(table.loc[8_000_002], 1 / 6)
    assert table.loc[9_000_001].std() > 0


def test_a_patient_of_the_training_is_not_predicted_as_somebody_new(root, windows, tmp_path):
    other = copy_of(root, tmp_path)
    table = pd.read_csv(other / "test.csv").assign(patient_id=[PATIENTS[0], 98])
    table.to_csv(other / "test.csv", index=False)
    with pytest.raises(SubjectLeakError):
        submission(network(max_epochs=1).fit(windows), other, tmp_path / "out.csv")


def test_the_layout_written_here_is_that_of_the_competition(root):
    columns = pd.read_csv(root / "train.csv", nrows=1).columns.tolist()
    assert columns == [
        "eeg_id", "eeg_sub_id", "eeg_label_offset_seconds", "spectrogram_id", "spectrogram_sub_id",
        "spectrogram_label_offset_seconds", "label_id", "patient_id", "expert_consensus", *VOTES,
    ]  # fmt: skip
    assert row(1, 0, 0.0, 5, 2, [0, 4, 0, 0, 0, 1])["expert_consensus"] == "LPD"
