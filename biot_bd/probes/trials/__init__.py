"""The tests of probes, one family a file; :func:`biot_bd.probes.evaluate` runs them."""
