"""Augmentation: in training only, absent channels stay absent, and nothing that does not fit bipolar channels."""

import mne
import numpy as np
import pytest
import torch
from braindecode import augmentation
from braindecode.augmentation import Compose, FrequencyShift, FTSurrogate, GaussianNoise, SmoothTimeMask, Transform
from hypothesis import given, settings
from hypothesis import strategies as st
from skorch.callbacks import Callback
from training_data import small

from biot_bd.exceptions import SavedPipelineError
from biot_bd.signals.montages import BIOT_16
from biot_bd.training import load_pipeline, save_pipeline
from biot_bd.training.input_data import InputInfo
from biot_bd.training.resume import seeded
from biot_bd.training.sampling.augmentation import (
    NEEDS_REFERENTIAL,
    PRESETS,
    REFUSED,
    build_augmenter,
    describe_augment,
    resolve_augment,
)

BIPOLAR = tuple(BIOT_16.ch_names)
REFERENTIAL = ("Fp1", "Fp2", "C3", "C4", "Cz", "O1", "O2")
WITHIN = (
    "FTSurrogate",
    "GaussianNoise",
    "SmoothTimeMask",
    "FrequencyShift",
    "AmplitudeScale",
    "TimeReverse",
    "SignFlip",
    "MaskEncoding",
    "BandstopFilter",
    "IdentityTransform",
)
"""Transforms that leave every channel to itself."""


def info_of(ch_names=BIPOLAR, n_times=400, sfreq=200.0, unit="scaled", n_chans=None):
    return InputInfo(n_chans or len(ch_names), n_times, ch_names, sfreq, unit)


def windows_of(info, n=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, info.n_chans, info.n_times, generator=generator)


def change(augment, x, info, seed=1, all_present=True):
    with seeded(seed):
        return build_augmenter(augment, info, all_present)(x)


# --- what is taken ----------------------------------------------------------------------------------------


def test_every_transform_of_braindecode_is_judged():
    names = {
        name
        for name in augmentation.__all__
        if isinstance(getattr(augmentation, name), type) and issubclass(getattr(augmentation, name), Transform)
    }
    rotations = {"SensorsXRotation", "SensorsYRotation", "SensorsZRotation"}
    assert names - {"Transform", "Compose"} == {*WITHIN, *REFUSED, *NEEDS_REFERENTIAL, *rotations} - (
        set() if "SensorsRotation" in names else {"SensorsRotation"}
    )


@pytest.mark.filterwarnings("ignore:filter_length")
@pytest.mark.parametrize("name", WITHIN)
def test_transforms_within_channels_are_taken_for_bipolar_ones(name):
    info = info_of()
    x = windows_of(info)
    found = change((name, {"probability": 1.0}) if name != "IdentityTransform" else name, x, info)
    assert found.shape == x.shape
    assert found.dtype == torch.float32
    assert found.isfinite().all()
    assert torch.equal(found, x) == (name == "IdentityTransform")


@pytest.mark.parametrize("name", ["ChannelsSymmetry", "ChannelsShuffle", "ChannelsReref", "SensorsXRotation"])
def test_transforms_across_channels_need_referential_ones(name):
    with pytest.raises(
        ValueError, match=rf"{'SensorsRotation' if 'Sensors' in name else name} does not fit the bipolar"
    ):
        build_augmenter(name, info_of())
    with pytest.raises(ValueError, match=r"referential channels only .* carry no channel names"):
        build_augmenter(name, InputInfo(7, 400, None, None, "unknown"))
    with pytest.raises(ValueError, match="found the channel 'ECG'"):
        build_augmenter(name, info_of(("Fp1", "ECG")))


@pytest.mark.filterwarnings("ignore::FutureWarning")  # braindecode's montage name
@pytest.mark.parametrize("name", ["ChannelsSymmetry", "ChannelsShuffle", "ChannelsReref", "SensorsXRotation"])
@pytest.mark.parametrize("names", [REFERENTIAL, tuple(f"EEG {n.upper()}-REF" for n in REFERENTIAL)])
def test_transforms_across_channels_are_taken_for_referential_ones(name, names):
    info = info_of(names)
    x = windows_of(info)
    found = change((name, {"probability": 1.0}), x, info)
    assert found.isfinite().all()
    assert not torch.equal(found, x)
    if name == "ChannelsSymmetry":
        assert torch.equal(found, x[:, [1, 0, 3, 2, 4, 6, 5]])


