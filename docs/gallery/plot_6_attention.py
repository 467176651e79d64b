"""
Attention as the model computes it
==================================

BIOT's transformer uses linear attention, which never forms a map. ``record_attention`` keeps the
two small factors of the exact map that each layer applied, checks them by the layer's own output,
and makes a map when it is asked for. The model below is untrained: the pictures show how, not what.
"""

# %%
# Record all layers
# -----------------
import matplotlib.pyplot as plt
import torch

from biot_bd import BIOT, record_attention
from biot_bd.models import token_site
from biot_bd.plots import attention_figure

ch_names = ["Fp1-F7", "F7-T7", "T7-P7", "P7-O1", "Fp2-F8", "F8-T8", "T8-P8", "P8-O2"]
chs_info = [{"ch_name": name} for name in ch_names]
model = BIOT(n_outputs=2, chs_info=chs_info, n_times=2000, sfreq=200, embed_dim=64, num_heads=8, num_layers=4).eval()
x = torch.randn(3, 8, 2000)
with torch.no_grad(), record_attention(model) as trace:
    model(x)
for record in trace:
    print(record.layer, tuple(record.shape), f"rebuilds its output to {record.error:.1e}")

# %%
# ``trace.maps`` has one map for each layer; ``trace.early``, ``trace.middle`` and ``trace.late`` are
# the usual three. Rows are queries and sum to 1.
trace.late.sum(dim=-1).mean()

# %%
# What a token stands for
# -----------------------
# A layout says which channel and which seconds each token covers. It is known for transformers of
# braindecode, too; a model of your own says it in ``token_layout()``.
layout = trace.maps.layouts[-1]
token = 25
print(f"token {token}: {layout.ch_names[layout.channel[token]]}, {layout.start_s[token]} to {layout.stop_s[token]} s")

# %%
# By channel
# ----------
# Which channel attends to which, as a multiple of what uniform attention would be: the cards that
# TensorBoard shows of a training.
late = trace.channel_matrix()[-1, 0]
figure = attention_figure(late * len(ch_names), labels=ch_names, title="late (layer 4 of 4)")
figure

# %%
# Where attention goes
# --------------------
# Attention received by channel and frame; 1 is what uniform attention gives.
received = trace.maps.received(-1)[0]  # the first window
figure, axis = plt.subplots(figsize=(7, 2.8), layout="constrained")
edges = (layout.frame_start_s[0], layout.frame_start_s[-1] + 0.5, len(ch_names) - 0.5, -0.5)
image = axis.imshow(received * received.size, aspect="auto", cmap="cividis", extent=edges)
axis.set(xlabel="start of the frame (s)", yticks=range(len(ch_names)), yticklabels=ch_names)
figure.colorbar(image, label="attention received")
plt.show()

# %%
# A channel that is absent
# ------------------------
# NaN throughout: it gets no attention, and no other channel notices more than its absence.
absent = x.clone()
absent[:, 2] = torch.nan
with torch.no_grad(), record_attention(model) as trace:
    model(absent)
without = trace.maps.received(-1)[0] * (received.size - layout.n_frames)
print("T7-P7:", without[2][:3], "others on average:", without[[0, 1, 3, 4, 5, 6, 7]].mean().round(3))

# %%
# Tokens taken away
# -----------------
# ``token_site`` is where tokens enter the first layer. Without all tokens of a channel the model
# gives what it gives where that channel is absent.
site = token_site(model)
kept = torch.as_tensor(layout.channel != 2)
with torch.no_grad():
    difference = site.run(model, x, site.read(model, x), kept=kept) - model(absent)
print("largest difference of logits:", difference.abs().max().item())
