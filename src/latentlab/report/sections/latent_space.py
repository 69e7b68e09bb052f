"""Latent space: maps, quality measures and interpolations."""

from typing import Any

from latentlab.report.document import Figure, Section, Table
from latentlab.report.outputs import Outputs
from latentlab.report.text import MISSING, number, percent

MODELS = {"autoencoder": "Autoencoder", "vae": "VAE"}
MEASURES = {
    "knn_accuracy": "accuracy of 5 nearest neighbors",
    "probe_accuracy": "accuracy of a linear probe",
    "silhouette": "silhouette coefficient of the classes",
    "kmeans_nmi": "agreement of k-means with the classes (NMI)",
    "clusters": "clusters",
    "cluster_silhouette": "silhouette coefficient of the clusters",
    "collapsed_share": "share of unused dimensions",
}
"""Measures of latent codes in `metrics.json`; which ones exist depends on labels."""
SHARES = ("knn_accuracy", "probe_accuracy", "collapsed_share")


def write(outputs: Outputs) -> Section:
    """Return the section about the latent spaces of the autoencoder and the VAE."""
    paragraphs = [
        "A latent code is what the encoder keeps of an image. The explorer decodes any point of "
        "these spaces in the browser.",
    ]
    blocks: list[Figure | Table] = []
    for model, name in MODELS.items():
        blocks += _maps(outputs, model, name)
    blocks.append(_measures(outputs))
    for model, name in MODELS.items():
        blocks += _walks(outputs, model, name)
    return Section("Latent space", paragraphs, blocks)


def _measures(outputs: Outputs) -> Table:
    latent = {name: outputs.test[model]["latent"] for model, name in MODELS.items()}
    latent["Pixel PCA"] = outputs.test["autoencoder"]["pixel_pca"]["latent"]
    rows = [
        [title, *(_cell(key, codes) for codes in latent.values())]
        for key, title in MEASURES.items()
        if any(key in codes for codes in latent.values())
    ]
    if "knn_accuracy" in latent["Autoencoder"]:
        best = max(latent, key=lambda name: latent[name]["knn_accuracy"])
        text = (
            f"Neighbors agree most on the class in the codes of {best}: "
            f"{percent(latent[best]['knn_accuracy'])} of test images are classified correctly."
        )
    else:
        text = f"The codes of the autoencoder form {latent['Autoencoder']['clusters']} clusters."
    return Table("What the codes say", text, ["measure", *latent], rows)


def _cell(key: str, codes: dict[str, Any]) -> str:
    if key not in codes:
        return MISSING
    return percent(codes[key]) if key in SHARES else number(codes[key])


def _maps(outputs: Outputs, model: str, name: str) -> list[Figure]:
    kept = outputs.test[model]["latent"].get("trustworthiness", {})
    title = f"{name}: map of the codes of test images (t-SNE)"
    text = (
        f"Trustworthiness {kept['tsne_2d']:.3f}: at 1, all neighbors on the map are also neighbors "
        "in the latent space."
        if "tsne_2d" in kept
        else "Neighbors on the map are mostly neighbors in the latent space."
    )
    return [
        Figure(title, text, picture=picture)
        for picture in outputs.pictures(f"evaluate/plots/{model}_tsne_2d.png")
    ]


def _walks(outputs: Outputs, model: str, name: str) -> list[Figure]:
    figures = []
    for pair, values in outputs.test[model]["latent"].get("walks", {}).items():
        start, end = outputs.pair(pair)
        smooth = values["linear_smoothness"], values["spherical_smoothness"]
        better = "straight" if smooth[0] <= smooth[1] else "spherical"
        text = (
            f"The {better} path is smoother: its largest step is {min(smooth):.2f} times the mean "
            f"step, against {max(smooth):.2f} of the other one."
        )
        figures += [
            Figure(f"{name}: from {start} to {end}", text, picture=picture, wide=True)
            for picture in outputs.pictures(f"evaluate/plots/{model}_walk_{pair}.png")
        ]
    return figures
