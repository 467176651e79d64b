"""Names and classes of corpora are read off subjects and labels; batches hold one corpus each."""

from collections import Counter
from contextlib import nullcontext

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

from biot_bd.pretraining import Corpora
from biot_bd.pretraining.corpora import CorpusBatches

SUBJECTS = np.array(["tuev/a", "chb-mit/01", "tuev/b", "chb-mit/02"], dtype=object)


def test_corpora_are_the_name_spaces_of_subjects_in_order_of_their_names():
    corpora = Corpora.of(SUBJECTS, [3, 0, 1, 1])
    assert corpora == Corpora(("chb-mit", "tuev"), (2, 4))
    assert corpora.targets(SUBJECTS, [3, 0, 1, 1]).tolist() == [[1, 3], [0, 0], [1, 1], [0, 1]]


@pytest.mark.parametrize(
    ("subjects", "labels", "told"),
    [
        (["01"], [0], "subject '01' names no corpus"),
        (["/01"], [0], "names no corpus"),
        (["a/1", "a/2"], [1, 1], "corpus 'a' has the label 1 alone"),
        (["a/1", "a/2"], [0, -1], "whole numbers from 0"),
        (["a/1", "a/2"], [0.0, 1.0], "whole numbers from 0"),
        (["a/1", "a/2"], [0], "one label a window"),
    ],
)
def test_what_is_no_corpus_is_refused(subjects, labels, told):
    with pytest.raises(ValueError, match=told):
        Corpora.of(subjects, labels)


def test_targets_of_another_corpus_or_class_are_refused():
    corpora = Corpora(("chb-mit",), (2,))
    with pytest.raises(ValueError, match="no head for the corpus 'tuev'; there are: chb-mit"):
        corpora.targets(["tuev/a"], [0])
    with pytest.raises(ValueError, match="window 1 of chb-mit/02 has the label 2"):
        corpora.targets(["chb-mit/01", "chb-mit/02"], [0, 2])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=12, max_size=40), st.integers(1, 4), st.booleans(), st.integers(0, 99))
def test_every_window_comes_once_in_batches_of_one_corpus(corpus, size, drop_last, seed):
    counts = Counter(corpus)
    few = drop_last and min(counts.values()) < size
    torch.manual_seed(seed)
    with pytest.warns(UserWarning, match=f"fewer than a batch of {size}") if few else nullcontext():
        batches = CorpusBatches(corpus, size, drop_last)
    found = list(batches)
    assert len(found) == len(batches)
    assert all(len({corpus[row] for row in batch}) == 1 for batch in found)
    rows = [row for batch in found for row in batch]
    assert len(rows) == len(set(rows))
    kept = {name: max(n // size * size, min(n, size)) if drop_last else n for name, n in counts.items()}
    assert Counter(corpus[row] for row in rows) == +Counter(kept)


def test_with_equal_shares_a_small_corpus_comes_as_often_as_a_large_one():
    corpus = [0] * 40 + [1] * 9
    batches = CorpusBatches(corpus, 4, drop_last=True, shares="equal")
    torch.manual_seed(3)
    found = list(batches)
    assert len(found) == len(batches) == 20
    small = [row for batch in found for row in batch if corpus[row] == 1]
    assert len(small) == 40
    # Passes of 8 of its 9 windows: none comes more than one time oftener than there are passes.
    assert max(Counter(small).values()) <= 5
    assert set(small) == set(range(40, 49))


def test_epochs_differ_and_repeat_under_a_seed():
    batches = CorpusBatches([0] * 8 + [1] * 8, 4)
    torch.manual_seed(1)
    first, second = list(batches), list(batches)
    torch.manual_seed(1)
    assert (list(batches), list(batches)) == (first, second)
    assert first != second


def test_shares_that_there_are_not_are_refused():
    with pytest.raises(ValueError, match="'proportional' or 'equal', found 'half'"):
        CorpusBatches([0, 1], 1, shares="half")
