"""EPILEPSIAE: blocks on one clock, units by size, seizures from a table that lies elsewhere."""

import numpy as np
import pytest

from biot_bd import registry
from biot_bd.datasets import describe_dataset, find_layouts, load_dataset
from biot_bd.datasets.epilepsiae import load_epilepsiae
from biot_bd.datasets.recordings import seizures_of
from biot_bd.exceptions import RecordingError
from biot_bd.io.readers import open_raw
from biot_bd.io.timeline import timeline_of
from biot_bd.signals import plan_montage
from biot_bd.testing import check_dataset

SFREQ = 64
NAMES = "FP1 FP2 F3 F4 C3 C4 P3 P4 O1 O2 F7 F8 T7 T8 P7 P8 FZ CZ PZ T1 T2 SP1 SP2 RS EMG ECG PHO CB1".split()
HEADER = "pat_id,eeg_onset,eeg_offset,clin_onset,clin_offset\n"


def write_block(
    folder, name, start="2008-11-03 12:00:00.000", seconds=20, declared_s=None, factor=0.25, ch_names=NAMES, pat=102
):
    folder.mkdir(parents=True, exist_ok=True)
    counts = np.random.default_rng(len(name)).integers(-300, 300, (seconds * SFREQ, len(ch_names))).astype("<i2")
    (folder / f"{name}.data").write_bytes(counts.tobytes())
    (folder / f"{name}.head").write_text(
        f"start_ts={start}\nnum_samples={(declared_s or seconds) * SFREQ}\nsample_freq={SFREQ}\n"
        f"conversion_factor={factor}\nnum_channels={len(ch_names)}\nelec_names=[{','.join(ch_names)}]\npat_id={pat}\n"
        f"adm_id=1\nrec_id=1\nduration_in_sec={declared_s or seconds}\nsample_bytes=2\n"
    )
    return counts.T


def rec(root, patient="102", variant="surf30", recording="1"):
    return root / variant / f"pat_{patient}" / "adm_1" / f"rec_{recording}"


def table(tmp_path, *rows, header=HEADER):
    path = tmp_path / "seizures.csv"
    path.write_text(header + "".join(f"{row}\n" for row in rows))
    return path


def outcomes_of(dataset):
    return dict(zip(dataset.outcomes["recording"], dataset.outcomes["outcome"], strict=True))


def details_of(dataset):
    return dict(zip(dataset.outcomes["recording"], dataset.outcomes["detail"], strict=True))


def test_blocks_of_a_recording_are_one_with_the_pause_between_them(tmp_path):
    """The second block begins 10 s after the first ends, and its clock is not padded with zeros."""
    root = tmp_path / "db"
    first = write_block(rec(root), "1_0000")
    second = write_block(rec(root), "1_0001", "2008-11-3 12:0:30.0")
    third = write_block(rec(root), "1_0002", "2008-11-03 12:00:50")
    csv = table(tmp_path, "102,2008-11-03 12:00:15.5,2008-11-03 12:00:36.5,NULL,NULL")
    dataset = load_dataset("epilepsiae", root, seizures=csv)
    check_dataset(dataset)
    assert outcomes_of(dataset) == {"1_0000": "loaded"}
    part = dataset.datasets[0]
    assert part.description["subject"] == "epilepsiae/102"
    assert part.description["variant"] == "surf30"
    assert not part.raw.preload
    np.testing.assert_allclose(part.raw.get_data() * 1e6, 0.25 * np.hstack([first, second, third]), rtol=1e-12)
    line = timeline_of(part.raw)
    assert line.gaps == [(20.0, 30.0)]
    assert line.duration_s == 70.0
    assert seizures_of(part.raw) == [(15.5, 36.5)]
    assert describe_dataset(dataset)["hours"].tolist() == [60 / 3600]


def test_names_are_found_and_other_signals_are_no_eeg(tmp_path):
    write_block(rec(tmp_path), "1_0000")
    title = [name.title() for name in NAMES]
    write_block(rec(tmp_path, "103", "surfPA"), "2_0000", ch_names=title, pat=103)
    dataset = load_epilepsiae(tmp_path, unlisted="background")
    for part in dataset.datasets:
        plan = plan_montage(registry.montages["biot-16"], part.raw.ch_names)
        assert not plan.missing
        assert {channel.how for channel in plan.channels} == {"difference"}
        kinds = dict(zip(map(str.upper, part.raw.ch_names), part.raw.get_channel_types(), strict=True))
        assert [kinds[name] for name in ("RS", "EMG", "ECG", "PHO", "T7")] == ["misc", "emg", "ecg", "misc", "eeg"]
    assert [part.description["subject"] for part in dataset.datasets] == ["epilepsiae/102", "epilepsiae/103"]


