"""What the package itself brings, registered through the same hooks as everybody else's.

Import paths only: nothing here imports a room of the house, so listing names stays cheap.
"""

from biot_bd.hookspecs import Register, hookimpl


@hookimpl
def register_datasets(register: Register) -> None:
    """Register the built-in data sets."""
    register("chb-mit", "biot_bd.datasets.chbmit:load_chbmit")
    register("chb-mit-bids", "biot_bd.datasets.bids:load_chbmit_bids")
    register("siena", "biot_bd.datasets.bids:load_siena")
    register("recordings-folder", "biot_bd.datasets.recordings_folder:load_recordings_folder")
    register("edf-folder", "biot_bd.datasets.recordings_folder:load_recordings_folder")  # its former name
    register("siena-physionet", "biot_bd.datasets.siena_physionet:load_siena_physionet")
    register("helsinki-neonatal", "biot_bd.datasets.helsinki:load_helsinki")
    register("tusz", "biot_bd.datasets.tusz:load_tusz")
    register("seizeit1", "biot_bd.datasets.seizeit1:load_seizeit1")
    register("seizeit2", "biot_bd.datasets.seizeit2:load_seizeit2")
    register("epilepsiae", "biot_bd.datasets.epilepsiae:load_epilepsiae")
    register("eegmmidb", "biot_bd.datasets.eegmmidb:load_eegmmidb")
    register("moabb", "biot_bd.datasets.moabb_sets:load_moabb")
    register("arrays", "biot_bd.datasets.array_folder:load_arrays")
    register("demo", "biot_bd.datasets.demo:load_demo")


# Each is a constant of biot_bd.io.readers, in capitals and with _ for -.
_READERS = (
    "edf bdf gdf brainvision eeglab fif neuroscan ant egi persyst nihon-kohden epilepsiae nedf mef curry curry-parts bci2000 "
    "eximia blackrock ctf mne-other"
).split()


@hookimpl
def register_readers(register: Register) -> None:
    """Register the formats that MNE opens."""
    for name in _READERS:
        register(name, f"biot_bd.io.readers:{name.upper().replace('-', '_')}")


@hookimpl
def register_montages(register: Register) -> None:
    """Register the built-in montages."""
    register("biot-16", "biot_bd.signals.montages:BIOT_16")
    register("biot-18", "biot_bd.signals.montages:BIOT_18")
    register("double-banana-18", "biot_bd.signals.montages:DOUBLE_BANANA_18")
    register("szcore-19", "biot_bd.signals.montages:SZCORE_19")
    register("bte-3", "biot_bd.signals.montages:BTE_3")


@hookimpl
def register_label_rules(register: Register) -> None:
    """Register the built-in label rules."""
    register("overlap", "biot_bd.windows.labels:Overlap")
    register("biot-official", "biot_bd.windows.labels:BiotOfficial")
    register("none", "biot_bd.windows.labels:Unlabelled")
    register("annotated", "biot_bd.windows.annotated:Annotated")


# Name, class and contract (of biot_bd.models.contracts).
_BRAINDECODE = (
    ("eegnet", "EEGNet", "FROM_SCRATCH"),
    ("bdtcn", "BDTCN", "FROM_SCRATCH"),
    ("eegconformer", "EEGConformer", "FROM_SCRATCH"),
    ("shallow", "ShallowFBCSPNet", "FROM_SCRATCH"),
    ("deep4", "Deep4Net", "FROM_SCRATCH"),
    ("sparcnet", "SPARCNet", "FROM_SCRATCH"),
    ("contrawr", "ContraWR", "FROM_SCRATCH_WITH_RATE"),
    ("medformer", "MEDFormer", "MEDFORMER"),
    ("biot-braindecode", "BIOT", "BIOT_BRAINDECODE"),
    ("cbramod", "CBraMod", "CBRAMOD"),
    ("codebrain", "CodeBrain", "CODEBRAIN"),
    ("eegpt", "EEGPT", "EEGPT"),
    ("bendr", "BENDR", "BENDR"),
    ("luna", "LUNA", "LUNA"),
    ("reve", "REVE", "REVE"),
    ("signaljepa", "SignalJEPA_PreLocal", "SIGNALJEPA"),
    ("interpolated-biot", "InterpolatedBIOT", "INTERPOLATED_BIOT"),
    ("interpolated-labram", "InterpolatedLaBraM", "INTERPOLATED_LABRAM"),
    ("interpolated-eegpt", "InterpolatedEEGPT", "INTERPOLATED_EEGPT"),
    ("interpolated-bendr", "InterpolatedBENDR", "INTERPOLATED_BENDR"),
)


