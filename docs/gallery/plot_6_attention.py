"""
Attention as the model computes it
==================================

BIOT's transformer uses linear attention, which never forms a map. ``record_attention`` keeps the two
small factors of each layer's exact map and checks them by the layer's own output; a map is made when
it is asked for. The model below is untrained: the pictures show how, not what.
"""

# %%
# Record all layers
# -----------------
import matplotlib.pyplot as plt
import torch

from biot_bd import BIOT, AttentionProbe, record_attention
from biot_bd.models import token_site
from biot_bd.plots import attention_figure

ch_names = ["Fp1-F7", "F7-T7", "T7-P7", "P7-O1", "Fp2-F8", "F8-T8", "T8-P8", "P8-O2"]
chs_info = [{"ch_name": name, "kind": "eeg"} for name in ch_names]
model = BIOT(n_outputs=2, chs_info=chs_info, n_times=2000, sfreq=200, embed_dim=64, num_heads=8, num_layers=4).eval()
x = torch.randn(3, 8, 2000)
with torch.no_grad(), record_attention(model) as trace:
    model(x)
for record in trace:
    print(record.layer, tuple(record.shape), f"rebuilds its output to {record.error:.1e}")

# %%
# Maps are a sequence, one for each layer; rows are queries and sum to 1. A second forward pass inside
# the block would be a second record (``trace.passes``), never another layer.
print(len(trace.maps), trace.maps[0].shape, trace.maps[0].sum(dim=-1).mean())

# %%
# What a token stands for
# -----------------------
# The layout says which channel and which seconds each token covers, here and in the transformers of
# braindecode.
layout = trace.maps.layouts[0]
print(layout.n_tokens, "tokens:", layout.ch_names[layout.channel[25]], layout.start_s[25], "to", layout.stop_s[25], "s")

# %%
# Early, middle, late
# -------------------
# ``trace.early``, ``trace.middle`` and ``trace.late`` are maps over all tokens. By channel they are
# readable; special tokens and absent channels are left out.
figure = attention_figure(trace.channel_matrix()[-1].mean(axis=0) * len(ch_names), labels=ch_names, title="late layer, by channel")
figure

# %%
# Where attention goes
# --------------------
# Every probe gives a ``TokenMap``: values by channel and frame.
found = AttentionProbe(layers=[-1])(model, x)
figure, axis = plt.subplots(figsize=(7, 2.8), layout="constrained")
image = axis.imshow(
    found.values[0] * layout.n_tokens, aspect="auto", cmap="cividis", extent=(0, 10, len(ch_names) - 0.5, -0.5)
)
axis.set(xlabel="seconds", yticks=range(len(ch_names)), yticklabels=ch_names)
figure.colorbar(image, label="attention received (1: as if uniform)")
plt.show()

# %%
# A channel that is absent
# ------------------------
# NaN throughout: it gets no attention, and the result is exactly that of a model without its tokens.
absent = x.clone()
absent[:, 2] = torch.nan
site = token_site(model)
with torch.no_grad():
    without = site.run(model, x, site.read(model, x), kept=torch.as_tensor(layout.channel != 2))
    print("largest difference of logits:", (model(absent) - without).abs().max().item())
print("T7-P7:", AttentionProbe(layers=[-1])(model, absent).by_channel()[0].round(3))
