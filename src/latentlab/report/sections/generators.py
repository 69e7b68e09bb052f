"""Generators: which one is best, and why."""

from dataclasses import replace
from typing import Any

from latentlab.report.charts.bars import Bar, bar_chart
from latentlab.report.charts.lines import chart
from latentlab.report.charts.svg import Axis
from latentlab.report.document import Figure, Section, Table
from latentlab.report.outputs import Outputs
from latentlab.report.text import GENERATORS, MISSING, number, percent

DISTANCE = "classifier_frechet_distance"
REAL = "real"
BASELINES = (REAL, "pixel_gaussian")
"""Entries in the metrics of generators that are no generators: the best and a weak one."""
COLUMNS = {
    DISTANCE: ("Fréchet distance", number),
    "precision": ("precision", percent),
    "recall": ("recall", percent),
    "density": ("density", number),
    "coverage": ("coverage", percent),
    "copied": ("copied", percent),
}
"""Metrics in the table: title and format."""


def best_generator(outputs: Outputs) -> str:
    """Return the generator with the lowest Fréchet distance."""
    metrics: dict[str, Any] = outputs.test["generators"]
    return min(
        (name for name in metrics if name not in BASELINES),
        key=lambda name: metrics[name][DISTANCE],
    )


def verdict(outputs: Outputs) -> str:
    """Return a sentence on which generator is best, and why."""
    metrics, best = outputs.test["generators"], best_generator(outputs)
    others = [name for name in metrics if name not in (best, *BASELINES)]
    second = min(others, key=lambda name: metrics[name][DISTANCE])
    a, b = metrics[best], metrics[second]
    reasons = [
        f"{title} {percent(a[key])} against {percent(b[key])}"
        for key, title in (("precision", "precision"), ("recall", "recall"))
    ]
    return (
        f"{GENERATORS.get(best, best)} is the best generator: its Fréchet distance to the test "
        f"images is {number(a[DISTANCE])}, that of the second, {GENERATORS.get(second, second)}, "
        f"is {number(b[DISTANCE])} ({' and '.join(reasons)})."
    )


def write(outputs: Outputs) -> Section:
    """Return the section about generated images."""
    metrics = outputs.test["generators"]
    samples, features = metrics["gan"]["samples"], metrics["gan"]["reference_features"]
    paragraphs = [
        verdict(outputs),
        f"Each generator draws {samples:,} images, which are compared with the test images in "
        f"{features} features of the reference classifier. Precision is the share of generated "
        "images that resemble real ones, and recall the share of real images that a generator can "
        "produce. Distances depend on the number of samples.",
    ]
    blocks: list[Figure | Table] = [_table(outputs), _distances(metrics)]
    for picture in outputs.pictures("evaluate/plots/samples.png"):
        best = GENERATORS.get(best_generator(outputs))
        text = f"{best} has the lowest Fréchet distance."
        blocks.append(Figure("Real and generated images", text, picture=picture, wide=True))
    blocks += [_gan(outputs), _vae(outputs)]
    for name in ("gan", "vae"):
        copied = percent(metrics[name]["copied"])
        blocks += [
            Figure(
                f"{GENERATORS[name]}: samples and their nearest training images",
                f"{copied} of the samples are near-duplicates of training images.",
                picture=picture,
                wide=True,
            )
            for picture in outputs.pictures(f"evaluate/plots/{name}_nearest.png")
        ]
    return Section("Generators", paragraphs, blocks)


def _table(outputs: Outputs) -> Table:
    metrics, best = outputs.test["generators"], best_generator(outputs)
    rows = [[GENERATORS.get(name, name), *_cells(values)] for name, values in metrics.items()]
    precise = max(
        (name for name in metrics if name not in BASELINES), key=lambda n: metrics[n]["precision"]
    )
    broad = max(
        (name for name in metrics if name not in BASELINES), key=lambda n: metrics[n]["recall"]
    )
    text = f"{GENERATORS.get(precise, precise)} has the highest precision"
    text += (
        " and the highest recall."
        if precise == broad
        else f", and {GENERATORS.get(broad, broad)} the highest recall."
    )
    columns = ["generator", *(title for title, _ in COLUMNS.values())]
    marks = {list(metrics).index(best): "best"}
    return Table("Quality of generated images", text, columns, rows, marks=marks)


def _cells(values: dict[str, Any]) -> list[str]:
    return [write(values[key]) if key in values else MISSING for key, (_, write) in COLUMNS.items()]


def _distances(metrics: dict[str, Any]) -> Figure:
    ordered = sorted(metrics, key=lambda name: metrics[name][DISTANCE])
    bars = [
        Bar(GENERATORS.get(name, name), max(metrics[name][DISTANCE], 0), muted=name in BASELINES)
        for name in ordered
    ]
    text = (
        f"Real images of the validation split have a distance of "
        f"{number(metrics[REAL][DISTANCE])}, which no generator can be expected to undercut."
    )
    return Figure("Fréchet distance to test images", text, bar_chart(bars, color=3))


def _gan(outputs: Outputs) -> Figure:
    gan = outputs.metrics["gan"]
    curves = outputs.curves("gan/history.csv", {f"validation/{DISTANCE}": "DCGAN"})
    curve = [replace(each, color=3) for each in curves]
    text = (
        f"The generator of epoch {gan['best_epoch']} of {gan['epochs']} was kept, with a distance "
        f"of {number(gan['validation'][DISTANCE])} to validation images."
    )
    drawn = chart(curve, Axis("epoch", integer=True), Axis("Fréchet distance", low=0))
    return Figure("DCGAN: Fréchet distance while training", text, drawn)


def _vae(outputs: Outputs) -> Figure:
    vae = outputs.metrics["vae"]
    curves = outputs.curves(
        "vae/history.csv", {"train/elbo": "training", "validation/elbo": "validation"}
    )
    bounds = vae["validation"][outputs.params.vae.likelihood]
    text = (
        f"The validation ELBO reaches {number(bounds['elbo'])} nats with a KL divergence of "
        f"{number(bounds['kl'])} nats; {bounds['active_units']} of "
        f"{outputs.params.vae.model.latent_dim} latent dimensions are used."
    )
    drawn = chart(curves, Axis("epoch", integer=True), Axis("ELBO (nats per image)"))
    return Figure("VAE: evidence lower bound", text, drawn)
