"""Generated EEG, so that the software can be tried without patients.

Referential signals of 21 electrodes are made, then subtracted to CHB-MIT's bipolar channels, so
neighbours share what real neighbours share.  The model is a caricature: 1/f background with a
posterior alpha rhythm; blinks, muscle, chewing, electrode pops and wobble; bursts of theta;
seizures that begin at a focus, slow down, grow and spread.  Nothing learnt or measured on it says
anything of patients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

SFREQ = 256
CH_NAMES = tuple(
    "FP1-F7 F7-T7 T7-P7 P7-O1 FP1-F3 F3-C3 C3-P3 P3-O1 FP2-F4 F4-C4 C4-P4 P4-O2 FP2-F8 F8-T8 T8-P8 P8-O2 "
    "FZ-CZ CZ-PZ P7-T7 T7-FT9 FT9-FT10 FT10-T8 T8-P8".split()
)
HEAD_RADIUS_CM = 9.0
# Degrees on a sphere: inclination from the vertex, azimuth from the right ear to the front.
_ANGLES = {
    "FP1": (90, 108), "FP2": (90, 72), "F7": (90, 144), "F8": (90, 36), "T7": (90, 180), "T8": (90, 0),
    "P7": (90, 216), "P8": (90, -36), "O1": (90, 252), "O2": (90, -72), "F3": (60, 129), "F4": (60, 51),
    "P3": (60, 231), "P4": (60, -51), "C3": (45, 180), "C4": (45, 0), "FZ": (45, 90), "CZ": (0, 0),
    "PZ": (45, -90), "FT9": (108, 162), "FT10": (108, 18),
}  # fmt: skip
ELECTRODES = tuple(_ANGLES)
SEIZURE_S = (12, 60)  # shortest and longest seizure
ICTAL_FRACTION = (0.055, 0.075)
EDGE_S, GAP_S = 6, 15  # free time at the ends of a file and between seizures

Array = NDArray[np.float64]


def _positions_cm() -> Array:
    theta, phi = np.deg2rad(np.array(list(_ANGLES.values()), float)).T
    return HEAD_RADIUS_CM * np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], axis=1)


POSITIONS_CM = _positions_cm()
DISTANCES_CM = np.linalg.norm(POSITIONS_CM[:, None] - POSITIONS_CM[None], axis=-1)
_PAIRS = np.array([[ELECTRODES.index(e) for e in name.split("-")] for name in CH_NAMES])


@dataclass(frozen=True)
class Subject:
    """What stays the same in all recordings of one generated subject.

    Attributes
    ----------
    slope : float
        The background's power falls with frequency to this power.
    background_uv, alpha_uv : float
        Root mean square of the referential background and of the alpha rhythm where it is
        strongest, in uV.
    alpha_hz, theta_hz : float
        Frequencies of alpha and of the harmless theta bursts.
    blinks_per_min, muscle_per_min : float
        Rates of artefacts.
    focus : str
        Electrode nearest to where most seizures begin.
    start_hz, end_hz : float
        Frequency at the beginning and end of a seizure.
    sharpness : float
        Share of harmonics in the seizure's waves.
    seizure_uv : float
        Typical amplitude of a seizure at the focus, in uV.
    """

    slope: float
    background_uv: float
    alpha_uv: float
    alpha_hz: float
    theta_hz: float
    blinks_per_min: float
    muscle_per_min: float
    focus: str
    start_hz: float
    end_hz: float
    sharpness: float
    seizure_uv: float


def draw_subject(rng: np.random.Generator) -> Subject:
    """Draw the traits of one subject."""
    return Subject(
        slope=rng.uniform(1.3, 2.1),
        background_uv=rng.uniform(18, 30),
        alpha_uv=rng.uniform(8, 25),
        alpha_hz=rng.uniform(7.5, 11),
        theta_hz=rng.uniform(4, 6.5),
        blinks_per_min=rng.uniform(4, 14),
        muscle_per_min=rng.uniform(0.5, 3),
        focus=str(rng.choice(["T7", "T8", "F7", "F8", "F3", "F4", "P7", "P8", "C3", "C4"])),
        start_hz=rng.uniform(5, 7.5),
        end_hz=rng.uniform(2, 3.2),
        sharpness=rng.uniform(0.2, 0.8),
        seizure_uv=rng.uniform(65, 110),
    )


def plan_seizures(rng: np.random.Generator, recordings: int, duration_s: int) -> list[list[tuple[int, int]]]:
    """Say when the seizures of one subject are.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of chance.
    recordings : int
        Number of recordings.
    duration_s : int
        Length of each, in seconds.

    Returns
    -------
    list of list of (int, int)
        Onset and offset in whole seconds, by recording: at least two seizures in all, of 12 to 60
        s, together 5 to 8 % of the time where the recordings are long enough.  With three or more
        recordings one stays free of seizures.
    """
    shortest, longest = SEIZURE_S
    budget = rng.uniform(*ICTAL_FRACTION) * recordings * duration_s
    lengths = list[int]()
    while len(lengths) < 2 or sum(lengths) + shortest <= budget:
        left = budget - sum(lengths)
        # The first leaves room for a second one.
        room = left - shortest if not lengths else left
        drawn = rng.triangular(shortest, 24, longest)
        lengths.append(round(float(np.clip(drawn, shortest, max(shortest, room)))))
    order = rng.permutation(recordings)
    used = order[: max(1, recordings - 1)] if recordings > 2 else order
    by_recording: list[list[int]] = [[] for _ in range(recordings)]
    for length in lengths:
        free = [duration_s - 2 * EDGE_S - sum(by_recording[r]) - GAP_S * len(by_recording[r]) for r in used]
        by_recording[used[int(np.argmax(free))]].append(length)
    return [_place(rng, found, duration_s) for found in by_recording]


def _place(rng: np.random.Generator, lengths: list[int], duration_s: int) -> list[tuple[int, int]]:
    """Put seizures at random places of a recording, with gaps between."""
    if not lengths:
        return []
    spare = duration_s - 2 * EDGE_S - sum(lengths) - GAP_S * (len(lengths) - 1)
    if spare < 0:
        raise ValueError(f"{len(lengths)} seizures of {sum(lengths)} s do not fit into {duration_s} s")
    cuts = np.sort(rng.integers(0, spare + 1, len(lengths)))
    placed, start = [], EDGE_S
    for length, cut, before in zip(lengths, cuts, [0, *cuts[:-1]], strict=True):
        start += int(cut - before)
        placed.append((start, start + length))
        start += length + GAP_S
    return placed


def generate_recording(
    rng: np.random.Generator, subject: Subject, duration_s: int, seizures: list[tuple[int, int]]
) -> Array:
    """Make one recording.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of chance.
    subject : Subject
        Traits.
    duration_s : int
        Length in seconds.
    seizures : list of (int, int)
        Onsets and offsets in seconds.

    Returns
    -------
    ndarray of shape (23, duration_s * 256)
        Bipolar channels in the order of ``CH_NAMES``, in uV.
    """
    x = generate_electrodes(rng, subject, duration_s, seizures)
    return x[_PAIRS[:, 0]] - x[_PAIRS[:, 1]]


def generate_electrodes(
    rng: np.random.Generator, subject: Subject, duration_s: int, seizures: list[tuple[int, int]]
) -> Array:
    """Make one recording against a reference that takes up nothing.

    Parameters
    ----------
    rng, subject, duration_s, seizures
        As in :func:`generate_recording`.

    Returns
    -------
    ndarray of shape (21, duration_s * 256)
        Electrodes in the order of ``ELECTRODES``, in uV.
    """
    n = duration_s * SFREQ
    x = _background(rng, subject, n)
    for _, offset in seizures:  # the background is weaker for a while after a seizure
        x *= 1 - 0.45 * _plateau(n, offset, offset + rng.uniform(6, 15), 2.0)
    for add in (_blinks, _muscle, _chewing, _theta_bursts, _pops, _wobble):
        add(x, rng, subject)
    for onset, offset in seizures:
        _seizure(x, rng, subject, onset, offset)
    x += rng.normal(0, 0.8, x.shape) + 1.5 * rng.uniform(0, 1, (len(x), 1)) * np.sin(
        2 * np.pi * 60 * np.arange(n) / SFREQ
    )
    return x


def _noise(rng: np.random.Generator, n_signals: int, n: int, gain: Array) -> Array:
    """Gaussian noise with amplitude spectrum ``gain`` (n // 2 + 1,), root mean square 1."""
    spectrum = fft.rfft(rng.standard_normal((n_signals, n)), axis=-1) * gain
    noise = fft.irfft(spectrum, n, axis=-1)
    return noise / (noise.std(axis=-1, keepdims=True) + 1e-12)


def _band(n: int, low_hz: float, high_hz: float) -> Array:
    """Amplitude gain of a smooth band."""
    f = fft.rfftfreq(n, 1 / SFREQ)
    return 1 / np.sqrt((1 + (low_hz / np.maximum(f, 1e-3)) ** 8) * (1 + (f / high_hz) ** 8))


def _plateau(n: int, start_s: float, stop_s: float, edge_s: float) -> Array:
    """A course (n,) from 0 to 1 and back, with smooth edges."""
    t = np.arange(n) / SFREQ
    return np.clip(np.minimum(t - start_s, stop_s - t) / edge_s, 0, 1)


def _near(electrode: int, spread_cm: float) -> Array:
    """Weight (21,) of a source below an electrode."""
    return np.exp(-((DISTANCES_CM[electrode] / spread_cm) ** 2))


def _at(names: dict[str, float]) -> Array:
    return np.array([names.get(name, 0.0) for name in ELECTRODES])


def _events(rng: np.random.Generator, n: int, per_min: float, length_s: tuple[float, float]) -> list[tuple[int, int]]:
    """Return random (first sample, number of samples) that fit into the recording."""
    total_s = n / SFREQ
    found = []
    for _ in range(rng.poisson(per_min * total_s / 60)):
        length = rng.uniform(*length_s)
        if length < total_s:
            found.append((int(rng.uniform(0, total_s - length) * SFREQ), int(length * SFREQ)))
    return found


def _background(rng: np.random.Generator, subject: Subject, n: int) -> Array:
    mixing = np.linalg.cholesky(np.exp(-DISTANCES_CM / 7) + 1e-9 * np.eye(len(ELECTRODES)))
    f = np.maximum(fft.rfftfreq(n, 1 / SFREQ), 0.1)
    # Flat below 2 Hz, as after the amplifier's high-pass.
    gain = _band(n, 0.5, 70) * (1 + (f / 2) ** 2) ** (-subject.slope / 4)
    x = subject.background_uv * (mixing @ _noise(rng, len(ELECTRODES), n, gain))
    x *= np.exp(0.25 * _noise(rng, 1, n, _band(n, 0.005, 0.1)))
    waxing = np.clip(_noise(rng, 1, n, _band(n, 0.02, 0.3)), 0, None)
    alpha = _noise(rng, 3, n, _band(n, subject.alpha_hz - 0.5, subject.alpha_hz + 0.5)) * waxing
    weights = [_near(ELECTRODES.index(name), 6.5) for name in ("O1", "O2", "PZ")]
    return x + subject.alpha_uv * (np.array(weights).T @ alpha)


def _blinks(x: Array, rng: np.random.Generator, subject: Subject) -> None:
    weights = _at({"FP1": 1.0, "FP2": 0.95, "F7": 0.45, "F8": 0.45, "F3": 0.4, "F4": 0.4, "FZ": 0.3, "FT9": 0.2})
    for start, length in _events(rng, x.shape[1], subject.blinks_per_min, (0.25, 0.45)):
        t = np.linspace(0, 1, length)
        wave = np.sin(np.pi * t) ** 2 - 0.2 * np.sin(2 * np.pi * t) * (t > 0.5)
        x[:, start : start + length] += rng.uniform(60, 160) * np.outer(weights, wave)


def _muscle(x: Array, rng: np.random.Generator, subject: Subject) -> None:
    for start, length in _events(rng, x.shape[1], subject.muscle_per_min, (0.5, 5)):
        weights = _near(ELECTRODES.index(str(rng.choice(["T7", "T8", "FT9", "FT10", "F7", "F8", "FP1", "FP2"]))), 6)
        noise = _noise(rng, len(ELECTRODES), length, _band(length, 20, 90)) * np.sin(np.linspace(0, np.pi, length))
        x[:, start : start + length] += rng.uniform(10, 50) * weights[:, None] * noise


def _chewing(x: Array, rng: np.random.Generator, subject: Subject) -> None:
    weights = _at({"T7": 1, "T8": 1, "FT9": 0.9, "FT10": 0.9, "F7": 0.6, "F8": 0.6, "P7": 0.4, "P8": 0.4})
    for start, length in _events(rng, x.shape[1], 0.35, (5, 15)):
        t = np.arange(length) / SFREQ
        rate = 2 * np.pi * rng.uniform(1.2, 2.2) * t
        bursts = np.clip(np.sin(rate), 0, None) ** 2 * np.clip(np.minimum(t, t[-1] - t), 0, 1)
        noise = _noise(rng, len(ELECTRODES), length, _band(length, 20, 80))
        swing = rng.uniform(8, 25) * np.sin(rate)  # the jaw moves the electrodes as well
        x[:, start : start + length] += weights[:, None] * bursts * (rng.uniform(20, 60) * noise + swing)


def _theta_bursts(x: Array, rng: np.random.Generator, subject: Subject) -> None:
    """Rhythmic, frontal and central, of steady frequency: drowsiness."""
    for start, length in _events(rng, x.shape[1], 0.8, (2, 8)):
        t = np.arange(length) / SFREQ
        wave = np.sin(2 * np.pi * (subject.theta_hz + rng.normal(0, 0.3)) * t + rng.uniform(0, 2 * np.pi))
        weights = _near(ELECTRODES.index(str(rng.choice(["FZ", "CZ", "PZ"]))), 8)
        x[:, start : start + length] += rng.uniform(20, 55) * np.outer(
            weights, wave * np.sin(np.linspace(0, np.pi, length))
        )


def _pops(x: Array, rng: np.random.Generator, subject: Subject) -> None:
    for start, length in _events(rng, x.shape[1], 0.7, (0.3, 1.5)):
        wave = np.exp(-np.linspace(0, 6, length)) * rng.choice([-1, 1]) * rng.uniform(80, 350)
        x[rng.integers(len(ELECTRODES)), start : start + length] += wave


def _wobble(x: Array, rng: np.random.Generator, subject: Subject) -> None:
    """One loose electrode swings, as with pulse or breathing; rhythmic, but on one electrode."""
    for start, length in _events(rng, x.shape[1], 0.3, (5, 14)):
        t = np.arange(length) / SFREQ
        wave = np.sin(2 * np.pi * rng.uniform(1.2, 3.5) * t) + 0.4 * rng.standard_normal() * np.sin(4 * np.pi * t)
        x[rng.integers(len(ELECTRODES)), start : start + length] += (
            rng.uniform(25, 90) * wave * np.sin(np.linspace(0, np.pi, length))
        )


def _seizure(x: Array, rng: np.random.Generator, subject: Subject, onset_s: int, offset_s: int) -> None:
    """Add a rhythm that begins at a focus, slows down, grows and spreads, then slow waves."""
    focus = subject.focus
    if rng.uniform() < 0.25:  # sometimes it begins on the other side
        focus = focus.translate(str.maketrans("12345678", "21436587"))
    length_s = offset_s - onset_s
    n = length_s * SFREQ
    t = np.arange(n) / SFREQ
    frequency = subject.end_hz + (subject.start_hz - subject.end_hz) * np.exp(-2.5 * t / length_s)
    frequency *= 1 + 0.05 * _noise(rng, 1, n, _band(n, 0.05, 0.8))[0]
    phase = 2 * np.pi * np.cumsum(frequency) / SFREQ
    strength = subject.seizure_uv * (rng.uniform(0.5, 0.65) if rng.uniform() < 0.25 else rng.uniform(0.75, 1.3))
    course = np.clip(0.35 + 0.65 * t / (0.4 * length_s), 0, 1) * np.clip(np.minimum(t, length_s - t) / 0.7, 0, 1)
    course *= np.exp(0.15 * _noise(rng, 1, n, _band(n, 0.1, 1))[0])
    distance = DISTANCES_CM[ELECTRODES.index(focus)]
    recruited_s = distance / 18.0 * 0.7 * length_s  # 18 cm is across the head
    first, second, third = rng.uniform(0, 2 * np.pi, 3)
    for i, far in enumerate(distance):
        lag = phase - 0.12 * far + rng.normal(0, 0.2)
        wave = np.sin(lag + first) + subject.sharpness * (np.sin(2 * lag + second) + 0.5 * np.sin(3 * lag + third))
        reach = np.exp(-far / 11.0) / (1 + np.exp(-(t - recruited_s[i])))
        x[i, onset_s * SFREQ : offset_s * SFREQ] += strength * course * reach * wave
    tail = min(int(rng.uniform(4, 10) * SFREQ), x.shape[1] - offset_s * SFREQ)
    if tail > SFREQ:
        slow = _noise(rng, 1, tail, _band(tail, 0.6, 1.8))[0] * np.linspace(1, 0, tail)
        x[:, offset_s * SFREQ : offset_s * SFREQ + tail] += 25 * np.outer(np.exp(-distance / 12), slow)
