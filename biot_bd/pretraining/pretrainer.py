"""``Pretrainer``: a model trained without labels, as a skorch net and a transformer."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from numbers import Integral
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import TransformerMixin
from sklearn.utils import check_random_state
from skorch import NeuralNet
from skorch.callbacks import EpochTimer
from skorch.exceptions import NotInitializedError
from torch.utils.data import Subset

from biot_bd.models.checkpoints.provenance import Provenance
from biot_bd.models.own_modes import own_modes
from biot_bd.models.token_stages import token_stages
from biot_bd.pretraining._pretext_epochs import PretextEpochs
from biot_bd.pretraining.chosen_objectives import ChosenObjective, chosen_objectives
from biot_bd.pretraining.collapse import CollapseWarning
from biot_bd.pretraining.corpora import CORPORA, Corpora, check_weights
from biot_bd.pretraining.curves import CurveLogger
from biot_bd.pretraining.pretext_module import PretextModule
from biot_bd.pretraining.progress import TrainingProgress
from biot_bd.pretraining.reconstruction_logger import ReconstructionLogger
from biot_bd.training._validation import (
    check_device,
    check_names,
    check_settings,
    resolve_optimizer,
    subjects_of,
    uncompiled,
)
from biot_bd.training.finetuning.callback import FineTuning
from biot_bd.training.input_data import InputInfo, SignalData
from biot_bd.training.net.batches import subjects_given
from biot_bd.training.net.distributed import processes_of
from biot_bd.training.net.parameters import constructor_names
from biot_bd.training.net.processes import Processes
from biot_bd.training.pretrained import SCRATCH, UNRECORDED, build_pretrained, recordings_of, started_from
from biot_bd.training.resume import describe, seeded
from biot_bd.training.valid_splits import SubjectValidSplit, check_subjects_apart, check_train_split
from biot_bd.windows.torch_dataset import WindowsDataset

PREFIXES = ("module", "optimizer", "iterator_train", "iterator_valid", "callbacks", "objective")
_FACTS = ("input_info_", "train_subjects_", "valid_subjects_", "provenance_", "corpora_", "seed_")


class NoCriterion:
    """What skorch calls its loss: objectives compute theirs themselves.

    No module on purpose: accelerate wraps every module, and one without parameters fails.
    """


class Pretrainer(TransformerMixin, PretextEpochs):
    """Train a model without labels, and give its embeddings.

    It takes windows as :class:`biot_bd.BIOTClassifier` does: ``biot_bd.Windows`` (lazy),
    ``ndarray`` ``(n, n_chans, n_times)`` in the unit that the model shall see, or ``mne.Epochs``.
    Subjects come from ``Windows``, or from ``fit(X, groups=subjects)``; validation is split off by
    subject.

    Parameters
    ----------
    module : str, class or nn.Module
        A registered model with ``token_stages()`` (``"biot"``, ``"multi-scale-biot"``,
        ``"masked-vit"``), or such a class.  Shapes, channel names and rate of the data are handed
        to its constructor unless ``module__*`` says otherwise; a registered name brings its
        contract, which ``fit`` checks.  Its head is left out.  Of an instance a copy is trained.
    objective : str, type, mapping or sequence
        A registered objective, its class, or several with weights:
        ``{"masked-spectrum": 1.0, "biot-contrastive": 0.5}`` or a list of pairs.  Parameters:
        ``objective__KEY`` of one, ``objective__NAME__KEY`` of several.
    optimizer : class or str
        Class of ``torch.optim``, or its name (``"SGD"``).
    lr : float
        Learning rate.
    max_epochs : int
        Epochs to train.
    batch_size : int
        Windows a batch, of all processes together; -1 for all at once.  Fewer training windows
        are one batch, and a warning says so.
    train_split : "subject", None or callable
        How validation windows are split off: by subject (a warning says so where the windows name
        none, and all of them train), not at all, or ``split(dataset, y, groups) -> (train,
        valid)`` such as :class:`biot_bd.training.FixedSubjects`.
    validation_fraction : float
        Wanted share of validation windows with ``train_split="subject"``.
    random_state : int, RandomState or None
        Seeds initial weights, masks, order of the windows, dropout and the split, inside ``fit``
        only.  None draws a seed from torch's global generator.
    device : str or None
        ``"auto"`` (a GPU where there is one), or as torch names devices.
    precision : {"fp32", "tf32", "bf16", "fp16", "auto"}
        Precision of forward and backward passes (autocast, ``"fp16"`` with a gradient scaler).
        Weights, optimizer and losses stay float32.  ``"auto"`` takes what a short measurement on
        this machine finds fastest.
    gradient_clip_norm : float or None
        Most that the norm of all gradients may be in a step.
    schedule : None, str or Schedule
        How the learning rate changes while training: ``"warm-up"``, ``"cosine"`` or an object of
        :mod:`biot_bd.training.finetuning.schedules`.
    sampler : None, "page-shuffle", "corpora" or mapping of str to float
        Order of the training windows: shuffled, or shuffled by where they lie in a store that no
        memory can hold (taken unasked for such stores).  ``"corpora"``: each batch of one corpus,
        every window once an epoch; weights by corpus, e.g. ``{"chb-mit": 2, "siena": 1}``: each
        batch of one corpus, and so many of each.  A corpus is the name space of its subjects.
    pretrained : str, path or None
        What the model starts from: a checkpoint of a BIOT, or the folder of a pretraining.
    log_dir : path or None
        Folder for TensorBoard.
    restart_dir : path or None
        Folder for restart points: the same ``fit`` called again after a kill goes on at its last
        epoch, bit for bit, and after its end returns at once.
    callbacks : None, Callback, str, pair, list or tuple
        Callbacks of skorch, or their names in ``biot_bd.registry.callbacks``.
    accelerator : {"auto"} or None
        Which processes share the training: all that ``torchrun``, ``accelerate launch`` or submitit
        started (needs accelerate: ``pip install "biot-bd[scale]"``), or this one alone, whoever
        started it.  Weights and history are those of one process, to rounding.
    warm_start : bool
        Whether ``fit`` goes on with the weights of the last one.
    verbose : int
        1 shows epochs and batches with the loss, its chance level and skill; a line an epoch where
        stderr is no terminal.
    iterator_train__shuffle, iterator_train__drop_last : bool
        Order of the training windows; whether a last incomplete batch is left out.
    **kwargs
        Parameters with the prefixes ``module__``, ``objective__``, ``optimizer__``,
        ``iterator_train__``, ``iterator_valid__`` and ``callbacks__``, as in skorch.

    Attributes
    ----------
    module_ : PretextModule
        ``module_.backbone`` is the model, ``module_.objectives`` what trains it.
    history : skorch.History
        A row an epoch: ``train_loss``, ``valid_loss``, ``gradient_norm``, and ``train_KEY`` and
        ``valid_KEY`` for all that the objective tells (``skill``, ``chance``, ``kl``,
        ``embedding_std``, ...); of several objectives ``valid_NAME_KEY``.
    input_info_ : InputInfo
        Shape, channels, rate and unit of the signals seen in ``fit``.
    train_subjects_, valid_subjects_ : tuple of str
        Empty where subjects are unknown or nobody validates.
    provenance_ : Provenance
        All that the model has seen, so that a test on these subjects is refused.
    pretrained_report_ : LoadReport
        What was loaded (with ``pretrained``).
    precision_ : str
        The precision of training.
    corpora_ : Corpora
        Names and classes of corpora, with a supervised objective.

    Raises
    ------
    TypeError
        A parameter that is neither named here nor has one of the prefixes.

    See Also
    --------
    biot_bd.pretraining.Objective : What an objective is.
    biot_bd.BIOTClassifier : ``pretrained=`` takes what this trained.

    Notes
    -----
    Masks of validation depend on the place of a window among the validation windows only: the same
    in every epoch, for every ``random_state``, batch size and number of processes.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd import Pretrainer
    >>> x = np.random.default_rng(0).normal(size=(24, 4, 400)).astype("float32")
    >>> subjects = np.repeat(["a", "b", "c"], 8)
    >>> net = Pretrainer(
    ...     "biot",
    ...     "biot-contrastive",
    ...     module__embed_dim=16,
    ...     module__num_heads=2,
    ...     module__num_layers=1,
    ...     batch_size=8,
    ...     max_epochs=1,
    ...     device="cpu",
    ...     random_state=0,
    ... )
    >>> net.fit(x, groups=subjects).transform(x).shape
    (24, 16)
    >>> round(net.history[-1]["valid_chance"], 3), len(net.train_subjects_)  # ln 8
    (2.079, 2)
    """

    # With metadata routing on, the subjects are asked for without set_fit_request.
    __metadata_request__fit = {"groups": True}
    _prefixes = PREFIXES
    _module_config: dict[str, Any] | None = None  # of a module that is restored without its checkpoint
    input_info_: InputInfo

    def __init__(
        self,
        module: Any = "biot",
        objective: Any = "masked-spectrum",
        *,
        optimizer: Any = torch.optim.AdamW,
        lr: float = 1e-4,
        max_epochs: int = 20,
        batch_size: int = 64,
        train_split: Any = "subject",
        validation_fraction: float = 0.2,
        random_state: Any = None,
        device: str | None = "auto",
        precision: str = "fp32",
        gradient_clip_norm: float | None = None,
        schedule: Any = None,
        sampler: Any = None,
        pretrained: Any = None,
        log_dir: Any = None,
        restart_dir: Any = None,
        callbacks: Any = None,
        accelerator: str | None = "auto",
        warm_start: bool = False,
        verbose: int = 0,
        iterator_train__shuffle: bool = True,
        iterator_train__drop_last: bool = True,
        **kwargs: Any,
    ) -> None:
        own = {name: value for name, value in locals().items() if name in self._own_names()}
        self._check_prefixes(kwargs)
        own |= {key: kwargs.pop(key) for key in list(kwargs) if key.startswith("objective__")}
        super().__init__(module, criterion=NoCriterion, **kwargs)
        self.__dict__.update(own)  # as given: skorch has other defaults

    # --- parameters -------------------------------------------------------------------------------

    @classmethod
    def _own_names(cls) -> list[str]:
        return constructor_names(Pretrainer)

    def set_params(self, **kwargs: Any) -> Pretrainer:
        """Set parameters.

        Others of the module or of the objective make new weights: fit again afterwards.
        """
        own = {key: kwargs.pop(key) for key in list(kwargs) if key.partition("__")[0] == "objective"}
        before, module = {key: vars(self).get(key) for key in own}, getattr(self, "module_", None)
        self._set_own(kwargs)
        self.__dict__.update(own)
        if describe(before) != describe(own) or getattr(self, "module_", None) is not module:
            self._forget()
        return self

    def _chosen(self) -> tuple[ChosenObjective, ...]:
        given = {k.removeprefix("objective__"): v for k, v in vars(self).items() if k.startswith("objective__")}
        return chosen_objectives(self.objective, given)

    def _supervised(self) -> bool:
        return any(chosen.cls.supervised for chosen in self._chosen())

    def _check_parameters(self) -> None:
        check_settings(vars(self))
        check_device(self.__dict__["device"])
        if isinstance(self.sampler, Mapping):
            check_weights(self.sampler)
        elif self.sampler not in (None, "page-shuffle", CORPORA):
            raise ValueError(
                f"sampler must be None, 'page-shuffle', 'corpora' or weights by corpus, found {self.sampler!r}"
            )
        check_train_split(self.train_split)
        check_names("optimizer", resolve_optimizer(self.optimizer), self.get_params_for("optimizer"))
        self._check_callbacks()
        self._check_recipe()
        self._chosen()

    @property
    def _default_callbacks(self) -> list[tuple[str, Any]]:
        callbacks: list[tuple[str, Any]] = [
            *([("finetune", FineTuning())] if self.schedule is not None else []),
            ("epoch_timer", EpochTimer()),
        ]
        if not self._processes.is_main:
            return callbacks
        callbacks.append(("collapse", CollapseWarning()))
        if self.log_dir is not None:
            # Pictures stand before curves, which close the file that both write.
            callbacks.append(("reconstruction", ReconstructionLogger(self.log_dir)))
            callbacks.append(("tensorboard", CurveLogger(self.log_dir)))
        return [*callbacks, ("progress", TrainingProgress())]

    def _make_processes(self) -> Processes:
        """Return the processes that share the coming fit."""
        return processes_of(self)

    # --- building ---------------------------------------------------------------------------------

    def _input(self) -> InputInfo | None:
        return getattr(self, "input_info_", None)

    def initialize_module(self) -> Pretrainer:
        """Build the model for the data, and the objectives for the model."""
        module = self._module_class()
        arguments = {**self._facts_for_module(module, n_outputs=2), **self.get_params_for("module")}
        if self.pretrained is not None or self._module_config is not None:
            backbone = build_pretrained(
                self.pretrained,
                module,
                arguments,
                input_info=self._input(),
                module_config=self._module_config,
            )
        else:
            backbone = self._build_module(module, arguments)
            if backbone is module:  # an instance stays as it was given, with its head
                backbone = copy.deepcopy(module)
        stages, corpora = token_stages(backbone), getattr(self, "corpora_", None)
        known = {} if corpora is None else {"corpora": corpora.names, "n_classes": corpora.n_classes}
        chosen = self._chosen()
        objectives = {one.name: one.build(stages, known) for one in chosen}
        self.module_ = PretextModule(backbone, objectives, {one.name: one.weight for one in chosen})
        finetuning = self._finetuning()
        if finetuning is not None:
            finetuning.take(self._recipe(), self.module_)
        return self

    def _with_absent(self) -> Any:
        module = uncompiled(getattr(self, "module_", None))
        return self._module_class() if module is None else module.backbone

    @property
    def pretrained_report_(self) -> Any:
        """What was loaded into the model, with ``pretrained``."""
        module = uncompiled(getattr(self, "module_", None))
        report = None if self.pretrained is None else getattr(getattr(module, "backbone", None), "load_report", None)
        if report is None:
            raise AttributeError("nothing was loaded: there is no pretrained_report_")
        return report

    # --- data -------------------------------------------------------------------------------------

    def get_dataset(self, X: Any, y: Any = None) -> Any:
        """Return a torch data set that reads batches of ``X``; one of ours passes through.

        Raises
        ------
        TypeError, ValueError
            See :class:`biot_bd.training.input_data.SignalData`; also data unlike those of ``fit``.
        """
        if isinstance(X.dataset if isinstance(X, Subset) else X, WindowsDataset):
            return X
        data = self._checked_data(X)
        return data.dataset(y, packed=self._scales_on_device())

    def get_split_datasets(self, X: Any, y: Any = None, groups: Any = None, **fit_params: Any) -> tuple[Any, Any]:
        """Return training and validation windows (None without validation), no subject in both."""
        dataset = self.get_dataset(X, y)
        if self.train_split is None:
            return Subset(dataset, list(range(len(dataset)))), None
        split = self.train_split
        if split == "subject" and groups is None:
            warnings.warn(
                "nobody validates: the windows name no subjects, which a split by subject needs. All of them train. For "
                "validation use Windows, or pass fit(X, groups=subjects) (in a pipeline: pretrainer__groups=subjects); "
                "train_split=None says that none is wanted",
                stacklevel=2,
            )
            return Subset(dataset, list(range(len(dataset)))), None
        if split == "subject":
            seed = self.random_state if isinstance(self.random_state, Integral) else 0
            split = SubjectValidSplit(self.validation_fraction, int(seed))
        check_train_split(split, groups, known=True)
        train, valid = split(dataset, np.zeros(len(dataset), dtype=int), groups)  # by share of windows: no labels
        check_subjects_apart(train, valid, dataset, groups)
        return train, valid

    def _targets_of(self, X: Any, y: Any, groups: Any, n: int) -> NDArray[np.int64] | None:
        """Return what a supervised objective learns, (n, 2): number of the corpus and label."""
        if not self._supervised():
            return None
        labels = getattr(X, "y", None) if y is None else y
        names = ", ".join(chosen.name for chosen in self._chosen() if chosen.cls.supervised)
        if labels is None or groups is None:
            missing = (
                "labels: fit(X, y)" if labels is None else "subjects with their corpus: fit(X, y, groups=subjects)"
            )
            raise ValueError(f"objective {names} learns from labels, and the data carry no {missing}")
        if not hasattr(self, "corpora_"):
            self.corpora_ = Corpora.of(groups, labels)
        return self.corpora_.targets(groups, labels)

    # --- training ---------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None, groups: ArrayLike | None = None) -> Pretrainer:
        """Train from the beginning (or on, with ``warm_start``).

        Parameters
        ----------
        X : Windows, ndarray (n, n_chans, n_times) or mne.Epochs
            See the class.
        y : array-like, shape (n,), optional
            Only a supervised objective reads labels; those of the ``Windows`` by default.
        groups : array-like, shape (n,), optional
            Subjects; those of the ``Windows`` by default.

        Raises
        ------
        ValueError
            Parameters that cannot be, bad data, no windows, subjects of some windows only.
        ContractError
            The registered model expects other windows.
        FloatingPointError
            The loss is no longer finite.
        """
        return self._fit(X, y, groups, fresh=not (self.warm_start and self._is_fitted()))

    def partial_fit(self, X: Any, y: Any = None, classes: Any = None, groups: ArrayLike | None = None) -> Pretrainer:
        """Train ``max_epochs`` more with the weights as they are; ``classes`` is ignored."""
        return self._fit(X, y, groups, fresh=not self._is_fitted())

    def _fit(self, X: Any, y: Any, groups: Any, fresh: bool) -> Pretrainer:
        self._processes = self._make_processes()
        self._check_parameters()
        data = SignalData(X)
        self._check_contract(data.info)
        subjects = subjects_given(data, groups)
        self.__dict__["_subjects"] = subjects  # not by setattr: skorch would take it for a part of the net
        before, n_before = (None if fresh else self.provenance_), len(self.history_ or ())
        if fresh:
            self._forget()
            self.input_info_ = data.info
        if fresh or not hasattr(self, "seed_"):
            self.seed_ = self._processes.agreed(self._seed())
        try:
            with seeded(self.seed_), own_modes(self.device, training=True), self._threads():
                targets = self._targets_of(X, y, subjects, len(data))
                train, valid = self.get_split_datasets(data, targets, subjects)
                self._check_batches(train)
                if fresh:
                    self.initialize()
                self._train(data, train, valid, fresh)
        except BaseException:
            if fresh or len(self.history_ or ()) > n_before:
                self._forget()  # half trained weights are nobody's
            raise
        finally:
            self.__dict__.pop("_subjects", None)
        self._note(X, train, valid, subjects, before)
        return self

    def _seed(self) -> int:
        if self.random_state is None:
            return int(torch.randint(2**31 - 1, (1,)))
        if isinstance(self.random_state, Integral):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _check_batches(self, train: Subset) -> None:
        wanted = int(self.get_params_for("iterator_train")["batch_size"])
        if len(train) == 0:
            raise ValueError("no windows to train on: expected one or more, found 0")
        if len(train) < wanted and self._processes.is_main:
            warnings.warn(
                f"{len(train)} training windows are fewer than batch_size={wanted}: an epoch is one batch of them all",
                stacklevel=2,
            )

    def _note(self, X: Any, train: Subset, valid: Any, groups: Any, before: Provenance | None) -> None:
        """Keep whom the weights have seen."""
        self.train_subjects_, self.valid_subjects_ = subjects_of(train, groups), subjects_of(valid, groups)
        subjects = self.train_subjects_ + self.valid_subjects_
        start = before if before is not None else (started_from(self) or SCRATCH)
        how = "supervised" if self._supervised() else "unsupervised"
        self.provenance_ = start.extended(subjects, how=how, recordings=recordings_of(X, subjects))

    # --- is it fitted -----------------------------------------------------------------------------

    def _is_fitted(self) -> bool:
        return self.initialized_ and hasattr(self, "provenance_")

    def _forget(self) -> None:
        """Forget the last fit."""
        for name in _FACTS:
            self.__dict__.pop(name, None)

    def load_params(self, *args: Any, **kwargs: Any) -> None:
        """Load weights as in skorch; nobody knows what they have seen."""
        wanted = self.__dict__["device"]
        super().load_params(*args, **kwargs)
        self.__dict__["device"] = wanted  # skorch writes down the device that it found
        self.provenance_, self.train_subjects_, self.valid_subjects_ = UNRECORDED, (), ()

    def check_is_fitted(self, attributes: Any = None, *args: Any, **kwargs: Any) -> None:
        """Raise unless it is fitted, or has weights of ``load_params``.

        Raises
        ------
        skorch.exceptions.NotInitializedError
            A ``NotFittedError`` of scikit-learn.
        """
        super().check_is_fitted(attributes, *args, **kwargs)
        if attributes is None and not self._is_fitted():
            raise NotInitializedError(
                f"this {type(self).__name__} is not fitted: its weights are new since, or fit did not end; call fit"
            )

    # --- embeddings and scores --------------------------------------------------------------------

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Return the embedding of each window.

        Parameters
        ----------
        X : Windows, ndarray (n, n_chans, n_times) or mne.Epochs
            Like what ``fit`` was given.

        Returns
        -------
        ndarray of float32, shape (n, embed_dim)

        Raises
        ------
        ValueError
            Other channels, rate, length or unit than in ``fit``, or samples that are not finite.
        """
        self.check_is_fitted()
        if len(X) == 0:
            return np.empty((0, self._n_features_out), dtype=np.float32)
        with self._threads():
            embeddings: NDArray[np.float32] = NeuralNet.predict_proba(self, X)
        return embeddings

    def fit_transform(self, X: Any, y: Any = None, groups: ArrayLike | None = None) -> NDArray[np.float32]:
        """Fit, and return the embeddings of the same windows."""
        return self.fit(X, y, groups).transform(X)

    @property
    def _n_features_out(self) -> int:
        return int(uncompiled(self.module_).stages().sizes.embed_dim)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """Return a name for each feature of an embedding: ``pretrainer0``, ``pretrainer1``, ..."""
        self.check_is_fitted()
        return np.array([f"{type(self).__name__.lower()}{i}" for i in range(self._n_features_out)], dtype=object)

    def evaluate(self, X: Any, y: Any = None, groups: ArrayLike | None = None) -> dict[str, float]:
        """Return loss and logs of windows under fixed masks, as validation does.

        Parameters
        ----------
        X, y, groups :
            As in :meth:`fit`.

        Returns
        -------
        dict of str to float
            ``"loss"`` and what the objective tells (``"skill"``, ``"chance"``, ...).

        Raises
        ------
        ValueError
            There are no windows, or they are unlike those of ``fit``.
        """
        self.check_is_fitted()
        data = SignalData(X)
        if len(data) == 0:
            raise ValueError("no windows to evaluate: a loss is a mean over one or more")
        targets = self._targets_of(X, y, subjects_given(data, groups), len(data))
        dataset = self.get_dataset(data, targets)
        with (
            own_modes(self.device),
            self._threads(),
            self._alone(Subset(dataset, list(range(len(dataset))))) as iterator,
        ):
            for batch in iterator:
                self.validation_step(batch)
            return self._told(self._means[False])

    def score(self, X: Any, y: Any = None) -> float:
        """Return minus the loss of windows under fixed masks: more is better, as in searches."""
        return -self.evaluate(X, y)["loss"]

    def _get_predict_nonlinearity(self) -> Any:
        return lambda embeddings: embeddings

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = False
        return tags
