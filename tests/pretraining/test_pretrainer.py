"""A pretrainer behaves as skorch's nets and scikit-learn's transformers do."""

import pickle
import re

import mne
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from skorch.callbacks import EarlyStopping as SkorchEarlyStopping
from tiny_pretraining import SIZES, HiddenLevel, make_windows, rows, same_weights, small_net

from biot_bd import BIOT, PercentileScaler, Pretrainer, load_dataset, prepare, registry
from biot_bd.exceptions import ContaminationError, ContractError, UnknownNameError
from biot_bd.models import ModelContract, check_clean
from biot_bd.pretraining import save_pretraining
from biot_bd.training import EarlyStopping, FixedSubjects

pytestmark = pytest.mark.usefixtures("one_thread")


# parameters ----------------------------------------------------------------------------------------------------------


def test_parameters_are_the_same_before_and_after_fit_and_in_a_clone(windows):
    x, subjects = windows
    net = small_net(objective__mask_ratio=0.25, callbacks=[])
    before = net.get_params()
    net.fit(x, groups=subjects)
    assert net.get_params() == before
    copy = clone(net)
    assert copy.get_params() == before
    with pytest.raises(NotFittedError):
        copy.transform(x)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"max_epoch": 3}, TypeError, "max_epoch; there are module, .*did you mean 'max_epochs'"),
        ({"criterion__weight": 3}, TypeError, "unexpected parameters: criterion__weight"),
        ({"objective__mask_ration": 0.1}, ValueError, "takes objective__mask_ratio; did you mean 'mask_ratio'"),
        ({"precision": "int8"}, ValueError, "precision must be one of auto, fp32"),
        ({"lr": -1.0}, ValueError, "lr must be a number of at least 0"),
        ({"sampler": "class-balanced"}, ValueError, "sampler must be None, 'page-shuffle', 'corpora' or weights"),
        ({"train_split": 0.3}, ValueError, "a share of the windows would mix subjects"),
        ({"optimizer": "Adamm"}, ValueError, "did you mean 'Adam"),
        ({"callbacks": [3]}, ValueError, "callbacks: found 3"),
    ],
)
def test_bad_parameters_are_named(windows, change, error, message):
    x, subjects = windows
    with pytest.raises(error, match=message):
        small_net(**change).fit(x, groups=subjects)


def test_an_unknown_objective_is_told_what_is_close():
    with pytest.raises(UnknownNameError, match="did you mean 'biot-contrastive'"):
        small_net("biot-contrast").fit(*make_windows()[:1], groups=make_windows()[1])


def test_a_model_without_stages_is_refused_by_name(windows):
    x, subjects = windows
    net = Pretrainer("shallow", HiddenLevel, batch_size=8, device="cpu", train_split=None, module__sfreq=200)
    with pytest.raises(TypeError, match=re.escape("has no token_stages()")):
        net.fit(x, groups=subjects)


def test_an_objective_for_another_kind_of_tokens_is_refused(windows):
    class OfSignals(HiddenLevel):
        kinds = frozenset({"signal"})

    x, subjects = windows
    with pytest.raises(ValueError, match="is for tokens of kind signal, but those of BIOT hold a spectrum"):
        small_net(OfSignals).fit(x, groups=subjects)


def test_the_contract_of_a_registered_model_is_checked(monkeypatch):
    monkeypatch.setitem(registry.models._contracts, "biot", ModelContract(sfreq=200.0))
    info = mne.create_info(["Fp1", "Fp2"], 100.0, "eeg")
    epochs = mne.EpochsArray(np.zeros((8, 2, 400)), info, verbose="error")
    with pytest.raises(ContractError, match="biot expects 200 Hz, found 100 Hz"):
        small_net(train_split=None).fit(epochs)


# training ------------------------------------------------------------------------------------------------------------


def test_the_history_has_a_column_a_log_and_the_loss_falls(windows):
    x, subjects = windows
    net = small_net(max_epochs=8).fit(x, groups=subjects)
    last = net.history[-1]
    assert {"train_loss", "valid_loss", "train_masked_fraction", "valid_chance", "gradient_norm"} <= set(last)
    assert last["train_masked_fraction"] == pytest.approx(4 / 9)  # of 9 tokens: round(4.5)
    assert last["valid_loss"] < net.history[0]["valid_loss"]
    assert "train_level" not in last  # it has a shape


