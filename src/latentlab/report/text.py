"""Numbers and names as people read them."""

import math
import re
import unicodedata

MAX_CHARACTERS = 40
"""Longest class name in charts and sentences."""
DIGITS = 3
MISSING = "\u2013"
"""What a table has in place of a value that does not exist."""

GENERATORS = {
    "gan": "DCGAN",
    "vae": "VAE",
    "autoencoder_kde": "Autoencoder with kernel density",
    "real": "Real images (validation split)",
    "pixel_gaussian": "Gaussian of the pixels",
}
"""Names of the generators in `metrics.json`, and of what they are compared with."""

NAMES = {
    r"fetch/images/train": "Number of training images",
    r"autoencoder/mse": "Autoencoder: MSE per pixel",
    r"vae/mse": "VAE: MSE per pixel",
    r"vae/\w+/elbo": "VAE: ELBO (nats per image)",
    r"vae/\w+/kl": "VAE: KL divergence (nats per image)",
    r"denoise/(.+)/mse": "Denoiser {}: MSE per pixel",
    r"classifier/accuracy": "Classifier: accuracy",
    r"classifier/f1_macro": "Classifier: F1, mean over classes",
    r"reference/accuracy": "Reference classifier: accuracy",
    r"classifier/calibration_error": "Classifier: calibration error",
    r"generators/(\w+)/classifier_frechet_distance": "{}: Fréchet distance",
    r"generators/(\w+)/relative_frechet_distance": "{}: relative Fréchet distance",
    r"generators/(\w+)/class_entropy": "{}: class entropy (nats)",
}


def number(value: float) -> str:
    """Return a number with three significant digits, and integers with separators."""
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinite"
    if value == round(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    decimals = max(0, DIGITS - 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{decimals}f}" if decimals <= 6 else f"{value:.2e}"


def axis_number(value: float) -> str:
    """Return the number of a tick, without trailing zeros."""
    if value and (abs(value) >= 1e6 or abs(value) < 1e-4):
        return f"{value:.3g}"
    return f"{value:,.5f}".rstrip("0").rstrip(".") if value != round(value) else f"{value:,.0f}"


def percent(share: float) -> str:
    """Return a share as a percentage with one decimal, unless it is zero."""
    return f"{share:.1%}".replace(".0%", "%")


def signed(value: float) -> str:
    """Return a change with its sign, two significant digits."""
    return f"{value:+.2g}".replace("-", "\u2212") if value else "0"


def listed(names: list[str]) -> str:
    """Return names as a list in a sentence: `a, b and c`."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]])) if names else "none"


def class_name(name: str) -> str:
    """Return a class name in one line, shortened; right-to-left text does not reorder the rest."""
    line = " ".join(name.split())
    if len(line) > MAX_CHARACTERS:
        line = line[: MAX_CHARACTERS - 1] + "…"
    line = "".join(each for each in line if each.isprintable())
    if any(unicodedata.bidirectional(each) in ("R", "AL") for each in line):
        return f"\u2068{line}\u2069"  # first strong isolate, and its end
    return line or "(unnamed)"


def sentence(content: str) -> str:
    """Return a text with a capital letter at its beginning."""
    return content[:1].upper() + content[1:]


def metric_name(metric: str) -> str:
    """Return the name of a metric such as `evaluate/test/vae/mse`; others are unchanged."""
    path = metric.removeprefix("evaluate/test/")
    for pattern, name in NAMES.items():
        if match := re.fullmatch(pattern, path):
            return name.format(*(GENERATORS.get(group, group) for group in match.groups()))
    return metric
