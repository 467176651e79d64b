"""Scores of reconstructions against closed forms, and who may be looked at."""

import json
import pickle

import numpy as np
import pytest
import torch
from planted_reconstruction import Planted
from scipy.stats import pearsonr

from biot_bd import Pretrainer
from biot_bd.pretraining import Reconstruction, ReconstructionScores, score_reconstruction, scores_of
from biot_bd.pretraining.objectives.biot_contrastive import BIOTContrastive
from biot_bd.pretraining.reconstruction_scores import joined, reconstructions
from biot_bd.runs import to_jsonable
from biot_bd.signals.features import BANDS

pytestmark = pytest.mark.usefixtures("one_thread")
TINY = {"module__embed_dim": 16, "module__num_heads": 2, "module__num_layers": 1, "module__sfreq": 200}


def windows(seed=0, n=12, n_chans=3, n_frames=6, n_features=10):
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(rng.normal(2, 3, (n, n_chans, n_frames, n_features)))
    hidden = torch.from_numpy(rng.random((n, n_chans, n_frames)) < 0.4)
    return x, hidden


def made(x, predicted, interpolated, hidden, present=None, kind="signal"):
    return Reconstruction(x, predicted, interpolated, hidden, present, kind, "scaled")


@pytest.fixture(scope="module")
def net():
    x = np.random.default_rng(0).normal(size=(16, 2, 800)).astype("float32")
    planted = Pretrainer("biot", Planted, **TINY, train_split=None, max_epochs=1, batch_size=8, device="cpu")
    planted.fit(x, groups=np.repeat(["site/01", "site/02"], 8))
    planted.train_subjects_ = ("site/01", "site/02")
    return planted


def test_a_perfect_prediction_has_skill_and_correlation_one():
    x, hidden = windows()
    scores = scores_of([made(x, x, x + 1, hidden)], ["a/1"] * 12)
    assert scores.overall["skill"] == 1
    assert scores.overall["correlation"] == pytest.approx(1)
    assert scores.overall["mse"] == 0
    assert set(scores.table["reason"]) == {None}


def test_the_mean_as_prediction_has_no_correlation_and_the_skill_of_the_variance():
    x, hidden = windows()
    known = x[hidden]
    scores = scores_of([made(x, torch.full_like(x, known.mean()), x + 2, hidden)], ["a/1"] * 12)
    assert scores.overall["skill"] == pytest.approx(1 - float(known.var(correction=0)) / 4)
    assert np.isnan(scores.overall["correlation"])
    assert (
        scores.table["reason"].str.contains("the prediction is constant").sum() == 4
    )  # three channels and all of them
    assert scores.as_dict()["table"][0]["correlation"] is None


def test_scores_are_those_of_scipy_and_numpy_subject_by_subject():
    x, hidden = windows()
    predicted = 0.7 * x + torch.from_numpy(np.random.default_rng(1).normal(size=x.shape))
    guess = torch.zeros_like(x)
    subjects = np.repeat(["a/1", "a/2", "a/3"], [2, 4, 6])
    parts = [made(*(part[rows] for part in (x, predicted, guess, hidden))) for rows in (slice(0, 5), slice(5, 12))]
    scores = scores_of(parts, subjects, ch_names=["C3", "C4", "CZ"])
    single = scores.table.set_index(["subject", "channel"])
    skills = []
    for subject in ("a/1", "a/2", "a/3"):
        own = torch.from_numpy(subjects == subject)
        for row, channel in enumerate(("C3", "C4", "CZ")):
            at = hidden[own, row]
            truth, said = x[own, row][at].ravel().numpy(), predicted[own, row][at].ravel().numpy()
            found = single.loc[(subject, channel)]
            assert found["correlation"] == pytest.approx(pearsonr(truth, said).statistic)
            assert found["skill"] == pytest.approx(1 - np.mean((truth - said) ** 2) / np.mean(truth**2))
            assert found["n_values"] == truth.size
        skills.append(single.loc[(subject, "all")])
    # All subjects count alike, however many windows they have.
    errors = [np.mean([one[name] for one in skills]) for name in ("mse", "mse_interpolation")]
    assert scores.overall["skill"] == pytest.approx(1 - errors[0] / errors[1])
    assert scores.overall["correlation"] == pytest.approx(np.mean([one["correlation"] for one in skills]))
    assert scores.rows("subject")["subject"].tolist() == ["a/1", "a/2", "a/3"]
    assert scores.rows("channel")["channel"].tolist() == ["C3", "C4", "CZ"]


def test_visible_samples_count_for_nothing():
    x, hidden = windows()
    predicted = x + torch.where(hidden[..., None], 0.5, 1e6)
    predicted[~hidden] = torch.nan
    scores = scores_of([made(x, predicted, x + 1, hidden)], ["a/1"] * 12)
    assert scores.overall["skill"] == pytest.approx(0.75)


