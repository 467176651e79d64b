from cheap_pictures import cheap_pictures
from child_commands import world
from handmade_run import hand_made, real_run, store, with_events

__all__ = ["cheap_pictures", "hand_made", "real_run", "store", "with_events", "world"]
