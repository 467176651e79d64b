"""The fast reader against MNE on EDF files with headers made by hypothesis."""

import warnings

import mne
import numpy as np
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from biot_bd.io.channel_readers import EdfReader, open_reader, rate_of

LABELS = ["FP1-F7", "T8-P8", "EEG Fp1-Ref", "C3", "C\u00b5", "", "x" * 16, "EDF Annotations", "STATUS", "A - B"]
UNITS = ["uV", "\u00b5V", "mV", "V", "", "mmHg", "UV"]


def field(text, width):
    return str(text).encode("latin-1")[:width].ljust(width)


@st.composite
def numbers(draw, low, high):
    a = draw(st.one_of(st.just(low), st.just(high), st.integers(low, high)))
    return a


@st.composite
def edf_files(draw):
    """Return the bytes of an EDF file that may be plain, odd or damaged."""
    plain = draw(st.booleans())
    n_signals = draw(st.integers(1, 5))
    labels = draw(st.lists(st.sampled_from(LABELS[:2] if plain else LABELS), min_size=n_signals, max_size=n_signals))
    n_times = draw(st.integers(1, 300))
    same = plain or draw(st.booleans())
    samples = [n_times if same else draw(st.integers(1, 300)) for _ in labels]
    duration = draw(st.sampled_from(["1", "0.5", "2", "10", "0.976563"] + ([] if plain else ["0", "60"])))
    n_records = draw(st.integers(1, 12))
    signals = []
    for _ in labels:
        low, high = draw(numbers(-99999, 99999)), draw(numbers(-99999, 99999))
        first, last = draw(numbers(-32768, 32767)), draw(numbers(-32768, 32767))
        if plain:
            (low, high), (first, last) = sorted((low, high)), sorted((first, last))
        signals.append((draw(st.sampled_from(UNITS[:4] if plain else UNITS)), low, high, first, last))
    reserved = "" if plain else draw(st.sampled_from(["", "EDF+C", "EDF+D"]))
    declared = n_records if plain else draw(st.sampled_from([n_records, n_records, -1, n_records + 1]))
    head = field("0", 8) + field("X X X X", 80) + field("Startdate X X X X", 80) + field("01.01.20", 8)
    head += field("00.00.00", 8) + field(256 * (n_signals + 1), 8) + field(reserved, 44) + field(declared, 8)
    head += field(duration, 8) + field(n_signals, 4)
    columns = [[field(label, 16) for label in labels], [field("", 80)] * n_signals]
    columns += [[field(s[i], 8) for s in signals] for i in range(5)]
    columns += [[field("", 80)] * n_signals, [field(n, 8) for n in samples], [field("", 32)] * n_signals]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    data = rng.integers(-32768, 32768, (n_records, sum(samples)), dtype=np.int16)
    begin = 0
    for (_, _, _, first, last), n, label in zip(signals, samples, labels, strict=True):
        if label == "EDF Annotations":
            data[:, begin : begin + n] = 0
        elif draw(st.booleans()):
            data[:, begin : begin + n] = np.clip(data[:, begin : begin + n], min(first, last), max(first, last))
        begin += n
    content = head + b"".join(b"".join(column) for column in columns) + data.astype("<i2").tobytes()
    cut = 0 if plain else draw(st.sampled_from([0, 0, 0, 1, 2 * sum(samples)]))
    return content[: len(content) - cut] + (b"" if plain else draw(st.sampled_from([b"", b"", b"\0" * 7])))


def is_read_fast(path, content, data):
    """Check a file against MNE; return whether the fast reader read it."""
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            raw = mne.io.read_raw_edf(path, verbose="error")
            expected = raw.get_data() * 1e6
        except Exception:  # what MNE cannot read no recording is made of
            raw = None
    assume(raw is not None and raw.ch_names and raw.n_times and np.isfinite(expected).all())
    picks = data.draw(st.lists(st.sampled_from(raw.ch_names), min_size=1, max_size=4, unique=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reader = open_reader(raw, picks)
        if rate_of(raw, picks) < raw.info["sfreq"]:  # beside a faster channel; MNE has them at their own rate alone
            labels = [*picks, *(name.rpartition("-")[0] for name in picks)]
            raw = mne.io.read_raw_edf(path, include=labels, verbose="error")
            expected = raw.get_data() * 1e6
            assume(raw.info["sfreq"] == reader.sfreq)
    assert (reader.n_samples, reader.sfreq) == (raw.n_times, raw.info["sfreq"])
    start = data.draw(st.integers(0, raw.n_times - 1))
    stop = data.draw(st.integers(start + 1, raw.n_times))
    for a, b in ((0, raw.n_times), (start, stop)):
        block = reader.block(a, b)
        for i, name in enumerate(picks):
            out = np.empty(b - a, np.float32)
            block.read(i, out)
            truth = expected[raw.ch_names.index(name), a:b]
            # Offset and scale round once each, relative to the largest of the sum's terms.
            top = max(
                4 * (reader.ranges_uv[i] if reader.ranges_uv else 0), np.abs(expected[raw.ch_names.index(name)]).max()
            )
            np.testing.assert_allclose(out, truth, rtol=0, atol=2 * top * 2**-22)
    return isinstance(reader, EdfReader)


def test_whatever_mne_reads_is_read_the_same(tmp_path):
    fast = []

    @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
    @given(content=edf_files(), data=st.data())
    def check(content, data):
        fast.append(is_read_fast(tmp_path / "made.edf", content, data))

    check()
    assert sum(fast) > 20