def test_absent_channels_and_a_perfect_guess_are_undefined_with_a_reason():
    x, hidden = windows()
    hidden[:, 1] = False
    hidden[:, 0] = True
    present = torch.ones(12, 3, dtype=torch.bool)
    present[:, 1] = False
    guess = x + 1
    guess[:, 0] = x[:, 0]
    scores = scores_of([made(x, x + 0.5, guess, hidden, present)], ["a/1"] * 12, ch_names=["C3", "C4", "CZ"])
    rows = scores.rows("channel").set_index("channel")
    assert np.isnan(rows.loc["C3", "skill"])
    assert "interpolation makes no error" in rows.loc["C3", "reason"]
    assert (rows.loc["C4", "n_values"], rows.loc["C4", "reason"]) == (0, "absent, or nothing of it was hidden")
    assert rows.loc["CZ", "skill"] == pytest.approx(0.75)


def test_bands_hold_the_bins_between_their_edges():
    x, hidden = windows(n_features=101)
    error = torch.where(torch.arange(101) < 8, 0.1, 1.0)  # good below 8 Hz only
    found = made(x, x + error, x + 1, hidden, kind="spectrum")
    scores = scores_of([found], ["a/1"] * 12, feature_hz=np.arange(101.0))
    skill = scores.by_band(BANDS).set_index("band")["skill"]
    assert skill["delta"] == pytest.approx(0.99)
    assert skill["alpha"] == pytest.approx(0)
    with pytest.raises(ValueError, match="without known frequencies"):
        scores_of([found], ["a/1"] * 12).by_band(BANDS)


def test_scores_go_through_json():
    x, hidden = windows()
    hidden[:, 1] = False
    before = scores_of([made(x, x + 0.5, x + 1, hidden)], ["a/1"] * 12, feature_hz=np.arange(10.0))
    after = ReconstructionScores.from_dict(json.loads(json.dumps(to_jsonable(before.as_dict()))))
    assert after.as_dict() == before.as_dict()
    assert after.overall["skill"] == before.overall["skill"]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda x, hidden: (made(x, x, x, hidden & False), ["a/1"] * 12), "no token was hidden"),
        (lambda x, hidden: (made(x, x * torch.nan, x, hidden), ["a/1"] * 12), "predictions of hidden tokens are not"),
        (lambda x, hidden: (made(x, x, x, hidden), ["a/1"] * 11), "more reconstructed windows than the 11"),
        (lambda x, hidden: (made(x, x, x, hidden), ["a/1"] * 13), "12 windows were reconstructed"),
    ],
)
def test_what_cannot_be_scored_is_refused(change, match):
    found, subjects = change(*windows())
    with pytest.raises(ValueError, match=match):
        scores_of([found], subjects)


def test_a_net_is_scored_on_subjects_that_did_not_train(net):
    x = np.random.default_rng(1).normal(size=(10, 2, 800)).astype("float32")
    scores = score_reconstruction(net, x, groups=["site/03"] * 10)
    assert scores.overall["skill"] == pytest.approx(0.75)
    assert scores.seen_subjects == ()
    assert scores.n_windows == 10
    assert scores.by_feature["hz"].tolist() == list(range(101))


def test_training_subjects_are_refused_or_marked(net):
    x = np.random.default_rng(1).normal(size=(4, 2, 800)).astype("float32")
    groups = ["site/02"] * 2 + ["site/03"] * 2
    with pytest.raises(ValueError, match="these trained: site/02"):
        score_reconstruction(net, x, groups=groups)
    assert score_reconstruction(net, x, groups=groups, on_seen="mark").seen_subjects == ("site/02",)
    with pytest.raises(ValueError, match="are not known: give groups"):
        score_reconstruction(net, x)
    assert score_reconstruction(net, x, on_seen="mark").seen_subjects == ("unknown",)


def test_reconstruction_leaves_the_net_as_it_was(net):
    x = np.random.default_rng(1).normal(size=(4, 2, 800)).astype("float32")
    before, state = pickle.dumps(net.module_.state_dict()), torch.get_rng_state()
    net.module_.train()
    found = joined(list(reconstructions(net, x)))
    assert net.module_.training
    assert torch.equal(state, torch.get_rng_state())
    assert pickle.dumps(net.module_.state_dict()) == before
    assert found.original.shape == (4, 2, 7, 101)


def test_objectives_that_reconstruct_nothing_are_named(net):
    x = np.random.default_rng(1).normal(size=(8, 2, 800)).astype("float32")
    with pytest.raises(LookupError, match="no objective 'other'; there are Planted"):
        score_reconstruction(net, x, groups=["site/03"] * 8, objective="other")
    contrastive = Pretrainer("biot", BIOTContrastive, **TINY, max_epochs=1, batch_size=4, device="cpu")
    contrastive.fit(x, groups=["site/01"] * 4 + ["site/02"] * 4)
    with pytest.raises(TypeError, match="reconstructs nothing; masked objectives do"):
        score_reconstruction(contrastive, x, groups=["site/03"] * 8)
