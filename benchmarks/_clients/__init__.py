"""What `clients.py` runs, a module a client; each registers its checks in :mod:`_clients.checks`."""
