"""``BIOTClassifier``: braindecode's ``EEGClassifier`` for subjects, probabilities and repeatable
training.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_random_state
from skorch import NeuralNet
from torch.utils.data import Subset

from biot_bd.models.checkpoints.provenance import Provenance
from biot_bd.models.own_modes import own_modes
from biot_bd.signals.subject_array import subjects_named
from biot_bd.training._validation import (
    check_device,
    check_names,
    check_settings,
    check_sides,
    class_weights,
    resolve_optimizer,
    subjects_of,
)
from biot_bd.training.callbacks import probabilities
from biot_bd.training.classifier._building import ComponentBuilding
from biot_bd.training.classifier._data_loading import DataLoading, training_targets
from biot_bd.training.classifier._sharing import SharedTraining, take_own_steps
from biot_bd.training.fitted_facts import NEW_HEAD, RUNNING, FittedFacts
from biot_bd.training.input_data import InputInfo, SignalData
from biot_bd.training.labels import decide, encode_labels, output_labels, read_labels, sorted_columns
from biot_bd.training.net.batches import subjects_given
from biot_bd.training.net.parameters import constructor_names
from biot_bd.training.pretrained import LOADED, SCRATCH, UNRECORDED, module_facts, recordings_of, started_from
from biot_bd.training.resume import kept_random_states, seeded
from biot_bd.training.sampling.strategies import class_counts
from biot_bd.training.seen_windows import SeenWindows
from biot_bd.training.soft_targets import (
    are_soft,
    loss_problem,
    read_targets,
    takes_soft_targets,
    target_classes,
)
from biot_bd.training.valid_splits import SubjectValidSplit, check_subjects_apart, check_train_split

PREFIXES = ("module", "criterion", "optimizer", "iterator_train", "iterator_valid", "callbacks", "compile", "finetune")


class BIOTClassifier(SharedTraining, DataLoading, ComponentBuilding):
    """A neural classifier of EEG windows, BIOT by default, with scikit-learn's interface.

    It takes windows as ``biot_bd.Windows`` (lazy), ``ndarray`` ``(n, n_chans, n_times)`` in the
    unit that the model shall see (microvolts, or scaled) or ``mne.Epochs`` (volts, turned into
    microvolts).  Subjects come from ``Windows``, or from ``fit(X, y, groups=subjects)``; validation
    is split off by subject.

    Parameters
    ----------
    module : str, class or nn.Module
        Name in ``biot_bd.registry.models`` (or of a model of braindecode), a class, or an instance.
        Shapes, channel names and rate of the data are handed to arguments of these names in its
        constructor (``n_chans``, ``n_times``, ``n_outputs``, ``sfreq``, ``input_window_seconds``,
        ``ch_names``, ``chs_info``) unless ``module__*`` says otherwise.  A registered name brings
        its contract (:class:`biot_bd.models.ModelContract`), which ``fit`` checks: windows of
        another scale, rate or reference raise :class:`biot_bd.exceptions.ContractError`.
    criterion : str, class or nn.Module
        Name in ``biot_bd.registry.losses``, or a loss over logits ``(n, n_classes)`` and targets
        ``(n,)``.  One whose class says ``soft_targets = True`` takes float targets ``(n,
        n_classes)`` as well.
    optimizer : class or str
        Class of ``torch.optim``, or its name (``"SGD"``).
    lr : float
        Learning rate.
    max_epochs : int
        Most epochs to train.
    batch_size : int
        Windows a batch, of all processes together; -1 for all at once.
    classes : sequence or None
        Labels, in any order; None takes them from ``y``.  Of two, the positive one (P(seizure)) is
        the greater number; of texts the one that names a seizure where the other does not, else the
        last one given.
    class_weight : None, "balanced", mapping, Series or sequence
        Weights of the classes in the loss: by label, one a class in the order of ``classes``
        (sorted without them), or inversely proportional to the numbers of training windows.  The
        loss must have an argument ``weight``.
    train_split : "subject", None or callable
        How validation windows are split off: by subject, not at all (then there is no early
        stopping), or ``split(dataset, y, groups) -> (train, valid)`` such as
        :class:`FixedSubjects`.
    validation_fraction : float
        Wanted share of validation windows with ``train_split="subject"``.
    monitor : str
        Column of the history that early stopping watches; less is better where it ends in
        ``_loss``.
    patience : int or None
        Epochs without a better ``monitor`` after which training stops and the best weights are
        taken.  None trains ``max_epochs`` and keeps the last weights.
    random_state : int, RandomState or None
        Seeds initial weights, order of the windows, dropout and the split by subject, inside
        ``fit`` only: the global generators are put back afterwards.  None draws from the global
        generators as they are.  Fits in threads run one after another.
    device : str or None
        ``"auto"`` (a GPU where there is one), or as torch names devices; None is torch's default.
    precision : {"fp32", "tf32", "bf16", "fp16", "auto"}
        Precision of forward and backward passes (autocast, ``"fp16"`` with a gradient scaler;
        ``"tf32"`` differs from ``"fp32"`` only on NVIDIA GPUs).  Weights, optimizer and loss stay
        float32.  ``"auto"`` takes what a short measurement on this machine finds fastest.  After
        ``fit``, and on the first prediction after loading, probabilities are compared with those in
        fp32 on a few windows: above 0.01 predictions fall back to fp32 with a warning.
    micro_batch : int, None or "auto"
        Windows that pass through the module at a time, to save memory and to stay in the
        processor's cache.  The gradient is that of the whole batch to float rounding, whatever the
        loss; dropout draws other masks.  None leaves batches whole; ``"auto"`` measures, once a
        machine, for a BIOT with large batches, and leaves others whole.  Modules that normalise
        over the batch stay whole.
    data_on_device : {"auto", False, True}
        Whether the windows of ``fit`` lie in the memory of the device, where batches are gathered
        without the host; the same numbers.  ``Windows`` of an int16 store share its signals there,
        which stay for the next fit of the process
        (:func:`biot_bd.windows.device_signals.free_device_signals` gives the memory back); others
        lie there as float32, for this fit.  ``"auto"``: on a CUDA GPU, where they take at most a
        quarter of its free memory.  True raises
        :class:`~biot_bd.exceptions.DeviceMemoryError` where they do not fit.
    gradient_clip_norm : float or None
        Most that the norm of all gradients may be in a step.
    log_dir : path or None
        Folder for TensorBoard; adds :class:`TensorBoardLogger`.  As all paths of callbacks, it is
        where a clone makes a folder of its own, ``fit-0001`` and so on
        (:mod:`biot_bd.training.private_paths`).
    restart_dir : path or None
        Folder for restart points: the same ``fit`` called again after a kill goes on at its last
        epoch, and after its end returns at once (see :mod:`biot_bd.training.resume`).
    pretrained : str, path or None
        What the model starts from.  Any registered model: the folder of ``biot-bd pretrain`` or
        :func:`biot_bd.pretraining.save_pretraining`, loaded to the last tensor but the head.  BIOT:
        a known name, too (``"prest-16"``, ``"shhs-prest-18"``), a file in a published layout, a
        folder in Hub layout or written by ``save_pipeline``, or a Hub repository; see
        :meth:`biot_bd.models.BIOT.from_checkpoint`.  Each channel takes the token of its name;
        ``module__channel_ids`` says otherwise.
    finetune : None, str, FinetuneOption or list
        Which parts train when, at which rates, and so on: names (``"full"``, ``"linear-probe"``,
        ``"gradual"``, ``"two-stage"``, ``"lora"``, ...) and options of
        :mod:`biot_bd.training.finetuning`, one or a list.  None trains everything at one rate.
        ``finetune__*`` are parameters of a single name.
    schedule : None, str or Schedule
        How the learning rate changes while training, beside what ``finetune`` says: ``"warm-up"``,
        ``"cosine"`` or an object of :mod:`biot_bd.training.finetuning.schedules`.
    sampler : None, str or callable
        Which training windows an epoch holds: ``"class-balanced"``, ``"subject-balanced"``,
        ``"class-subject-balanced"``, ``"background-subsample"``, ``"page-shuffle"`` or an object of
        :mod:`biot_bd.training.sampling.strategies`.  None takes each once.  Balanced
        ``class_weight`` and prior correction follow what is drawn.
    augment : None, str, Transform, pair or list
        Random changes of training windows: ``"light"``, ``"strong"`` or transforms of braindecode
        that fit the montage (see :mod:`biot_bd.training.sampling.augmentation`).
    seen_subjects : {"raise", "warn", "allow"}
        What predictions do on ``Windows`` of a subject of whom other windows were in ``fit``:
        raise :class:`~biot_bd.SubjectLeakError`, warn, or nothing (a model that shall know its
        subject).  The windows of ``fit`` themselves are always predicted.  With ``"raise"``,
        ``fit`` refuses windows that a tool of scikit-learn split from others of their subjects.
    callbacks : None, Callback, str, pair, list or tuple
        Callbacks of skorch, their names in ``biot_bd.registry.callbacks``, names of scorers of
        scikit-learn (``"accuracy"``: its score of both sides by epoch, from the predictions that
        training makes anyway), or pairs ``(name, callback)``, in a list or tuple; or one callback.
    accelerator : {"auto"}, None or accelerate.Accelerator
        Which processes share a fit: all that ``torchrun`` or ``accelerate launch`` started (workers
        of joblib are alone), this one alone (None), or those of an ``Accelerator``.  Needs
        accelerate: ``pip install "biot-bd[scale]"``.  Each trains on its part of every batch, so
        weights, history and early stopping are those of one process with the same ``batch_size``,
        to rounding (dropout, ``augment`` and mixup draw other numbers).  All must call ``fit`` with
        the same windows, end with the same weights, and predict by themselves; the first one writes
        what callbacks write.  skorch's ``class A(AccelerateMixin, BIOTClassifier)`` does the same.
    warm_start : bool
        Whether ``fit`` goes on with the weights of the last one.
    verbose : int
        1 prints a line an epoch.
    compile : bool
        Whether to use ``torch.compile``.
    iterator_train__shuffle, iterator_train__drop_last : bool
        Order of the training windows; whether a last incomplete batch is left out.
    **kwargs
        Parameters with the prefixes ``module__``, ``criterion__``, ``optimizer__``,
        ``iterator_train__``, ``iterator_valid__``, ``callbacks__`` and ``compile__``, as in skorch.

    Attributes
    ----------
    module_, criterion_, optimizer_, history : as in skorch
    facts_ : FittedFacts
        What ``fit`` learnt, in one object; the attributes below are read from it.  It is dropped
        where the weights are new (``initialize``, other parameters of the module, a ``fit`` that
        fails), and says in ``stale`` where other parameters or weights make it untrue.  Weights
        that were changed by other hands are noticed by what is claimed of them (the attributes
        below, ``save_pipeline``, ``partial_fit``; by predictions mostly): ``provenance_`` is
        unknown then.
    classes_ : ndarray, shape (n_classes,)
        Sorted labels, as scikit-learn's tools expect them: the columns of ``predict_proba``.
    positive_label_ : label or None
        The positive one of two classes, which ``threshold_`` and early stopping are about.
    input_info_ : InputInfo
        Shape, channels, rate and unit of the signals seen in ``fit``.
    train_subjects_, valid_subjects_ : tuple of str
        Empty where subjects are unknown or nobody validates.
    class_counts_ : list
        Training windows of each class in an epoch, as in ``facts_.classes`` (expected ones with a
        ``sampler`` that draws by chance).
    training_note_ : str or None
        What to know of training scores with ``sampler`` or ``augment``.
    pretrained_report_ : LoadReport
        What was loaded (with ``pretrained``).
    provenance_ : Provenance
        All that the model has seen: the subjects of training and validation, and those of the
        checkpoint.
    precision_ : str
        The precision that predictions are made in.
    precision_report_ : dict
        What was wanted, the plans (precision, micro-batch) of training and inference, measured
        seconds a window, the largest difference of a probability from fp32, notes.
    threshold_ : float or None
        If set (two classes), ``predict`` says ``positive_label_`` from this probability on, instead
        of from 0.5.

    Raises
    ------
    TypeError
        A parameter that is neither named here nor has one of the prefixes.

    See Also
    --------
    biot_bd.save_pipeline : Saves it, fitted, without pickle.
    biot_bd.cross_validate : Trains and scores it by subject.
    biot_bd.training.finetuning : What ``finetune`` and ``schedule`` take.

    Notes
    -----
    ``get_params()`` is the same before and after ``fit``: what is learnt from data (also shapes) is
    kept apart.  ``predict_proba`` is the softmax of the logits, whatever the loss.

    Examples
    --------
    >>> import numpy as np
    >>> from biot_bd import BIOTClassifier
    >>> x = np.random.default_rng(0).normal(size=(12, 4, 200)).astype("float32")
    >>> y, subjects = np.array([0, 1] * 6), np.repeat(["a", "b", "c"], 4)
    >>> net = BIOTClassifier(
    ...     module__embed_dim=16,
    ...     module__num_heads=2,
    ...     module__num_layers=1,
    ...     max_epochs=1,
    ...     device="cpu",
    ...     random_state=0,
    ... )
    >>> net.fit(x, y, groups=subjects).predict_proba(x).shape
    (12, 2)
    >>> len(net.train_subjects_), len(net.valid_subjects_), net.facts_.stale
    (2, 1, None)
    """

    # With metadata routing on, subjects are asked for by themselves; MOABB routes `subjects`.
    __metadata_request__fit = {"groups": True, "subjects": True}
    _prefixes = PREFIXES

    def __init__(
        self,
        module: Any = "biot",
        *,
        criterion: Any = "focal",
        optimizer: Any = torch.optim.AdamW,
        lr: float = 1e-3,
        max_epochs: int = 20,
        batch_size: int = 128,
        classes: Sequence[Any] | None = (0, 1),
        class_weight: Any = None,
        train_split: Any = "subject",
        validation_fraction: float = 0.2,
        monitor: str = "valid_average_precision",
        patience: int | None = 10,
        random_state: Any = None,
        device: str | None = "auto",
        precision: str = "fp32",
        micro_batch: int | str | None = "auto",
        data_on_device: bool | str = "auto",
        gradient_clip_norm: float | None = None,
        log_dir: Any = None,
        restart_dir: Any = None,
        pretrained: Any = None,
        finetune: Any = None,
        schedule: Any = None,
        sampler: Any = None,
        augment: Any = None,
        seen_subjects: str = "raise",
        callbacks: Any = None,
        accelerator: Any = "auto",
        warm_start: bool = False,
        verbose: int = 0,
        compile: bool = False,
        iterator_train__shuffle: bool = True,
        iterator_train__drop_last: bool = False,
        **kwargs: Any,
    ) -> None:
        own = {name: value for name, value in locals().items() if name in self._own_names()}
        if "cropped" in kwargs:
            raise TypeError(
                f"cropped={kwargs['cropped']!r}: each window has one label here, so there is no cropped decoding; leave it out "
                "and choose window_s and stride_s in prepare"
            )
        self._check_prefixes(kwargs)
        # Options of a recipe check theirs themselves; skorch knows only what it builds.
        own |= {key: kwargs.pop(key) for key in list(kwargs) if key.startswith("finetune__")}
        super().__init__(module, **kwargs)
        self.__dict__.update(own)  # as given: skorch has other defaults

    # --- parameters -------------------------------------------------------------------------------

    @classmethod
    def _own_names(cls) -> list[str]:
        return constructor_names(BIOTClassifier)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Train by our steps where skorch's ``AccelerateMixin`` is mixed in."""
        super().__init_subclass__(**kwargs)
        take_own_steps(cls, BIOTClassifier)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; skorch would take a transform for a part of the net."""
        if name == "augment":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._unchecked = hasattr(self, "facts_")  # perhaps on another machine

    # --- data -------------------------------------------------------------------------------------

    @property
    def takes_soft_targets(self) -> bool:
        """Whether the loss takes a distribution over the classes for each window."""
        return takes_soft_targets(self._loss_class())

    def _labels(self, X: Any, y: ArrayLike | None, n: int) -> NDArray[Any]:
        """Return labels ``(n,)`` or, where the loss takes them, soft targets ``(n, n_classes)``."""
        found = y
        if y is None:
            soft = getattr(X, "targets", None) if self.takes_soft_targets else None
            found = getattr(X, "y", None) if soft is None else soft
        if found is None:
            raise ValueError("fit needs y: only Windows carry labels")
        if are_soft(found) and not self.takes_soft_targets:
            raise ValueError(loss_problem(self.criterion, np.shape(found)))
        labels = read_targets(found, "y") if are_soft(found) else read_labels(found)
        if len(labels) != n:
            raise ValueError(f"{n} windows but {len(labels)} labels")
        if n == 0:
            raise ValueError("there are no windows to train on")
        return labels

    def _outputs_for(self, labels: NDArray[Any]) -> NDArray[Any]:
        """Return the labels of the outputs of a new head."""
        if not are_soft(labels):
            return output_labels(self.classes, labels)
        return output_labels(target_classes(self.classes, labels.shape[1]))

    def _known_labels(self, labels: NDArray[Any]) -> NDArray[Any]:
        """Return labels as those of the outputs; soft targets as they are, checked against them."""
        if are_soft(labels):
            target_classes(self._outputs.tolist(), labels.shape[1])
            return labels
        return self._outputs[self._encoded(labels)]

    def _encoded(self, labels: NDArray[Any]) -> NDArray[np.int64]:
        encoded = encode_labels(labels, self._outputs)
        if len(np.unique(encoded)) < 2:
            raise ValueError(
                f"all {len(labels)} training windows are of class {self._outputs.tolist()[encoded[0]]!r}; two classes are "
                "needed (a search that halves needs a larger min_resources)"
            )
        return encoded

    def get_split_datasets(self, X: Any, y: Any = None, groups: Any = None, **fit_params: Any) -> tuple[Any, Any]:
        """Return the training and the validation windows (None without validation), no subject
        in both.
        """
        dataset = self._put_on_device(self.get_dataset(X, y))
        if self.train_split is None:
            return Subset(dataset, list(range(len(dataset)))), None
        split = self.train_split
        needs_both = self.patience is not None and not self.monitor.endswith("_loss")
        # With soft targets a class may have shares on a side where it has nowhere the most votes.
        every_class = needs_both or getattr(dataset, "soft", None) is None
        if split == "subject":
            seed = self.random_state if isinstance(self.random_state, Integral) else 0
            split = SubjectValidSplit(self.validation_fraction, int(seed), every_class)
        check_train_split(split, groups, known=True)
        train, valid = split(dataset, dataset.y, groups)
        check_subjects_apart(train, valid, dataset, groups)
        if every_class:
            check_sides(train, valid, self._outputs, self.monitor if needs_both else None)
        return train, valid

    # --- training ---------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None, groups: Any = None, *, subjects: Any = None) -> BIOTClassifier:
        """Train from the beginning (or on, with ``warm_start``).

        Parameters
        ----------
        X : Windows, ndarray (n, n_chans, n_times) or mne.Epochs
            See the class.
        y : array-like, shape (n,) or (n, n_classes), optional
            Labels; those of the ``Windows`` by default.  For losses that say ``soft_targets =
            True`` also shares of the classes 0 to n_classes - 1, each row summing to 1 (and
            ``Windows.targets`` by default); splits by subject, samplers, ``class_weight`` and
            scores by epoch go by the most voted class.
        groups : array-like, shape (n,), optional
            Subjects; those of the ``Windows`` by default.
        subjects : array-like, shape (n,), optional
            The same by the name under which MOABB's evaluations hand them on.

        Raises
        ------
        ValueError
            Bad data, unknown labels, subjects that are missing or on two sides, a class missing on
            a side.
        ContractError
            The registered model expects other windows.
        SubjectLeakError
            One side of a split that mixes subjects; see ``seen_subjects``.
        FloatingPointError
            The loss is no longer finite.
        """
        groups = subjects_named(groups, subjects)
        return self._fit(X, y, groups, fresh=not (self.warm_start and self.initialized_))

    def partial_fit(self, X: Any, y: Any = None, classes: Any = None, groups: Any = None) -> BIOTClassifier:
        """Train ``max_epochs`` more with the weights as they are; ``classes`` is ignored."""
        return self._fit(X, y, groups, fresh=not self.initialized_)

    def _fit(self, X: Any, y: Any, groups: Any, fresh: bool) -> BIOTClassifier:
        self._check_parameters()
        self._meet()
        try:
            return self._fit_together(X, y, groups, fresh)
        finally:
            self._part_company()

    def _fit_together(self, X: Any, y: Any, groups: Any, fresh: bool) -> BIOTClassifier:
        data, seen = SignalData(X), SeenWindows.of(X)
        self._check_contract(data.info)
        groups = subjects_given(data, groups)
        if seen is not None and self.seen_subjects == "raise":
            seen.check_split(X)
        if fresh:
            # Forget the last fit before the new data are compared with it.
            self._drop_facts()
            self.__dict__.pop("module_", None)
        self._follow_weights()
        before, n_before = getattr(self, "facts_", None), len(self.history_ or ())
        self._n_epochs_before = 0 if fresh else n_before
        labels = self._labels(X, y, len(data))
        self.facts_ = self._facts_to_begin(before, data.info, labels)
        new = before is None or self.facts_.classes is not before.classes or "class_weight" in self._changed_since()
        try:
            seed = self._processes.agreed(self._seed())
            with seeded(seed), own_modes(self.device, training=True), self._threads():
                self._begin_alike()
                train, valid = self.get_split_datasets(data, self._known_labels(labels), groups)
                self._learn_data(train, valid, groups, new)
                self._check_scorers()
                if fresh:
                    self.initialize()
                else:
                    self._renew_parts(new)
                self._start_waiting_callbacks()
                with self._scored_by_label():
                    self._train(data, train, valid, groups, seed if fresh else None)
                if valid is None:
                    self._settle_weights(train)
            self._learn(seen=seen if before is None or before.seen is None else before.seen.joined(seen))
            subjects = subjects_of(train, groups) + subjects_of(valid, groups)
            self._learn_result(before, subjects, recordings_of(X, subjects))
        except BaseException:
            if fresh or len(self.history_ or ()) > n_before:  # what the weights are now, nobody knows
                self._drop_facts()
                self.initialized_ = False
            elif before is None:
                del self.facts_
            else:
                self.facts_ = before
            raise
        return self

    def _settle_weights(self, train: Subset) -> None:
        """Predict a window: some modules bound their weights in ``forward``, so once more here.

        Validation does it otherwise.
        """
        with kept_random_states():
            (batch,) = self.get_iterator(Subset(train.dataset, train.indices[:1]), training=False)
            self.evaluation_step(batch, training=False)

    def _seed(self) -> int | None:
        if self.random_state is None:
            return None
        if isinstance(self.random_state, Integral):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _check_parameters(self) -> None:
        check_settings(vars(self))
        check_device(self.__dict__["device"])
        optimizer = resolve_optimizer(self.optimizer)
        check_train_split(self.train_split)
        self._check_callbacks()
        check_names("optimizer", optimizer, self.get_params_for("optimizer"), leave=("param_groups",))
        self._check_recipe()
        self._check_sampling()
        check_names("criterion", self._loss_class(), self.get_params_for("criterion"))

    def _learn_data(self, train: Subset, valid: Subset | None, groups: Any, new: bool) -> None:
        """Keep what the data say, apart from the parameters.

        The loss keeps the weights that it was built with, unless classes or ``class_weight`` are
        new.
        """
        labels = training_targets(train)
        outputs = self._outputs
        counts = class_counts(self._make_epochs(train, groups), labels, len(outputs))
        weights = self.facts_.class_weight
        if new:
            weights = class_weights(self.class_weight, outputs, labels, counts, self.classes)
        self._learn(
            class_counts=counts,
            class_weight=weights,
            threshold=None,
            train_subjects=subjects_of(train, groups),
            valid_subjects=subjects_of(valid, groups),
        )

    def _learn_result(
        self, before: FittedFacts | None, subjects: tuple[str, ...], recordings: list[tuple[str, str]]
    ) -> None:
        """Keep what training added; from here on the facts tell of the classifier."""
        self._learn(
            n_epochs=len(self.history) - self._n_epochs_before + (0 if before is None else before.n_epochs),
            provenance=self._provenance_before(before).extended(subjects, recordings=recordings),
            pretrained_report=getattr(self, "pretrained_report_", None),
            **module_facts(self),
            stale=None,
        )
        self._loaded = False
        self._made_with = self._origins()
        self._note_weights()

    def _provenance_before(self, before: FittedFacts | None) -> Provenance:
        """Return what the weights had seen before they were trained (on)."""
        if self._loaded:
            return LOADED
        if before is None:
            return started_from(self) or SCRATCH
        return before.provenance or UNRECORDED.extended(before.train_subjects + before.valid_subjects)

    def _facts_to_begin(self, before: FittedFacts | None, info: InputInfo, labels: NDArray[Any]) -> FittedFacts:
        """Return the facts that a fit begins with: those of the weights where it goes on.

        A head that was reset, or has other outputs, takes new classes.
        """
        if before is None:
            return FittedFacts(info, self._outputs_for(labels))
        other_head = before.stale is not None and self._n_logits() not in (None, len(before.classes))
        if before.stale == NEW_HEAD or other_head:
            return replace(before, classes=self._outputs_for(labels), class_weight=None, stale=RUNNING)
        self._check_same_classes()
        if "pretrained" in self._changed_since():
            raise ValueError(
                f"pretrained={self.pretrained!r} is not what the weights that would be trained on started from; fit from "
                "the beginning, or set it back"
            )
        return replace(before, stale=RUNNING)

    # --- prediction -------------------------------------------------------------------------------

    def _get_predict_nonlinearity(self) -> Any:
        self.check_is_fitted()
        return probabilities

    def predict_proba(self, X: Any) -> NDArray[np.float32]:
        """Return probabilities.

        Parameters
        ----------
        X : Windows, ndarray (n, n_chans, n_times) or mne.Epochs
            Like what ``fit`` was given.

        Returns
        -------
        ndarray of float32, shape (n, n_classes)
            Columns as in ``classes_``.

        Raises
        ------
        ValueError
            Other channels, rate, length or unit than in ``fit``, or samples that are not finite.
        SubjectLeakError
            ``Windows`` of a subject of whom other windows were in ``fit``; see ``seen_subjects``.
        """
        self._follow_weights(thorough=False)
        self.check_is_fitted()
        self._check_seen(X)
        if len(X) == 0:
            return np.empty((0, len(self.classes_)), dtype=np.float32)
        dataset = self.get_dataset(X)
        with own_modes(self.device), self._threads():
            self._before_predicting(dataset)
            proba = NeuralNet.predict_proba(self, dataset)
        if proba.shape[1] != len(self.classes_):
            raise ValueError(f"the module returns {proba.shape[1]} logits, but there are {len(self.classes_)} classes")
        return sorted_columns(proba, self._outputs)

    def _check_seen(self, X: Any) -> None:
        seen = self.facts_.seen if hasattr(self, "facts_") else None
        if seen is None or self.seen_subjects == "allow":
            return
        if self.seen_subjects == "warn":
            found = seen.leak(X)
            if found is not None:
                warnings.warn(found, stacklevel=3)
            return
        seen.check(X)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable label of each window (with ``threshold_``, the positive one from
        there on).
        """
        proba = self.predict_proba(X)  # first: it looks whether the threshold is still that of the weights
        threshold = self.facts_.threshold if hasattr(self, "facts_") else None
        return decide(proba, self.classes_, self.positive_label_, threshold)
