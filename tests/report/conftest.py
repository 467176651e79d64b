from cheap_pictures import cheap_pictures
from handmade_run import hand_made, real_run, store, with_events

__all__ = ["cheap_pictures", "hand_made", "real_run", "store", "with_events"]
