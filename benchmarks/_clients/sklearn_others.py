"""scikit-learn's other tools: meta-estimators without a ``cv``, pipelines, inspection, pictures,
its own checks of estimators.
"""

from __future__ import annotations

import collections
import pickle
import tempfile

import numpy as np
import sklearn
from sklearn.base import clone, is_classifier
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline

from _clients.checks import FAILS, REFUSED, LeftOutError, check, same, true
from _clients.world import World, net, pipe
from biot_bd import MontageMapper, PercentileScaler, SubjectSplit

CLIENT = "scikit-learn, the rest"
TABLES = (
    "takes tables, one row a window; windows are 3-d. A step in front that makes features, or biot_bd's own "
    "tools for channels and times, do"
)


def plain(world: World, rows: slice = slice(None), **parameters: object) -> np.ndarray:
    windows = world.windows[rows]
    return pipe(**parameters).fit(windows, windows.y).predict_proba(windows)[:, 1]


# --- meta-estimators ---


@check(CLIENT, "VotingClassifier", "soft: the mean of two plain fits' probabilities")
def voting(world: World) -> None:
    from sklearn.ensemble import VotingClassifier

    found = VotingClassifier([("a", pipe()), ("b", pipe(lr=1e-4))], voting="soft").fit(world.windows, world.y)
    truth = (plain(world) + plain(world, lr=1e-4)) / 2
    same(found.predict_proba(world.windows)[:, 1], truth, "probabilities", 1e-7)


@check(CLIENT, "FixedThresholdClassifier", "decides by the plain fit's probabilities")
def fixed_threshold(world: World) -> None:
    from sklearn.model_selection import FixedThresholdClassifier

    found = FixedThresholdClassifier(pipe(), threshold=0.3).fit(world.windows, world.y)
    same(found.predict(world.windows), (plain(world) >= 0.3).astype(int), "decisions")


@check(
    CLIENT, "CalibratedClassifierCV(FrozenEstimator)", "a sigmoid of the frozen model's probabilities, on new subjects"
)
def calibrated_frozen(world: World) -> None:
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.frozen import FrozenEstimator

    train, test = world.rows[0]
    model = pipe().fit(world.windows[train], world.y[train])
    raw = model.predict_proba(world.windows[test])[:, 1]
    found = CalibratedClassifierCV(FrozenEstimator(model)).fit(world.windows[test], world.y[test])
    (inner,) = found.calibrated_classifiers_
    (calibrator,) = inner.calibrators
    truth = 1 / (1 + np.exp(calibrator.a_ * raw + calibrator.b_))
    same(found.predict_proba(world.windows[test])[:, 1], truth, "sigmoid", 1e-6)


@check(CLIENT, "OneVsRestClassifier", "of two classes it is one classifier: a plain fit")
def one_vs_rest(world: World) -> None:
    from sklearn.multiclass import OneVsRestClassifier

    found = OneVsRestClassifier(pipe()).fit(world.windows, world.y)
    same(found.predict_proba(world.windows)[:, 1], plain(world), "probabilities", 1e-7)


@check(
    CLIENT,
    "OneVsOneClassifier",
    "of two classes it is one classifier: decides as a plain fit",
    expected=FAILS,
    why="reads `X` as a table of numbers (`check_array`): give it arrays, and `OneVsRestClassifier` takes `Windows`",
)
def one_vs_one(world: World) -> None:
    from sklearn.multiclass import OneVsOneClassifier

    found = OneVsOneClassifier(pipe()).fit(world.windows, world.y)
    same(found.predict(world.windows), (plain(world) >= 0.5).astype(int), "decisions")


@check(CLIENT, "MultiOutputClassifier", "two columns of labels, the same: both a plain fit")
def multi_output(world: World) -> None:
    from sklearn.multioutput import MultiOutputClassifier

    found = MultiOutputClassifier(pipe()).fit(world.windows, np.c_[world.y, world.y])
    for part in found.predict_proba(world.windows):
        same(part[:, 1], plain(world), "probabilities")


