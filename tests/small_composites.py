"""Small composites: probes behind an embedder and ensembles, on four channels and two seconds."""

from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from small_pipeline import SIZE, few_windows

from biot_bd import BIOTClassifier, Embedder, PercentileScaler
from biot_bd.embedding import AttentionPoolProbe, KNNProbe, LinearProbe, MLPProbe, RidgeProbe
from biot_bd.ensembles import SeedEnsemble

PROBES = {
    "linear": (LinearProbe(C=[0.1, 1.0]), {}),
    "ridge": (RidgeProbe(alpha=[10.0, 1.0]), {"layer": "early"}),
    "knn": (KNNProbe(k=[5, 3]), {}),
    "mlp": (MLPProbe(alpha=[50.0, 20.0], n_hidden=4), {}),
    "attention-pool": (AttentionPoolProbe(weight_decay=[1.0, 0.5]), {"pooling": "tokens"}),
}


def embedder(module="biot", random_state=0, **parameters):
    params = {name.removeprefix("module__"): value for name, value in SIZE.items()} if module == "biot" else None
    return Embedder(module, module_params=params, device="cpu", random_state=random_state, **parameters)


def probed(name):
    """Return a pipeline of a scaler, an embedder and a probe, not fitted."""
    probe, how = PROBES[name]
    return make_pipeline(PercentileScaler(), embedder(**how), clone(probe))


def seeds(of_probes=False):
    """Return an ensemble of two classifiers, or of two probes on unlike encoders, not fitted."""
    if of_probes:
        one = make_pipeline(PercentileScaler(), embedder(random_state=None), LinearProbe(C=1.0))
    else:
        net = BIOTClassifier(max_epochs=1, batch_size=8, patience=None, verbose=0, device="cpu", **SIZE)
        one = make_pipeline(PercentileScaler(), net)
    return SeedEnsemble(one, seeds=(1, 2))


def fitted(pipeline):
    """Return a composite, fitted on the few windows, and these."""
    windows = few_windows()
    if isinstance(pipeline, SeedEnsemble):
        return pipeline.fit(windows, windows.y), windows
    return pipeline.fit(windows, windows.y, **{f"{pipeline.steps[-1][0]}__groups": windows.groups}), windows
