"""`latentlab latent`, `decode` and `walk`: a look at the latent space of a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentlab.common.errors import ParamsError
from latentlab.common.progress import progress_bar
from latentlab.common.project import Project
from latentlab.params.messages import nearest
from latentlab.params.schema import Params

if TYPE_CHECKING:
    import numpy as np

    from latentlab.evaluation.latent.space import EncodedProbe, LatentSpace

NEIGHBORS = 5
PARTS = 3
"""Of an examination that are told as they end."""


def examine(
    project: Project, params: Params, model: str, split: str, folder: Path
) -> dict[str, Any]:
    """Figures of a latent space on a split; its maps, density and walks go to `folder`.

    `pixel_pca` has those of as many principal components of the pixels.
    """
    from latentlab.evaluation.latent.projection import tsne_embeddings
    from latentlab.pipeline.latent import evaluate_pixel_pca
    from latentlab.pipeline.latent import examine as examine_view

    settings = params.evaluate
    view = open_view(project, params, model, split)
    with progress_bar("latent", PARTS, "parts") as bar:
        line = evaluate_pixel_pca(view.seen, view.codes.shape[1], view.seen.images)
        bar.advance(1)
        embedded = tsne_embeddings(view.codes, settings.tsne_perplexity, view.seen.seed)
        bar.advance(1)
        figures = examine_view(view, embedded, settings, folder, model)
        bar.advance(1)
    return figures | {"pixel_pca": line}


def decode(
    project: Project, params: Params, model: str, points: list[list[float]], target: Path
) -> None:
    """Draw the images of codes, each beside the training images whose codes are the nearest."""
    import numpy as np
    import torch

    from latentlab.plots.images import plot_rows

    view = open_view(project, params, model, "train", whole=True)
    for point in points:
        if len(point) != view.codes.shape[1]:
            raise ParamsError(
                f"--at has {len(point)} coordinates, but a code of {model} has "
                f"{view.codes.shape[1]}"
            )
    rows = {}
    for point in points:
        distances = np.linalg.norm(view.codes - np.array(point, view.codes.dtype), axis=1)
        closest = torch.from_numpy(np.argsort(distances, kind="stable")[:NEIGHBORS].copy())
        image = view.space.images(torch.tensor([point]))
        rows[_as_text(point)] = torch.cat([image, view.seen.images.floats(closest)])
    title = f"{view.space.called}: decoded, and the {NEIGHBORS} nearest training images"
    plot_rows(target, rows, title)


def walk(
    project: Project, params: Params, model: str, ends: tuple[str, str], steps: int, folder: Path
) -> dict[str, float]:
    """Walk between two classes, or two validation images by their numbers, such as `#12`."""
    import torch

    from latentlab.evaluation.classification import as_key
    from latentlab.pipeline.latent import walk as walk_between

    view = open_view(project, params, model, "validation", whole=True)
    codes = [torch.from_numpy(_code_of(end, view)) for end in ends]
    between = as_key("_to_".join(ends).replace("#", "image_"))
    return walk_between(view.space, codes, ends, steps, f"{folder / model}_walk_{between}")


def _code_of(end: str, view: EncodedProbe) -> np.ndarray:
    classes, images = view.seen.classes, view.seen.images
    if end in classes:
        return view.centroids[classes.index(end)]
    number = end.removeprefix("#")
    if end.startswith("#") and number.isdigit() and int(number) < len(images):
        return view.codes[int(number)]
    raise ParamsError(
        f"'{end}' is neither a class nor an image: {nearest(end, classes)}; validation "
        f"images are #0 to #{len(images) - 1}"
    )


def _as_text(point: list[float]) -> str:
    return ", ".join(f"{value:g}" for value in point)


def open_view(
    project: Project, params: Params, model: str, split: str, whole: bool = False
) -> EncodedProbe:
    """The latent space of a trained model, seen by a sample of the images, or by all of them."""
    from latentlab.data.image_set import load_info, load_split
    from latentlab.evaluation.latent.space import EncodedProbe, ProbeImages

    data_dir = project.outputs("fetch")
    info, seed = load_info(data_dir), params.runtime.seed
    train, images = load_split(data_dir, "train"), load_split(data_dir, split)
    space = _space_of(project, params, model)
    if split == "train" and not whole:
        train = load_split(data_dir, "validation")  # an image is not judged by itself
    if whole:
        return EncodedProbe(
            space, ProbeImages(train, images, info.classes, split, len(images), seed)
        )
    return EncodedProbe(
        space, ProbeImages.sample(train, images, info.classes, split, params.evaluate, seed)
    )


def _space_of(project: Project, params: Params, name: str) -> LatentSpace:
    from latentlab.evaluation.latent.space import LatentSpace
    from latentlab.models.autoencoder import Autoencoder
    from latentlab.models.denoiser import Denoiser
    from latentlab.models.io import load_model
    from latentlab.models.vae import Vae

    with_code = [name for name, each in params.denoise.items() if each.model is not None]
    if name == "autoencoder":
        trained = load_model(Autoencoder, project.outputs("train") / "model")
        return LatentSpace.of_autoencoder(name, trained)
    if name == "vae":
        return LatentSpace.of_vae("VAE", load_model(Vae, project.outputs("vae") / "model"))
    if name in with_code:
        denoiser = load_model(Denoiser, project.outputs("denoise") / "model" / name)
        return LatentSpace.of_autoencoder(f"denoiser {name}", denoiser.network)
    known = ["autoencoder", "vae", *with_code]
    raise ParamsError(f"no model with a code is called '{name}'; {nearest(name, known)}")
