"""Resampling: against scipy, in the pass band and in the stop band."""

import itertools

import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

from biot_bd.signals.resampling import (
    PiecewisePlan,
    make_plan,
    resample_fft,
    resample_fft_window,
    resample_polyphase,
    resampled_length,
)

RATES = [(256, 200), (250, 200), (160, 200), (512, 200), (500, 200), (128, 200), (2048, 200), (100, 200), (200, 256)]
# Rates and their reduced fraction, written out.
FRACTIONS = {
    (256, 200): (25, 32), (250, 200): (4, 5), (160, 200): (5, 4), (512, 200): (25, 64), (500, 200): (2, 5),
    (128, 200): (25, 16), (2048, 200): (25, 256), (100, 200): (2, 1), (200, 256): (32, 25),
}  # fmt: skip


def eeg(n, sfreq, seed=0, below=None):
    """Noise of about 30 uV with most power at low frequencies, and an offset."""
    rng = np.random.default_rng(seed)
    slow = scipy.signal.lfilter([1], [1, -0.97], rng.standard_normal(n)) * 7 + rng.standard_normal(n) * 2
    if below is not None:
        sos = scipy.signal.ellip(10, 0.01, 100, below, fs=sfreq, output="sos")
        slow = scipy.signal.sosfiltfilt(sos, slow)
    return slow + 12


def tone(f, n, sfreq, phase=0.4):
    return np.sin(2 * np.pi * f * np.arange(n) / sfreq + phase)


@pytest.mark.parametrize("rates", RATES)
@pytest.mark.parametrize("seconds", [0.9, 10.0, 61.37, 700.0])
def test_polyphase_equals_scipy(rates, seconds):
    x = eeg(int(seconds * rates[0]), rates[0])
    expected = scipy.signal.resample_poly(x, *FRACTIONS[rates])
    assert len(expected) == resampled_length(x.size, *rates)
    np.testing.assert_allclose(resample_polyphase(x, *rates), expected, atol=1e-9)
    np.testing.assert_allclose(resample_polyphase(x.astype(np.float32), *rates), expected, atol=1e-4)


