#!/usr/bin/env bash
# moabb 1.7.2 (CrossSubjectEvaluation) with n_splits: folds that hold out several subjects.
#
# Behaviour: a fold is scored on all its test windows together (one score a session), and its row bears the name of the
# first of its test subjects. Four subjects in two folds give two rows (of 1 and 3 here); the other two subjects are nowhere, and
# `samples_test` is that of two subjects. Nothing warns. (Without `shuffle` it does not run at all: the default
# GroupKFold is given a random_state.)
#
# What one would guess: a row a subject, as without n_splits, because the column is called `subject`, and because
# `moabb.analysis` takes its rows for subjects: it pairs pipelines by them and counts them as the sample size (`nsub`).
#
# Why it matters: a mean over rows is no mean over subjects, p-values come from as many "subjects" as there are folds,
# and paired with a table of a leave-one-subject-out evaluation each named subject is compared with a mixture.
#
# Source: seen by running it; moabb/evaluations/base.py, `_build_task_list` (`test_meta["subject"].iloc[0]`) and
# `_evaluate_fold` (score groups are sessions).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet moabb==1.7.2 scikit-learn==1.9.1 numpy==2.4.6 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
cd "$folder"
cat > run.py <<'PY'
import logging, tempfile, warnings
warnings.simplefilter("ignore"); logging.disable(logging.WARNING)
import moabb
from moabb.datasets.fake import FakeDataset
from moabb.evaluations import CrossSubjectEvaluation
from moabb.paradigms import LeftRightImagery
from sklearn.dummy import DummyClassifier

moabb.set_log_level("error")
size = {"n_sessions": 1, "n_runs": 1, "n_subjects": 4, "n_events": 10, "duration": 40, "sfreq": 100, "seed": 0}
data = FakeDataset(event_list=["left_hand", "right_hand"], stim=True, **size)
for how in ({}, {"n_splits": 2, "cv_kwargs": {"shuffle": True}}):
    evaluation = CrossSubjectEvaluation(
        paradigm=LeftRightImagery(), datasets=[data], overwrite=True, hdf5_path=tempfile.mkdtemp(), random_state=0, **how
    )
    table = evaluation.process({"chance": DummyClassifier()}).sort_values("subject")
    print(how.get("n_splits"), [(s, int(n)) for s, n in zip(table["subject"], table["samples_test"])])
PY
MNE_DATA="$folder" MNE_DONTWRITE_HOME=true OMP_NUM_THREADS=1 "$folder/venv/bin/python" run.py 2>>log | tee found
diff - found <<'SEEN'
None [('1', 10), ('2', 10), ('3', 10), ('4', 10)]
2 [('1', 20), ('3', 20)]
SEEN
