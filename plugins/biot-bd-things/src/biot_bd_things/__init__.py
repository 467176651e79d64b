"""A plugin of biot_bd: SKELETON."""