@check(CLIENT, "BaggingClassifier", "the mean of its members' probabilities", expected=FAILS, why=TABLES)
def bagging(world: World) -> None:
    from sklearn.ensemble import BaggingClassifier

    found = BaggingClassifier(pipe(), n_estimators=2, random_state=0).fit(world.windows, world.y)
    truth = np.mean([member.predict_proba(world.windows)[:, 1] for member in found.estimators_], axis=0)
    same(found.predict_proba(world.windows)[:, 1], truth, "probabilities", 1e-7)


@check(
    CLIENT,
    "AdaBoostClassifier",
    "two members",
    expected=FAILS,
    why="boosting weighs windows, and the classifier takes no `sample_weight`: `sampler` and `class_weight` weigh",
)
def boosting(world: World) -> None:
    from sklearn.ensemble import AdaBoostClassifier

    AdaBoostClassifier(pipe(), n_estimators=2, random_state=0).fit(world.windows, world.y)


@check(CLIENT, "SelfTrainingClassifier", "windows without label (-1)", expected=FAILS, why=TABLES)
def self_training(world: World) -> None:
    from sklearn.semi_supervised import SelfTrainingClassifier

    y = world.y.copy()
    y[::5] = -1
    SelfTrainingClassifier(pipe(), max_iter=1).fit(world.windows, y)


# --- pipelines ---


@check(CLIENT, "Pipeline(memory=...)", "twice the same probabilities as without, and montage and scaling are cached")
def memory(world: World) -> None:
    with tempfile.TemporaryDirectory() as folder:
        steps = [("map", MontageMapper("biot-16")), ("scale", PercentileScaler()), ("net", net())]
        for _ in range(2):
            found = Pipeline(steps, memory=folder).fit(world.windows, world.y)
            same(found.predict_proba(world.windows)[:, 1], plain(world), "probabilities")


@check(
    CLIENT,
    "Pipeline(transform_input=...)",
    "with metadata routing on: the same probabilities as without",
    why="`Windows` carry what other pipelines have to hand on",
)
def transform_input(world: World) -> None:
    with sklearn.config_context(enable_metadata_routing=True):
        found = Pipeline([("scale", PercentileScaler()), ("net", net())], transform_input=["X_valid"])
        found.fit(world.windows, world.y)
        same(found.predict_proba(world.windows)[:, 1], plain(world), "probabilities")


@check(
    CLIENT,
    "FeatureUnion",
    "of two scalings of windows",
    expected=FAILS,
    why="it puts tables side by side; windows are lazy",
)
def feature_union(world: World) -> None:
    union = FeatureUnion([("a", PercentileScaler()), ("b", PercentileScaler(90))])
    make_pipeline(union, net()).fit(world.windows, world.y)


@check(
    CLIENT, "ColumnTransformer", "scaling of two channels", expected=FAILS, why=f"{TABLES}; a montage chooses channels"
)
def column_transformer(world: World) -> None:
    from sklearn.compose import ColumnTransformer

    chosen = ColumnTransformer([("a", PercentileScaler(), [0, 1])])
    make_pipeline(chosen, net()).fit(world.windows, world.y)


@check(CLIENT, "FunctionTransformer", "features of windows into a logistic regression, scored by subject")
def function_transformer(world: World) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.preprocessing import FunctionTransformer

    def features(windows: object) -> np.ndarray:
        return np.log(np.var(np.asarray(windows), axis=-1) + 1e-3)

    regression = LogisticRegression(max_iter=500)
    found = cross_val_score(
        make_pipeline(FunctionTransformer(features), regression),
        world.windows,
        world.y,
        cv=world.split,
        scoring="roc_auc",
    )
    x = np.log(np.var(world.windows.read(np.arange(len(world.y))), axis=-1) + 1e-3)
    truth = [
        roc_auc_score(world.y[test], clone(regression).fit(x[train], world.y[train]).predict_proba(x[test])[:, 1])
        for train, test in world.rows
    ]
    same(found, truth, "AUC", 1e-6)


@check(
    CLIENT, "set_output(transform='pandas')", "steps of windows", expected=FAILS, why="windows are 3-d, a frame is not"
)
def set_output(world: World) -> None:
    x, _, _ = world.arrays
    found = PercentileScaler().set_output(transform="pandas").transform(x)
    true(hasattr(found, "columns"), "a DataFrame")


