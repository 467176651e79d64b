from .labels import BiotOfficial as BiotOfficial
from .labels import Overlap as Overlap
from .preparation import PreparationError as PreparationError
from .preparation import prepare as prepare
from .windows import Windows as Windows
