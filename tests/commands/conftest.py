from handmade_run import hand_made, store

__all__ = ["hand_made", "store"]
