"""What the skorch nets of the package share: parameters, parts, callbacks, batches, epochs."""
