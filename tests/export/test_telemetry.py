"""OpenVINO and nncf are imported and called without their telemetry being asked, or even imported."""

import subprocess
import sys

import pytest

SPY = """
import sys, types
asked = []
class Telemetry:
    consent = True
    def __init__(self, *a, **k): asked.append("made")
    def __getattr__(self, name):
        return lambda *a, **k: asked.append(name)
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "openvino_telemetry":
            asked.append("imported")
sys.meta_path.insert(0, Finder())
from biot_bd.export.telemetry import no_telemetry
"""


def run(code, home):
    environment = {"HOME": str(home), "PATH": "", "PYTHONPATH": ":".join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", SPY + code], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert not list(home.iterdir())  # the consent and the identity of this machine would stand here
    return done.stdout


def test_openvino_imports_and_converts_in_silence(tmp_path):
    pytest.importorskip("openvino")
    code = """
with no_telemetry():
    import numpy as np, openvino as ov
    import openvino.opset15 as ops
    p = ops.parameter([2, 3], np.float32)
    ov.Core().compile_model(ov.Model([ops.relu(p)], [p]), "CPU")
print(asked, "openvino.tools.ovc" in sys.modules, "openvino_telemetry" in sys.modules)
"""
    assert run(code, tmp_path).split() == ["[]", "True", "False"]


@pytest.mark.slow
def test_nncf_quantises_in_silence(tmp_path):
    pytest.importorskip("nncf")
    code = """
with no_telemetry():
    import numpy as np, openvino as ov, nncf
    import openvino.opset15 as ops
    p = ops.parameter([2, 64], np.float32)
    w = ops.constant(np.ones((64, 64), np.float32))
    model = ov.Model([ops.matmul(p, w, False, False)], [p])
    nncf.quantize(model, nncf.Dataset([np.ones((2, 64), np.float32)] * 4))
print(asked, "openvino_telemetry" in sys.modules)
"""
    assert run(code, tmp_path).splitlines()[-1].split() == ["[]", "False"]


def test_a_sender_of_others_gets_no_consent_inside_and_keeps_it_outside(monkeypatch):
    from types import ModuleType

    from biot_bd.export.telemetry import no_telemetry

    class Telemetry:
        consent = True
        one = None

        def __new__(cls):
            cls.one = cls.one or super().__new__(cls)
            return cls.one

    module = ModuleType("openvino_telemetry")
    module.Telemetry = Telemetry
    monkeypatch.setitem(sys.modules, "openvino_telemetry", module)

    def ask():
        with no_telemetry():
            assert Telemetry().consent is False
            import openvino_telemetry  # noqa: F401

    with pytest.raises(ImportError):
        ask()
    assert Telemetry().consent is True
    assert sys.modules["openvino_telemetry"] is module


def test_without_the_package_nothing_is_left_behind(monkeypatch):
    from biot_bd.export.telemetry import no_telemetry

    monkeypatch.delitem(sys.modules, "openvino_telemetry", raising=False)
    with no_telemetry():
        pass
    assert "openvino_telemetry" not in sys.modules
