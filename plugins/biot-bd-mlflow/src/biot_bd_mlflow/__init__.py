"""MLflow's model registry as a store of models for biot_bd."""
