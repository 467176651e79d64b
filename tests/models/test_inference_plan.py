"""Plans of computation, their measurement, and what is kept on disk."""

import json
import warnings

import pytest
import torch

from biot_bd import BIOT
from biot_bd.models import inference_plan as precision
from biot_bd.models.inference_plan import PrecisionPlan, machine_key, measure_inference_plan

FIRST = "encoder.transformer.layers.layers.0.0.fn"

pytestmark = pytest.mark.usefixtures("one_thread", "cache")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BIOT_BD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "precision.json"


@pytest.fixture
def fast_half(monkeypatch):
    """Measure half precision whatever the processor has: the choice is then the errors' alone."""
    monkeypatch.setattr(precision, "has_fast", lambda name, device="cpu": name in ("fp32", "bf16", "fp16"))


def build(seed=0, **changes):
    torch.manual_seed(seed)
    sizes = {"n_outputs": 2, "n_chans": 4, "n_times": 600, "embed_dim": 32, "num_heads": 4, "num_layers": 2}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return BIOT(**{**sizes, **changes}).eval()


@torch.no_grad()
def sharp(model):
    """Scale the head until the rounding of half precision decides, around windows of even chances."""
    head = model.final_layer.classification_head
    head.weight *= 1e4
    head.bias -= model(precision._noise(model, 1))[0]
    return model


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"precision": "int8"}, "one of fp32, tf32, bf16, fp16, got 'int8'"),
        ({"micro_batch": 0}, "positive number of windows or None"),
        ({"micro_batch": 2.0}, "got 2.0"),
        ({"micro_batch": True}, "got True"),
        ({"dtype": "fp32"}, "not dtype"),
    ],
)
def test_impossible_plans_raise(values, message):
    with pytest.raises(ValueError, match=message):
        PrecisionPlan.from_dict(values)


def test_plan_goes_through_json():
    plan = PrecisionPlan("bf16", 16)
    assert PrecisionPlan.from_dict(json.loads(json.dumps(plan.as_dict()))) == plan
    assert PrecisionPlan() == PrecisionPlan("fp32", None)


def test_machine_key_knows_threads():
    before = machine_key()
    assert machine_key("cpu") == before
    torch.set_num_threads(2)
    try:
        assert machine_key() != before
    finally:
        torch.set_num_threads(1)


@pytest.mark.usefixtures("fast_half")
def test_measured_plan_is_reported_kept_and_leaves_the_model_alone(monkeypatch):
    model = build().train()
    model.encoder.eval()
    before = model.inference_plan
    plan, report = measure_inference_plan(model, 16)
    assert set(report) == {"errors", "times_s", "reason"}
    assert 0 < report["errors"]["fp16"] < report["errors"]["bf16"] < 1e-2
    assert any(name.startswith("fp32") for name in report["times_s"])
    assert plan.precision in report["reason"]
    assert (model.training, model.encoder.training, model.inference_plan) == (True, False, before)
    monkeypatch.setattr(precision, "_measure", lambda *args: pytest.fail("measured again"))
    assert measure_inference_plan(model, 16)[0] == plan
    assert measure_inference_plan(build(seed=5), 16)[0] == plan  # same shape, other weights


@pytest.mark.usefixtures("fast_half")
def test_weights_that_half_precision_cannot_hold_get_float32():
    good = build()
    plan, _ = measure_inference_plan(good, 16, precision="bf16")
    assert plan.precision == "bf16"
    for asked in ("bf16", "auto"):
        plan, report = measure_inference_plan(sharp(build()), 16, precision=asked)
        assert plan.precision == "fp32"
        assert report["errors"]["bf16"] > 1e-2
        assert "bf16: probabilities differ by" in report["reason"]
        assert "fp32 instead" in report["reason"]


def test_a_precision_that_the_processor_lacks_gets_float32(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {})
    plan, report = measure_inference_plan(build(), 4, precision="bf16", micro_batch=3)
    assert plan == PrecisionPlan("fp32", 3)
    assert "the processor has no fast bf16" in report["reason"]


def test_the_callers_sample_decides():
    model = build(n_outputs=1)
    sample = torch.randn(2, 4, 600)
    sample[0, 1] = torch.nan  # absent channels are fine
    error = precision.probability_error(model, PrecisionPlan("bf16", 1), sample)
    with torch.no_grad():
        full = model(sample).sigmoid()
        model.inference_plan = PrecisionPlan("bf16", 1)
        half = model(sample).sigmoid()
    assert error == pytest.approx(float((full.double() - half.double()).abs().max()), abs=1e-7)
    assert error > 0


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"precision": "int8"}, ValueError, "int8"),
        ({"micro_batch": "all"}, ValueError, "micro_batch"),
        ({"n_windows": 0}, ValueError, "at least 1"),
    ],
)
def test_impossible_requests_raise(options, error, message):
    with pytest.raises(error, match=message):
        measure_inference_plan(build(), **{"n_windows": 4, **options})


def test_a_model_without_a_plan_is_refused():
    with pytest.raises(TypeError, match="Linear has no inference_plan"):
        measure_inference_plan(torch.nn.Linear(2, 2), 4)
