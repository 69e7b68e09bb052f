"""How close generated images are to real ones, in the feature space of our own classifier."""

import numpy as np
from torch import Tensor


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Fréchet distance between Gaussians fitted to features [N, F] and [M, F].

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), Dowson and Landau 1982; the form of FID, but not
    comparable with Inception FID: the features are those of the classifier at hand.
    """
    means = first.mean(0) - second.mean(0)
    covariance_1 = np.atleast_2d(np.cov(first, rowvar=False))
    covariance_2 = np.atleast_2d(np.cov(second, rowvar=False))
    # tr((C1 C2)^(1/2)) from the eigenvalues of C1 C2, which are real and not negative
    eigenvalues = np.linalg.eigvals(covariance_1 @ covariance_2).real
    cross = np.sqrt(eigenvalues.clip(min=0)).sum()
    traces = np.trace(covariance_1) + np.trace(covariance_2)
    return float(means @ means + traces - 2 * cross)


def class_entropy(logits: Tensor) -> float:
    """Entropy in nats of the classes that a classifier sees in samples; log(classes) is even."""
    shares = logits.argmax(1).bincount(minlength=logits.shape[1]).double() / len(logits)
    return float(-(shares * shares.clamp_min(1e-12).log()).sum())
