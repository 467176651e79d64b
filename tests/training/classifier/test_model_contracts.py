"""What of the data reaches a module, and that a registered model is not trained on what it does not expect."""

import sys

import mne
import numpy as np
import pytest
import torch
from sklearn.pipeline import make_pipeline
from small_model import RandomWindows
from torch import nn

from biot_bd import BIOTClassifier, PercentileScaler, Resampler, load_pipeline, save_pipeline
from biot_bd.exceptions import ContractError
from biot_bd.models import BIOT
from biot_bd.signals import FixedScaler, SignalInfo, Standardizer, channel_positions, make_chs_info
from biot_bd.signals.montages import BIOT_16, SZCORE_19

pytestmark = pytest.mark.usefixtures("one_thread")


class Told(nn.Module):
    """Keeps what its constructor was told."""

    def __init__(
        self, n_outputs, n_chans, n_times, sfreq=None, ch_names=None, chs_info=None, input_window_seconds=None
    ):
        super().__init__()
        self.told = {
            "n_outputs": n_outputs, "n_chans": n_chans, "n_times": n_times, "sfreq": sfreq, "ch_names": ch_names, "chs_info": chs_info,
            "input_window_seconds": input_window_seconds,
        }  # fmt: skip
        self.head = nn.Linear(n_chans, n_outputs)

    def forward(self, x):
        return self.head(x.var(dim=-1).clamp_min(1e-9).log())


def windows_of(names=BIOT_16.ch_names, sfreq=200.0, n_times=2000, n=8):
    made = RandomWindows(n)
    rng = np.random.default_rng(0)
    made.x = rng.normal(0, 30, (n, len(names), n_times)).astype(np.float32)
    made.present = np.ones((n, len(names)), bool)
    made.info, made.shape = SignalInfo(tuple(names), sfreq, n_times, "uV"), made.x.shape
    return made


def net(module, **parameters):
    own = {f"module__{key}": value for key, value in parameters.items()}
    return BIOTClassifier(module, max_epochs=1, batch_size=8, train_split=None, device="cpu", random_state=0, **own)


def test_windows_and_epochs_tell_all_that_they_know():
    windows = windows_of()
    told = net(Told).fit(windows, windows.y).module_.told
    assert {key: told[key] for key in ("n_outputs", "n_chans", "n_times", "sfreq", "input_window_seconds")} == {
        "n_outputs": 2, "n_chans": 16, "n_times": 2000, "sfreq": 200.0, "input_window_seconds": 10.0,
    }  # fmt: skip
    assert told["ch_names"] == BIOT_16.ch_names
    assert [one["ch_name"] for one in told["chs_info"]] == list(BIOT_16.ch_names)
    np.testing.assert_array_equal([one["loc"] for one in told["chs_info"]], channel_positions(BIOT_16.ch_names))
    epochs = mne.EpochsArray(windows.x * 1e-6, mne.create_info(list(BIOT_16.ch_names), 200.0, "eeg"), verbose="error")
    again = net(Told).fit(epochs, windows.y).module_.told
    assert [one["ch_name"] for one in again.pop("chs_info")] == [one["ch_name"] for one in told.pop("chs_info")]
    assert again == told


def test_arrays_and_names_without_positions_tell_less():
    windows = windows_of()
    told = net(Told).fit(windows.x, windows.y).module_.told
    assert (told["sfreq"], told["ch_names"], told["chs_info"], told["input_window_seconds"]) == (None,) * 4
    told = net(Told).fit(windows_of(["Fp1", "X1"]), windows.y).module_.told
    assert told["ch_names"] == ("Fp1", "X1")
    assert told["chs_info"] is None


def test_what_the_caller_gives_goes_before_the_data():
    windows = windows_of()
    own = make_chs_info(SZCORE_19.ch_names[:16])
    told = net(Told, chs_info=own, sfreq=100.0).fit(windows, windows.y).module_.told
    assert told["chs_info"] is own
    assert told["sfreq"] == 100.0


def test_models_that_read_no_positions_are_built_and_saved_without():
    windows = windows_of()
    for module in ("biot", BIOT, "eegnet"):
        sizes = {} if module == "eegnet" else {"embed_dim": 16, "num_heads": 2, "num_layers": 1}
        config = net(module, **sizes).fit(windows, windows.y).module_.get_config()
        assert (config["chs_info"], config["input_window_seconds"]) == (None, None), module


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([], "expects signals scaled to uV/100, found uV; put FixedScaler"),
        ([PercentileScaler()], r"found percentile-95; put FixedScaler\(100\) in the place of"),
        ([FixedScaler(10)], "found uV/10;"),
        ([Resampler(256), FixedScaler()], "expects 200 Hz, found 256 Hz"),
    ],
)
def test_cbramod_on_other_windows(steps, said):
    windows = windows_of()
    model = net("cbramod", n_layer=1)
    with pytest.raises(ContractError, match=said):
        make_pipeline(*steps, model).fit(windows, windows.y)
    assert not hasattr(model, "facts_")


