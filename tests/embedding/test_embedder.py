"""Embeddings of windows by a model that stays as it is."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from small_pipeline import few_windows

from biot_bd import BIOTClassifier, Embedder, PercentileScaler, cross_validate, registry, save_pipeline
from biot_bd.exceptions import ContaminationError, ContractError
from biot_bd.models import BIOT
from biot_bd.signals.subject_array import SubjectArray
from biot_bd.training.input_data import InputInfo, SignalData

pytestmark = pytest.mark.usefixtures("one_thread")
SIZE = {"embed_dim": 16, "num_heads": 2, "num_layers": 2}
REFERENTIAL = "Fp1 Fp2 F3 F4 C3 C4 P3 P4 O1 O2 F7 F8 T7 T8 P7 P8".split()
BIPOLAR = "Fp1-F7 F7-T7 T7-P7 P7-O1 Fp2-F8 F8-T8 T8-P8 P8-O2 Fp1-F3 F3-C3 C3-P3 P3-O1 Fp2-F4 F4-C4 C4-P4 P4-O2".split()
QUICK = ("biot", "cbramod", "eegconformer", "eegnet", "labram", "masked-vit", "multi-scale-biot", "signaljepa")
DOWNLOADED = ("reve",)  # needs a bank of positions from the Hub


def noise(n=6, n_chans=4, n_times=400, seed=0):
    return np.random.default_rng(seed).normal(size=(n, n_chans, n_times)).astype(np.float32)


def described(name):
    """Return what a registered model's contract takes, as a class that carries it beside the windows."""
    contract = registry.models.contract(name)
    sfreq = contract.sfreq or 200.0
    names = contract.ch_names if contract.all_channels else BIPOLAR
    if contract.reference == "referential" or name == "labram":
        names = contract.ch_names if contract.all_channels else REFERENTIAL
    if contract.positions == "required" and contract.reference != "bipolar":
        names = REFERENTIAL
    n_times = int(sfreq * max(4, contract.min_window_s or 0))
    n_times = -(-n_times // contract.multiple_samples) * contract.multiple_samples
    scaled = contract.scale not in (None, "uV")
    info = InputInfo(
        len(names), n_times, tuple(names), sfreq, "scaled" if scaled else "uV", contract.scale if scaled else None
    )
    return info, noise(2, len(names), n_times)


class Described:
    """Windows in memory that say what they are."""

    def __init__(self, info, x):
        self.info, self.x, self.groups = info, x, np.array(["a"] * len(x), dtype=object)
        self.present = ~np.isnan(x[..., 0])

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return Described(self.info, self.x[index])

    def read(self, rows):
        return self.x[rows]


def check_head_turns_embedding_into_logits(name):
    info, x = described(name)
    embedder = Embedder(name, device="cpu").fit(Described(info, x))
    embeddings = embedder.transform(Described(info, x))
    seen = []
    module = embedder.module_
    hook = module.final_layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    with torch.no_grad():
        logits = module(torch.from_numpy(x))
        hook.remove()
        again = module.final_layer(torch.from_numpy(np.asarray(embeddings)).reshape(seen[0]))
    assert embeddings.shape == (2, embedder.n_features_out_)
    assert embeddings.dtype == np.float32
    torch.testing.assert_close(again, logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", QUICK)
def test_the_head_turns_a_models_embedding_into_its_logits(name):
    check_head_turns_embedding_into_logits(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(registry.models) - set(QUICK) - set(DOWNLOADED)))
def test_the_head_turns_any_models_embedding_into_its_logits(name):
    check_head_turns_embedding_into_logits(name)


def test_the_embedding_of_official_weights_is_that_of_the_official_code(shared):
    golden = np.load(shared / "golden" / "biot-official-layout-16.npz")
    embedder = Embedder(pretrained=shared / "golden" / "biot-official-layout-16.ckpt", device="cpu")
    np.testing.assert_allclose(embedder.fit_transform(golden["x"]), golden["embedding"], atol=2e-5)


def test_the_first_layer_of_two_is_all_of_a_model_with_one():
    x = noise()
    deep = Embedder(module_params=SIZE, layer=0, device="cpu").fit(x)
    shallow = BIOT(**{**SIZE, "num_layers": 1}, n_chans=4, n_times=400, n_outputs=2).eval()
    known = deep.module_.state_dict()
    shallow.load_state_dict({name: known[name] for name in shallow.state_dict()})
    with torch.no_grad():
        expected = shallow(torch.from_numpy(x), return_features=True)["features"].numpy()
    np.testing.assert_allclose(deep.transform(x), expected, atol=1e-4)


@pytest.mark.parametrize("module", ["biot", "masked-vit"])
def test_the_last_layer_and_the_mean_over_tokens_are_the_embedding(module):
    x = noise()
    x[1, 2] = np.nan
    pooled, tokens = (
        Embedder(module, module_params=SIZE, pooling=pooling, device="cpu").fit_transform(x)
        for pooling in ("mean", "tokens")
    )
    assert tokens.ndim == 3
    np.testing.assert_allclose(np.nanmean(tokens, axis=1), pooled, atol=1e-4)
    absent = np.isnan(tokens).all(axis=-1)
    assert absent.sum() == absent[1].sum() == tokens.shape[1] / 4


def test_a_layer_is_the_mean_over_tokens_of_channels_that_are_there():
    x = noise()
    x[1, 2] = np.nan
    mean, tokens = (
        Embedder(module_params=SIZE, layer="middle", pooling=pooling, device="cpu").fit_transform(x)
        for pooling in ("mean", "tokens")
    )
    np.testing.assert_allclose(np.nanmean(tokens, axis=1), mean, atol=1e-4)


def test_layers_have_names_and_numbers_from_both_ends():
    x, size = noise(2), {**SIZE, "num_layers": 4}
    asked = ("early", 0, "middle", 2, "late", -1)
    numbers = [Embedder("masked-vit", module_params=size, layer=layer, device="cpu").fit(x).layer_ for layer in asked]
    assert numbers == [0, 0, 2, 2, 3, 3]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"layer": 2}, "has 2 transformer layers; give 0 to 1"),
        ({"layer": "last"}, "'early', 'middle' or 'late'"),
        ({"module": "eegnet", "module_params": None, "layer": 0}, "only layer=None with pooling='mean'"),
        ({"pooling": "max"}, "'mean', 'tokens'"),
        ({"engine": "jax"}, "'onnx'"),
        ({"precision": "int3"}, "'bf16'"),
        ({"batch_size": 0}, "1 or more"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_can(given, said):
    with pytest.raises(ValueError, match=said):
        Embedder(**{"module": "biot", "module_params": SIZE, "device": "cpu", **given}).fit(noise(2))


def test_windows_that_break_the_models_contract_are_refused():
    info, x = described("cbramod")
    wrong = InputInfo(info.n_chans, info.n_times, info.ch_names, info.sfreq, "uV")
    with pytest.raises(ContractError, match=r"FixedScaler\(100\)"):
        Embedder("cbramod", device="cpu").fit(Described(wrong, x))


def test_absent_channels_are_refused_where_the_model_has_no_masks():
    x = noise()
    embedder = Embedder("eegnet", device="cpu").fit(x)
    x[3, 1] = np.nan
    with pytest.raises(ValueError, match="FillAbsent"):
        embedder.transform(x)


def test_windows_unlike_those_of_fit_are_refused():
    embedder = Embedder(module_params=SIZE, device="cpu").fit(noise())
    with pytest.raises(ValueError, match="fitted on 4 channels"):
        embedder.transform(noise(n_chans=5))


def test_random_weights_are_those_of_the_seed_and_leave_the_callers_alone():
    x = noise()
    torch.manual_seed(5)
    first = Embedder(module_params=SIZE, random_state=1, device="cpu").fit_transform(x)
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), drawn)
    again = clone(Embedder(module_params=SIZE, random_state=1, device="cpu")).fit_transform(x)
    other = Embedder(module_params=SIZE, random_state=2, device="cpu").fit_transform(x)
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)


