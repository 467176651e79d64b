"""Clinical formats: what went into a hand-made file comes out of it, as eeg2edf's own reader gives it."""

from datetime import UTC, datetime, timedelta

import eeg2edf
import numpy as np
import pytest
from clinic_files import write_micromed, write_nicolet, write_nihon_kohden

from biot_bd import load_dataset, registry
from biot_bd.exceptions import RecordingError
from biot_bd.io.readers import find_reader, open_raw
from biot_bd.io.timeline import timeline_of
from biot_bd.io.walk import find_recordings
from biot_bd.testing import check_reader
from biot_bd_clinical.readers import MICROMED, NICOLET, NIHON_KOHDEN, pauses_of

SFREQ = 200
START = datetime(2020, 3, 2, 10, 11, 12)
NAMES = ["Fp1", "F7", "T3"]
ELECTRODES = {0: "FP1", 10: "F7", 12: "T3"}
SEIZURE = "{A5A95608-A7F8-11CF-831A-0800091B5BDA}"
NK_UV = 6400 / 65536  # what a step of a Nihon Kohden is


def steps(seconds, seed=0):
    return np.random.default_rng(seed).integers(-2000, 2000, (3, seconds * SFREQ))


def nihon_kohden(folder):
    blocks = [(START, steps(20)), (START + timedelta(seconds=80), steps(10, 1))]
    log = [(START + timedelta(seconds=5), "Sz onset"), (START + timedelta(seconds=84), "REC START")]
    path = write_nihon_kohden(folder / "FA0001.EEG", blocks, SFREQ, ELECTRODES, log)
    return path, np.hstack([x for _, x in blocks]) * NK_UV


def micromed(folder):
    x = steps(30)
    path = write_micromed(
        folder / "EEG_1.vwr", START, x, SFREQ, NAMES, 0.125, notes=[(1000, "Sz onset")], cuts=[(0, 0), (16000, 4000)]
    )
    return path, x * 0.125


def nicolet(folder):
    x = steps(30)
    segments = [(START, 20.0), (START + timedelta(seconds=80), 10.0)]
    events = [(START + timedelta(seconds=5), 4.0, SEIZURE, "Sz onset")]
    # The system stores its samples upside down.
    return write_nicolet(folder / "exam.e", segments, -x, float(SFREQ), NAMES, 0.125, events), x * 0.125


FORMATS = {
    "nihon-kohden-blocks": (nihon_kohden, NIHON_KOHDEN, {"block": "all"}),
    "micromed-vwr": (micromed, MICROMED, {}),
    "nicolet-e": (nicolet, NICOLET, {}),
}


@pytest.fixture(params=FORMATS)
def recording(request, tmp_path):
    write, reader, options = FORMATS[request.param]
    path, x_uv = write(tmp_path)
    return request.param, path, x_uv, reader, options


def test_the_numbers_that_went_in_come_out_as_eeg2edf_gives_them(recording):
    name, path, x_uv, reader, options = recording
    assert find_reader(path) is registry.readers[name] is reader
    assert registry.readers.owner(name) == "clinical"
    raw, notes = open_raw(path)
    oracle = eeg2edf.read_raw(path, **options)
    assert raw.ch_names == oracle.ch_names
    assert [name.casefold() for name in raw.ch_names[:3]] == [name.casefold() for name in NAMES]
    np.testing.assert_array_equal(raw.get_data(), oracle.get_data())
    np.testing.assert_allclose(raw.get_data(raw.ch_names[:3]) * 1e6, x_uv, rtol=1e-5, atol=1e-9)
    assert raw.info["meas_date"] == START.replace(tzinfo=UTC)
    assert notes == []


def test_pauses_are_gaps_of_the_time_line(recording):
    line = timeline_of(recording[1])
    assert line.gaps == [(20.0, 80.0)]
    assert line.time_of([0, 20 * SFREQ - 1, 20 * SFREQ]).tolist() == [0.0, 20 - 1 / SFREQ, 80.0]
    assert line.start_time == START.replace(tzinfo=UTC)
    assert line.notes == ("has a gap of 60 s at 20 s",)


def test_nihon_kohden_without_its_electrodes_is_read_as_without_the_plugin(tmp_path):
    path, x_uv = nihon_kohden(tmp_path)
    path.with_suffix(".21E").unlink()
    raw, _ = open_raw(path)
    assert type(raw).__name__ == "RawNihon"
    np.testing.assert_allclose(raw.get_data()[:3] * 1e6, x_uv, atol=NK_UV)
    assert timeline_of(path).gaps == [(20.0, 80.0)]


def test_events_and_joins_are_annotations(recording):
    raw, _ = open_raw(recording[1])
    told = {(round(a["onset"] - raw.first_time, 2), a["description"]) for a in raw.annotations}
    assert (5.0, "Seizure - Sz onset" if recording[0] == "nicolet-e" else "Sz onset") in told
    assert {text for at, text in told if abs(at - 20) < 0.01} >= {"BAD boundary", "EDGE boundary"}
    if recording[0] == "nihon-kohden-blocks":
        assert (24.0, "REC START") in told  # 84 s by the clock, 60 of them a pause


def test_the_contract_of_readers_is_kept(recording):
    check_reader(recording[3], recording[1])


def test_damaged_files_are_one_line_or_a_recording(recording):
    _, path, *_ = recording
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    said = []
    for number in range(150):
        data = bytearray(whole)
        for at in rng.integers(0, min(len(data), 0x1100), 6):
            data[at] = rng.integers(0, 256)
        path.write_bytes(bytes(data[: rng.integers(0, len(data))] if number % 3 == 0 else data))
        try:
            open_raw(path)
        except RecordingError as error:
            said.append(str(error))
    assert said
    assert all(path.name in text and "\n" not in text for text in said)


def test_a_folder_of_them_is_a_data_set(tmp_path):
    for number, (write, *_) in enumerate(FORMATS.values()):
        folder = tmp_path / f"p{number}"
        folder.mkdir()
        path, _ = write(folder)
        path.with_name(f"{path.stem}_events.tsv").write_text("onset\tduration\teventType\n5\t4\tsz\n")
    (tmp_path / "p0" / "brainvision.eeg").write_bytes(bytes(1000))
    assert [found.path.name for found in find_recordings(tmp_path)] == ["FA0001.EEG", "EEG_1.vwr", "exam.e"]
    dataset = load_dataset("recordings-folder", tmp_path)
    assert dataset.outcomes["outcome"].tolist() == ["loaded"] * 3
    assert [timeline_of(part.raw).gaps for part in dataset.datasets] == [[(20.0, 80.0)]] * 3


def test_pauses():
    assert pauses_of([], 200) == []
    parts = [
        {"original_frame": 0, "offset_s": 0.0, "duration_s": 5.0},
        {"original_frame": 1000, "offset_s": 5.0, "duration_s": 5.0},
    ]
    assert pauses_of(parts, 200) == []
    assert pauses_of(parts, 100) == [(5.0, 5.0)]
    assert pauses_of(parts[1:], 100) == [(5.0, 5.0)]
