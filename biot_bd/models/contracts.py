"""The contracts of the models that the package registers, each number with its source.

Sources are braindecode 1.8.1 (its documentation and code) and the code of the models' authors:
CBraMod wjq-learning/CBraMod b9e9610 (2026-08-07), LaBraM 935963004/LaBraM c431221 (2025-09-29),
EEGPT BINE022/EEGPT a0e0a8f (2024-10-30), LUNA pulp-bio/BioFoundation 1923999 (2026-02-27),
BENDR SPOClab-ca/BENDR ac918ab (2021-02-25).
"""

from __future__ import annotations

from dataclasses import replace

from braindecode.models.bendr import BENDR_CHANNEL_ORDER
from braindecode.models.labram import LABRAM_CHANNEL_ORDER

from biot_bd.models.contract import ModelContract

INTERPOLATES = "other channels are interpolated onto the model's own by spherical splines"

#: Models that are trained from scratch: what scale and rate is theirs to learn.
FROM_SCRATCH = ModelContract(sources=("no pretrained weights: any scale and rate, the same in training and use",))
#: Those of them that count in seconds.
FROM_SCRATCH_WITH_RATE = ModelContract(needs_sfreq=True, sources=FROM_SCRATCH.sources)

BIOT = ModelContract(
    scale="percentile-95",
    scale_from_scratch=False,
    accepts_absent_channels=True,
    weights="pretrained='prest-16', 'shhs-prest-18', 'six-datasets-18' (200 Hz)",
    sources=("ycq091044/BIOT: each channel of a window is divided by the 95th percentile of its absolute values",),
)
MULTI_SCALE_BIOT = replace(
    BIOT, sources=(*BIOT.sources, "biot_bd.models.MultiScaleBIOT: BIOT's weights are those of its factor 1")
)
BIOT_BRAINDECODE = ModelContract(
    scale="percentile-95",
    sfreq=200.0,
    min_window_s=1.0,
    instead="biot",
    weights="Hub: braindecode/biot-pretrained-prest-16chs and others; module='biot' loads them",
    sources=("braindecode.models.BIOT warns of another rate than 200 Hz and windows under 1 s", *BIOT.sources),
)
INTERPOLATED_BIOT = ModelContract(
    scale="percentile-95",
    sfreq=200.0,
    min_window_s=1.0,
    reference="bipolar",
    positions="required",
    weights=BIOT_BRAINDECODE.weights,
    sources=("braindecode.models.InterpolatedBIOT: onto 18 bipolar channels placed at midpoints", *BIOT.sources),
    notes=("channels that the 18 name are taken over, others interpolated between midpoints, a simplification",),
)
MASKED_VIT = ModelContract(
    accepts_absent_channels=True,
    sources=FROM_SCRATCH.sources,
    notes=("patch_samples must divide a window, and channels='together' takes no absent channels",),
)
CBRAMOD = ModelContract(
    scale="uV/100",
    sfreq=200.0,
    multiple_samples=200,
    weights="Hub: braindecode/cbramod-pretrained",
    sources=(
        "CBraMod datasets/chb_dataset.py: 16 bipolar channels, 2000 samples a 10 s window, data/100",
        "braindecode.models.CBraMod: patches of 200 samples, 1 s at 200 Hz; any reference",
    ),
)
CODEBRAIN = ModelContract(
    scale="uV/100",
    sfreq=200.0,
    multiple_samples=200,
    weights="Hub: braindecode/codebrain-pretrained",
    sources=(
        "braindecode.models.CodeBrain: patches of 200 samples",
        "arXiv:2506.09110: preprocessing after CBraMod, 200 Hz, units of 100 uV (code not seen)",
    ),
)
LABRAM = ModelContract(
    scale="uV/100",
    sfreq=200.0,
    ch_names=tuple(LABRAM_CHANNEL_ORDER),
    multiple_samples=200,
    instead="interpolated-labram",
    weights="Hub: braindecode/labram-pretrained",
    sources=(
        "LaBraM dataset_maker/make_TUAB.py: 0.1 to 75 Hz, 200 Hz, microvolts; data_processor/data_preprocess.py: data / 100",
        "braindecode.models.labram.LABRAM_CHANNEL_ORDER: 128 channels, 8 of them bipolar; patches of 200 samples",
    ),
)
INTERPOLATED_LABRAM = replace(
    LABRAM, ch_names=None, instead=None, reference="referential", positions="required", notes=(INTERPOLATES,)
)
EEGPT = ModelContract(
    scale="uV/1000",
    sfreq=256.0,
    multiple_samples=32,
    min_window_s=0.25,
    weights="Hub: braindecode/eegpt-pretrained",
    sources=(
        "EEGPT datasets/pretrain/prepare_pretrain_dataset.py: 256 Hz, units of 1000 uV",
        "braindecode.models.EEGPT: patches of 64 samples each 32; a learnt projection onto 19 electrodes takes any channels",
    ),
    notes=("the paper re-references to the average, which nothing in the data tells",),
)
INTERPOLATED_EEGPT = replace(EEGPT, reference="referential", positions="required", notes=(*EEGPT.notes, INTERPOLATES))
BENDR = ModelContract(
    sfreq=256.0,
    ch_names=tuple(BENDR_CHANNEL_ORDER),
    all_channels=True,
    min_window_s=1.5,
    instead="interpolated-bendr",
    weights="Hub: braindecode/braindecode-bendr",
    sources=(
        "BENDR configs/pretraining.yml: 256 Hz; its To1020 makes 19 electrodes in -1 to 1 and a channel SCALE of the amplitude",
        "braindecode.models.bendr.BENDR_CHANNEL_ORDER",
    ),
    notes=("SCALE is no electrode: the caller computes it",),
)
INTERPOLATED_BENDR = replace(
    BENDR,
    ch_names=None,
    all_channels=False,
    instead=None,
    reference="referential",
    positions="required",
    notes=(
        INTERPOLATES,
        "SCALE is interpolated like an electrode, so it holds no amplitude; scale each window to -1 to 1",
    ),
)
LUNA = ModelContract(
    scale="z-score",
    sfreq=256.0,
    multiple_samples=40,
    positions="required",
    weights="Hub: PulpBio/LUNA",
    sources=(
        "BioFoundation docs/model/LUNA.md: 256 Hz, bipolar (TUH) or referential channels, z-score of each channel in a sample",
        "braindecode.models.LUNA: patches of 40 samples; positions from chs_info, else evenly spaced on a line",
    ),
)
MEDFORMER = ModelContract(
    sources=(
        "braindecode.models.MEDFormer: no pretrained weights, any scale and rate; patches of 2, 8 and 16 channels",
    ),
    min_chans=2,
)
REVE = ModelContract(
    scale="z-score",
    sfreq=200.0,
    min_window_s=1.0,
    reference="referential",
    positions="required",
    needs="its bank of positions: REVE downloads it from Hugging Face (brain-bzh/reve-positions) when it is first built",
    weights="Hub: brain-bzh/reve-base, after registration",
    sources=("braindecode.models.REVE: 200 Hz, z-score clipped at 15 (Standardizer(clip=15)), electrodes by name",),
)
SIGNALJEPA = ModelContract(
    scale="uV",
    sfreq=128.0,
    positions="required",
    min_window_s=1.1875,
    weights="Hub: braindecode/signal-jepa_without-chans",
    sources=(
        "braindecode.models.SignalJEPA: 128 Hz, 0.5 to 40 Hz, microvolts; an embedding a channel from its position",
    ),
    notes=("band-pass to 0.5 to 40 Hz, which nothing in the data tells",),
)
INTERPOLATED_SIGNALJEPA = replace(SIGNALJEPA, reference="referential", notes=(*SIGNALJEPA.notes, INTERPOLATES))
