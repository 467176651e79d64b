"""
Label rules
===========

TODO
"""

print(1)
