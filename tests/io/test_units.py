"""Units as headers spell them: what is sure, what a range proves, and nothing else."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit_files import PREFIXES

from biot_bd.io.units import channel_uv, uv_per_unit, uv_per_unit_by_range

SURE = {
    1.0: ["uV", "UV", "uv", "Uv", "µV", "μV", "ÂµV", "Î¼V", "\x83ÊV", "uV ", "uV\0\0", "[uV]", "(uV)", "uVolt", "microV", "Microvolts", "u V"],
    1e3: ["mV", " mV", "mV\0", "millivolt", "Millivolts", "mVolts", "mvolt"],
    1e6: ["V", "v", "Volt", "volts"],
    1e-3: ["nV", "nanoV", "nanovolts", "NV"],
}  # fmt: skip
UNSURE = ["", "   ", "\0\0", ".V", "?V", "\x96V", "mv", "MV", "Mv", "kV", "pV", "1uV", "uV/Hz", "uV^2", "mmHg", "%", "ohm", "C", "uA", "u", "µ", "bpm", "V/m", "n/a", "uVV", "uVmV", "Vu"]  # fmt: skip


@pytest.mark.parametrize(("text", "uv"), [(text, uv) for uv, texts in SURE.items() for text in texts])
def test_spellings_that_are_sure(text, uv):
    assert uv_per_unit(text) == uv
    # Whatever the range is: the header says it.
    assert channel_uv(text, top=1e-3, step=1e-8) == uv


@pytest.mark.parametrize("text", UNSURE)
def test_spellings_that_say_nothing_sure(text):
    assert uv_per_unit(text) is None


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(list(PREFIXES)),
    st.sampled_from([b"V", b"Volt", b"Volts", b"volts"]),
    st.sampled_from(["", " ", "\0", "  \0"]),
    st.sampled_from(["{}", "[{}]", "({})", " {}"]),
)
def test_any_prefix_in_any_encoding_of_any_word(prefix, word, pad, around):
    text = around.format((prefix + word).decode("latin-1")) + pad
    assert uv_per_unit(text) == PREFIXES[prefix]


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(max_codepoint=255), max_size=8))
def test_a_text_is_a_unit_only_with_a_v_and_a_prefix_that_is_known(text):
    uv = uv_per_unit(text)
    if uv is not None:
        left = text.strip(" \0\t\r\n[]()").lower()
        assert "v" in left
        assert uv in (1.0, 1e3, 1e6, 1e-3)
        assert (uv == 1e6) == left.startswith("v")
        assert (uv == 1e-3) == left.startswith("n")


# Recorders have ranges of 0.1 mV to 1 V and steps below 5 uV; a blank unit that fits two of uV, mV and
# nV (262144 in 24 bits is 262 uV in nV) is none.
ranges = st.tuples(st.floats(1e-6, 1e9), st.sampled_from([8, 12, 16, 24]))


@settings(max_examples=300, deadline=None)
@given(ranges, st.sampled_from(["", "mv", "MV", "?V", ".V"]))
def test_an_unsure_unit_is_taken_only_where_its_range_fits_it(size, text):
    top, bits = size
    step = 2 * top / (2**bits - 1)
    uv = uv_per_unit_by_range(text, top, step)
    if uv is None:
        return
    assert uv == (1e3 if text.lower() == "mv" else 1.0)
    assert 100 <= top * uv <= 1e6
    assert step * uv <= 5
    if text == "":  # nothing else fits: in millivolts digits would be coarser than 10 uV or the range above a volt
        assert step * 1e3 > 10 or top * 1e3 > 1e6


@pytest.mark.parametrize(
    ("text", "top", "bits", "uv"),
    [
        ("", 3276.8, 16, 1.0), ("", 800, 12, 1.0), ("", 262144, 24, None), ("", 200, 24, None),
        ("", 3.2768, 16, None), ("", 0.0032768, 16, None), ("", 3276800, 16, None), ("", 1, 16, None),
        ("mv", 3.2768, 16, 1e3), ("MV", 3.2768, 16, 1e3), ("mv", 3276.8, 16, None), ("MV", 187.5, 24, 1e3),
        ("?V", 3276.8, 16, 1.0), ("\x96V", 500, 16, 1.0), (".V", 3276.8, 16, 1.0), (".V", 0.0032768, 16, None),
        ("ohm", 3276.8, 16, None), ("kV", 3276.8, 16, None), ("uA", 3276.8, 16, None),
    ],
)  # fmt: skip
def test_ranges_of_recorders(text, top, bits, uv):
    assert channel_uv(text, top, 2 * top / (2**bits - 1)) == uv