def test_ears_and_one_common_electrode_are_references():
    for names in (("Fp1-A1", "Fp2-A2"), ("C3-Cz", "C4-Cz")):
        assert build_augmenter("ChannelsSymmetry", info_of(names)) is not None


@pytest.mark.parametrize(
    ("augment", "match"),
    [
        ("Mixup", "finetune"),
        ("SegmentationReconstruction", "several subjects"),
        ("ChannelsDropout", "never zero"),
        ("BandRotation", "wristbands"),
        (augmentation.ChannelsDropout(0.5), "never zero"),
        (Compose([GaussianNoise(0.5), augmentation.Mixup(0.5)]), "finetune"),
        ("lite", "did you mean 'light'"),
        (["light", "TimeReverse"], "stands alone"),
        ("FTSurogate", "did you mean 'FTSurrogate'"),
        (("GaussianNoise", {"sdt": 0.1}), "no parameter 'sdt'; it has probability, std"),
        (("GaussianNoise", {"random_state": 3}), "no parameter 'random_state'"),
        ([3], "expected a name"),
        ("Compose", "is not known"),
        (FrequencyShift(0.5, 200, 3), "at most 2 Hz"),
    ],
)
def test_what_is_never_taken_is_refused_before_data_are_read(augment, match):
    with pytest.raises(ValueError, match=match):
        resolve_augment(augment)
    with pytest.raises(ValueError, match=match):
        small(augment=augment).fit(None)


@pytest.mark.parametrize(
    ("augment", "info", "match"),
    [
        (("FrequencyShift", {"max_delta_freq": 2.5}), info_of(), "at most 2 Hz"),
        ("FrequencyShift", info_of(sfreq=None), "needs the sampling rate"),
        ("strong", info_of(sfreq=None), "needs the sampling rate"),
        ("light", info_of(unit="uV"), "put PercentileScaler in front"),
        ("GaussianNoise", info_of(unit="uV"), "std in microvolts"),
        (("GaussianNoise", {"probability": 2}), info_of(), "GaussianNoise does not take"),
        (FTSurrogate(0.5, channel_indep=True), info_of(), "neighbours share an electrode"),
        (("FTSurrogate", {"channel_indep": True}), info_of(), "neighbours share an electrode"),
        (SmoothTimeMask(0.5, 400), info_of(), "would mask 400 of 400 samples"),
    ],
)
def test_what_does_not_fit_the_data_is_refused(augment, info, match):
    with pytest.raises(ValueError, match=match):
        build_augmenter(augment, info)


def test_rotations_refuse_absent_channels():
    with pytest.raises(ValueError, match="computes each channel from others"):
        build_augmenter("ChannelsReref", info_of(REFERENTIAL), all_present=False)


# --- what it does -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("augment", [None, [], ()])
def test_nothing_is_nothing(augment):
    assert build_augmenter(augment, info_of()) is None


@pytest.mark.filterwarnings("ignore:filter_length")
@settings(deadline=None, max_examples=25)
@given(st.sampled_from([*WITHIN, *PRESETS]), st.integers(0, 2**20), st.data())
def test_absent_channels_stay_absent_and_others_do_not_feel_it(name, seed, draw):
    info = info_of(n_times=200)
    x = windows_of(info, n=4)
    absent = torch.zeros(4, 16, dtype=torch.bool)
    for window in range(4):
        absent[window, draw.draw(st.lists(st.integers(0, 15), max_size=15))] = True
    holes = x.masked_fill(absent[..., None], torch.nan)
    before = holes.clone()
    found = change(name, holes, info, seed, all_present=False)
    whole = change(name, x, info, seed)
    torch.testing.assert_close(holes, before, rtol=0, atol=0, equal_nan=True)  # not in place
    assert torch.equal(found.isnan(), absent[..., None].expand_as(x))
    torch.testing.assert_close(found[~absent], whole[~absent], rtol=0, atol=0)


