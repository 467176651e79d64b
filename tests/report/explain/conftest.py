from handmade_run import real_run, store

__all__ = ["real_run", "store"]
