"""A saved model looked into: the window that is explained, what probes say of it, the page."""
