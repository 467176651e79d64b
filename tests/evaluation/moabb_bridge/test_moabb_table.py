"""Our results in MOABB's table: its columns, and its statistics and plots over ours and its own."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier

from biot_bd import cross_validate, load_dataset, prepare
from biot_bd.evaluation import SeizureDetection, SeizureWindows, baseline, to_moabb_table

analysis = pytest.importorskip("moabb.analysis", reason="needs MOABB")


@pytest.fixture(scope="module")
def windows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("moabb-table")
    recordings = load_dataset("demo", folder / "demo", n_subjects=5, recordings=1, minutes=1)
    return prepare(recordings, folder / "windows", window_s=4)


@pytest.fixture(scope="module")
def data(windows):
    return SeizureWindows(windows)


@pytest.fixture(scope="module")
def result(windows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "run"
    return cross_validate(baseline("line-length", windows), windows, folder=folder, progress=False)


@pytest.fixture(scope="module")
def of_moabb(data, tmp_path_factory):
    """Return MOABB's own table of a pipeline, on the same windows."""
    from moabb.evaluations import CrossSubjectEvaluation

    evaluation = CrossSubjectEvaluation(
        paradigm=SeizureDetection(),
        datasets=[data],
        overwrite=True,
        hdf5_path=str(tmp_path_factory.mktemp("moabb")),
        random_state=0,
    )
    return evaluation.process({"chance": DummyClassifier()})


def test_columns_and_rows_are_those_of_moabb(result, data, of_moabb, windows):
    table = to_moabb_table(result, dataset=data, pipeline="line length")
    assert list(table.columns) == list(of_moabb.columns)
    same = ["subject", "session", "samples", "samples_test", "n_classes", "channels", "n_sessions", "dataset"]
    theirs = of_moabb.sort_values("subject").reset_index(drop=True)[same]
    pd.testing.assert_frame_equal(table[same], theirs, check_dtype=False)
    assert (table["time"] > 0).all()


def test_scores_are_those_of_the_result(result, data):
    table = to_moabb_table(result, dataset=data, pipeline="line length").set_index("subject")
    for metric, (name, scores) in product(result.scoring, result.metrics["subjects"].items()):
        assert table.loc[name, f"score_{metric}"] == scores[metric]["value"]
    assert (table["score"] == table["score_average_precision"]).all()


def test_statistics_of_moabb_run_over_ours_and_its_own(result, data, of_moabb):
    from moabb.analysis import meta_analysis

    ours = to_moabb_table(result, dataset=data, pipeline="line length")
    found = meta_analysis.compute_dataset_statistics(pd.concat([ours, of_moabb], ignore_index=True))
    p_value = found.set_index(["pipe1", "pipe2"]).loc[("line length", "chance"), "p"]
    theirs = of_moabb.set_index("subject")["score"][ours["subject"]].to_numpy()
    difference = ours["score"].to_numpy() - theirs
    sums = [np.dot(signs, difference) for signs in product([-1, 1], repeat=len(difference))]
    assert p_value == pytest.approx(np.mean(np.array(sums) >= difference.sum() - 1e-9))  # every flip of signs
    significance, effects = meta_analysis.find_significant_differences(found)
    assert significance.loc["line length", "chance"] == pytest.approx(p_value)
    assert effects.loc["line length", "chance"] > 0


def test_plots_of_moabb_draw_ours_and_its_own(result, data, of_moabb):
    import matplotlib.pyplot as plt
    from moabb.analysis import meta_analysis, plotting

    both = pd.concat([to_moabb_table(result, dataset=data, pipeline="line length"), of_moabb], ignore_index=True)
    _figure, colours = plotting.score_plot(both)
    assert set(colours) == {"line length", "chance"}
    paired = plotting.paired_plot(both, "line length", "chance")
    points = paired.axes[0].collections[0].get_offsets()
    assert len(points) == both["subject"].nunique()
    drawn = plotting.meta_analysis_plot(meta_analysis.compute_dataset_statistics(both), "line length", "chance")
    assert drawn.axes
    plt.close("all")


def test_without_a_folder_times_are_unknown_and_windows_are_counted_all_the_same(windows, result, data):
    in_memory = cross_validate(baseline("line-length", windows), windows, progress=False)
    table = to_moabb_table(in_memory, dataset=data.code, pipeline="line length")
    assert table["time"].isna().all()
    kept = to_moabb_table(result, dataset=data, pipeline="line length")
    pd.testing.assert_frame_equal(table.drop(columns="time"), kept.drop(columns="time"))


def test_a_subject_without_a_seizure_is_named_and_left_out_only_when_asked(windows):
    calm = np.flatnonzero((windows.groups != "demo/03") | (windows.y == 0))
    result = cross_validate(baseline("always-off", windows), windows[calm], progress=False)
    with pytest.raises(ValueError, match=r"1 of 5 subjects have no average_precision \(demo/03: no seizure windows\)"):
        to_moabb_table(result, dataset="Demo", pipeline="off")
    table = to_moabb_table(result, dataset="Demo", pipeline="off", undefined="leave-out")
    assert list(table["subject"]) == ["demo/01", "demo/02", "demo/04", "demo/05"]
    with pytest.raises(ValueError, match="undefined='nan': expected 'raise' or 'leave-out'"):
        to_moabb_table(result, dataset="Demo", pipeline="off", undefined="nan")
