#!/usr/bin/env bash
# scikit-learn 1.9.1: sklearn.model_selection.validation_curve with estimators whose fit raises.
#
# Behaviour: with the default error_score=nan, a fit that raises becomes a NaN score and nothing is said: no warning
# where some fits fail, no error where all of them do. learning_curve, cross_validate, cross_val_score and the searches
# raise ValueError ("All the N fits failed", with the traceback) in the same place, and warn (FitFailedWarning) where
# only some fail.
#
# What one would guess: the two curves behave alike; they share _fit_and_score and document error_score in the same
# words ("If a numeric value is given, FitFailedWarning is raised").
#
# Why it matters: a curve of NaN is drawn as an empty plot, and the mean over splits by nanmean hides the ones that
# failed. Whatever an estimator refuses (mixed subjects, wrong channels) is lost there.
#
# Source: seen by running it; sklearn/model_selection/_validation.py: learning_curve calls
# _warn_or_raise_about_fit_failures, validation_curve does not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet scikit-learn==1.9.1 numpy==2.4.6 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
cd "$folder"
cat > run.py <<'PY'
import warnings

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import GridSearchCV, cross_validate, learning_curve, validation_curve


class Refuses(ClassifierMixin, BaseEstimator):
    def __init__(self, depth=1):
        self.depth = depth

    def fit(self, X, y):
        if self.depth > 1:
            raise RuntimeError("this depth is not possible")
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.zeros(len(X), dtype=int)


X, y = np.zeros((8, 1)), np.array([0, 1] * 4)
tools = {
    "validation_curve, all fits fail": lambda: validation_curve(
        Refuses(), X, y, param_name="depth", param_range=[2, 3], cv=2
    )[1],
    "validation_curve, half of them": lambda: validation_curve(
        Refuses(), X, y, param_name="depth", param_range=[1, 2], cv=2
    )[1],
    "learning_curve, all fits fail": lambda: learning_curve(Refuses(2), X, y, train_sizes=[0.5, 1.0], cv=2)[2],
    "cross_validate, all fits fail": lambda: cross_validate(Refuses(2), X, y, cv=2)["test_score"],
    "GridSearchCV, half of them": lambda: GridSearchCV(Refuses(), {"depth": [1, 2]}, cv=2).fit(X, y).cv_results_[
        "mean_test_score"
    ],
}
for name, tool in tools.items():
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            found = np.asarray(tool()).tolist()
        except ValueError as error:
            found = f"ValueError: {str(error).splitlines()[1]}"
    said = sorted({one.category.__name__ for one in told if "Fit" in one.category.__name__})
    print(f"{name}: {found}; warnings of failed fits: {said}")
PY
"$folder/venv/bin/python" run.py | tee found
diff - found <<'SEEN'
validation_curve, all fits fail: [[nan, nan], [nan, nan]]; warnings of failed fits: []
validation_curve, half of them: [[0.5, 0.5], [nan, nan]]; warnings of failed fits: []
learning_curve, all fits fail: ValueError: All the 4 fits failed.; warnings of failed fits: []
cross_validate, all fits fail: ValueError: All the 2 fits failed.; warnings of failed fits: []
GridSearchCV, half of them: [0.5, nan]; warnings of failed fits: ['FitFailedWarning']
SEEN
