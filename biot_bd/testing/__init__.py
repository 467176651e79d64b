"""Conformance checks for plugin authors: one for each kind of thing that a plugin may register.

Run them in your plugin's tests::

    from biot_bd.testing import check_loss


    def test_my_loss():
        check_loss(MyLoss)

A check returns nothing; it raises :class:`biot_bd.exceptions.ConformanceError`, which says what is
wrong and what is expected.
"""

import lazy_loader as _lazy

# The public names stand in __init__.pyi and are imported on first use: checking a loss costs
# nothing of what models need.
__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
