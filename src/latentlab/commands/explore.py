"""`latentlab latent`, `decode`, `walk` and `explore`: latent spaces of trained models."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentlab.common.errors import EnvironmentProblem, ParamsError
from latentlab.common.progress import progress_bar
from latentlab.common.project import Project
from latentlab.params.messages import nearest
from latentlab.params.schema import Params

if TYPE_CHECKING:
    import numpy as np

    from latentlab.evaluation.latent.space import EncodedProbe, LatentSpace

NEIGHBORS = 5
"""Training images that `decode` shows for each code."""
PARTS = 3
"""Steps of the progress bar of `examine`."""


def examine(
    project: Project, params: Params, model: str, split: str, folder: Path
) -> dict[str, Any]:
    """Return the metrics of a latent space on a split and write its plots to `folder`.

    `pixel_pca` has the metrics of as many principal components of the pixels.
    """
    from latentlab.evaluation.latent.projection import tsne_embeddings
    from latentlab.pipeline.latent import evaluate_latent_space, evaluate_pixel_pca

    settings = params.evaluate
    probe = encode_probe(project, params, model, split)
    with progress_bar("latent", PARTS, "parts") as bar:
        baseline = evaluate_pixel_pca(probe.source, probe.codes.shape[1], probe.source.images)
        bar.advance(1)
        embeddings = tsne_embeddings(probe.codes, settings.tsne_perplexity, probe.source.seed)
        bar.advance(1)
        metrics = evaluate_latent_space(probe, embeddings, settings, folder, model)
        bar.advance(1)
    return metrics | {"pixel_pca": baseline}


def decode(
    project: Project, params: Params, model: str, points: list[list[float]], target: Path
) -> None:
    """Draw the decoded image of each code, next to the training images with the nearest codes.

    Raises ParamsError if a code does not have as many coordinates as the latent space.
    """
    import numpy as np
    import torch

    from latentlab.plots.images import plot_rows

    probe = encode_probe(project, params, model, "train", whole_split=True)
    dimensions = probe.codes.shape[1]
    rows = {}
    for point in points:
        if len(point) != dimensions:
            raise ParamsError(
                f"--at has {len(point)} coordinates, but the codes of {model} have {dimensions}"
            )
        distances = np.linalg.norm(probe.codes - np.array(point, probe.codes.dtype), axis=1)
        closest = torch.from_numpy(np.argsort(distances, kind="stable")[:NEIGHBORS].copy())
        image = probe.space.images(torch.tensor([point]))
        label = ", ".join(f"{value:g}" for value in point)
        rows[label] = torch.cat([image, probe.source.images.floats(closest)])
    title = f"{probe.space.name}: decoded codes and their {NEIGHBORS} nearest training images"
    plot_rows(target, rows, title)


def parse_coordinates(text: str) -> list[float]:
    """Return the latent code that an option contains; raise ParamsError if it is not one."""
    try:
        coordinates = [float(value) for value in text.split(",")]
    except ValueError:
        coordinates = []
    if not coordinates or not all(map(math.isfinite, coordinates)):
        raise ParamsError(f"--at '{text}' is not a latent code. Write numbers, such as --at -3,2")
    return coordinates


def walk(
    project: Project, params: Params, model: str, ends: tuple[str, str], steps: int, folder: Path
) -> dict[str, float]:
    """Draw interpolations between two latent codes and return their smoothness.

    `ends` are classes, or validation images by number, such as `#12`. Raises ParamsError for
    anything else.
    """
    import torch

    from latentlab.pipeline.latent import plot_interpolation

    probe = encode_probe(project, params, model, "validation", whole_split=True)
    start, end = (torch.from_numpy(_code_of(name, probe)) for name in ends)
    keys, labels = zip(*(_names_of(name, probe.source.classes) for name in ends), strict=True)
    target = f"{folder / model}_walk_{'_to_'.join(keys)}"
    return plot_interpolation(probe.space, start, end, labels, steps, target)


def _names_of(end: str, classes: list[str]) -> tuple[str, str]:
    """Return the key of a class or image in a file name, and its label in a plot."""
    from latentlab.evaluation.class_keys import class_keys
    from latentlab.plots.labels import class_labels

    if end in classes:
        index = classes.index(end)
        return class_keys(classes)[index], class_labels(classes)[index]
    return f"image_{end.removeprefix('#')}", end


def open_explorer(project: Project) -> Path:
    """Open the explorer that the stage `report` wrote in the browser, and return its path.

    Raises EnvironmentProblem if it does not exist.
    """
    import webbrowser

    page = project.outputs("report") / "explorer.html"
    if not page.is_file():
        raise EnvironmentProblem(f"{page} does not exist; run `dvc repro report`")
    webbrowser.open(page.as_uri())
    return page


def _code_of(end: str, probe: EncodedProbe) -> np.ndarray:
    """Return the centroid [L] of a class, or the code [L] of an image such as `#12`."""
    classes, images = probe.source.classes, probe.source.images
    number = end.removeprefix("#")
    code: np.ndarray
    if end in classes:
        code = probe.centroids[classes.index(end)]
    elif end.startswith("#") and number.isdigit() and int(number) < len(images):
        code = probe.codes[int(number)]
    else:
        known = f"neither a class ({nearest(end, classes)}) nor a" if classes else "not a"
        raise ParamsError(f"'{end}' is {known} validation image (#0 to #{len(images) - 1})")
    return code


def encode_probe(
    project: Project, params: Params, model: str, split: str, whole_split: bool = False
) -> EncodedProbe:
    """Encode a sample of a split, or the whole split, in the latent space of a trained model."""
    from latentlab.data.image_set import load_info, load_split
    from latentlab.evaluation.latent.space import EncodedProbe, ProbeImages

    data_dir = project.outputs("fetch")
    info, seed = load_info(data_dir), params.runtime.seed
    train, images = load_split(data_dir, "train"), load_split(data_dir, split)
    space = _load_space(project, params, model)
    if split == "train" and not whole_split:
        train = load_split(data_dir, "validation")  # probes must not be fitted to the same images
    if whole_split:
        source = ProbeImages(train, images, info.classes, split, len(images), seed)
    else:
        source = ProbeImages.sample(train, images, info.classes, split, params.evaluate, seed)
    return EncodedProbe(space, source)


def _load_space(project: Project, params: Params, name: str) -> LatentSpace:
    """Load the latent space of `autoencoder`, `vae` or a denoising autoencoder by its name."""
    from latentlab.evaluation.latent.space import LatentSpace
    from latentlab.models.autoencoder import Autoencoder
    from latentlab.models.denoiser import Denoiser
    from latentlab.models.io import load_model
    from latentlab.models.vae import Vae

    if name == "autoencoder":
        trained = load_model(Autoencoder, project.outputs("train") / "model")
        return LatentSpace.of_autoencoder("Autoencoder", trained)
    if name == "vae":
        return LatentSpace.of_vae("VAE", load_model(Vae, project.outputs("vae") / "model"))
    denoisers = [
        entry for entry, each in params.denoise.items() if each.network.type == "autoencoder"
    ]
    if name in denoisers:
        denoiser = load_model(Denoiser, project.outputs("denoise") / "model" / name)
        assert isinstance(denoiser.network, Autoencoder)
        return LatentSpace.of_autoencoder(f"Denoiser {name}", denoiser.network)
    allowed = ["autoencoder", "vae", *denoisers]
    raise ParamsError(f"'{name}' is not a model with a latent space; {nearest(name, allowed)}")
