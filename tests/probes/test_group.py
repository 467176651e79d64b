"""Means and comparisons of maps with subjects as units, against numpy by hand."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from biot_bd.probes import MapGroup, TokenLayout
from biot_bd.probes.surrogates import subject_difference

LAYOUT = TokenLayout(("C3", "C4", "Cz"), [0.0, 1.0], [1.0, 2.0])


def make_group(seed=0, n_subjects=6, each=(2, 5), effect=0.0, subject_size=1.0, bands=("all",)):
    """Windows of two labels; every subject has a level of its own, every other number of windows."""
    rng = np.random.default_rng(seed)
    rows, values = [], []
    for band in bands:
        for subject in range(n_subjects):
            level = rng.normal(size=(3, 2)) * subject_size
            for label in (0, 1):
                for _ in range(each[label] + subject):
                    rows.append({"subject": f"s{subject}", "label": label, "band": band})
                    values.append(level + effect * label + 0.1 * rng.normal(size=(3, 2)))
    values = np.array(values)
    matrices = np.abs(rng.normal(size=(len(rows), 2, 3, 3)))
    return MapGroup(
        pd.DataFrame(rows), values, LAYOUT, probe="energy", matrices=matrices, roles=("early", "late"), unit="power"
    )


def by_hand(group, rows):
    """Mean over subjects of each one's mean, in plain loops."""
    subjects = sorted(set(group.table["subject"][rows]))
    means = [np.nanmean(group.values[rows & (group.table["subject"] == s).to_numpy()], axis=0) for s in subjects]
    return np.nanmean(means, axis=0)


def test_every_subject_counts_alike_whatever_its_number_of_windows():
    group = make_group(bands=("all", "delta"))
    all_bands = (group.table["band"] == "all").to_numpy()
    for label, found in group.by_class().items():
        rows = all_bands & (group.table["label"] == label).to_numpy()
        np.testing.assert_allclose(found.values[0], by_hand(group, rows))
    for subject, found in group.by_subject().items():
        rows = all_bands & (group.table["subject"] == subject).to_numpy()
        np.testing.assert_allclose(found.values[0], group.values[rows].mean(axis=0))
    assert (group.by_band().bands, group.by_band().values.shape) == (("delta",), (1, 1, 3, 2))
    delta = (group.table["band"] == "delta").to_numpy()
    np.testing.assert_allclose(group.by_band().values[0, 0], by_hand(group, delta))
    assert (found.probe, found.unit, found.layout.ch_names) == ("energy", "power", LAYOUT.ch_names)


def test_a_channel_counts_for_the_subjects_that_have_it():
    group = make_group()
    one = (group.table["subject"] == "s0").to_numpy()
    group.values[one, 2] = np.nan
    found = group.by_class()[1].values[0]
    np.testing.assert_allclose(found[2], by_hand(group, (group.table["label"] == 1).to_numpy() & ~one)[2])
    group.values[:, 2] = np.nan
    assert np.isnan(group.by_class()[1].by_channel()[0]).tolist() == [False, False, True]


def test_matrices_and_the_table():
    group = make_group()
    label = (group.table["label"] == 1).to_numpy()
    means = [group.matrices[label & (group.table["subject"] == s).to_numpy(), 1].mean(axis=0) for s in group.subjects]
    np.testing.assert_allclose(group.mean_matrix("label == 1"), np.mean(means, axis=0))
    frame = group.as_frame()
    assert list(frame.columns) == ["subject", "label", "band", "C3", "C4", "Cz"]
    np.testing.assert_allclose(frame[["C3", "C4", "Cz"]], group.values.sum(axis=2))


@pytest.mark.parametrize("cells", ["channel-frame", "channel", "channel-channel"])
def test_a_comparison_is_that_of_the_subjects_means(cells):
    group = make_group(effect=0.3)
    values = {
        "channel-frame": group.values,
        "channel": group.values.sum(axis=2),
        "channel-channel": group.matrices[:, 0],
    }
    means = [
        np.stack([values[cells][((group.table["label"] == label) & (group.table["subject"] == s)).to_numpy()].mean(axis=0)
                  for s in group.subjects])
        for label in (1, 0)
    ]  # fmt: skip
    found = group.compare("label == 1", "label == 0", cells=cells, role="early")
    expected = subject_difference(*means)
    np.testing.assert_allclose(found.difference.mean, expected.mean, atol=1e-12)
    np.testing.assert_array_equal(found.difference.p, expected.p)
    assert (found.paired, found.conditions, found.notes) == (True, ("seizure", "no seizure"), ())
    assert found.marked().all() == (cells != "channel-channel")
    assert found.as_dict()["smallest_p"] == 2 / 2**6


