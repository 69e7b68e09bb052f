"""Crafted outputs of a finished pipeline, as far as the report reads them."""

import csv
from dataclasses import asdict

import numpy as np
from PIL import Image

from latentlab.common.files import write_json
from latentlab.data.image_set import DatasetInfo
from latentlab.evaluation.class_keys import class_keys
from latentlab.evaluation.examples import Examples
from latentlab.params.load import load_params
from latentlab.report.outputs import load_outputs
from small_budgets import SMALL, edit_params

PER_CLASS = 4
CALIBRATION = [
    {"confidence": 0.6, "accuracy": 0.5, "count": 10},
    {"confidence": 0.9, "accuracy": 0.8, "count": 30},
]
PICTURES = (
    "evaluate/plots/reconstructions",
    "evaluate/plots/samples",
    "evaluate/plots/errors",
    "evaluate/plots/gan_nearest",
    "evaluate/plots/autoencoder_tsne_2d",
    "denoise/plots/unet",
)


def craft_outputs(project, classes, channels=1):
    """Write outputs for these classes, of which the first is the hardest; return what is loaded.

    Without classes, the images are unlabeled.
    """
    edit_params(project.params, SMALL)
    params = load_params(project.params)
    _write_data(project, classes, channels)
    _write_tables(project, classes)
    _write_metrics(project, classes)
    samples = "classes" if classes else "images"
    for picture in (f"fetch/plots/{samples}", *PICTURES):
        path = project.root / "outputs" / f"{picture}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 32), "teal").save(path)
    return load_outputs(project, params, CALIBRATION if classes else [])


def _write_data(project, classes, channels):
    folder = project.outputs("fetch")
    labels = np.repeat(np.arange(max(len(classes), 1)), PER_CLASS)
    sizes = {split: len(labels) for split in ("train", "validation", "test")}
    info = DatasetInfo(
        "shapes", list(classes), [channels, 16, 16], sizes, [0.5] * channels, [0.2] * channels,
        {"file": "0"}, "d" * 64,
    )  # fmt: skip
    write_json(folder / "dataset.json", asdict(info))
    for split in sizes:
        (folder / split).mkdir(parents=True, exist_ok=True)
        np.save(folder / split / "labels.npy", labels)
    errors = np.where(labels == 0, 0.03, 0.01).astype(np.float32)
    values = {"evaluate/test/autoencoder/mse": errors}
    if classes:
        values["evaluate/test/classifier/accuracy"] = np.arange(len(labels)) > 0
    path = project.outputs("evaluate") / "examples.safetensors"
    Examples(values, dict.fromkeys(values, "0"), "0").write(path)


def _write_tables(project, classes):
    names = ("train/mse", "validation/mse", "train/elbo", "validation/elbo")
    distance = "validation/classifier_frechet_distance"
    epochs = [
        {"epoch": epoch, **dict.fromkeys(names, 0.2 / epoch), distance: 9 / epoch}
        for epoch in (1, 2)
    ]
    for stage in ("train", "vae", "gan"):
        _write_csv(project, f"{stage}/history.csv", epochs)
    trials = [
        {"number": number, "state": state, "validation/mse": error, "train.model.hidden": "64"}
        for number, state, error in ((0, "pruned", 0.2), (1, "complete", 0.1))
    ]
    _write_csv(project, "search/trials.csv", trials)
    _write_csv(
        project, "compare/latent_dim/table.csv",
        [{"value": value, "best_mse": 0.1 / value, "best_epoch": 1, "epochs": 1, "parameters": 9}
         for value in (2, 3)],
    )  # fmt: skip
    robustness = [
        {"corruption": corruption, "severity": severity, "method": method, "mse": error * severity}
        | ({"accuracy": 1 - error} if classes else {})
        for corruption in ("gaussian", "occlusion")
        for severity in (0.2, 0.4)
        for method, error in (("identity", 0.5), ("unet", 0.1), ("wiener", 0.2))
    ]
    _write_csv(project, "evaluate/robustness.csv", robustness)
    actual = [name for name in classes for _ in range(PER_CLASS)]
    predicted = [*classes[1:2], *actual[1:]]  # one image of the first class is confused
    _write_csv(
        project, "evaluate/confusion.csv",
        [{"actual": a, "predicted": p} for a, p in zip(actual, predicted, strict=True)],
    )  # fmt: skip
    rows = [
        {"labels_per_class": n, "frozen": 0.5, "fine_tuned": 0.4, "scratch": 0.3} for n in (4, 8)
    ]
    _write_csv(project, "finetune/label_efficiency.csv", rows if classes else [])


def _write_metrics(project, classes):
    latent = {"collapsed_share": 0.0, "trustworthiness": {"tsne_2d": 0.99}}
    if classes:
        start, end = class_keys(classes)[:2]
        smooth = {"linear_smoothness": 1.1, "spherical_smoothness": 1.2}
        latent |= {"knn_accuracy": 0.9, "walks": {f"{start}_to_{end}": smooth}}
    else:
        latent |= {"clusters": 3, "cluster_silhouette": 0.4}
    reconstruction = {"mse": 0.01, "psnr": 20.0, "latent": latent}
    reconstruction["pixel_pca"] = {"mse": 0.02, "psnr": 17.0, "latent": latent}
    generator = {"samples": 64, "reference_features": 8, "precision": 0.9, "recall": 0.8,
                 "density": 1.0, "coverage": 0.9, "copied": 0.25}  # fmt: skip
    distances = {"gan": 2.0, "vae": 5.0, "autoencoder_kde": 3.0, "real": 0.1}
    test = {
        "autoencoder": reconstruction,
        "vae": reconstruction | {"mse": 0.011, "gaussian": {"elbo": 100.0}},
        "reference": {"accuracy": 0.95},
        "denoise": {
            name: {"mse": 0.01, "corrupted_mse": 0.1, "wiener_mse": 0.02}
            for name in ("bottleneck", "unet")
        },
        "generators": {
            name: generator | {"classifier_frechet_distance": value}
            for name, value in distances.items()
        }
        | {"pixel_gaussian": {"classifier_frechet_distance": 1.0}},
    }
    if classes:
        test["classifier"] = {"accuracy": 0.9, "calibration_error": 0.1}
    bounds = {"elbo": 100.0, "kl": 5.0, "active_units": 8}
    metrics = {
        "fetch": {},
        "search": {
            "trials": {"complete": 1, "pruned": 1, "failed": 0, "total": 2}, "epochs": 5,
            "best_trial": 1, "importance": {"train.model.hidden": 0.7, "train.learning_rate": 0.3},
        },
        "train": {"parameters": 999, "best_epoch": 2, "epochs": 2, "validation": {"mse": 0.1}},
        "compare/latent_dim": {},
        "vae": {"validation": {"gaussian": bounds}},
        "gan": {"best_epoch": 2, "epochs": 2, "validation": {"classifier_frechet_distance": 4.5}},
        "evaluate": {"test": test},
    }  # fmt: skip
    for stage, values in metrics.items():
        write_json(project.outputs(stage) / "metrics.json", values)


def _write_csv(project, path, rows):
    target = project.root / "outputs" / path
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else ["empty"])
        writer.writeheader()
        writer.writerows(rows)
