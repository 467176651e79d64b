from child_commands import world
from handmade_run import hand_made, real_run, store

__all__ = ["hand_made", "real_run", "store", "world"]
