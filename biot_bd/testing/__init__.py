"""Conformance checks for plugin authors: one for each kind of thing that a plugin may register.

Run them in your plugin's tests::

    from biot_bd.testing import check_loss

    def test_my_loss():
        check_loss(MyLoss)

A check returns nothing; it raises :class:`ConformanceError`, which says what is wrong and what is expected.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from biot_bd.exceptions import ConformanceError

if TYPE_CHECKING:
    from biot_bd.testing.datasets import check_dataset
    from biot_bd.testing.engines import check_engine
    from biot_bd.testing.label_rules import check_label_rule
    from biot_bd.testing.losses import check_loss
    from biot_bd.testing.metrics import check_metric
    from biot_bd.testing.models import check_model
    from biot_bd.testing.montages import check_montage
    from biot_bd.testing.others import check_callback, check_exporter, check_objective
    from biot_bd.testing.probes import check_probe
    from biot_bd.testing.readers import check_reader
    from biot_bd.testing.transformers import check_transformer

# Imported on first use, so that checking a loss does not import what only models need.
_WHERE = {
    "check_callback": "others",
    "check_dataset": "datasets",
    "check_engine": "engines",
    "check_exporter": "others",
    "check_label_rule": "label_rules",
    "check_loss": "losses",
    "check_metric": "metrics",
    "check_model": "models",
    "check_montage": "montages",
    "check_objective": "others",
    "check_probe": "probes",
    "check_reader": "readers",
    "check_transformer": "transformers",
}

#: Registry -> name of its check.
CHECKS = {
    "datasets": "check_dataset",
    "readers": "check_reader",
    "montages": "check_montage",
    "label_rules": "check_label_rule",
    "models": "check_model",
    "losses": "check_loss",
    "metrics": "check_metric",
    "probes": "check_probe",
    "callbacks": "check_callback",
    "objectives": "check_objective",
    "exporters": "check_exporter",
    "engines": "check_engine",
}

__all__ = [
    "CHECKS",
    "ConformanceError",
    "check_callback",
    "check_dataset",
    "check_engine",
    "check_exporter",
    "check_label_rule",
    "check_loss",
    "check_metric",
    "check_model",
    "check_montage",
    "check_objective",
    "check_probe",
    "check_reader",
    "check_transformer",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'biot_bd.testing' has no attribute {name!r}")
    return getattr(import_module(f"biot_bd.testing.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_WHERE])
