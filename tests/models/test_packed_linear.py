"""Packed products against torch's own in double precision, and inference with and without them."""

import threading
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd import BIOT
from biot_bd.models import packed_linear
from biot_bd.models.inference_plan import PrecisionPlan
from biot_bd.models.packed_linear import PackedLinear, can_pack

BOUNDS = {"fp32": 1e-5, "bf16": 5e-4}
SIZES = {"n_outputs": 2, "n_chans": 16, "n_times": 1200, "sfreq": 200, "embed_dim": 64, "num_heads": 4, "num_layers": 2}

pytestmark = pytest.mark.usefixtures("one_thread")
needs_packing = pytest.mark.skipif(not can_pack(torch.float32), reason="float32 is not packed on this processor")


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return BIOT(**SIZES).eval()


@pytest.fixture(scope="module")
def unpacked(model):
    """The same weights in double precision, which is never packed."""
    twin = BIOT(**SIZES).eval().double()
    twin.load_state_dict(model.state_dict())
    return twin


@pytest.fixture
def any_processor(monkeypatch):
    """Let a processor that no one measured pack float32 as well; the trial still decides."""
    monkeypatch.setattr(packed_linear, "this_processor", lambda: SimpleNamespace(name="AMD"))
    can_pack.cache_clear()
    yield
    can_pack.cache_clear()


def probabilities(model, x, precision="fp32", micro_batch=8):
    model.inference_plan = PrecisionPlan(precision, micro_batch)
    with torch.no_grad():
        return model(x).softmax(1)


def drawn(n=4, seed=0):
    return torch.randn(n, SIZES["n_chans"], SIZES["n_times"], generator=torch.Generator().manual_seed(seed))


@needs_packing
@settings(max_examples=20, deadline=None)
@given(st.integers(1, 300), st.integers(1, 70), st.integers(1, 70), st.booleans(), st.integers(0, 9))
def test_packed_products_equal_those_of_double_precision(rows, inputs, outputs, biased, seed):
    generator = torch.Generator().manual_seed(seed)
    x, weight, other = (
        torch.randn(*s, generator=generator) for s in ((2, rows, inputs), (outputs, inputs), (2, rows, outputs))
    )
    bias = torch.randn(outputs, generator=generator) if biased else None
    packed = PackedLinear(weight, bias)
    expected = F.linear(x.double(), weight.double(), None if bias is None else bias.double())
    for found, wanted in (
        (packed(x), expected),
        (packed.gelu(x), F.gelu(expected)),
        (packed.add(x, other), expected + other),
    ):
        assert (found - wanted).abs().max() < 1e-4


@needs_packing
def test_a_packed_map_is_a_copy():
    weight, bias, x = torch.randn(8, 16), torch.randn(8), torch.randn(3, 16)
    packed = PackedLinear(weight, bias)
    before = packed(x)
    weight.zero_(), bias.zero_()
    assert torch.equal(packed(x), before)


@pytest.mark.parametrize(
    "change",
    [
        ("no library", lambda m: m.setattr(torch.backends.mkldnn, "is_available", lambda: False)),
        ("no such operation", lambda m: m.setattr(packed_linear, "_NAMES", ("no_such_operation",))),
        ("another signature", lambda m: m.setattr(PackedLinear, "gelu", lambda self, x, y: x)),
        ("wrong numbers", lambda m: m.setattr(PackedLinear, "__call__", lambda self, x: x.new_ones(3, 8))),
    ],
    ids=lambda change: change[0],
)
def test_a_build_of_torch_that_cannot_pack_keeps_the_plain_way(any_processor, monkeypatch, model, unpacked, change):
    change[1](monkeypatch)
    assert not can_pack(torch.float32)
    assert not can_pack(torch.bfloat16)
    model.encoder._copies.clear()
    x = drawn()
    for precision, bound in BOUNDS.items():
        found = probabilities(model, x, precision)
        assert (found - probabilities(unpacked, x.double())).abs().max() < bound
    assert list(model.encoder._copies) == [torch.bfloat16]
    model.encoder._copies.clear()


def test_a_processor_on_which_nobody_measured_keeps_float32_as_it_is(monkeypatch):
    monkeypatch.setattr(packed_linear, "this_processor", lambda: SimpleNamespace(name="Intel(R) Xeon(R)"))
    can_pack.cache_clear()
    assert not can_pack(torch.float32)
    can_pack.cache_clear()


@needs_packing
def test_float32_is_packed_where_the_batch_is_large_enough(model):
    model.encoder._copies.clear()
    probabilities(model, drawn(1))
    assert torch.float32 in model.encoder._copies  # 16 channels of 11 frames
    small = BIOT(n_outputs=2, n_chans=2, n_times=600, sfreq=200, embed_dim=16, num_heads=2, num_layers=1).eval()
    probabilities(small, torch.randn(2, 2, 600))
    assert not small.encoder._copies


CASES = {
    "plain": lambda x: x,
    "absent channels": lambda x: x.masked_fill((torch.arange(16) % 3 == 0)[None, :, None], torch.nan),
    "loud": lambda x: x * 1e3,
    "quiet": lambda x: x * 1e-4,
    "offset": lambda x: x + 1e4,
    "flat": lambda x: x.clone().index_fill_(1, torch.tensor([3, 5]), 0.0),
}


@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize("case", CASES)
def test_odd_windows_stay_within_the_bound_of_their_precision(model, unpacked, case, precision):
    x = CASES[case](drawn(9))
    found, expected = probabilities(model, x, precision), probabilities(unpacked, x.double())
    assert found.isfinite().all()
    assert (found - expected).abs().max() < BOUNDS[precision]


@pytest.mark.parametrize("precision", BOUNDS)
def test_a_window_does_not_depend_on_its_place_or_company(model, precision):
    x = drawn(9)
    loud = x.clone()
    loud[1::2] *= 1e3
    loud[2, :5] = torch.nan
    alone = probabilities(model, x[:1], precision)
    for place in (0, 4, 7, 8):
        batch = loud.clone()
        batch[place] = x[0]
        for micro_batch in (1, 4, 8, None):
            found = probabilities(model, batch, precision, micro_batch)
            assert (found[place] - alone[0]).abs().max() < 1e-6
    repeated = probabilities(model, x[:1].expand(17, -1, -1), precision)
    assert (repeated - alone).abs().max() < 1e-6


@pytest.mark.parametrize("precision", BOUNDS)
def test_threads_share_one_model(model, precision):
    x = drawn(6)
    expected = probabilities(model, x, precision)
    model.encoder._copies.clear()
    found = []

    def work():
        with torch.no_grad():
            found.extend(model(x).softmax(1) for _ in range(3))

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 9
    assert all((one - expected).abs().max() < 1e-6 for one in found)


def test_both_precisions_keep_their_copies_until_a_weight_changes(model):
    x = drawn(2)
    model.encoder._copies.clear()
    needed = [torch.float32] * can_pack(torch.float32) + [torch.bfloat16]
    for precision in ("fp32", "bf16", "fp32"):
        probabilities(model, x, precision)
    assert list(model.encoder._copies) == needed
    with torch.no_grad():
        changed = model.get_submodule("encoder.transformer.layers.layers.0.0.fn").to_q.weight
        before = changed.clone()
        changed.add_(0.01)
        probabilities(model, x, "bf16")
        assert list(model.encoder._copies) == [torch.bfloat16]
        changed.copy_(before)
