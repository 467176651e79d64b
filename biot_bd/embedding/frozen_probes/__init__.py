"""Probes over frozen embeddings: scikit-learn classifiers, one a file."""