@pytest.mark.parametrize("rates", RATES)
def test_short_signals_are_resampled_whole_as_scipy_does(rates):
    up, down = FRACTIONS[rates]
    n = 10 * rates[0]
    x = eeg(n, rates[0])
    expected = scipy.signal.resample(x, n * up // down)
    np.testing.assert_allclose(resample_fft(x, *rates), expected, atol=1e-9)
    np.testing.assert_allclose(resample_fft(x.astype(np.float32), *rates), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("rates", "seconds"),
    [((256, 200), 130), ((500, 200), 130), ((160, 200), 130), ((2048, 200), 130), ((256, 200), 700), ((160, 200), 700)],
)
def test_long_signals_equal_scipy_away_from_the_ends(rates, seconds):
    up, down = FRACTIONS[rates]
    wall = min(rates) / 2
    n = seconds * rates[0]
    x = eeg(n, rates[0], below=wall - 1)
    expected = scipy.signal.resample(x, n * up // down)
    inner = slice(10 * rates[1], -10 * rates[1])
    for dtype in (np.float32, np.float64):
        made = resample_fft(x.astype(dtype), *rates)
        assert made.dtype == dtype
        assert np.abs(made - expected)[inner].max() < 5e-3 * x.std()


def test_with_power_at_the_wall_too_the_difference_is_small_in_the_mean():
    x = np.random.default_rng(0).standard_normal(256 * 300)
    difference = resample_fft(x, 256, 200) - scipy.signal.resample(x, 200 * 300)
    assert difference[2000:-2000].std() < 0.03 * x.std()


@pytest.mark.parametrize("n", [256 * 40 + 1, 256 * 72, 256 * 72 + 1, 256 * 73 - 1, 256 * 104 + 17])
def test_segments_join_without_a_seam_and_no_sample_is_lost(n):
    x = tone(7.3, n, 256)
    made = resample_fft(x, 256, 200)
    assert made.size == resampled_length(n, 256, 200)
    # A point reflection is no continuation of a tone, so the very ends are judged apart.
    np.testing.assert_allclose(made[400:-400], tone(7.3, made.size, 200)[400:-400], atol=2e-4)
    np.testing.assert_allclose(made, tone(7.3, made.size, 200), atol=0.2)


def test_offsets_and_slopes_survive_to_the_ends():
    n = 256 * 100
    ramp = np.linspace(-50, 400, n)
    made = resample_fft(ramp, 256, 200)
    np.testing.assert_allclose(made, np.interp(np.arange(made.size) / 200, np.arange(n) / 256, ramp), atol=0.02)


@pytest.mark.parametrize("f", [1, 10, 50, 90, 98.9])
def test_fft_pass_band(f):
    made = resample_fft(tone(f, 256 * 120, 256), 256, 200)
    np.testing.assert_allclose(made[4000:-4000], tone(f, made.size, 200)[4000:-4000], atol=3e-3)


@pytest.mark.parametrize("f", [101.1, 105, 110, 127])
def test_fft_stop_band(f):
    made = resample_fft(tone(f, 256 * 120, 256), 256, 200)
    assert 20 * np.log10(np.abs(made[4000:-4000]).max()) < -50


@pytest.mark.parametrize(
    ("f", "low", "high"), [(1, -0.03, 0.03), (50, -0.03, 0.03), (80, -0.03, 0.03), (90, -0.8, -0.6)]
)
def test_polyphase_pass_band(f, low, high):
    made = resample_polyphase(tone(f, 256 * 60, 256), 256, 200)[2000:-2000]
    phases = np.exp(-2j * np.pi * f * np.arange(made.size) / 200)
    assert low < 20 * np.log10(2 * np.abs((made * phases).mean())) < high


@pytest.mark.parametrize(("f", "low", "high"), [(102, -9, -7), (115, -90, -40), (126, -90, -50)])
def test_polyphase_stop_band(f, low, high):
    made = resample_polyphase(tone(f, 256 * 60, 256), 256, 200)[2000:-2000]
    assert low < 20 * np.log10(np.abs(made).max()) < high


def test_polyphase_response_is_that_of_its_taps():
    frequencies = np.array([0.5, 10, 40, 70, 85, 95, 99.5])
    taps = scipy.signal.firwin(641, 1 / 32, window=("kaiser", 5.0))
    _, response = scipy.signal.freqz(taps, worN=frequencies, fs=256 * 25)
    n = 256 * 120
    made = resample_polyphase(np.exp(2j * np.pi * frequencies[:, None] * np.arange(n) / 256).real, 256, 200)
    inner, k = made[:, 2000:-2000], np.arange(2000, made.shape[1] - 2000)
    # A window, as the leak of the negative frequency would otherwise show.
    weights = scipy.signal.windows.blackmanharris(k.size)
    carriers = np.exp(-2j * np.pi * frequencies[:, None] * k / 200)
    gain = 2 * np.abs((inner * carriers * weights).sum(axis=1)) / weights.sum()
    # At 0.5 Hz from the wall a tone and its mirror are 1 Hz apart, which the window resolves.
    np.testing.assert_allclose(gain, np.abs(response), atol=2e-4)


@pytest.mark.parametrize("how", ["fft", "polyphase", "none"])
@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 400_000),
    rates=st.sampled_from(RATES),
    context=st.integers(0, 3000),
    seed=st.integers(0, 9),
)
def test_parts_follow_one_another_and_overlap_as_wanted(how, n, rates, context, seed):
    plan = make_plan(how, n, *rates, context)
    ends = [(part.out_start, part.out_stop) for part in plan.parts]
    assert ends[0][0] == 0
    assert ends[-1][1] == plan.n_out
    assert all(a[1] == b[0] for a, b in itertools.pairwise(ends))
    assert plan.parts[0].start == 0
    assert plan.parts[-1].stop == n
    assert all(
        b.start <= a.stop - 2 * context or b.start == 0 or a.stop == n for a, b in itertools.pairwise(plan.parts)
    )
    if how == "polyphase":
        x = np.random.default_rng(seed).standard_normal(n)
        made = np.empty(plan.n_out)
        for part in plan.parts:
            plan.apply(part, x[None, part.start : part.stop], made[None, part.out_start : part.out_stop])
        np.testing.assert_allclose(made, scipy.signal.resample_poly(x, *FRACTIONS[rates]), atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [2560, 1537, 2001, 100])
def test_windows_by_fft_are_exactly_scipys(dtype, n):
    x = np.stack([eeg(n, 256, seed) for seed in range(6)]).reshape(2, 3, n).astype(dtype)
    made = resample_fft_window(x, 2000)
    np.testing.assert_array_equal(made, scipy.signal.resample(x, 2000, axis=-1))
    assert made.dtype == dtype


FUNCTIONS = [
    lambda x: resample_fft(x, 256, 200),
    lambda x: resample_polyphase(x, 256, 200),
    lambda x: resample_fft_window(x, 100),
    lambda x: resample_fft(x, 200, 200),
    lambda x: resample_polyphase(x, 200, 200),
]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_absent_channels_stay_absent_and_change_no_other(function):
    x = np.stack([eeg(256 * 50, 256, seed) for seed in range(3)])
    kept = x.copy()
    x[1] = np.nan
    x.flags.writeable = False
    made = function(x)
    assert np.isnan(made[1]).all()
    np.testing.assert_allclose(made[[0, 2]], function(kept[[0, 2]]), atol=1e-9)
    assert not np.may_share_memory(made, x)
    assert np.isnan(function(x[1:2])).all()


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_some_values_that_are_not_finite_raise_naming_the_channel(function, value):
    x = np.zeros((2, 3, 500))
    x[1, 2, 77] = value
    with pytest.raises(ValueError, match=r"channel \(1, 2\)"):
        function(x)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_digital_samples_become_float32(function):
    x = (100 * eeg(500, 256)).astype(np.int16)[None]
    made = function(x)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, function(x.astype(np.float64)), rtol=1e-4, atol=0.05)


