"""Labels: what is read as one, and what is refused in one line."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.multiclass import type_of_target
from training_data import make_data, small

from biot_bd.evaluation.data import as_data
from biot_bd.training.labels import encode_labels, output_labels, positive_label, read_labels, sorted_columns

GOOD = [
    ([0, 1, 1], [0, 1, 1]),
    (np.array([0, 1, 1], dtype=object), [0, 1, 1]),
    ([0.0, 1.0, 1.0], [0, 1, 1]),
    ([False, True, True], [0, 1, 1]),
    (pd.Series([0, 1, 1], index=[2, 0, 1]), [0, 1, 1]),
    (pd.Series([0, 1, 1], dtype="Int64"), [0, 1, 1]),
    (pd.DataFrame({"y": [0, 1, 1]}), [0, 1, 1]),
    (torch.tensor([0, 1, 1]), [0, 1, 1]),
    (np.ma.array([0, 1, 1], mask=False), [0, 1, 1]),
    (pd.Series(["b", "sz", "sz"], dtype="category"), ["b", "sz", "sz"]),
    (pd.Series(["b", "sz", "sz"], dtype="string"), ["b", "sz", "sz"]),
    (np.array(["b", "sz", "sz"], dtype=object), ["b", "sz", "sz"]),
    (np.array(["b", "sz", "sz"], dtype=np.dtypes.StringDType()), ["b", "sz", "sz"]),
]
BAD = [
    ([0, None, 1], r"number 1 is missing \(None\)"),
    (np.array([0, 1, None], dtype=object), r"number 2 is missing \(None\)"),
    ([0, np.nan, 1.0], r"number 1 is missing \(nan\)"),
    (pd.Series([0, 1, pd.NA], dtype="Int64"), "number 2 is missing"),
    (pd.Series([0, 1, pd.NA], dtype=object), r"number 2 is missing \(<NA>\)"),
    (pd.Series(["b", "sz", pd.NA], dtype="string"), "number 2 is missing"),
    (pd.Series(["b", "sz", None], dtype="category"), "number 2 is missing"),
    (np.ma.array([0, 1, 1], mask=[0, 0, 1]), r"number 2 is missing \(masked\)"),
    (np.ma.array(["b", "sz", "sz"], mask=[0, 1, 0]), r"number 1 is missing \(masked\)"),
    ([0.0, 0.37, 1.0], "found the number 0.37: continuous targets"),
    (torch.tensor([0.2, 0.8, 0.4]), "continuous targets"),
    ([0.0, np.inf, 1.0], "found the number inf"),
    (np.eye(3)[:, :2], r"found shape \(3, 2\); of one-hot rows take y.argmax"),
    (np.array(1), r"found shape \(\)"),
    (np.array([0, "1", 1], dtype=object), "numbers and texts"),
    (np.array([0, 1j, 1]), "numbers or texts, found dtype complex"),
    (pd.to_datetime(pd.Series(["2001-01-01"] * 3)), "numbers or texts, found dtype datetime64"),
    (np.array([b"b", b"sz", b"sz"]), "numbers or texts"),
]


@pytest.mark.parametrize(("y", "expected"), GOOD)
def test_labels_of_any_container(y, expected):
    labels = read_labels(y)
    assert labels.tolist() == expected
    assert type_of_target(labels) == "binary"


@pytest.mark.parametrize(("y", "match"), BAD)
@pytest.mark.parametrize("classes", [(0, 1), None])
def test_what_is_no_label_is_refused_in_one_line(y, match, classes):
    x = make_data()[0][:3]
    with pytest.raises(ValueError, match=match) as error:
        small(classes=classes, train_split=None).fit(x, y)
    assert "\n" not in str(error.value) or np.ndim(y) == 0


@pytest.mark.parametrize(("y", "match"), [bad for bad in BAD if np.ndim(bad[0]) == 1])
def test_cross_validation_refuses_the_same(y, match):
    x = make_data()[0][:3]
    with pytest.raises(ValueError, match=match):
        as_data(x, y, ["a", "b", "c"])


def test_texts_of_numbers_are_no_numbers():
    with pytest.raises(
        ValueError, match=r"labels '1', '0' are not among classes=\[0, 1\]; they are texts where the classes are n"
    ):
        encode_labels(["1", "0"], np.array([0, 1]))
    with pytest.raises(
        ValueError, match=r"labels 1, 0 are not among classes=\['0', '1'\]; they are numbers where the classes are t"
    ):
        encode_labels([1, 0], np.array(["0", "1"]))
    with pytest.raises(ValueError, match=r"must be 0 \(background\) and 1 \(seizure\), numbers, found \['0', '1'\]"):
        as_data(np.zeros((2, 1, 9)), ["0", "1"], ["a", "b"])


@pytest.mark.parametrize("classes", ["01", 3, (0, 0, 1), (0, None), (0, "1"), (0, 0.5), [[0, 1]]])
def test_classes_that_are_no_labels(classes):
    with pytest.raises(ValueError, match="classes"):
        output_labels(classes)


@pytest.mark.parametrize(
    ("pair", "positive"),
    [((0, 1), 1), ((2, 1), 2), ((False, True), True), (("sz", "bckg"), "sz"), (("seizure", "no seizure"), "seizure"), (("fnsz", "gnsz"), "gnsz"), (("b", "a"), "a")],
)  # fmt: skip
def test_the_positive_label(pair, positive):
    outputs = output_labels(pair)
    assert outputs.tolist()[1] == positive
    assert positive_label(outputs) == positive_label(np.array(pair)) == positive
    if pair != ("b", "a") and pair != ("fnsz", "gnsz"):  # these say it by their order
        assert output_labels(pair[::-1]).tolist() == output_labels(set(pair)).tolist() == outputs.tolist()


labels_of_one_kind = st.one_of(
    st.lists(st.integers(-9, 9), min_size=2, max_size=5, unique=True),
    st.lists(st.text("abcxyz", min_size=1, max_size=4), min_size=2, max_size=5, unique=True),
)


@given(labels_of_one_kind, st.randoms(use_true_random=False))
def test_columns_follow_labels(labels, random):
    given_order = labels.copy()
    random.shuffle(given_order)
    outputs = output_labels(given_order)
    assert sorted(outputs.tolist()) == sorted(labels)
    y = [random.choice(labels) for _ in range(20)]
    assert outputs[encode_labels(y, outputs)].tolist() == y
    proba = np.array([[labels.index(label) for label in outputs.tolist()]], dtype=float)
    found = sorted_columns(proba, outputs)[0]
    assert [labels[int(value)] for value in found] == sorted(labels)
