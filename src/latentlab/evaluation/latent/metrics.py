"""What the codes of images [N, L] say about their classes, and how they use their dimensions."""

import numpy as np

NEIGHBORS = 5
COLLAPSED = 0.01
"""Share of the largest variance below which a dimension says nothing."""
MOST_ITERATIONS = 2000


def class_metrics_of_codes(
    train_codes: np.ndarray, train_labels: np.ndarray, codes: np.ndarray, labels: np.ndarray
) -> dict[str, float]:
    """Accuracy of the 5 nearest neighbors and of a linear probe, learnt from training codes.

    The probe is a logistic regression on standardised codes. Empty where there is one class.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    if len(np.unique(train_labels)) < 2:
        return {}
    neighbors = KNeighborsClassifier(min(NEIGHBORS, len(train_codes)))
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=MOST_ITERATIONS))
    with threadpool_limits(1):
        return {
            name: float(model.fit(train_codes, train_labels).score(codes, labels))
            for name, model in (("knn_accuracy", neighbors), ("probe_accuracy", probe))
        }


def cluster_metrics(codes: np.ndarray, labels: np.ndarray, seed: int) -> dict[str, float]:
    """Silhouette of the classes, and how much k-means finds of them without labels.

    The latter is the normalised mutual information of as many clusters as there are classes.
    Empty where there is one class, or one image for each.
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


def trustworthiness_of(codes: np.ndarray, points: np.ndarray) -> float:
    """How far neighbors on a map [N, D] are neighbors as codes (Venna and Kaski 2001), to 1."""
    from sklearn.manifold import trustworthiness

    neighbors = min(NEIGHBORS, (len(codes) - 1) // 2)
    return float(trustworthiness(codes, points, n_neighbors=neighbors))


def collapsed_share(codes: np.ndarray) -> float:
    """Share of the dimensions whose variance is below a hundredth of the largest one, or zero."""
    variances = codes.var(0)
    return float(((variances < COLLAPSED * variances.max()) | (variances == 0)).mean())
