"""
Attention of early, middle and late layers
==========================================

BIOT's transformer uses linear attention, which never forms a map. ``record_attention`` rebuilds the
exact map that each layer applied, and checks it by the layer's own output. The model below is
untrained: the pictures show how, not what.
"""

# %%
# Record all layers
# -----------------
import matplotlib.pyplot as plt
import torch

from biot_bd import BIOT, record_attention
from biot_bd.plots import attention_figure

ch_names = ["Fp1-F7", "F7-T7", "T7-P7", "P7-O1", "Fp2-F8", "F8-T8", "T8-P8", "P8-O2"]
model = BIOT(n_outputs=2, n_chans=8, n_times=2000, sfreq=200, embed_dim=64, num_heads=8, num_layers=4).eval()
x = torch.randn(3, 8, 2000)
with torch.no_grad(), record_attention(model) as trace:
    model(x)
for record in trace:
    print(record.layer, tuple(record.weights.shape), f"rebuilds its output to {record.error:.1e}")

# %%
# Rows are queries and sum to 1.
trace.late.sum(dim=-1).mean()

# %%
# By channel
# ----------
# Which channel attends to which, as a multiple of what uniform attention would be: the cards that
# TensorBoard shows of a training.
late = trace.channel_matrix()[-1, 0]
figure = attention_figure(late * len(ch_names), labels=ch_names, title="late: layer 4 of 4")
figure

# %%
# Where attention goes
# --------------------
# Attention received by channel and frame; 1 is what uniform attention gives.
received = trace.maps.received(-1)[0]
figure, axis = plt.subplots(figsize=(7, 2.8), layout="constrained")
image = axis.imshow(received * received.size, aspect="auto", cmap="cividis")
axis.set(xlabel="frame", yticks=range(len(ch_names)), yticklabels=ch_names)
figure.colorbar(image, label="attention received")
plt.show()

# %%
# A channel that is absent
# ------------------------
# NaN throughout: it gets no attention, and no other channel notices more than its absence.
x[:, 2] = torch.nan
with torch.no_grad(), record_attention(model) as trace:
    model(x)
without = trace.maps.received(-1)[0] * received.size
print("T7-P7:", without[2][:3], "others on average:", without[[0, 1, 3, 4, 5, 6, 7]].mean().round(3))
