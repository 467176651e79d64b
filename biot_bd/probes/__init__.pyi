from .attention import AttentionProbe as AttentionProbe
from .attention import QKAttentionProbe as QKAttentionProbe
from .attention import by_channel as by_channel
from .attention import received as received
from .base import Explanation as Explanation
from .base import Probe as Probe