@check(CLIENT, "train_test_split", "by window: the model of one side tests the other", expected=REFUSED)
def split_by_window(world: World) -> None:
    from sklearn.model_selection import train_test_split

    train, test, y_train, y_test = train_test_split(world.windows, world.y, random_state=0, stratify=world.y)
    pipe().fit(train, y_train).score(test, y_test)


@check(CLIENT, "GroupShuffleSplit, StratifiedGroupKFold", "given `groups`: scores equal those of a loop by hand")
def group_splitters(world: World) -> None:
    from sklearn.model_selection import GroupShuffleSplit, StratifiedGroupKFold, cross_val_score

    windows, groups = world.windows, world.windows.groups
    for splitter in (GroupShuffleSplit(2, random_state=0), StratifiedGroupKFold(3)):
        found = cross_val_score(
            pipe(), windows, world.y, groups=groups, cv=splitter, scoring="roc_auc", error_score="raise"
        )
        truth = [
            roc_auc_score(world.y[test], pipe().fit(windows[train], world.y[train]).predict_proba(windows[test])[:, 1])
            for train, test in splitter.split(windows, world.y, groups)
        ]
        same(found, truth, "AUC", 1e-12)


@check(CLIENT, "GridSearchCV inside biot_bd.cross_validate", "test probabilities equal those of fits by hand")
def nested(world: World) -> None:
    from sklearn.model_selection import GridSearchCV

    from biot_bd import cross_validate

    search = GridSearchCV(pipe(), {"biotclassifier__lr": [3e-3]}, cv=SubjectSplit("subject-kfold-2"))
    found = cross_validate(search, world.windows, cv="subject-kfold-3", validation_fraction=0, progress=False)
    tests = found.predictions[found.predictions.part == "test"]
    groups = world.windows.groups
    for _, part in tests.groupby("fold"):
        test = np.isin(groups, part.subject.unique())
        model = pipe().fit(world.windows[~test], world.y[~test])
        same(part.sort_values("window").proba, model.predict_proba(world.windows[test])[:, 1], "probabilities", 1e-6)


# --- inspection and pictures ---


@check(CLIENT, "permutation_importance", "of channels", expected=FAILS, why=f"{TABLES}: `biot-bd explain`")
def importance(world: World) -> None:
    from sklearn.inspection import permutation_importance

    permutation_importance(pipe().fit(world.windows, world.y), world.windows, world.y, n_repeats=1)


@check(CLIENT, "partial_dependence", "of a channel", expected=FAILS, why=f"{TABLES}: `biot-bd explain`")
def dependence(world: World) -> None:
    from sklearn.inspection import partial_dependence

    partial_dependence(pipe().fit(world.windows, world.y), world.windows, [0])


@check(
    CLIENT,
    "RocCurveDisplay, PrecisionRecallDisplay, DetCurveDisplay, CalibrationDisplay, ConfusionMatrixDisplay",
    "`from_estimator` on windows of new subjects equals `from_predictions` of the model's probabilities",
)
def displays(world: World) -> None:
    import matplotlib

    matplotlib.use("agg")
    from sklearn import calibration, metrics

    train, test = world.rows[1]
    model, windows, y = pipe().fit(world.windows[train], world.y[train]), world.windows[test], world.y[test]
    p = model.predict_proba(windows)[:, 1]
    for display, names in (
        (metrics.RocCurveDisplay, ["fpr", "tpr", "roc_auc"]),
        (metrics.PrecisionRecallDisplay, ["precision", "recall", "average_precision"]),
        (metrics.DetCurveDisplay, ["fpr", "fnr"]),
        (calibration.CalibrationDisplay, ["prob_true", "prob_pred"]),
    ):
        found, truth = display.from_estimator(model, windows, y), display.from_predictions(y, p)
        for name in names:
            same(getattr(found, name), getattr(truth, name), f"{display.__name__}.{name}")
    confusion = metrics.ConfusionMatrixDisplay.from_estimator(model, windows, y).confusion_matrix
    same(confusion, metrics.confusion_matrix(y, p >= 0.5), "confusion matrix")


