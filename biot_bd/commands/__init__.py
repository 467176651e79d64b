"""The commands of ``biot-bd``: one thin module each, found through the entry-point group
``biot_bd.commands``.
"""
