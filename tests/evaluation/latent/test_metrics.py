import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from latentlab.evaluation.latent.metrics import (
    class_metrics_of_codes,
    cluster_metrics,
    collapsed_share,
    trustworthiness_of,
)


def heaps(distance, count=200, seed=0):
    """Codes of two classes, so far apart, and their labels."""
    labels = np.arange(count) % 2
    codes = np.random.default_rng(seed).normal(size=(count, 2))
    codes[:, 0] += distance * labels
    return codes, labels


def test_classes_far_apart_are_told_by_their_codes():
    figures = class_metrics_of_codes(*heaps(20), *heaps(20, seed=1)) | cluster_metrics(
        *heaps(20), seed=0
    )

    assert figures["knn_accuracy"] == figures["probe_accuracy"] == figures["kmeans_nmi"] == 1
    assert figures["silhouette"] > 0.8


def test_classes_in_one_place_are_not():
    figures = class_metrics_of_codes(*heaps(0), *heaps(0, seed=1)) | cluster_metrics(
        *heaps(0), seed=0
    )

    assert 0.35 < figures["knn_accuracy"] < 0.65
    assert 0.35 < figures["probe_accuracy"] < 0.65
    assert abs(figures["silhouette"]) < 0.05
    assert figures["kmeans_nmi"] < 0.05


def test_neighbours_vote_and_the_probe_is_a_logistic_regression():
    (train, train_labels), (codes, labels) = heaps(2), heaps(2, seed=1)
    figures = class_metrics_of_codes(train, train_labels, codes, labels)

    distances = np.linalg.norm(codes[:, None] - train[None], axis=2)
    votes = train_labels[np.argsort(distances, axis=1)[:, :5]].mean(1) > 0.5
    assert figures["knn_accuracy"] == pytest.approx((votes == labels).mean())
    scaled = (train - train.mean(0)) / train.std(0)
    probe = LogisticRegression().fit(scaled, train_labels)
    expected = probe.score((codes - train.mean(0)) / train.std(0), labels)
    assert figures["probe_accuracy"] == pytest.approx(expected)


def test_the_probe_sees_no_scale():
    (train, train_labels), (codes, labels) = heaps(2), heaps(2, seed=1)
    scale = np.array([1e-3, 1e3])

    small = class_metrics_of_codes(train * scale, train_labels, codes * scale, labels)
    assert small["probe_accuracy"] == pytest.approx(
        class_metrics_of_codes(train, train_labels, codes, labels)["probe_accuracy"]
    )


def test_one_class_has_no_such_figures():
    codes, labels = heaps(0)

    assert class_metrics_of_codes(codes, labels * 0, codes, labels * 0) == {}
    assert cluster_metrics(codes, labels * 0, seed=0) == {}
    assert cluster_metrics(codes[:2], np.array([0, 1]), seed=0) == {}


def test_a_map_is_trusted_as_far_as_it_keeps_neighbours():
    codes = np.random.default_rng(0).normal(size=(100, 5))
    other = np.random.default_rng(1).normal(size=(100, 2))

    assert trustworthiness_of(codes, codes * 3) == pytest.approx(1)
    assert trustworthiness_of(codes, other) < 0.65
    assert trustworthiness_of(codes[:, :2], codes[:, :2] @ [[0, 1], [-1, 0]]) == pytest.approx(1)


def test_dimensions_that_hardly_vary_are_collapsed():
    codes = np.random.default_rng(0).normal(size=(500, 4)) * [2.0, 1.0, 0.1, 0.0]

    assert collapsed_share(codes) == 0.5
    assert collapsed_share(codes[:, :2]) == 0.0