CASES = {
    "cbramod": (BIOT_16, 200, FixedScaler(100), {"n_layer": 1}),
    "labram": (SZCORE_19, 200, FixedScaler(100), {"num_layers": 1}),
    "luna": (BIOT_16, 256, Standardizer(), {"depth": 1}),
    "signaljepa": (BIOT_16, 128, None, {}),
    "interpolated-bendr": (
        SZCORE_19, 256, None, {"encoder_h": 32, "contextualizer_hidden": 32, "transformer_layers": 1, "transformer_heads": 2}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_fulfilled_contract_trains_and_comes_back(name, tmp_path):
    montage, sfreq, scaler, sizes = CASES[name]
    windows = windows_of(montage.ch_names)
    steps = [step for step in (Resampler(sfreq) if sfreq != 200 else None, scaler) if step is not None]
    pipeline = make_pipeline(*steps, net(name, **sizes)).fit(windows, windows.y)
    proba = pipeline.predict_proba(windows)
    again = load_pipeline(save_pipeline(pipeline, tmp_path))
    np.testing.assert_array_equal(again.predict_proba(windows), proba)
    assert again[-1].input_info_ == pipeline[-1].input_info_


def test_positions_reach_luna_and_change_what_it_says():
    windows = windows_of(n_times=2000).map(Standardizer())
    windows.info = SignalInfo(BIOT_16.ch_names, 256.0, 2000, None, scale="z-score")
    module = net("luna", depth=1).fit(windows, windows.y).module_.eval()
    found = module.get_default_channel_locations(1, 16, "cpu", torch.float32)[0]
    np.testing.assert_allclose(found, channel_positions(BIOT_16.ch_names), atol=1e-6)


def test_labram_takes_each_channel_for_the_one_of_its_name():
    """In another order of the channels, the same logits: the names go along, not the positions."""
    windows = windows_of(SZCORE_19.ch_names).map(FixedScaler(100))
    fitted = net("labram", num_layers=1).fit(windows, windows.y)
    order = np.random.default_rng(0).permutation(19)
    from biot_bd.models.braindecode_models import Labram

    names = [SZCORE_19.ch_names[i] for i in order]
    other = Labram(2, 19, 2000, 200.0, ch_names=names, num_layers=1)
    other.load_state_dict(fitted.module_.state_dict())
    x = torch.from_numpy(windows.x)
    with torch.no_grad():
        expected, found = fitted.module_.eval()(x), other.eval()(x[:, order.copy()])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_a_prediction_on_another_scale_is_refused():
    windows = windows_of()
    fitted = net("eegnet").fit(windows.map(FixedScaler(100)), windows.y)
    with pytest.raises(ValueError, match="fitted on signals scaled to uV/100, found z-score"):
        fitted.predict_proba(windows.map(Standardizer()))


def test_arrays_say_in_one_line_what_is_missing():
    x, y = windows_of().x, windows_of().y
    for name, said in (
        ("labram", "labram needs the names of the channels, which arrays do not carry"),
        ("luna", "luna needs the positions of the channels, which arrays do not carry"),
        (
            "SignalJEPA_Contextual",
            "SignalJEPA_Contextual needs the channels and their positions, which arrays do not carry",
        ),
        ("contrawr", "contrawr needs the sampling rate, which arrays do not carry"),
        ("FBCNet", "FBCNet needs the sampling rate, which arrays do not carry"),
    ):
        with pytest.raises(ValueError, match=said) as caught:
            net(name).fit(x, y)
        assert "\n" not in str(caught.value)


def test_a_download_that_fails_is_told(monkeypatch):
    import braindecode.models.reve as reve

    def nothing(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(reve, "RevePositionBank", nothing)
    windows = windows_of(SZCORE_19.ch_names).map(Standardizer(15))
    with pytest.raises(ContractError, match=r"^reve needs its bank of positions: REVE downloads it .*no route to host"):
        net("reve", depth=1, embed_dim=64).fit(windows, windows.y)


def test_published_weights_of_biot_want_their_scale(monkeypatch):
    windows = windows_of()
    with pytest.raises(ContractError, match="biot expects signals scaled to percentile-95, found uV"):
        BIOTClassifier(pretrained="prest-16", max_epochs=1).fit(windows, windows.y)


def test_a_class_comes_without_a_contract():
    from braindecode.models import CBraMod

    windows = windows_of()
    assert net(CBraMod, n_layer=1).fit(windows, windows.y).input_info_.unit == "uV"


def test_nothing_is_printed_by_models_that_interpolate(capfd):
    windows = windows_of(BIOT_16.ch_names).map(PercentileScaler())
    net("interpolated-biot", embed_dim=16, num_heads=2, num_layers=1).fit(windows, windows.y)
    sys.stdout.flush()
    assert capfd.readouterr().out == ""
