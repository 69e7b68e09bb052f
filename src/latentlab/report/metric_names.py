"""Names of metrics as the report shows them."""

import re

GENERATORS = {
    "gan": "DCGAN",
    "vae": "VAE",
    "autoencoder_kde": "Autoencoder with kernel density",
    "real": "Real images (validation split)",
    "pixel_gaussian": "Gaussian of the pixels",
}
"""Names of the generators in `metrics.json`, and of what they are compared with."""

NAMES = {
    r"autoencoder/mse": "Autoencoder: MSE per pixel",
    r"vae/mse": "VAE: MSE per pixel",
    r"vae/\w+/elbo": "VAE: ELBO (nats per image)",
    r"vae/\w+/kl": "VAE: KL divergence (nats per image)",
    r"denoise/(.+)/mse": "Denoiser {}: MSE per pixel",
    r"classifier/accuracy": "Classifier: accuracy",
    r"classifier/f1_macro": "Classifier: F1, mean over classes",
    r"reference/accuracy": "Reference classifier: accuracy",
    r"generators/(\w+)/classifier_frechet_distance": "{}: Fréchet distance",
    r"generators/(\w+)/class_entropy": "{}: class entropy (nats)",
}


def metric_name(metric: str) -> str:
    """Return the name of a metric such as `evaluate/test/vae/mse`; others are unchanged."""
    path = metric.removeprefix("evaluate/test/")
    for pattern, name in NAMES.items():
        if match := re.fullmatch(pattern, path):
            return name.format(*(GENERATORS.get(group, group) for group in match.groups()))
    return metric