@pytest.mark.parametrize(
    ("sfreq_in", "sfreq_out", "message"),
    [
        (0, 200, "sfreq_in"), (256, -1, "sfreq_out"), (256, np.nan, "sfreq_out"), (256, np.inf, "sfreq_out"),
        ("256", 200, "sfreq_in"), (1e12, 200, "fraction"),
    ],
)  # fmt: skip
def test_rates_that_cannot_be_raise(sfreq_in, sfreq_out, message):
    with pytest.raises(ValueError, match=message):
        resample_fft(np.zeros(100), sfreq_in, sfreq_out)
    with pytest.raises(ValueError, match=message):
        resample_polyphase(np.zeros(100), sfreq_in, sfreq_out)


def test_rates_that_are_no_whole_numbers():
    n = 2499 * 9
    x = tone(5, n, 249.9)
    for function in (resample_fft, resample_polyphase):
        made = function(x, 249.9, 200)
        assert made.size == resampled_length(n, 249.9, 200) == 18000
        np.testing.assert_allclose(made[2000:-2000], tone(5, 18000, 200)[2000:-2000], atol=2e-3)


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 40_000), rates=st.sampled_from(RATES))
def test_lengths_are_those_of_scipys_polyphase_and_of_all_functions(n, rates):
    expected = resampled_length(n, *rates)
    # The last sample lies before the end of the signal, the next one does not.
    assert (expected - 1) / rates[1] < n / rates[0] <= expected / rates[1]
    x = np.zeros(n, np.float32)
    assert resample_fft(x, *rates).shape == resample_polyphase(x, *rates).shape == (expected,)


def test_rates_from_odd_record_durations():
    rate = 250 / 0.976563  # EDF: 250 samples in records of 0.976563 s
    x = tone(5, 25_000, rate)
    made = resample_fft(x, rate, 200)
    assert made.size == resampled_length(25_000, rate, 200) == 19532
    np.testing.assert_allclose(made[2000:-2000], tone(5, made.size, 200)[2000:-2000], atol=2e-3)


def test_nothing_to_resample_raises():
    with pytest.raises(ValueError, match="nothing"):
        resample_fft(np.zeros((3, 0)), 256, 200)
    with pytest.raises(ValueError, match="n_out"):
        resample_fft_window(np.zeros((3, 10)), 0)


@pytest.mark.parametrize("how", ["fft", "polyphase"])
def test_pieces_between_pauses_share_their_memory(how):
    n, n_pieces = 256 * 90, 12
    plans = [make_plan(how, n, 256, 200) for _ in range(n_pieces)]
    plan = PiecewisePlan([i * n for i in range(n_pieces)], plans)
    x = np.stack([eeg(n * n_pieces, 256, seed) for seed in range(5)]).astype(np.float32)
    made = np.empty((5, plan.n_out), np.float32)
    for part in plan.parts:
        plan.apply(part, x[:, part.start : part.stop], made[:, part.out_start : part.out_stop])
    assert len({id(own.memory) for own in plans}) == 1
    function = {"fft": resample_fft, "polyphase": resample_polyphase}[how]
    alone = [function(x[:, i * n : (i + 1) * n], 256, 200) for i in range(n_pieces)]
    np.testing.assert_array_equal(made, np.concatenate(alone, axis=1))


@pytest.mark.parametrize("how", ["fft", "polyphase"])
def test_a_signal_is_the_same_whatever_is_resampled_beside_it(how):
    n = 256 * 100
    x = np.stack([eeg(n, 256, seed) * 10.0**seed for seed in range(6)]).astype(np.float32)
    plan = make_plan(how, n, 256, 200)
    together, alone = np.empty((2, 6, plan.n_out), np.float32)
    gain, offset = np.linspace(0.1, 3, 6), np.linspace(-2, 2, 6)
    for part in plan.parts:
        out = slice(part.out_start, part.out_stop)
        plan.apply(part, x[:, part.start : part.stop], together[:, out], gain, offset)
        for i in range(6):
            one = slice(i, i + 1)
            plan.apply(part, x[one, part.start : part.stop], alone[one, out], gain[one], offset[one])
    np.testing.assert_array_equal(together, alone)
