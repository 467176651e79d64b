"""Clusters by subject and by class, and nearest windows."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.metrics import adjusted_rand_score, silhouette_score

from biot_bd.embedding import cluster_facts, nearest_windows, project

SUBJECTS = np.repeat(["a", "b", "c"], 60)
LABELS = np.where(np.arange(180) % 6 == 0, "seizure", "background")


def embeddings(by_subject, by_class, seed=0):
    rng = np.random.default_rng(seed)
    places = {name: rng.normal(size=8) for name in ("a", "b", "c", "seizure", "background")}
    x = 0.3 * rng.normal(size=(180, 8))
    x += by_subject * np.array([places[name] for name in SUBJECTS])
    return x + by_class * np.array([places[name] for name in LABELS])


def test_windows_that_lie_by_subject_are_said_to():
    facts = cluster_facts(embeddings(3, 0), SUBJECTS, LABELS, metric="euclidean", n_permutations=19)
    assert facts["subject"]["silhouette"] > 0.6
    assert facts["subject"]["p"] == 1 / 20
    assert abs(facts["subject"]["chance"]) < 0.1
    assert facts["class"]["p"] > 0.05
    assert facts["k_means"]["subject"]["subject"]["ari"] == 1
    assert abs(facts["k_means"]["class"]["class"]["ari"]) < 0.1
    assert facts["hdbscan"]["n_clusters"] == 3
    assert facts["hdbscan"]["subject"]["ari"] > 0.9
    above = [facts[key]["silhouette"] - facts[key]["chance"] for key in ("subject", "class")]
    said = f"more by subject ({above[0]:+.3f}) than by class ({above[1]:+.3f})"
    assert facts["sentence"].startswith(f"Above chance, the embeddings lie together {said}")


def test_windows_that_lie_by_class_are_said_to():
    facts = cluster_facts(embeddings(0, 3), SUBJECTS, LABELS, metric="cosine", n_permutations=19)
    assert facts["class"]["p"] == 1 / 20
    assert facts["k_means"]["class"]["class"]["ari"] == 1
    assert facts["neighbours"]["of_other_subjects"]["seizure"] == {"share": 1.0, "chance": pytest.approx(1 / 6)}
    assert "lie together more by class (" in facts["sentence"]


def test_silhouettes_of_other_numbers_of_groups_are_compared_above_their_own_chance():
    """Of nine subjects shuffled names give less than of two classes, so raw numbers mislead."""
    rng = np.random.default_rng(0)
    subjects = np.repeat(list("abcdefghi"), 20)
    x = 0.75 * rng.normal(size=(9, 8))[np.repeat(np.arange(9), 20)] + rng.normal(size=(180, 8))
    x += 0.6 * rng.normal(size=8) * (LABELS == "seizure")[:, None]
    facts = cluster_facts(x, subjects, LABELS, metric="cosine", n_permutations=39)
    found = {key: (facts[key]["silhouette"], facts[key]["chance"]) for key in ("subject", "class")}
    assert found["subject"][0] < found["class"][0]
    assert found["subject"][0] - found["subject"][1] > found["class"][0] - found["class"][1]
    assert "lie together more by subject (" in facts["sentence"]


def test_noise_is_at_the_level_of_chance():
    facts = cluster_facts(embeddings(0, 0), SUBJECTS, LABELS, n_permutations=99)
    assert facts["subject"]["p"] > 0.02
    assert facts["class"]["p"] > 0.02
    seizure = facts["neighbours"]["of_other_subjects"]["seizure"]
    assert abs(seizure["share"] - seizure["chance"]) < 0.1


def test_balanced_groups_have_the_silhouette_of_scikit_learn():
    x = embeddings(1, 1)
    facts = cluster_facts(x, SUBJECTS, LABELS, metric="euclidean", n_permutations=1)
    assert facts["subject"]["silhouette"] == pytest.approx(silhouette_score(x, SUBJECTS))
    cosine = cluster_facts(x, SUBJECTS, LABELS, metric="cosine", n_permutations=1)
    assert cosine["subject"]["silhouette"] == pytest.approx(silhouette_score(x, SUBJECTS, metric="cosine"))


def test_classes_are_shuffled_within_subjects_so_that_subjects_with_more_seizures_prove_nothing():
    """One subject has all seizures: their embeddings differ by subject alone."""
    labels = np.where((SUBJECTS == "a") & (np.arange(180) % 2 == 0), "seizure", "background")
    facts = cluster_facts(embeddings(3, 0), SUBJECTS, labels, metric="euclidean", n_permutations=99)
    assert facts["class"]["silhouette"] > 0.05
    assert facts["class"]["p"] > 0.02


def test_one_subject_has_no_silhouette_and_is_said_so():
    facts = cluster_facts(embeddings(0, 3), np.repeat("a", 180), LABELS, n_permutations=3)
    assert facts["subject"] == {"n_groups": 1, "silhouette": None, "chance": None, "p": None}
    assert facts["neighbours"] is None
    assert "by subject no silhouette (1 group)" in facts["sentence"]


def test_many_windows_are_sampled_evenly_over_subjects():
    subjects = np.repeat(["a", "b"], [900, 100])
    x = np.random.default_rng(0).normal(size=(1000, 3))
    facts = cluster_facts(x, subjects, np.arange(1000) % 2, most_windows=200, n_permutations=1)
    assert facts["n_windows"] == 200


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_embeddings_that_are_not_finite_are_refused(value):
    x = embeddings(0, 0)
    x[3, 2] = value
    with pytest.raises(ValueError, match="not finite"):
        cluster_facts(x, SUBJECTS, LABELS)
    with pytest.raises(ValueError, match="not finite"):
        project(x)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_nearest_windows_are_those_of_all_distances(metric):
    x = embeddings(1, 1)
    found = nearest_windows(x, [7, 100], n_neighbors=4, metric=metric, apart=SUBJECTS)
    distances = cdist(x, x, metric)
    for query in (7, 100):
        others = np.flatnonzero(SUBJECTS[query] != SUBJECTS)
        expected = others[np.argsort(distances[query, others])[:4]]
        own = found[found["query"] == query]
        assert own["neighbour"].tolist() == expected.tolist()
        np.testing.assert_allclose(own["distance"], distances[query, expected], atol=1e-6)


def test_a_window_is_not_its_own_neighbour_and_none_are_made_up():
    x = np.zeros((3, 2)) + np.arange(3)[:, None]
    found = nearest_windows(x, [1], n_neighbors=9, metric="euclidean")
    assert sorted(found["neighbour"]) == [0, 2]
    assert len(nearest_windows(x, [1], metric="euclidean", apart=["a", "a", "a"])) == 0


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_a_map_keeps_groups_apart_and_is_the_same_for_a_seed(method):
    x = embeddings(5, 0)
    places = project(x, method, metric="euclidean")
    assert np.array_equal(places, project(x, method, metric="euclidean"))
    nearest = cdist(places, places)
    np.fill_diagonal(nearest, np.inf)
    assert (SUBJECTS[nearest.argmin(axis=1)] == SUBJECTS).mean() > 0.95


@pytest.mark.slow
def test_umap_keeps_groups_apart():
    pytest.importorskip("umap", reason="needs the extra maps")
    places = project(embeddings(5, 0), "umap")
    from sklearn.cluster import KMeans

    assert adjusted_rand_score(SUBJECTS, KMeans(3, n_init=4, random_state=0).fit_predict(places)) > 0.9


def test_principal_components_are_those_of_the_singular_values():
    x = embeddings(1, 0)
    centred = x - x.mean(axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(np.abs(project(x)), np.abs(u[:, :2] * s[:2]), atol=1e-4)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: project(np.zeros((5, 2)), "lda"), "pca, tsne, umap"),
        (lambda: project(np.zeros((2, 2))), "three windows"),
        (lambda: cluster_facts(np.zeros((4, 2)), list("aabb"), [0, 1, 0, 1], metric="l1"), "'cosine' or 'euclidean'"),
        (lambda: nearest_windows(np.zeros((4, 2)), [4]), "there are 4 windows"),
        (lambda: nearest_windows(np.zeros((4, 2)), [0], apart=["a"]), "one value of apart a window"),
    ],
)
def test_wrong_questions_are_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()
