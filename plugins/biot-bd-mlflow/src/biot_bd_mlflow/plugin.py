"""What this plugin adds to biot_bd; MLflow is imported on first use."""

from biot_bd.hookspecs import Register, hookimpl


@hookimpl
def register_model_stores(register: Register) -> None:
    """Register MLflow's model registry."""
    register("mlflow", "biot_bd_mlflow.store:MlflowStore")