def test_channels_that_move_take_their_absence_along():
    info = info_of(REFERENTIAL)
    x = windows_of(info)
    x[:, 0] = torch.nan
    found = change(("ChannelsSymmetry", {"probability": 1.0}), x, info, all_present=False)
    torch.testing.assert_close(found, x[:, [1, 0, 3, 2, 4, 6, 5]], rtol=0, atol=0, equal_nan=True)


def test_same_numbers_as_braindecode_itself():
    info = info_of()
    x = windows_of(info)
    found = change([FTSurrogate(0.5, 0.3), ("GaussianNoise", {"std": 0.2})], x, info, seed=7)
    rng = np.random.RandomState(7)
    expected = GaussianNoise(0.5, 0.2, random_state=rng)(FTSurrogate(0.5, 0.3, random_state=rng)(x))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_a_surrogate_keeps_the_spectrum_and_the_relation_of_channels():
    info = info_of()
    x = windows_of(info)
    found = change(("FTSurrogate", {"probability": 1.0, "phase_noise_magnitude": 0.5}), x, info)
    torch.testing.assert_close(torch.fft.rfft(found).abs(), torch.fft.rfft(x).abs(), rtol=1e-3, atol=1e-3)
    cross = torch.fft.rfft(x[:, 0]) * torch.fft.rfft(x[:, 1]).conj()
    torch.testing.assert_close(
        torch.fft.rfft(found[:, 0]) * torch.fft.rfft(found[:, 1]).conj(), cross, rtol=1e-2, atol=0.1
    )


def test_mask_lengths_below_one_are_shares_of_the_window():
    (mask,) = build_augmenter(("SmoothTimeMask", {"mask_len_samples": 0.1}), info_of(n_times=2000)).transforms
    assert mask.mask_len_samples == 200
    assert mask.probability == 0.5


def test_objects_of_the_caller_are_left_alone():
    mine = GaussianNoise(1.0, random_state=3)
    state = mine.rng.get_state()[1].copy()
    change([mine], windows_of(info_of()), info_of())
    np.testing.assert_array_equal(mine.rng.get_state()[1], state)


# --- in the classifier ------------------------------------------------------------------------------------


class Watch(Callback):
    """Note what the module is given."""

    def on_train_begin(self, net, **kwargs):
        self.given_ = {True: [], False: []}
        net.module_.register_forward_pre_hook(
            lambda module, args: self.given_[module.training].append(args[0].detach().clone())
        )


def inputs_of(net):
    return next(callback for _, callback in net.callbacks_ if isinstance(callback, Watch)).given_


def holes_in(data):
    x, y, groups = data
    x = x.copy()
    x[::3, 1] = np.nan
    x[5, 0] = np.nan
    return x, y, groups


@pytest.mark.parametrize("augment", ["light", "strong", [GaussianNoise(1.0, 0.5), "TimeReverse"]])
def test_training_windows_change_and_validation_windows_do_not(data, augment):
    x, y, groups = holes_in(data)
    net = small(augment=augment, callbacks=[Watch()], max_epochs=1).fit(x, y, groups=groups)
    given_to = {training: torch.cat(parts).numpy() for training, parts in inputs_of(net).items()}
    in_valid = np.isin(groups, net.valid_subjects_)
    np.testing.assert_array_equal(given_to[False], x[in_valid])
    train = given_to[True]
    assert len(train) == (~in_valid).sum()
    originals = {window.tobytes() for window in x[~in_valid]}
    changed = [window.tobytes() not in originals for window in train]
    assert sum(changed) > len(changed) / 4
    absent = np.isnan(train).all(axis=-1)
    assert absent.sum() == np.isnan(x[~in_valid]).all(axis=-1).sum() > 0
    assert np.isfinite(train[~absent]).all()
    plain = small(augment=None, max_epochs=1).fit(x, y, groups=groups)
    assert net.history[0, "train_loss"] != plain.history[0, "train_loss"]


def test_prediction_changes_nothing(data):
    x, y, groups = data
    net = small(augment="strong", max_epochs=1).fit(x, y, groups=groups)
    np.testing.assert_array_equal(net.predict_proba(x), net.predict_proba(x))


