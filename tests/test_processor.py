"""What a processor says of itself."""

import platform
import subprocess
import sys

import pytest

from biot_bd import processor
from biot_bd.processor import Processor, read_processor, this_processor

X86 = """processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) 6
flags\t\t: fpu sse2 avx2 fma avx512f avx512_bf16 amx_bf16 amx_tile ht

processor\t: 1
model name\t: another
flags\t\t: fpu
"""
ARM = """processor\t: 0
BogoMIPS\t: 243.75
Features\t: fp asimd evtstrm asimddp sve i8mm bf16
CPU implementer\t: 0x41
"""


@pytest.mark.parametrize(
    ("text", "name", "features"),
    [
        (X86, "Intel(R) Xeon(R) 6", ("amx_bf16", "amx_tile", "avx2", "avx512_bf16", "avx512f", "fma")),
        (ARM, platform.processor() or platform.machine(), ("asimd", "asimddp", "bf16", "i8mm", "sve")),
        ("", platform.processor() or platform.machine(), ()),
        ("model name\t:\nflags\t:\n", platform.processor() or platform.machine(), ()),
    ],
    ids=["x86", "ARM", "elsewhere", "empty values"],
)
def test_name_and_instructions_are_those_of_the_first_processor(text, name, features):
    found = read_processor(text)
    assert (found.name, found.features) == (name, features)
    assert found.count >= 1


def test_two_processors_of_one_name_differ_by_their_instructions():
    """A cloud calls many processors the same: the choice of one is not the other's."""
    older = read_processor(X86.replace("amx_bf16 amx_tile ", ""))
    assert older.name == read_processor(X86).name
    assert older != read_processor(X86)


def test_a_machine_without_the_file_is_described_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "none")
    this_processor.cache_clear()
    try:
        assert this_processor() == Processor(platform.processor() or platform.machine(), (), this_processor().count)
    finally:
        this_processor.cache_clear()


def test_nothing_heavy_is_imported():
    code = "import sys; import biot_bd.processor, biot_bd.kept_choices; print(*sorted({'torch', 'sklearn', 'mne', 'pandas', 'scipy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip() == ""