@hookimpl
def register_models(register: Register) -> None:
    """Register BIOT and models of braindecode, each with what it expects of its input."""
    contracts, ours = "biot_bd.models.contracts", "biot_bd.models.braindecode_models"
    register("biot", "biot_bd.models.biot:BIOT", contract=f"{contracts}:BIOT")
    register("masked-vit", "biot_bd.models.masked_vit:MaskedViT", contract=f"{contracts}:MASKED_VIT")
    register(
        "multi-scale-biot", "biot_bd.models.multi_scale_biot:MultiScaleBIOT", contract=f"{contracts}:MULTI_SCALE_BIOT"
    )
    for name, cls, contract in _BRAINDECODE:
        register(name, f"braindecode.models:{cls}", contract=f"{contracts}:{contract}")
    register("labram", f"{ours}:Labram", contract=f"{contracts}:LABRAM")
    register(
        "interpolated-signaljepa", f"{ours}:InterpolatedSignalJEPA", contract=f"{contracts}:INTERPOLATED_SIGNALJEPA"
    )


@hookimpl
def register_losses(register: Register) -> None:
    """Register the built-in losses."""
    register("focal", "biot_bd.losses:FocalLoss")
    register("cross-entropy", "biot_bd.losses:CrossEntropyLoss")


@hookimpl
def register_metrics(register: Register) -> None:
    """Register the built-in metrics, under scikit-learn's names."""
    register("average_precision", "biot_bd.evaluation.metrics.window_metrics:AVERAGE_PRECISION")
    register("roc_auc", "biot_bd.evaluation.metrics.window_metrics:ROC_AUC")
    register("balanced_accuracy", "biot_bd.evaluation.metrics.window_metrics:BALANCED_ACCURACY")
    register("cohen_kappa", "biot_bd.evaluation.metrics.class_metrics:COHEN_KAPPA")
    register("sensitivity", "biot_bd.evaluation.metrics.window_metrics:SENSITIVITY")
    register("specificity", "biot_bd.evaluation.metrics.window_metrics:SPECIFICITY")


@hookimpl
def register_probes(register: Register) -> None:
    """Register the built-in probes."""
    register("attention", "biot_bd.probes.attention:AttentionProbe")
    register("attention-qk", "biot_bd.probes.attention:QKAttentionProbe")
    register("rollout", "biot_bd.probes.rollout_probe:RolloutProbe")
    register("grad-attention", "biot_bd.probes.grad_attention:GradAttentionProbe")
    register("token-ig", "biot_bd.probes.token_ig:TokenIGProbe")
    register("token-occlusion", "biot_bd.probes.token_occlusion:TokenOcclusionProbe")
    register("saliency", "biot_bd.probes.saliency:SaliencyProbe")
    register("input-ig", "biot_bd.probes.input_ig:InputIGProbe")
    register("amplitude-gradients", "biot_bd.probes.amplitude_gradients:AmplitudeGradientsProbe")
    register("channel-occlusion", "biot_bd.probes.channel_occlusion:ChannelOcclusionProbe")
    register("band-occlusion", "biot_bd.probes.band_occlusion:BandOcclusionProbe")
    register("deeplift", "biot_bd.probes.deeplift:DeepLIFTProbe")
    register("energy", "biot_bd.probes.controls:EnergyProbe")
    register("random", "biot_bd.probes.controls:RandomProbe")


@hookimpl
def register_callbacks(register: Register) -> None:
    """Register the built-in training callbacks."""
    register("tensorboard", "biot_bd.training.tensorboard:TensorBoardLogger")


@hookimpl
def register_exporters(register: Register) -> None:
    """Register the formats that models are exported in."""
    for name in ("onnx", "openvino", "pt2"):
        register(name, f"biot_bd.export.exporters:export_{name}")


@hookimpl
def register_engines(register: Register) -> None:
    """Register what computes a saved model's probabilities in a detector."""
    register("torch", "biot_bd.training.persistence.scorer:load_scorer")
    for name in ("onnx", "openvino", "pt2"):
        register(name, f"biot_bd.export.engines.{name}:load_{name}")


@hookimpl
def register_objectives(register: Register) -> None:
    """Register the built-in pretraining objectives."""
    objectives = "biot_bd.pretraining.objectives"
    register("biot-contrastive", f"{objectives}.biot_contrastive:BIOTContrastive")
    register("masked-spectrum", f"{objectives}.masked_spectrum:MaskedSpectrum")
    register("masked-patch", f"{objectives}.masked_patch:MaskedPatch")
    register("supervised-multitask", f"{objectives}.supervised_multitask:SupervisedMultitask")
    register("masked-vae", f"{objectives}.masked_vae:MaskedVAE")


@hookimpl
def register_frozen_probes(register: Register) -> None:
    """Register the built-in probes over frozen embeddings."""
    for name, cls in (
        ("linear", "linear:LinearProbe"),
        ("ridge", "ridge:RidgeProbe"),
        ("knn", "knn:KNNProbe"),
        ("attention-pool", "attention_pool:AttentionPoolProbe"),
        ("mlp", "mlp:MLPProbe"),
    ):
        register(name, f"biot_bd.embedding.frozen_probes.{cls}")


@hookimpl
def register_model_stores(register: Register) -> None:
    """Register where versions of models may lie beside this machine's registry."""
    register("hub", "biot_bd.deploy.model_registry.hub_store:HubStore")