def test_windows_are_not_the_unit():
    """Eight subjects, each of one class alone, differ from one another: a test by window calls that a difference of
    the classes, a test by subject does so no oftener than it should.
    """
    by_window, by_subject = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        table = pd.DataFrame({"subject": np.repeat([f"s{i}" for i in range(8)], 50), "band": "all"})
        table["label"] = (table.index // 50) % 2
        values = (np.repeat(rng.normal(size=8), 50) + 0.1 * rng.normal(size=400))[:, None, None]
        group = MapGroup(table, values, TokenLayout(("C3",), [0.0], [1.0]), probe="energy")
        found = group.compare("label == 1", "label == 0")
        assert not found.paired
        by_subject.append(found.marked().any())
        one = values[:, 0, 0]
        by_window.append(stats.ttest_ind(one[table["label"] == 1], one[table["label"] == 0]).pvalue <= 0.05)
    assert np.mean(by_window) > 0.6
    assert np.mean(by_subject) <= 0.15


def test_too_few_subjects_are_said_and_who_is_left_out():
    group = make_group(n_subjects=5, effect=5.0, subject_size=0.1)
    found = group.compare("label == 1", "label == 0")
    assert not found.marked().any()
    assert "no p-value below 0.062 can be reached" in found.notes[0]
    less = group.select("not (subject == 's4' and label == 0)").compare("label == 1", "label == 0")
    assert less.left_out == ("s4",)
    assert "s4" in less.notes[-1]
    with pytest.raises(ValueError, match=r"1 and 1 subject\(s\) to compare"):
        group.select("subject == 's0'").compare("label == 1", "label == 0")


def test_bands_are_compared_where_they_are_named():
    group = make_group(bands=("all", "delta", "theta"))
    found = group.compare("band == 'delta'", "band == 'theta'")
    assert found.n_windows == (len(group) // 3, len(group) // 3)
    assert group.compare("label == 1", "label == 0").n_windows[0] == (group.table["label"] == 1).sum() // 3


@given(seed=st.integers(0, 10**6), n=st.integers(1, 4), matrices=st.booleans())
@settings(max_examples=8, deadline=None)
def test_what_is_saved_is_read_back(seed, n, matrices, tmp_path_factory):
    group = make_group(seed, n_subjects=n)
    if not matrices:
        group = MapGroup(group.table, group.values, LAYOUT, probe="energy", signed=True, info={"model": "x"})
    again = MapGroup.load(group.save(tmp_path_factory.mktemp("group")))
    np.testing.assert_array_equal(again.values, group.values)
    pd.testing.assert_frame_equal(again.table, group.table)
    assert (again.roles, again.signed, again.unit, again.info) == (group.roles, group.signed, group.unit, group.info)
    assert again.layout.as_dict() == LAYOUT.as_dict()
    joined = MapGroup.concat([again.select(f"subject == '{subject}'") for subject in group.subjects])
    np.testing.assert_array_equal(joined.values, group.values)
    assert (joined.matrices is not None) == matrices


def test_damaged_files_and_wrong_questions_are_refused(tmp_path):
    group = make_group()
    folder = group.save(tmp_path / "group")
    (folder / "values.npy").write_bytes(b"no array")
    with pytest.raises(ValueError, match="not a saved group of maps"):
        MapGroup.load(folder)
    with pytest.raises(FileNotFoundError):
        MapGroup.load(tmp_path)
    with pytest.raises(ValueError, match="'nonsense' is no expression over the columns subject, label, band"):
        group.select("nonsense")
    with pytest.raises(ValueError, match="no map of this group has label == 3"):
        group.select("label == 3")
    with pytest.raises(ValueError, match="the table has no 'condition'"):
        group.by_condition()
    with pytest.raises(ValueError, match="were not band-limited"):
        group.by_band()
    with pytest.raises(ValueError, match="there is no 'middle' layer here; there are early, late"):
        group.mean_matrix(role="middle")
    with pytest.raises(ValueError, match="needs the columns"):
        MapGroup(group.table.drop(columns="band"), group.values, LAYOUT, probe="energy")
    other = MapGroup(group.table, group.values, LAYOUT, probe="saliency")
    with pytest.raises(ValueError, match="cannot be joined"):
        MapGroup.concat([group, other])