def test_means_of_an_epoch_weigh_windows_not_batches():
    """36 training windows in batches of 8 leave one of 4: the mean over batches would weigh it twice."""

    class First(HiddenLevel):
        def forward(self, tokens, x, rng):
            return {**super().forward(tokens, x, rng), "first": x[:, 0, 0].mean()}

    x, subjects = make_windows()
    net = small_net(First, max_epochs=1, iterator_train__drop_last=False).fit(x, groups=subjects)
    mine = np.isin(subjects, net.train_subjects_)
    assert mine.sum() == 36
    assert net.history[-1]["train_first"] == pytest.approx(x[mine, 0, 0].mean(), rel=1e-5)
    assert net.history[-1]["valid_first"] == pytest.approx(x[~mine, 0, 0].mean(), rel=1e-5)


def test_the_same_seed_gives_the_same_weights_and_another_one_others(windows):
    x, subjects = windows
    first, again, other = (small_net(random_state=seed, max_epochs=1).fit(x, groups=subjects) for seed in (0, 0, 1))
    assert same_weights(first, again)
    assert rows(first) == rows(again)
    assert not same_weights(first, other)


def test_an_instance_of_a_model_is_copied_and_keeps_its_weights_and_its_head(windows):
    x, subjects = windows
    model = BIOT(embed_dim=16, num_heads=2, num_layers=1, n_chans=3, n_times=400, n_outputs=2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    net = Pretrainer(model, HiddenLevel, batch_size=8, max_epochs=1, device="cpu", random_state=0, lr=1e-2)
    first = net.fit(x, groups=subjects).transform(x)
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    np.testing.assert_array_equal(net.fit(x, groups=subjects).transform(x), first)


def test_the_callers_random_numbers_are_left_alone(windows):
    x, subjects = windows
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    small_net(max_epochs=1).fit(x, groups=subjects)
    assert torch.equal(torch.rand(2), expected)


def test_validation_asks_the_same_in_every_epoch_and_in_batches_of_any_size(windows):
    x, subjects = windows
    still = small_net(lr=0.0, max_epochs=3).fit(x, groups=subjects)
    assert len(set(still.history[:, "valid_loss"])) == 1
    assert len(set(still.history[:, "train_loss"])) == 3  # masks of training are drawn anew
    told = {size: still.set_params(iterator_valid__batch_size=size).evaluate(x)["loss"] for size in (1, 5, 48)}
    assert told[1] == pytest.approx(told[48], rel=1e-5)
    assert told[5] == pytest.approx(told[48], rel=1e-5)


def test_evaluate_on_the_validation_windows_is_what_the_history_says(fitted, windows):
    x, subjects = windows
    valid = np.isin(subjects, fitted.valid_subjects_)
    told = fitted.evaluate(x[valid])
    assert told["loss"] == pytest.approx(fitted.history[-1]["valid_loss"], rel=1e-6)
    assert told["chance"] == pytest.approx(fitted.history[-1]["valid_chance"], rel=1e-6)
    assert fitted.score(x[valid]) == -told["loss"]


def test_validation_subjects_may_be_named_or_left_out(windows):
    x, subjects = windows
    named = small_net(train_split=FixedSubjects(["set/02"]), max_epochs=1).fit(x, groups=subjects)
    assert named.valid_subjects_ == ("set/02",)
    none = small_net(train_split=None, max_epochs=1).fit(x, groups=subjects)
    assert none.valid_subjects_ == ()
    assert "valid_loss" not in none.history[-1]
    with pytest.warns(UserWarning, match=r"nobody validates: the windows name no subjects.* fit\(X, groups=subjects\)"):
        unnamed = small_net(max_epochs=1).fit(x)
    assert same_weights(unnamed, none)
    assert "valid_loss" not in unnamed.history[-1]


def test_fewer_windows_than_a_batch_are_one_batch(windows):
    x, _ = windows
    few = {"train_split": None, "max_epochs": 1}
    with pytest.warns(UserWarning, match="10 training windows are fewer than batch_size=64"):
        net = small_net("biot-contrastive", batch_size=64, **few).fit(x[:10])
    assert net.history[-1]["train_batch_count"] == 1
    assert net.history[-1]["train_chance"] == pytest.approx(np.log(10))
    assert same_weights(net, small_net("biot-contrastive", batch_size=10, **few).fit(x[:10]))
    with pytest.raises(ValueError, match="no windows to train on"):
        small_net(**few).fit(x[:0])
    with pytest.raises(ValueError, match="no windows to evaluate"):
        net.evaluate(x[:0])


def test_several_objectives_add_their_weighted_losses(windows):
    x, subjects = windows
    net = small_net({"biot-contrastive": 0.5, HiddenLevel: 2.0}, max_epochs=1).fit(x, groups=subjects)
    row = net.history[-1]
    total = 0.5 * row["valid_biot-contrastive_loss"] + 2.0 * row["valid_HiddenLevel_loss"]
    assert row["valid_loss"] == pytest.approx(total, rel=1e-6)
    assert row["valid_biot-contrastive_chance"] == pytest.approx(np.log(8), rel=0.2)


def test_every_parameter_is_trained(windows):
    """What nothing trains would stop distributed training and spoil checkpoints."""
    x, subjects = windows
    net = small_net([("biot-contrastive", 1.0), HiddenLevel], lr=0.1, max_epochs=1)
    net.fit(x, groups=subjects)
    missing = [name for name, p in net.module_.named_parameters() if p.grad is None]
    assert missing == []


@pytest.mark.parametrize("precision", ["bf16", "auto"])
def test_lower_precision_keeps_float32_weights_and_nearly_the_loss(windows, fitted, precision):
    x, subjects = windows
    net = small_net(precision=precision).fit(x, groups=subjects)
    assert {p.dtype for p in net.module_.parameters()} == {torch.float32}
    assert net.precision_ in ("fp32", "tf32", "bf16")
    assert precision in ("auto", net.precision_)
    assert net.history[-1]["valid_loss"] == pytest.approx(fitted.history[-1]["valid_loss"], rel=0.05)


def test_windows_that_are_scaled_where_the_model_is_give_the_same(windows, fitted, monkeypatch):
    """As on a GPU: batches travel as they are stored."""
    x, subjects = windows
    monkeypatch.setattr(Pretrainer, "_scales_on_device", lambda self: True)
    net = small_net(iterator_train__pin_memory=False, iterator_valid__pin_memory=False).fit(x, groups=subjects)
    assert same_weights(net, fitted)
    np.testing.assert_array_equal(net.transform(x), fitted.transform(x))
    assert net.evaluate(x) == fitted.evaluate(x)


def test_gradients_are_limited_and_rates_follow_the_schedule(windows):
    x, subjects = windows
    rates = []

    class Limited(Pretrainer):
        def on_batch_end(self, net, training=False, **kwargs):
            if training:
                rates.append(self.optimizer_.param_groups[0]["lr"])
                grads = [p.grad for p in self.module_.parameters() if p.grad is not None]
                assert torch.linalg.vector_norm(torch.stack([g.norm() for g in grads])) < 0.0101

    net = Limited("biot", HiddenLevel, **SIZES, batch_size=8, max_epochs=2, device="cpu", random_state=0)
    net.set_params(schedule="cosine", gradient_clip_norm=0.01, lr=0.1).fit(x, groups=subjects)
    n = len(rates)
    assert n == 8
    expected = [0.1 * (0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * (i + 1) / n))) for i in range(n)]
    np.testing.assert_allclose(rates, expected, rtol=1e-6)