def test_random_state_decides_and_order_of_windows_stays(data):
    x, y, groups = data
    nets = [small(augment="light", random_state=s).fit(x, y, groups=groups) for s in (2, 2, 5)]
    losses = [net.history[:, "train_loss"] for net in nets]
    assert losses[0] == losses[1] != losses[2]
    same_order = [
        small(augment=augment, random_state=2, callbacks=[Watch()], max_epochs=1).fit(x, y, groups=groups)
        for augment in (None, ["SignFlip"])
    ]
    plain, flipped = (torch.cat(inputs_of(net)[True]) for net in same_order)
    assert torch.equal(plain.abs(), flipped.abs())
    assert not torch.equal(plain, flipped)


def test_the_global_generators_are_left_alone(data):
    x, y, groups = data
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    small(augment="strong", max_epochs=1).fit(x, y, groups=groups)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_with_mixup(data):
    x, y, groups = holes_in(data)
    net = small(augment="light", finetune=["mixup"], max_epochs=1, patience=None).fit(x, y, groups=groups)
    assert np.isfinite(net.history[0, "train_loss"])


def test_arrays_take_the_rate_that_the_model_was_made_for(data):
    x, y, groups = data
    net = small(augment=["FrequencyShift"], max_epochs=1)
    net.fit(x, y, groups=groups)  # BIOT has a rate: 200 Hz


def test_epochs_of_bipolar_channels_refuse_symmetry(data):
    x, y, groups = data
    info = mne.create_info(list(BIPOLAR[:4]), 200.0, "eeg")
    epochs = mne.EpochsArray(x * 1e-6, info, verbose="error")
    with pytest.raises(ValueError, match="ChannelsSymmetry does not fit the bipolar channel 'Fp1-F7'"):
        small(augment=["ChannelsSymmetry"]).fit(epochs, y, groups=groups)


def test_another_strength_is_another_fit(data, tmp_path):
    x, y, groups = data
    small(restart_dir=tmp_path, augment=[GaussianNoise(0.5, 0.1)]).fit(x, y, groups=groups)
    with pytest.warns(UserWarning, match="other parameters or data"):
        small(restart_dir=tmp_path, augment=[GaussianNoise(0.5, 0.2)]).fit(x, y, groups=groups)
    assert describe_augment([GaussianNoise(0.5, 0.1)]) != describe_augment([GaussianNoise(0.5, 0.2)])


@pytest.mark.parametrize(
    "augment",
    [
        "light",
        ["TimeReverse", ("GaussianNoise", {"std": 0.2})],
        [augmentation.AmplitudeScale(0.3, (0.9, 1.2)), augmentation.MaskEncoding(0.4, 0.2, 2)],
    ],
)
def test_saved_and_loaded(data, tmp_path, augment):
    x, y, groups = data
    net = small(augment=augment, max_epochs=1).fit(x, y, groups=groups)
    loaded = load_pipeline(save_pipeline(net, tmp_path))
    assert describe_augment(loaded.augment) == describe_augment(augment)
    assert list(map(type, loaded.augment)) == list(map(type, augment))
    np.testing.assert_array_equal(loaded.predict_proba(x), net.predict_proba(x))


class Mine(Transform):
    """A transform of somebody's own that hides its parameter."""

    operation = staticmethod(lambda X, y, factor: (X * factor, y))

    def __init__(self, probability, factor):
        super().__init__(probability)
        self._f = factor

    def get_augmentation_params(self, *batch):
        return {"factor": self._f}


def test_a_transform_of_ones_own_trains_and_says_that_it_cannot_be_saved(data, tmp_path):
    x, y, groups = data
    net = small(augment=[Mine(1.0, 2.0)], max_epochs=1, callbacks=[Watch()]).fit(x, y, groups=groups)
    assert torch.cat(inputs_of(net)[True]).abs().max() > x.max()
    with pytest.raises(SavedPipelineError, match=r"^augment__0: .*Mine does not keep its parameter 'factor'"):
        save_pipeline(net, tmp_path)


def test_a_single_transform_can_be_set_on_a_fitted_net(data):
    x, y, groups = data
    net = small(max_epochs=1).fit(x, y, groups=groups)
    net.set_params(augment=GaussianNoise(0.5))
    assert "augment" not in net.prefixes_
    net.fit(x, y, groups=groups)
    assert net.history[0, "train_scores_on"] == "augmented"
