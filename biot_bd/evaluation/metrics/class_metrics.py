"""A metric of any number of classes that scikit-learn has no scorer for.

Of the others every scorer is a metric by its name: ``"accuracy"``, ``"f1_weighted"``,
``"roc_auc_ovr"``.
"""

from __future__ import annotations

from sklearn.metrics import cohen_kappa_score

from biot_bd.evaluation.metrics.window_metrics import Metric

COHEN_KAPPA = Metric(
    "cohen_kappa",
    cohen_kappa_score,
    needs_threshold=True,
    several_classes=True,
    description="Agreement of decisions and labels beyond that by chance (Cohen's kappa); chance is 0.",
)
