import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from latentlab.evaluation.latent.metrics import (
    cluster_metrics,
    collapsed_share,
    map_trustworthiness,
    probe_accuracies,
)


def clusters(distance, count=200, seed=0):
    """Return codes of two classes whose centers have the given distance, and their labels."""
    labels = np.arange(count) % 2
    codes = np.random.default_rng(seed).normal(size=(count, 2))
    codes[:, 0] += distance * labels
    return codes, labels


def test_distant_classes_are_separable():
    metrics = probe_accuracies(*clusters(20), *clusters(20, seed=1)) | cluster_metrics(
        *clusters(20), seed=0
    )

    assert metrics["knn_accuracy"] == metrics["probe_accuracy"] == metrics["kmeans_nmi"] == 1
    assert metrics["silhouette"] > 0.8


def test_overlapping_classes_are_not_separable():
    metrics = probe_accuracies(*clusters(0), *clusters(0, seed=1)) | cluster_metrics(
        *clusters(0), seed=0
    )

    assert 0.35 < metrics["knn_accuracy"] < 0.65
    assert 0.35 < metrics["probe_accuracy"] < 0.65
    assert abs(metrics["silhouette"]) < 0.05
    assert metrics["kmeans_nmi"] < 0.05


def test_accuracies_are_those_of_five_neighbors_and_of_a_logistic_regression():
    (train, train_labels), (codes, labels) = clusters(2), clusters(2, seed=1)
    metrics = probe_accuracies(train, train_labels, codes, labels)

    distances = np.linalg.norm(codes[:, None] - train[None], axis=2)
    votes = train_labels[np.argsort(distances, axis=1)[:, :5]].mean(1) > 0.5
    assert metrics["knn_accuracy"] == pytest.approx((votes == labels).mean())
    scaled = (train - train.mean(0)) / train.std(0)
    probe = LogisticRegression().fit(scaled, train_labels)
    expected = probe.score((codes - train.mean(0)) / train.std(0), labels)
    assert metrics["probe_accuracy"] == pytest.approx(expected)


def test_the_linear_probe_is_invariant_to_scale():
    (train, train_labels), (codes, labels) = clusters(2), clusters(2, seed=1)
    scale = np.array([1e-3, 1e3])

    small = probe_accuracies(train * scale, train_labels, codes * scale, labels)
    assert small["probe_accuracy"] == pytest.approx(
        probe_accuracies(train, train_labels, codes, labels)["probe_accuracy"]
    )


def test_a_single_class_has_no_class_metrics():
    codes, labels = clusters(0)

    assert probe_accuracies(codes, labels * 0, codes, labels * 0) == {}
    assert cluster_metrics(codes, labels * 0, seed=0) == {}
    assert cluster_metrics(codes[:2], np.array([0, 1]), seed=0) == {}


def test_a_map_is_trustworthy_if_it_preserves_neighbors():
    codes = np.random.default_rng(0).normal(size=(100, 5))
    unrelated = np.random.default_rng(1).normal(size=(100, 2))

    assert map_trustworthiness(codes, codes * 3) == pytest.approx(1)
    assert map_trustworthiness(codes, unrelated) < 0.65
    assert map_trustworthiness(codes[:, :2], codes[:, :2] @ [[0, 1], [-1, 0]]) == pytest.approx(1)


def test_dimensions_of_small_variance_are_collapsed():
    codes = np.random.default_rng(0).normal(size=(500, 4)) * [2.0, 1.0, 0.1, 0.0]

    assert collapsed_share(codes) == 0.5
    assert collapsed_share(codes[:, :2]) == 0.0
