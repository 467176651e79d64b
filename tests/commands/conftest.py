from child_commands import world
from handmade_run import hand_made, real_run, store, with_events

__all__ = ["hand_made", "real_run", "store", "with_events", "world"]
