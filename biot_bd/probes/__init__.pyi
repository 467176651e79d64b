
from .attention import AttentionProbe as AttentionProbe
from .attention import AttentionTrace as AttentionTrace
from .attention import QKAttentionProbe as QKAttentionProbe
from .attention import record_attention as record_attention
from .base import Probe as Probe
from .base import TokenLayout as TokenLayout
from .base import TokenMap as TokenMap
from .group import MapGroup as MapGroup
from .group_comparison import GroupComparison as GroupComparison
from .group_extraction import explain_group as explain_group
from .slots import Slot as Slot
from .slots import SlotReport as SlotReport
from .slots import check_slots as check_slots
from .slots import open_model as open_model
