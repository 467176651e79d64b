"""A plugin of biot_bd: the Kaggle data set ``hms``, the label rules ``hms-votes`` and
``hms-middle``, the loss ``kl-divergence`` and the metric ``kl_divergence``.

This module only names what the plugin adds.  The import paths are resolved when somebody asks for
the thing.
"""

from biot_bd.hookspecs import Register, hookimpl


@hookimpl
def register_datasets(register: Register) -> None:
    """Add the data set."""
    register("hms", "biot_bd_hms.loader:load_hms")


@hookimpl
def register_label_rules(register: Register) -> None:
    """Add the rules: windows with votes, and windows of the test part."""
    register("hms-votes", "biot_bd_hms.votes:HMSVotes")
    register("hms-middle", "biot_bd_hms.votes:HMSMiddle")


@hookimpl
def register_losses(register: Register) -> None:
    """Add the loss."""
    register("kl-divergence", "biot_bd_hms.kl_loss:KLDivergence")


@hookimpl
def register_metrics(register: Register) -> None:
    """Add the metric of the competition."""
    register("kl_divergence", "biot_bd_hms.kl_metric:KL_DIVERGENCE")