@pytest.mark.parametrize(("factor", "unit"), [(0.25, None), (2.5e-4, "mV"), (2.5e-7, "V")])
def test_the_unit_of_the_factor_is_told_by_its_size(tmp_path, factor, unit):
    counts = write_block(tmp_path, "1_0000", factor=factor)
    raw, notes = open_raw(tmp_path / "1_0000.data")
    np.testing.assert_allclose(raw.get_data() * 1e6, counts * 0.25, rtol=1e-12)
    assert notes == (
        [] if unit is None else [f"conversion_factor read as {unit} a step, by its size (documented is uV)"]
    )


@pytest.mark.parametrize("factor", [0.004, 4e-6, 1e-12, 50, "nan"])
def test_a_factor_that_fits_no_unit_or_two_is_refused(tmp_path, factor):
    write_block(rec(tmp_path), "1_0000", factor=factor)
    write_block(rec(tmp_path), "1_0001", "2008-11-03 13:00:00")
    with pytest.raises(RecordingError, match=r"1_0000\.head, conversion_factor is .*uV, mV or V"):
        load_epilepsiae(tmp_path, unlisted="background")
    with pytest.warns(UserWarning, match="cannot be read"):
        dataset = load_epilepsiae(tmp_path, unlisted="background", on_error="skip")
    assert outcomes_of(dataset) == {"1_0000": "unreadable", "1_0001": "loaded"}


def test_a_short_file_is_read_as_far_as_it_goes_and_the_clock_stays(tmp_path):
    root = tmp_path / "db"
    write_block(rec(root), "1_0000", seconds=12, declared_s=20)
    write_block(rec(root), "1_0001", "2008-11-03 12:00:20.000")
    csv = table(tmp_path, "102,2008-11-03 12:00:25,2008-11-03 12:00:35,NULL,NULL")
    dataset = load_epilepsiae(root, seizures=csv)
    raw = dataset.datasets[0].raw
    assert timeline_of(raw).gaps == [(12.0, 20.0)]
    assert seizures_of(raw) == [(25.0, 35.0)]
    assert (
        "1_0000: cut short: the head declares 1280 samples, the file holds 768 (8 s are missing)"
        in (details_of(dataset)["1_0000"])
    )


def test_blocks_of_another_form_are_recordings_of_their_own(tmp_path):
    """Channels in another order; MNE refuses to join such."""
    write_block(rec(tmp_path), "1_0000")
    swapped = write_block(rec(tmp_path), "1_0001", "2008-11-03 12:00:20.000", ch_names=NAMES[::-1])
    write_block(rec(tmp_path), "1_0002", "2008-11-03 12:00:35.000", ch_names=NAMES[::-1])
    dataset = load_epilepsiae(tmp_path, unlisted="background")
    assert outcomes_of(dataset) == {"1_0000": "loaded", "1_0001": "loaded", "1_0002": "loaded"}
    np.testing.assert_allclose(dataset.datasets[1].raw.get_data(["CB1"])[0] * 1e6, 0.25 * swapped[0])
    assert "begins 5 s before block 1_0001 ends" in details_of(dataset)["1_0002"]


def test_an_onset_that_eeg_does_not_tell_is_the_clinical_one(tmp_path):
    root = tmp_path / "db"
    write_block(rec(root), "1_0000")
    csv = table(tmp_path, "pat_102;\\N;;2008-11-3 12:00:04;2008-11-03 12:00:09.5", header=HEADER.replace(",", ";"))
    dataset = load_epilepsiae(root, seizures=csv)
    assert seizures_of(dataset.datasets[0].raw) == [(4.0, 9.5)]
    assert details_of(dataset)["1_0000"] == "seizure at 4 s: onset is clinical; seizure at 4 s: stop is clinical"


def test_an_offset_that_nobody_knows_is_never_invented(tmp_path):
    root = tmp_path / "db"
    write_block(rec(root), "1_0000")
    write_block(rec(root, recording="2"), "2_0000", "2008-11-04 12:00:00")
    csv = table(tmp_path, "102,2008-11-03 12:00:04,NULL,NULL,NULL")
    with pytest.warns(UserWarning, match="labels that are not known"):
        dataset = load_epilepsiae(root, seizures=csv)
    assert outcomes_of(dataset) == {"1_0000": "unlisted", "2_0000": "loaded"}
    assert "stop of the seizure at 4 s is not known" in details_of(dataset)["1_0000"]
    with pytest.raises(RecordingError, match=r"1_0000\.data: the stop of the seizure at 4 s is not known"):
        load_epilepsiae(root, seizures=csv, unknown_stop="raise")
    assumed = load_epilepsiae(root, seizures=csv, unknown_stop="assume-10s")
    assert seizures_of(assumed.datasets[0].raw) == [(4.0, 14.0)]
    assert "10 s assumed" in details_of(assumed)["1_0000"]
    whole = load_epilepsiae(root, seizures=csv, unknown_stop="assume-60s")
    assert seizures_of(whole.datasets[0].raw) == [(4.0, 20.0)]