def test_a_batch_may_have_any_size():
    x = noise(7)
    one, all_ = (Embedder(module_params=SIZE, batch_size=n, device="cpu").fit_transform(x) for n in (3, 64))
    np.testing.assert_allclose(one, all_, atol=1e-5)


def test_a_saved_classifier_gives_its_own_embedding(tmp_path):
    windows = few_windows()
    net = BIOTClassifier(
        "biot",
        max_epochs=1,
        train_split=None,
        device="cpu",
        random_state=0,
        **{f"module__{k}": v for k, v in SIZE.items()},
    )
    fitted = make_pipeline(PercentileScaler(), net).fit(windows, windows.y)
    folder = save_pipeline(fitted, tmp_path / "model")
    ready = windows.map(PercentileScaler())
    embedder = Embedder(pretrained=folder, device="cpu")
    x = torch.from_numpy(ready.read(np.arange(16)))
    with torch.no_grad():
        expected = net.module_(x, return_features=True)["features"].numpy()
    np.testing.assert_allclose(
        embedder.fit(Described(SignalData(ready).info, ready.x)).transform(ready.x), expected, atol=1e-5
    )
    assert [seen.dataset for seen in embedder.provenance_.trained_on] == ["p0", "p1", "p2", "p3"]
    with pytest.raises(ValueError, match="a saved biot, but module='eegnet'"):
        Embedder("eegnet", pretrained=folder, device="cpu").fit(ready.x)


def test_subjects_go_with_the_embeddings():
    groups = np.repeat(["a", "b"], 3)
    made = Embedder(module_params=SIZE, device="cpu").fit_transform(SubjectArray(noise(), groups))
    assert made.groups.tolist() == groups.tolist()
    assert not isinstance(Embedder(module_params=SIZE, device="cpu").fit_transform(noise()), SubjectArray)


def test_features_have_names():
    embedder = Embedder(module_params=SIZE, device="cpu").fit(noise())
    assert embedder.get_feature_names_out()[[0, -1]].tolist() == ["embedding0", "embedding15"]


@pytest.mark.parametrize("layer", [None, 0])
def test_a_frozen_checkpoint_that_saw_the_test_subjects_is_refused_before_anything_is_loaded(layer):
    x, y = noise(12), np.array([0, 1] * 6)
    subjects = np.repeat(["chb-mit/01", "chb-mit/02", "chb-mit/03"], 4)
    frozen = make_pipeline(Embedder(pretrained="six-datasets-18", layer=layer), LogisticRegression())
    with pytest.raises(ContaminationError, match="six-datasets-18"):
        cross_validate(frozen, x, y=y, groups=subjects)