@pytest.mark.parametrize("kind", [EarlyStopping, SkorchEarlyStopping])
def test_early_stopping_watches_the_validation_loss(windows, kind):
    """A loss that cannot fall stops after the patience; skorch's own stops by KeyboardInterrupt, which is no Ctrl-C."""
    x, subjects = windows
    stopping = kind(monitor="valid_loss", patience=2, sink=lambda text, verbose: None)
    net = small_net(lr=0.0, max_epochs=9, callbacks=[stopping]).fit(x, groups=subjects)
    assert len(net.history) == 3
    assert net.transform(x).shape == (48, 16)


def test_a_loss_that_is_not_finite_stops_and_leaves_nothing_fitted(windows):
    x, subjects = windows
    net = small_net(lr=1e30, max_epochs=5)
    with pytest.raises(FloatingPointError, match="lower lr"):
        net.fit(x, groups=subjects)
    with pytest.raises(NotFittedError):
        net.transform(x)


def test_absent_channels_change_nothing_for_the_others(windows):
    x, subjects = windows
    holed = x.copy()
    holed[::2, 1] = np.nan
    net = small_net(max_epochs=1).fit(holed, groups=subjects)
    assert np.isfinite(net.transform(holed)).all()
    assert np.isfinite(net.history[-1]["valid_loss"])


