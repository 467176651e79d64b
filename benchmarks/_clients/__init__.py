"""What ``clients.py`` runs, a module a client; each registers checks in ``checks``."""
