"""The metrics of each stage that are logged to MLflow; `metrics.json` contains all of them.

MLflow shows every metric name of an experiment as a column, so there must be few. Metrics per epoch
are logged in addition.
"""

from fnmatch import fnmatchcase
from typing import Any

from latentlab.params.fields import flatten

HEADLINES = {
    "fetch": (),
    "search": ("validation/*", "epochs"),
    "train": ("validation/mse", "validation/psnr", "parameters"),
    "compare": (),  # each value has a nested run
    "denoise": (),  # each denoiser has a nested run
    "finetune": ("validation/accuracy", "validation/f1_macro"),
    "reference": ("validation/accuracy", "validation/f1_macro", "parameters"),
    "vae": ("validation/*/elbo", "validation/*/kl", "validation/mse", "parameters"),
    "gan": ("validation/classifier_frechet_distance", "validation/diversity"),
    "evaluate": (
        "test/autoencoder/mse",
        "test/autoencoder/psnr",
        "test/autoencoder/latent/knn_accuracy",
        "test/vae/mse",
        "test/vae/*/elbo",
        "test/vae/*/iwae",
        "test/vae/latent/knn_accuracy",
        "test/classifier/accuracy",
        "test/classifier/f1_macro",
        "test/classifier/calibration_error",
        "test/reference/accuracy",
        "test/denoise/*/mse",
        "test/generators/*/classifier_frechet_distance",
        "test/generators/*/relative_frechet_distance",
    ),
    "report": (),
}
"""Names of metrics by stage; `*` stands for one part between slashes."""


def headline_metrics(stage: str, metrics: dict[str, Any]) -> dict[str, float]:
    """Return the metrics of a stage that `HEADLINES` names, flat and in its order."""
    values = flatten(metrics, separator="/")
    patterns = HEADLINES[stage.partition("@")[0]]
    return {
        name: value
        for pattern in patterns
        for name, value in values.items()
        if name.count("/") == pattern.count("/") and fnmatchcase(name, pattern)
    }
