"""What computes exported models: one module an engine, found by name in ``registry.engines``."""
