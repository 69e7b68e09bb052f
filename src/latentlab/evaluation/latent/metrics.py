"""Metrics of latent codes: what they say about classes, and how they use their dimensions."""

import numpy as np

NEIGHBORS = 5
COLLAPSED_VARIANCE = 0.01
"""Share of the largest variance below which a dimension counts as collapsed."""
MAX_ITERATIONS = 2000


def probe_accuracies(
    train_codes: np.ndarray, train_labels: np.ndarray, codes: np.ndarray, labels: np.ndarray
) -> dict[str, float]:
    """Return the accuracy of a nearest neighbor classifier and of a linear probe on codes [N, L].

    Both are fitted to the training codes [M, L]: 5 nearest neighbors, and a logistic regression on
    standardized codes. Empty for a single class.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    if len(np.unique(train_labels)) < 2:
        return {}
    neighbors = KNeighborsClassifier(min(NEIGHBORS, len(train_codes)))
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=MAX_ITERATIONS))
    with threadpool_limits(1):
        return {
            name: float(model.fit(train_codes, train_labels).score(codes, labels))
            for name, model in (("knn_accuracy", neighbors), ("probe_accuracy", probe))
        }


def cluster_metrics(codes: np.ndarray, labels: np.ndarray, seed: int) -> dict[str, float]:
    """Return how well the classes [N] of codes [N, L] match clusters.

    `silhouette` is the silhouette coefficient of the classes. `kmeans_nmi` is the normalized mutual
    information of the classes and k-means clusters, with as many clusters as classes. Empty for a
    single class, or if every class has one image.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import normalized_mutual_info_score, silhouette_score
    from threadpoolctl import threadpool_limits

    classes = len(np.unique(labels))
    if not 2 <= classes < len(labels):
        return {}
    with threadpool_limits(1):
        clusters = KMeans(classes, n_init=4, random_state=seed).fit_predict(codes)
        return {
            "silhouette": float(silhouette_score(codes, labels)),
            "kmeans_nmi": float(normalized_mutual_info_score(labels, clusters)),
        }


def map_trustworthiness(codes: np.ndarray, points: np.ndarray) -> float:
    """Return how far neighbors on a map [N, D] are also neighbors as codes [N, L], at most 1.

    Trustworthiness with 5 neighbors (Venna and Kaski 2001).
    """
    from sklearn.manifold import trustworthiness

    neighbors = min(NEIGHBORS, (len(codes) - 1) // 2)
    return float(trustworthiness(codes, points, n_neighbors=neighbors))


def collapsed_share(codes: np.ndarray) -> float:
    """Return the share of collapsed dimensions of codes [N, L].

    A dimension is collapsed if its variance is zero or below 1% of the largest one.
    """
    variances = codes.var(0)
    collapsed = (variances < COLLAPSED_VARIANCE * variances.max()) | (variances == 0)
    return float(collapsed.mean())