def test_partial_fit_goes_on_and_warm_start_too(windows):
    x, subjects = windows
    net = small_net(max_epochs=1).fit(x, groups=subjects)
    before = net.transform(x)
    net.partial_fit(x, groups=subjects)
    assert [row["epoch"] for row in net.history] == [1, 2]
    assert not np.array_equal(net.transform(x), before)
    with pytest.raises(ValueError, match="fitted on 400 samples a window, found 200"):
        net.partial_fit(x[:, :, :200], groups=subjects)
    net.set_params(warm_start=True).fit(x, groups=subjects)
    assert [row["epoch"] for row in net.history] == [1, 2, 3]
    net.set_params(warm_start=False).fit(x, groups=subjects)
    assert [row["epoch"] for row in net.history] == [1]
    np.testing.assert_array_equal(net.transform(x), before)


def test_other_parameters_of_the_model_or_the_objective_ask_for_another_fit(windows):
    x, subjects = windows
    for change in ({"objective__mask_ratio": 0.3}, {"module__num_layers": 2}):
        net = small_net(max_epochs=1).fit(x, groups=subjects)
        net.set_params(**change)
        with pytest.raises(NotFittedError):
            net.transform(x)
    net = small_net(max_epochs=1).fit(x, groups=subjects).set_params(lr=1e-3, objective=HiddenLevel)
    assert net.transform(x).shape == (48, 16)


# transformer ---------------------------------------------------------------------------------------------------------


def test_embeddings_are_what_the_head_of_the_model_is_given(fitted, windows):
    x, _ = windows
    model = BIOT(embed_dim=16, num_heads=2, num_layers=1, n_chans=3, n_times=400, n_outputs=2)
    state = fitted.module_.backbone.state_dict()
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(name.startswith("final_layer") for name in missing)
    with torch.no_grad():
        expected = model.eval()(torch.from_numpy(x), return_features=True)["features"].numpy()
    np.testing.assert_allclose(fitted.transform(x), expected, atol=1e-5)
    assert fitted.transform(x).dtype == np.float32
    assert fitted.transform(x[:0]).shape == (0, 16)


def test_epochs_of_mne_are_read_in_microvolts(windows):
    x, _ = windows
    epochs = mne.EpochsArray(x * 1e-6, mne.create_info(["Fp1", "Fp2", "C3"], 200.0, "eeg"), verbose="error")
    net = small_net(train_split=None, max_epochs=1, module__ch_names=None)
    net = Pretrainer(BIOT, HiddenLevel, **SIZES, batch_size=8, device="cpu", train_split=None, max_epochs=1)
    net.fit(epochs)
    np.testing.assert_allclose(net.transform(epochs), net.transform(x), atol=1e-4)


def test_other_data_than_those_of_fit_are_refused(fitted, windows):
    x, _ = windows
    with pytest.raises(ValueError, match="fitted on 3 channels a window, found 2"):
        fitted.transform(x[:, :2])


def test_it_pickles_before_and_after_fit(fitted, windows):
    x, subjects = windows
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.transform(x), fitted.transform(x))
    unfitted = pickle.loads(pickle.dumps(small_net()))
    assert same_weights(unfitted.fit(x, groups=subjects), fitted)


def test_names_and_data_frames_of_embeddings(windows):
    x, subjects = windows
    net = small_net(max_epochs=1).fit(x, groups=subjects)
    assert net.get_feature_names_out()[:2].tolist() == ["pretrainer0", "pretrainer1"]
    frame = net.set_output(transform="pandas").transform(x)
    assert frame.shape == (48, 16)
    assert frame.columns[-1] == "pretrainer15"


