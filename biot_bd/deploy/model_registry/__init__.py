"""The registry of models: immutable versions in a folder, and stores where they lie elsewhere."""
