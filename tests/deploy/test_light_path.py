"""From a plain EDF file to its events by an exported model: what may not even be imported."""

import json
import subprocess
import sys

import pytest
from deploy_files import REFERENTIAL, write_edf
from handmade_export import write_export

from biot_bd.deploy import Detector

FORBIDDEN = "braindecode jinja2 joblib matplotlib mne pandas scipy.signal skorch sklearn torch".split()
GUARD = f"""
import json, sys
class Guard:
    def find_spec(self, name, path=None, target=None):
        if any(name == one or name.startswith(one + ".") for one in {FORBIDDEN}):
            raise ImportError(f"{{name}} is imported")
sys.meta_path.insert(0, Guard())
"""
DETECT = """
from biot_bd.deploy import Detector
found = Detector.load(sys.argv[1], engine=sys.argv[2]).detect(sys.argv[3])
print(json.dumps([found.probabilities.tolist(), found.channels, found.notes, found.digest]))
"""
COMMAND = """
from biot_bd.cli import main
raise SystemExit(main(["detect", sys.argv[1], sys.argv[3], "-o", sys.argv[4], "--engine", sys.argv[2]]))
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return write_export(tmp_path_factory.mktemp("exported") / "loudness")


def guarded(code, *given):
    done = subprocess.run([sys.executable, "-c", GUARD + code, *map(str, given)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_a_plain_edf_needs_the_engine_alone(tmp_path, exported, engine):
    path = write_edf(tmp_path / "x.edf", REFERENTIAL, seconds=90, flat=["EEG Fp1-REF"], loud=(40, 60))
    probabilities, channels, notes, digest = json.loads(guarded(DETECT, exported, engine, path))
    here = Detector.load(exported, engine=engine).detect(path)
    assert probabilities == here.probabilities.tolist()
    assert (channels, notes, digest) == (here.channels, here.notes, here.digest)
    assert any("Fp1" in note for note in notes)


def test_nor_does_the_command_need_more(tmp_path, exported):
    path = write_edf(tmp_path / "x.edf", seconds=90, loud=(40, 60))
    guarded(COMMAND, exported, "onnx", path, tmp_path / "out")
    assert (tmp_path / "out" / "x_events.tsv").is_file()
    assert (tmp_path / "out" / "x_detection.json").is_file()
