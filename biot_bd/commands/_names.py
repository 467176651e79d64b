"""Names that options take, told before anything heavy is imported.

What plugins register is known by its import path.  Other names stand in modules that need torch or
scikit-learn, so they are repeated here; a test compares the two.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from biot_bd import registry
from biot_bd.commands._folders import expect
from biot_bd.commands._options import TrainingOptions
from biot_bd.exceptions import UnknownNameError

BASELINES = ("eegnet", "bdtcn", "spectral-power", "line-length", "always-on", "always-off")
SAMPLERS = ("class-balanced", "subject-balanced", "class-subject-balanced", "background-subsample", "page-shuffle")
FINETUNE = tuple(
    "full linear-probe gradual two-stage lora adalora dora ia3 layer-decay discriminative warm-up cosine no-decay label-smoothing mixup ema".split()
)
PROTOCOLS = ("biot-paper", "biot-code", "cbramod", "ours")
SPLITS = ("subject-loo", "subject-kfold-N", "stratified-subject-kfold-N", "biot-paper", "biot-code", "tusz-official")
ON_MISSING = ("raise", "drop", "interpolate")
THRESHOLDS = ("balanced-accuracy", "matched-prevalence")
DETECTOR_PRECISIONS = ("auto", "fp32", "bf16", "fp16", "int8", "int8-bf16")
PRECISIONS = ("fp32", "tf32", "bf16", "fp16", "auto")
# scikit-learn's scorers as of this version; it tells those of later ones itself.
SCORERS_AS_OF = (1, 9)
SCORERS = frozenset(
    """accuracy adjusted_mutual_info_score adjusted_rand_score average_precision balanced_accuracy completeness_score
    d2_absolute_error_score d2_brier_score d2_log_loss_score explained_variance f1 f1_macro f1_micro f1_samples
    f1_weighted fowlkes_mallows_score homogeneity_score jaccard jaccard_macro jaccard_micro jaccard_samples
    jaccard_weighted matthews_corrcoef max_error mutual_info_score neg_brier_score neg_log_loss neg_max_error
    neg_mean_absolute_error neg_mean_absolute_percentage_error neg_mean_gamma_deviance neg_mean_poisson_deviance
    neg_mean_squared_error neg_mean_squared_log_error neg_median_absolute_error neg_negative_likelihood_ratio
    neg_root_mean_squared_error neg_root_mean_squared_log_error normalized_mutual_info_score positive_likelihood_ratio
    precision precision_macro precision_micro precision_samples precision_weighted r2 rand_score recall recall_macro
    recall_micro recall_samples recall_weighted roc_auc roc_auc_ovo roc_auc_ovo_weighted roc_auc_ovr
    roc_auc_ovr_weighted top_k_accuracy v_measure_score""".split()
)


def check_registered(kind: str, *names: str | None, also: Iterable[str] = ()) -> None:
    """Raise for a name that no plugin registered; imports nothing of what is registered.

    Parameters
    ----------
    kind : str
        A registry, e.g. ``"losses"``.
    *names : str or None
        What the user gave; None is left alone.
    also : iterable of str
        Further names that are taken there.

    Raises
    ------
    biot_bd.exceptions.UnknownNameError
        The message lists the names and the nearest one.
    """
    for name in names:
        if name is None or name in also:
            continue
        known = registry.registries[kind]
        # A data set's variant, as in moabb:FakeDataset, is known to its loader alone.
        known.owner(name.partition(":")[0] if kind == "datasets" and name not in known else name)


def check_known(option: str, names: str | Sequence[str] | None, known: Sequence[str]) -> None:
    """Raise for a value of an option that is none of the known names.

    Parameters
    ----------
    option : str
        As on the command line, e.g. ``"--sampler"``.
    names : str, sequence of str or None
        What the user gave; None is left alone.
    known : sequence of str
        All that the option takes.

    Raises
    ------
    biot_bd.exceptions.UnknownNameError
        The message lists the names and the nearest one.
    """
    for name in [names] if isinstance(names, str) else names or ():
        if name not in known:
            raise unknown(f"{option} {name}", name, known)


def unknown(given: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """Return the error for a name that is none of the known ones, with the nearest."""
    listed = list(known)
    return UnknownNameError(f"{given}: expected one of {', '.join(listed)}{_nearest(name, listed)}")


def _nearest(name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name.lower(), known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def check_training(options: TrainingOptions) -> None:
    """Raise for a name among the options of training that means nothing."""
    check_registered("models", options.model, also=BASELINES)
    check_registered("losses", options.loss)
    check_known("--sampler", options.sampler, SAMPLERS)
    check_known("--finetune", options.finetune, FINETUNE)
    check_known("--precision", options.precision, PRECISIONS)
    check_scoring(options.scoring)
    check_threshold(options.threshold)
    check_checkpoint(options.pretrained)


def check_detector(model: Path, *, engine: str, precision: str | None, on_missing: str) -> None:
    """Raise where the model of a detector is none, or a name means nothing."""
    check_registered("engines", engine, also=["auto"])
    check_known("--precision", precision, DETECTOR_PRECISIONS)
    check_known("--on-missing", on_missing, ON_MISSING)
    expect(model, "model", "exported")


def check_split(split: str) -> None:
    """Raise for a ``--cv`` that names no split by subject."""
    if split not in SPLITS[3:] and not re.fullmatch(r"subject-loo|(stratified-)?subject-kfold-\d+", split):
        raise unknown(f"--cv {split}", re.sub(r"\d+$", "N", split), SPLITS)


def check_inner_split(split: str) -> None:
    """Raise for an ``--inner-cv`` that names no split of any subjects there may be."""
    if not re.fullmatch(r"subject-loo|(stratified-)?subject-kfold-\d+", split):
        raise unknown(f"--inner-cv {split}", re.sub(r"\d+$", "N", split), SPLITS[:3])


def check_checkpoint(source: str | None) -> None:
    """Raise for a ``--pretrained`` that is no name, no path and no repository of the Hub."""
    if source is None:
        return
    from biot_bd.models.checkpoints.published import KNOWN
    from biot_bd.models.checkpoints.resolve import is_repository, not_found

    if source not in KNOWN and not Path(source).expanduser().exists() and not is_repository(source):
        raise FileNotFoundError(not_found(source))


def check_threshold(text: str) -> None:
    """Raise for a ``--threshold`` that is neither a rule nor a number."""
    try:
        float(text)
    except ValueError:
        check_known("--threshold", text, (*THRESHOLDS, "a number"))


def check_scoring(names: Sequence[str] | None) -> None:
    """Raise for a metric that is neither registered nor a scorer of scikit-learn."""
    for name in names or ():
        if name in registry.metrics or name in SCORERS or _later_scikit_learn():
            continue
        hint = _nearest(name, [*registry.metrics, *sorted(SCORERS)])
        raise UnknownNameError(
            f"--scoring {name}: no such metric; there are {', '.join(registry.metrics)} and the scorers of scikit-learn{hint}"
        )


def _later_scikit_learn() -> bool:
    try:
        numbers = tuple(int(part) for part in version("scikit-learn").split(".")[:2])
    except (PackageNotFoundError, ValueError):
        return True
    return numbers > SCORERS_AS_OF
