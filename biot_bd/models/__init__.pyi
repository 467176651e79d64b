from .attention.attention_maps import AttentionMaps as AttentionMaps
from .attention.attention_record import AttentionRecord as AttentionRecord
from .attention.layout import TokenLayout as TokenLayout
from .attention.layout import signal_layout as signal_layout
from .attention.layout import whole_layout as whole_layout
from .attention.layouts import layout_of as layout_of
from .attention.map_statistics import effective_rank as effective_rank
from .attention.map_statistics import entropy as entropy
from .attention.maps import early_middle_late as early_middle_late
from .attention.record import attention_layers as attention_layers
from .attention.record import record_attention as record_attention
from .attention.token_map import TokenMap as TokenMap
from .attention.tokens import TokenSite as TokenSite
from .attention.tokens import token_site as token_site
from .attention.trace import AttentionTrace as AttentionTrace
from .biot import BIOT as BIOT
from .checkpoints.config import provenance_of as provenance_of
from .checkpoints.loading import load_checkpoint as load_checkpoint
from .checkpoints.provenance import Provenance as Provenance
from .checkpoints.provenance import Seen as Seen
from .checkpoints.provenance import check_clean as check_clean
from .checkpoints.published import KNOWN as KNOWN
from .checkpoints.report import LoadReport as LoadReport
from .checkpoints.saving import save_checkpoint as save_checkpoint
from .contract import ModelContract as ModelContract
from .encoder import BIOTEncoder as BIOTEncoder
from .inference_plan import PrecisionPlan as PrecisionPlan
from .inference_plan import measure_inference_plan as measure_inference_plan
from .masked_vit import MaskedViT as MaskedViT
from .model_config import BIOTConfig as BIOTConfig
<<<<<<< HEAD
from .multi_scale_biot import MultiScaleBIOT as MultiScaleBIOT
=======
from .token_stages import DecoderSizes as DecoderSizes
>>>>>>> s11-C
from .token_stages import TokenSizes as TokenSizes
from .token_stages import TokenStages as TokenStages
from .token_stages import token_stages as token_stages
