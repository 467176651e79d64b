from .annotated import Annotated as Annotated
from .labels import BiotOfficial as BiotOfficial
from .labels import Overlap as Overlap
from .labels import Unlabelled as Unlabelled
from .page_shuffle import PageShuffle as PageShuffle
from .preparation.prepare import prepare as prepare
from .windows import Windows as Windows
