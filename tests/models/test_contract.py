"""What models expect of windows: each part of a contract, and the contracts of all registered models."""

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd import registry
from biot_bd.exceptions import ContractError, PluginError
from biot_bd.models import ModelContract
from biot_bd.signals import SignalInfo
from biot_bd.signals.montages import BIOT_16, SZCORE_19

BIPOLAR = SignalInfo(BIOT_16.ch_names, 200.0, 2000, "uV")
ELECTRODES = SignalInfo(SZCORE_19.ch_names, 200.0, 2000, "uV")
ARRAY = SignalInfo(None, None, 2000, None, 16)


def scaled(info, scale):
    return replace(info, unit=None, scale=scale)


@pytest.mark.parametrize(
    ("contract", "info", "said"),
    [
        ({"scale": "uV/100"}, BIPOLAR, "expects signals scaled to uV/100, found uV; put FixedScaler(100) in front of it"),
        ({"scale": "uV/1000"}, scaled(BIPOLAR, "uV/100"), "put FixedScaler(1000) in the place of the scaler"),
        ({"scale": "z-score"}, scaled(BIPOLAR, "percentile-95"), "found percentile-95; put Standardizer()"),
        ({"scale": "percentile-95"}, BIPOLAR, "PercentileScaler(95)"),
        ({"scale": "uV"}, scaled(BIPOLAR, "z-score"), "expects signals in microvolts, found z-score; leave the scaler out"),
        ({"sfreq": 256.0}, BIPOLAR, "expects 256 Hz, found 200 Hz; give prepare sfreq=256, or put Resampler(256) in front"),
        ({"multiple_samples": 300}, BIPOLAR, "a multiple of 300 samples, found 2000; give prepare a window_s of e.g. 2100 samples (10.5 s)"),
        ({"min_window_s": 12.0}, BIPOLAR, "at least 12 s, found 10 s"),
        ({"max_window_s": 4.0}, BIPOLAR, "at most 4 s, found 10 s"),
        ({"min_chans": 17}, BIPOLAR, "at least 17 channels, found 16"),
        ({"max_chans": 8}, BIPOLAR, "1 to 8 channels, found 16"),
        ({"reference": "referential"}, BIPOLAR, "derivations of two such as Fp1-F7; prepare montage='szcore-19'"),
        ({"reference": "bipolar"}, ELECTRODES, "expects derivations of two electrodes, found Fp1; prepare montage='biot-16'"),
        ({"ch_names": ("FP1-F7", "CZ"), "instead": "luna"}, BIPOLAR, "knows no channels F7-T7, T7-P7, "),
        ({"ch_names": ("Fp2", "Fp1"), "all_channels": True}, ELECTRODES, "expects exactly the 2 channels"),
        ({"positions": "required"}, SignalInfo(("Fp1", "X9"), 200.0, 2000, "uV"), "none is known for X9"),
        ({"positions": "required"}, ARRAY, "needs the positions of the channels, which arrays do not carry; give Windows or mne.Epochs"),
        ({"ch_names": ("Fp1",)}, ARRAY, "needs the names of the channels, which arrays do not carry"),
        ({"needs_sfreq": True}, ARRAY, "needs the sampling rate, which arrays do not carry"),
    ],
)  # fmt: skip
def test_what_is_otherwise_is_refused_in_one_line(contract, info, said):
    with pytest.raises(ContractError, match=re.escape(said)) as caught:
        ModelContract(**contract).check(info, "mine")
    assert str(caught.value).startswith("mine ")
    assert "\n" not in str(caught.value)


def test_what_data_do_not_say_is_not_refused():
    strict = ModelContract(scale="uV/100", sfreq=256.0, reference="bipolar", min_window_s=60.0)
    strict.check(ARRAY)
    strict.check(replace(scaled(BIPOLAR, None), sfreq=None))
    ModelContract(ch_names=("Fp1",)).check(ARRAY, given=["ch_names"])
    ModelContract(positions="required").check(ARRAY, given=["chs_info"])
    ModelContract(needs_sfreq=True).check(ARRAY, given=["sfreq"])


def test_all_that_is_wrong_is_told_at_once():
    with pytest.raises(ContractError, match=r"found uV.*; also, expects 256 Hz"):
        ModelContract(scale="z-score", sfreq=256.0).check(BIPOLAR, "mine")


@given(
    scale=st.sampled_from(["uV", "uV/100", "uV/1000", "z-score", "percentile-95"]),
    found=st.sampled_from(["uV", "uV/100", "uV/1000", "z-score", "percentile-95", None]),
    rates=st.tuples(*[st.sampled_from([128.0, 200.0, 256.0])] * 2),
    patch=st.integers(1, 50),
    n_times=st.integers(1, 3000),
)
@settings(max_examples=60, deadline=None)
def test_nothing_is_said_exactly_where_all_agrees(scale, found, rates, patch, n_times):
    unit = "uV" if found == "uV" else None
    info = SignalInfo(("Fp1", "Fp2"), rates[1], n_times, unit, scale=None if found == "uV" else found)
    problems = ModelContract(scale=scale, sfreq=rates[0], multiple_samples=patch).problems(info)
    agrees = [found in (None, scale), rates[0] == rates[1], n_times % patch == 0]
    assert len(problems) == agrees.count(False)


def test_the_scale_of_published_weights_alone():
    contract = ModelContract(scale="percentile-95", scale_from_scratch=False)
    contract.check(BIPOLAR, scratch=True)
    with pytest.raises(ContractError):
        contract.check(BIPOLAR)


@pytest.mark.parametrize(
    "wrong",
    [{"reference": "average"}, {"positions": "maybe"}, {"multiple_samples": 0}, {"sfreq": 0.0}, {"all_channels": True}],
)
def test_a_contract_that_cannot_be(wrong):
    with pytest.raises(ValueError, match=r"must be|needs"):
        ModelContract(**wrong)


def test_every_registered_model_has_one_that_json_holds():
    for name in registry.models:
        if registry.models.owner(name) == "biot_bd":
            contract = registry.models.contract(name)
            assert contract.sources, name
            again = json.loads(json.dumps(contract.as_dict()))
            assert ModelContract(**{k: tuple(v) if isinstance(v, list) else v for k, v in again.items()}) == contract
            assert contract.instead is None or contract.instead in registry.models
            assert registry.models.contract(name).accepts_absent_channels == getattr(
                registry.models[name], "accepts_absent_channels", False
            )


def test_the_channels_that_models_know_are_braindecodes():
    from braindecode.models.bendr import BENDR_CHANNEL_ORDER
    from braindecode.models.labram import LABRAM_CHANNEL_ORDER

    assert registry.models.contract("labram").ch_names == tuple(LABRAM_CHANNEL_ORDER)
    assert registry.models.contract("bendr").ch_names == tuple(BENDR_CHANNEL_ORDER)


def test_only_models_have_contracts():
    from types import SimpleNamespace

    from biot_bd.hookspecs import hookimpl

    @hookimpl
    def register_losses(register):
        register("with-contract", "biot_bd.losses:FocalLoss", contract=ModelContract())

    with pytest.raises(PluginError, match="only models have one"):
        registry.add_plugin(SimpleNamespace(register_losses=register_losses), "losses-with-contract")
    assert "with-contract" not in registry.losses
