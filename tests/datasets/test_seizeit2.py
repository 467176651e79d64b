"""SeizeIT2: two derivations behind the ears, which two differs by subject; no clock."""

import datetime

import edfio
import numpy as np
import pytest

from biot_bd import load_dataset, prepare, registry
from biot_bd.datasets import find_layouts
from biot_bd.datasets.recordings import seizures_of
from biot_bd.datasets.seizeit2 import load_seizeit2
from biot_bd.exceptions import MissingChannelsError, PreparationError, RecordingError
from biot_bd.signals import MontageMapper, judge_names, plan_montage
from biot_bd.testing import check_dataset, check_montage

COLUMNS = (
    "onset duration eventType lateralization localization vigilance confidence channels dateTime recordingDuration"
)
LEFT, RIGHT, CROSS = "BTEleft SD", "BTEright SD", "CROSStop SD"


def write(path, ch_names, seconds=40, sfreq=256, start=datetime.time(0, 0, 0), seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    edfio.Edf(
        [
            edfio.EdfSignal(
                np.clip(rng.normal(0, 30, seconds * sfreq), -799, 799),
                sfreq,
                label=name,
                physical_dimension="uV",
                physical_range=(-800, 800),
            )
            for name in ch_names
        ],
        recording=edfio.Recording(startdate=datetime.date(2020, 1, 1)),
        starttime=start,
    ).write(path)


def write_run(root, subject, ch_names, rows=("0 40 bckg",), run="01", others=("ecg", "emg", "mov"), **options):
    stem = f"sub-{subject}_ses-01_task-szMonitoring_run-{run}"
    folder = root / f"sub-{subject}" / "ses-01"
    write(folder / "eeg" / f"{stem}_eeg.edf", ch_names, **options)
    for kind in others:
        write(folder / kind / f"{stem}_{kind}.edf", [kind.upper() + " SD"], seconds=30)
    lines = ["\t".join(COLUMNS.split())]
    for row in rows:
        onset, duration, kind = row.split()
        lines.append(f"{onset}\t{duration}\t{kind}\tn/a\tn/a\tn/a\tn/a\tn/a\t2020-01-01 00:00:00\t40")
    (folder / "eeg" / f"{stem}_events.tsv").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("ds") / "ds005873"
    write_run(root, "001", [LEFT, CROSS], ["0 2 impd", "10 15.5 sz_foc_ia_nm"])
    write_run(root, "001", [LEFT, CROSS], run="02", others=())
    write_run(root, "002", [RIGHT, CROSS], seed=1)
    (root / "participants.tsv").write_text("participant_id\tage\nsub-001\tn/a\nsub-002\tn/a\nsub-003\tn/a\n")
    (root / "dataset_description.json").write_text('{"Name": "SeizeIT2", "BIDSVersion": "1.9.0"}')
    return root


@pytest.fixture(scope="module")
def dataset(root):
    with pytest.warns(UserWarning, match="1 of 4 recordings are not on the disk: sub-003"):
        return load_dataset("seizeit2", root)


def test_runs_load_with_seizures_and_without_a_clock(root, dataset):
    check_dataset(dataset)
    assert [(one.path.name, one.dataset) for one in find_layouts(root)] == [("ds005873", "seizeit2")]
    first = dataset.datasets[0]
    assert [part.description["subject"] for part in dataset.datasets] == ["seizeit2/001"] * 2 + ["seizeit2/002"]
    assert first.raw.ch_names == [LEFT, CROSS]
    assert first.raw.get_channel_types() == ["eeg", "eeg"]
    assert first.raw.info["meas_date"] is None
    assert seizures_of(first.raw) == [(10.0, 25.5)]
    assert first.raw.annotations.description.tolist() == ["impd", "sz_foc_ia_nm"]
    assert "zero_is_missing" not in first.description


def test_outcomes_say_what_was_left_out_of_a_run(dataset):
    details = dataset.outcomes["detail"].tolist()
    assert details[0] == (
        "starts at 00:00:00, which is no clock; ecg, emg, mov of the run left out; 1 impedance check of 2 s, marked impd"
    )
    assert details[1] == "starts at 00:00:00, which is no clock"


def test_the_montage_behind_the_ears_has_an_absent_channel_by_subject(dataset):
    check_montage(registry.montages["bte-3"])
    mapped = [MontageMapper("bte-3", on_missing="drop").apply_to_raw(part.raw) for part in dataset.datasets]
    absent = [[bool(np.isnan(row).all()) for row in raw.get_data(stop=100)] for raw in mapped]
    assert absent == [[False, True, False], [False, True, False], [True, False, False]]
    with pytest.raises(
        MissingChannelsError, match="1 cannot be made: BTEright; missing electrodes: BTEright; found EEG"
    ):
        plan_montage(registry.montages["bte-3"], dataset.datasets[0].raw.ch_names).raise_if_missing()
    part = dataset.datasets[2].raw
    np.testing.assert_allclose(mapped[2].get_data(stop=100)[1:], part.get_data(stop=100), rtol=1e-12)


def test_biot_16_refuses_them_and_says_why(dataset, tmp_path):
    plan = plan_montage(registry.montages["biot-16"], dataset.datasets[0].raw.ch_names)
    assert len(plan.missing) == 16
    said = (
        "BTEleft SD, CROSStop SD are derivations behind the ears, of which no electrode of the 10-20 system can be made"
    )
    with pytest.raises(MissingChannelsError, match=rf"16 cannot be made.*{said} \(montage 'bte-3' has them\)"):
        plan.raise_if_missing()
    for on_missing in ("raise", "drop", "interpolate"):
        with pytest.raises(PreparationError, match=r"biot-16|none of the montage's channels"):
            prepare(dataset, tmp_path / on_missing, montage="biot-16", on_missing=on_missing, n_jobs=1)
    assert judge_names([LEFT, CROSS]).scheme == "unknown"


def test_windows_of_both_kinds_of_subjects_lie_in_one_store(dataset, tmp_path):
    windows = prepare(
        dataset, tmp_path / "store", montage="bte-3", on_missing="drop", window_s=10, stride_s=10, n_jobs=1
    )
    x = windows.read(range(len(windows)))
    assert windows.ch_names == ("BTEleft", "BTEright", "CROSStop")
    subjects = windows.groups
    assert np.isnan(x[subjects == "seizeit2/001"][:, 1]).all()
    assert np.isnan(x[subjects == "seizeit2/002"][:, 0]).all()
    assert np.isfinite(x[:, 2]).all()


def test_the_private_set_of_the_same_name_is_refused(tmp_path):
    write_run(tmp_path, "001", ["Fp1", "Fp2"])
    (tmp_path / "participants.tsv").write_text("participant_id\nsub-001\n")
    with pytest.raises(RecordingError, match=r"run-01_eeg\.edf: has the channels Fp1, Fp2; expected two of BTEleft SD"):
        load_seizeit2(tmp_path)


def test_a_clock_that_is_one_is_kept(tmp_path):
    write_run(tmp_path, "001", [LEFT, RIGHT], start=datetime.time(9, 30, 0), others=())
    (tmp_path / "participants.tsv").write_text("participant_id\nsub-001\n")
    part = load_seizeit2(tmp_path).datasets[0]
    assert part.raw.info["meas_date"].hour == 9


def test_an_event_type_that_is_unknown_is_an_error_with_its_line(tmp_path):
    write_run(tmp_path, "001", [LEFT, RIGHT], ["0 40 bckg", "3 4 dream"])
    (tmp_path / "participants.tsv").write_text("participant_id\nsub-001\n")
    with pytest.raises(RecordingError, match=r"run-01_events\.tsv, line 3: unknown eventType 'dream'"):
        load_seizeit2(tmp_path)