def test_it_stands_in_the_middle_and_at_the_end_of_pipelines(windows):
    x, subjects = windows
    y = np.arange(len(x)) % 2
    probe = make_pipeline(PercentileScaler(), small_net(train_split=None, max_epochs=1), LogisticRegression())
    assert probe.fit(x, y).predict(x).shape == (48,)
    last = make_pipeline(PercentileScaler(), small_net(max_epochs=1))
    last.fit(x, pretrainer__groups=subjects)
    assert last.transform(x).shape == (48, 16)
    assert last[-1].train_subjects_ == ("set/00", "set/01", "set/02") or len(last[-1].train_subjects_) == 3


def test_a_grid_over_a_parameter_of_the_objective_is_scored_by_minus_the_loss(windows):
    x, _ = windows
    grid = {"objective__mask_ratio": [0.2, 0.7]}
    search = GridSearchCV(small_net(train_split=None, max_epochs=1), grid, cv=KFold(2)).fit(x)
    best = search.best_estimator_
    assert best.get_params()["objective__mask_ratio"] == search.best_params_["objective__mask_ratio"]
    first = clone(search.estimator).set_params(objective__mask_ratio=0.2).fit(x[24:])
    assert search.cv_results_["split0_test_score"][0] == pytest.approx(-first.evaluate(x[:24])["loss"])


# what it has seen ----------------------------------------------------------------------------------------------------


def test_its_record_names_training_and_validation_subjects(fitted):
    assert set(fitted.train_subjects_) | set(fitted.valid_subjects_) == {f"set/{i:02d}" for i in range(4)}
    (seen,) = fitted.provenance_.trained_on
    assert (seen.dataset, seen.how, len(seen.subjects)) == ("set", "unsupervised", 4)
    with pytest.raises(ContaminationError, match=r"set \(unsupervised\)"):
        check_clean(fitted.provenance_, ["set/03"])


def test_unknown_subjects_are_recorded_as_unknown(windows):
    x, _ = windows
    assert not small_net(train_split=None, max_epochs=1).fit(x).provenance_.known


def test_going_on_adds_subjects(windows):
    x, subjects = windows
    net = small_net(max_epochs=1).fit(x, groups=subjects)
    net.partial_fit(x, groups=np.char.replace(subjects.astype(str), "set", "other"))
    assert net.provenance_.saw(["set/00", "other/01", "third/00"]) == ["other/01", "set/00"]


def test_it_starts_from_the_folder_of_another_pretraining(tmp_path, windows):
    x, subjects = windows
    first = small_net("biot-contrastive", max_epochs=1).fit(x, groups=subjects)
    save_pretraining(first, tmp_path / "run")
    others = np.char.replace(subjects.astype(str), "set", "other")
    again = small_net(pretrained=tmp_path / "run", lr=0.0, max_epochs=1).fit(x, groups=others)
    np.testing.assert_array_equal(again.transform(x), first.transform(x))
    assert again.provenance_.saw(["set/00", "other/01", "third/00"]) == ["other/01", "set/00"]
    assert again.pretrained_report_.provenance.saw(["set/00"]) == ["set/00"]


@pytest.mark.slow
def test_windows_of_a_store_are_shuffled_by_where_they_lie(tmp_path):
    """Each training window once an epoch, in another order than that of the store."""
    recordings = load_dataset("demo", tmp_path / "demo", n_subjects=3, recordings=1, minutes=2)
    scaled = PercentileScaler().fit_transform(prepare(recordings, tmp_path / "store"))
    seen = []

    class Remembers(HiddenLevel):
        def forward(self, tokens, x, rng):
            if self.training:
                seen.extend(x[:, 0, 0].tolist())
            return super().forward(tokens, x, rng)

    net = small_net(Remembers, max_epochs=1, sampler="page-shuffle", iterator_train__drop_last=False).fit(scaled)
    mine = np.isin(scaled.groups, net.train_subjects_)
    expected = scaled.read(np.flatnonzero(mine))[:, 0, 0].tolist()
    assert sorted(seen) == sorted(expected)
    assert seen != expected
    assert {subject for seen in net.provenance_.recordings for subject, _ in seen.subjects} == set(scaled.groups)
