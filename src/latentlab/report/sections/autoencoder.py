"""Autoencoder: its training, its reconstructions, and its error by class."""

import numpy as np

from latentlab.report.charts.bars import Bar, bar_chart
from latentlab.report.charts.lines import chart
from latentlab.report.charts.svg import Axis
from latentlab.report.document import Figure, Section, Table
from latentlab.report.outputs import Outputs
from latentlab.report.text import number, percent, sentence

MODELS = {"autoencoder": "Autoencoder", "vae": "VAE"}


def write(outputs: Outputs) -> Section:
    """Return the section about reconstructions."""
    test, train = outputs.test, outputs.metrics["train"]
    error, pca = test["autoencoder"]["mse"], test["autoencoder"]["pixel_pca"]["mse"]
    compared = f"{percent(1 - error / pca)} below" if error < pca else "not below"
    paragraphs = [
        f"The autoencoder has {train['parameters']:,} parameters. Its mean squared error on test "
        f"images is {number(error)} per pixel, {compared} that of as many principal components of "
        f"the pixels ({number(pca)}).",
    ]
    blocks: list[Figure | Table] = [_training(outputs)]
    if outputs.classes:
        blocks.append(_classes(outputs))
    blocks.append(_models(outputs))
    for picture in outputs.pictures("evaluate/plots/reconstructions.png"):
        better = "autoencoder" if error <= test["vae"]["mse"] else "VAE"
        text = f"The {better} reconstructs test images with the lower mean error."
        blocks.append(Figure("Test images and reconstructions", text, picture=picture, wide=True))
    return Section("Autoencoder", paragraphs, blocks)


def _models(outputs: Outputs) -> Table:
    rows = []
    for key, name in MODELS.items():
        values = outputs.test[key]
        for title, errors in ((name, values), ("Pixel PCA", values["pixel_pca"])):
            rows.append([title, number(errors["mse"]), f"{errors['psnr']:.1f}"])
    text = (
        "Errors on the test split. Pixel PCA has as many dimensions as the model above it. PSNR is "
        "the peak signal-to-noise ratio."
    )
    return Table("Reconstruction", text, ["model", "MSE per pixel", "PSNR (dB)"], rows)


def _training(outputs: Outputs) -> Figure:
    train = outputs.metrics["train"]
    curves = outputs.curves(
        "train/history.csv", {"train/mse": "training", "validation/mse": "validation"}
    )
    text = (
        f"The validation error is lowest after epoch {train['best_epoch']} of {train['epochs']}: "
        f"{number(train['validation']['mse'])}."
    )
    return Figure(
        "Training of the autoencoder",
        text,
        chart(curves, Axis("epoch", integer=True), Axis("MSE per pixel", log=True)),
    )


def _classes(outputs: Outputs) -> Figure:
    errors, labels = outputs.per_image["autoencoder/mse"], outputs.labels("test")
    present = np.unique(labels)
    means = [(float(errors[labels == label].mean()), outputs.classes[label]) for label in present]
    means.sort(key=lambda each: -each[0])
    (highest, hardest), (lowest, easiest) = means[0], means[-1]
    text = (
        f"{hardest} is the hardest class to reconstruct: its error is "
        f"{highest / max(lowest, 1e-12):.1f} times that of {easiest}."
    )
    bars = [Bar(name, mean) for mean, name in means]
    return Figure("Error by class (MSE per pixel)", sentence(text), bar_chart(bars))
