"""``compile=True``: the same model as without, together with all that a GPU is used with, and a clear word without a compiler."""

import numpy as np
import pytest
import torch

from biot_bd import BIOTClassifier, load_pipeline, save_pipeline
from biot_bd.windows.device_signals import free_device_signals

RNG = np.random.default_rng(0)
Y, SUBJECTS = np.arange(32) % 2, np.repeat(["a", "b", "c", "d"], 8)
X = (RNG.normal(size=(32, 4, 200)) * np.where(Y, 3, 1)[:, None, None]).astype("float32")


def net(**options):
    # Without dropout: compiled code draws other masks.
    small = {"module__embed_dim": 16, "module__num_heads": 2, "module__num_layers": 1}
    still = {f"module__{name}": 0.0 for name in ("drop_prob", "att_drop_prob", "att_layer_drop_prob")}
    plain = {"train_split": None, "max_epochs": 2, "batch_size": 8, "lr": 1e-3, "device": "cpu", "random_state": 0}
    return BIOTClassifier(**{**small, **still, **plain, **options})


@pytest.fixture(autouse=True)
def nothing_left():
    yield
    free_device_signals()
    torch.compiler.reset()


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@pytest.mark.filterwarnings("ignore:Torchinductor does not support code generation for complex operators")
def test_a_compiled_model_learns_and_says_the_same(tmp_path):
    plain, compiled = net().fit(X, Y, groups=SUBJECTS), net(compile=True).fit(X, Y, groups=SUBJECTS)
    assert hasattr(compiled.module_, "_orig_mod")
    assert not hasattr(compiled.criterion_, "_orig_mod")
    np.testing.assert_allclose(compiled.history[:, "train_loss"], plain.history[:, "train_loss"], rtol=1e-4)
    found = compiled.predict_proba(X)
    np.testing.assert_allclose(found, plain.predict_proba(X), atol=1e-4)
    with pytest.warns(UserWarning, match="compile=True"):
        loaded = load_pipeline(save_pipeline(compiled, tmp_path / "model"))
    assert not loaded.compile
    np.testing.assert_allclose(loaded.predict_proba(X), found, atol=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_it_goes_with_precision_micro_batches_and_windows_on_the_device(precision):
    """The graphs of the compiler, carried out by torch: what differs is how they are cut, not how they are coded."""
    options = {"precision": precision, "micro_batch": 4}
    plain = net(**options).fit(X, Y, groups=SUBJECTS)
    together = net(**options, data_on_device=True, compile=True, compile__backend="aot_eager")
    together.fit(X, Y, groups=SUBJECTS)
    close = {"fp32": 1e-5, "bf16": 2e-2}[precision]
    np.testing.assert_allclose(together.history[:, "train_loss"], plain.history[:, "train_loss"], rtol=close)
    np.testing.assert_allclose(together.predict_proba(X), plain.predict_proba(X), atol=close)
    assert together.precision_ == precision
    assert together.facts_.training_plan.micro_batch == 4


def test_without_a_compiler_it_is_said_before_anything_is_trained(monkeypatch):
    import torch._inductor.config

    with torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",)}):
        with pytest.raises(ValueError, match=r"needs a C\+\+ compiler .* take compile=False"):
            net(compile=True).fit(X, Y, groups=SUBJECTS)
        other = net(compile=True, compile__backend="eager").fit(X, Y, groups=SUBJECTS)  # has no need of one
    assert len(other.history) == 2