def test_labels_without_table_are_unknown_and_seizures_without_recording_are_named(tmp_path):
    root = tmp_path / "db"
    write_block(rec(root), "1_0000")
    write_block(rec(root, "103"), "2_0000", pat=103)
    with pytest.raises(ValueError, match=r"no recording could be loaded \(2 unlisted"):
        load_epilepsiae(root)
    csv = table(
        tmp_path,
        "102,2008-11-03 11:59:50,2008-11-03 12:00:05,NULL,NULL",
        "102,2008-11-05 12:00:00,2008-11-05 12:01:00,NULL,NULL",
        "999,2008-11-05 12:00:00,2008-11-05 12:01:00,NULL,NULL",
    )
    with pytest.warns(UserWarning, match="not on the disk"):
        dataset = load_epilepsiae(root, seizures=csv)
    assert outcomes_of(dataset) == {
        "1_0000": "loaded",
        "2_0000": "unlisted",
        "pat_102 seizure 2008-11-05 12.00.00": "missing-file",
    }
    assert "from -10 s to 5 s reaches out of the recording, clipped" in details_of(dataset)["1_0000"]
    assert seizures_of(dataset.datasets[0].raw) == [(0.0, 5.0)]
    assert load_epilepsiae(root, seizures=csv, subjects=102).outcomes["outcome"].tolist() == ["loaded", "missing-file"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pat_id,eeg_onset\n", r"seizures\.csv: has no column eeg_offset, clin_onset, clin_offset"),
        (HEADER + "102,NULL,NULL,NULL,NULL\n", "line 2: neither eeg_onset nor clin_onset"),
        (HEADER + "102,03.11.2008 12:00:00,NULL,NULL,NULL\n", "line 2: eeg_onset is '03.11.2008 12:00:00'"),
        (HEADER + "102,2008-11-03 12:00:09,2008-11-03 12:00:04,NULL,NULL\n", "line 2: begins at"),
    ],
)
def test_a_wrong_table_is_named_with_its_line(tmp_path, text, said):
    write_block(rec(tmp_path), "1_0000")
    path = tmp_path / "seizures.csv"
    path.write_text(text)
    with pytest.raises(RecordingError, match=said):
        load_epilepsiae(tmp_path, seizures=path)


def test_what_is_missing_is_named(tmp_path):
    write_block(rec(tmp_path), "1_0000")
    (rec(tmp_path) / "1_0001.head").write_text("start_ts=2008-11-03 12:00:00")
    with pytest.warns(UserWarning, match="not on the disk"):
        dataset = load_epilepsiae(tmp_path, unlisted="background")
    assert outcomes_of(dataset) == {"1_0000": "loaded", "1_0001": "missing-file"}
    with pytest.raises(FileNotFoundError, match="no pat_7 here"):
        load_epilepsiae(tmp_path, subjects=7)
    with pytest.raises(FileNotFoundError, match=r"holds no recording of EPILEPSIAE .*pat_102/adm_1"):
        load_epilepsiae(make_empty(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"nowhere\.csv: no such file"):
        load_epilepsiae(tmp_path, seizures=tmp_path / "nowhere.csv")


def make_empty(tmp_path):
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("start_ts=2008-11-03\n", "start_ts is '2008-11-03'"),
        ("sample_bytes=4\n", "sample_bytes is 4; only samples of 2 bytes"),
        ("num_channels=3\n", "elec_names has 28 names and num_channels is 3"),
        ("sample_freq=fast\n", "sample_freq is 'fast'; expected a number"),
    ],
)
def test_a_wrong_head_is_named(tmp_path, line, said):
    write_block(tmp_path, "1_0000")
    with (tmp_path / "1_0000.head").open("a") as file:
        file.write(line)
    with pytest.raises(RecordingError, match=rf"1_0000\.data: in 1_0000\.head, {said}"):
        open_raw(tmp_path / "1_0000.data")


def test_a_folder_is_recognised(tmp_path):
    write_block(rec(tmp_path), "1_0000")
    for folder in (tmp_path, tmp_path / "surf30"):
        assert [(found.dataset, found.why) for found in find_layouts(folder) if found.dataset] == [
            ("epilepsiae", "1 patient of EPILEPSIAE: pat_102")
        ]