@check(
    CLIENT,
    "clone, get_params, set_params",
    "a clone of a fitted pipeline has its parameters, and fits to the same digits",
)
def cloning(world: World) -> None:
    fitted = pipe().fit(world.windows, world.y)
    again = clone(fitted)
    true(repr(again) == repr(pipe()), "the clone reads as the original before it was fitted")
    true(not hasattr(again[-1], "facts_"), "the clone is not fitted")
    again.fit(world.windows, world.y)
    same(again.predict_proba(world.windows), fitted.predict_proba(world.windows), "probabilities")
    true(again.set_params(biotclassifier__lr=1e-5).get_params()["biotclassifier__lr"] == 1e-5, "set is what is got")


@check(CLIENT, "HTML representation, is_classifier, tags", "names each step, and a classifier")
def representation(world: World) -> None:
    fitted = pipe().fit(world.windows, world.y)
    html = fitted._repr_html_()
    true(all(name in html for name in ("MontageMapper", "PercentileScaler", "BIOTClassifier")), "each step is named")
    true(is_classifier(fitted), "a classifier")


@check(CLIENT, "pickle, joblib.dump", "the same probabilities after loading")
def pickled(world: World) -> None:
    import io

    import joblib

    fitted = pipe().fit(world.windows, world.y)
    truth, file = fitted.predict_proba(world.windows), io.BytesIO()
    joblib.dump(fitted, file)
    file.seek(0)
    for loaded in (pickle.loads(pickle.dumps(fitted)), joblib.load(file)):
        same(loaded.predict_proba(world.windows), truth, "probabilities")


# --- its checks of estimators ---


def estimator_checks(estimator: object) -> str:
    """Run all, and say how many pass, and the commonest reasons of those that do not."""
    from sklearn.utils.estimator_checks import check_estimator

    found = check_estimator(estimator, on_skip=None, on_fail=None)
    kinds = collections.Counter(result["status"] for result in found)
    reasons: dict[str, list[str]] = {}
    for result in found:
        if result["status"] == "failed":
            error = result["exception"]
            reasons.setdefault(" ".join(str(error).split())[:90], []).append(result["check_name"])
    often = sorted(reasons.items(), key=lambda item: -len(item[1]))
    said = "; ".join(f"{len(names)} × “{reason}”" for reason, names in often[:4])
    return f"{kinds['passed']} of {len(found)} pass, {kinds['skipped']} skipped; {said}"


WHY_CHECKS = "nearly all of its checks fit tables (2-d) of any numbers; windows are 3-d, and refused in 2-d on purpose"


@check(CLIENT, "check_estimator(PercentileScaler())", "all of its checks, counted", why=WHY_CHECKS)
def checks_of_a_step(world: World) -> str:
    return estimator_checks(PercentileScaler())


@check(CLIENT, "check_estimator(BIOTClassifier())", "all of its checks, counted", why=WHY_CHECKS, limit_s=500)
def checks_of_the_classifier(world: World) -> str:
    said = estimator_checks(net())
    if said.startswith("0 of"):
        raise LeftOutError(said)
    return said


# --- other processes and threads ---


@check(CLIENT, "n_jobs=2 (loky)", "a search in two processes equals one in this process", limit_s=400)
def processes(world: World) -> None:
    from sklearn.model_selection import GridSearchCV

    found = [
        GridSearchCV(
            pipe(),
            {"biotclassifier__lr": [3e-3, 1e-4]},
            cv=world.split,
            scoring="roc_auc",
            n_jobs=n,
            error_score="raise",
        )
        .fit(world.windows, world.y)
        .cv_results_["mean_test_score"]
        for n in (1, 2)
    ]
    same(found[1], found[0], "AUC")


@check(CLIENT, "parallel_backend('threading'), n_jobs=2", "a search in two threads equals one thread, or is refused")
def threads(world: World) -> str | None:
    import joblib
    from sklearn.model_selection import cross_val_score

    from biot_bd.exceptions import BiotBdError

    def scores(n: int) -> np.ndarray:
        return cross_val_score(
            pipe(), world.windows, world.y, cv=world.split, scoring="roc_auc", n_jobs=n, error_score="raise"
        )

    truth = scores(1)
    try:
        with joblib.parallel_config("threading"):
            found = scores(2)
    except (BiotBdError, RuntimeError) as error:
        return f"refused: {error}"
    same(found, truth, "AUC")
    return None
