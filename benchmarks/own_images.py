"""Four folders of images, from `latentlab init` to the report: time, and results of every model."""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .clones import ROOT, output_of, update_clone
from .pages import replace_section

PAGE = ROOT / "docs" / "how-to" / "own-images.md"

SIDE = 32
STRIDE = 24
PER_CLASS = 100
GLYPHS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789abdefghr"
FONT_FILES = (
    *("DejaVuSans-*.ttf", "DejaVuSansMono*.ttf", "DejaVuSerif-*.ttf"),
    *("DejaVuSans.ttf", "DejaVuSerif.ttf"),
)
"""Fonts of matplotlib with all of these characters."""

LABELS = {
    "test/autoencoder/mse": "autoencoder, MSE",
    "test/vae/mse": "VAE, MSE",
    "test/denoise/gaussian/mse": "denoiser, Gaussian noise of 0.3, MSE",
    "test/denoise/occlusion/mse": "denoiser, occlusion of 20%, MSE",
    "test/denoise/unet/mse": "denoiser, Gaussian noise of 0.05 to 0.55, MSE",
    "test/classifier/accuracy": "fine-tuned classifier, accuracy",
    "test/reference/accuracy": "reference classifier, accuracy",
    "test/generators/gan/classifier_frechet_distance": "GAN, Fréchet distance",
}


def write_photo_patches(folder: Path) -> None:
    """Write patches of the two photographs of scikit-learn as RGB files, in 3 textures of each."""
    for name, patches in _patches_by_texture().items():
        _write(folder / name, [Image.fromarray(each) for each in patches])


def write_deep_gray(folder: Path) -> None:
    """Write the brightness of these patches with 12 bits as files with 16 bits."""
    weights = np.array([0.299, 0.587, 0.114])
    for name, patches in _patches_by_texture().items():
        levels = (patches @ weights * 16).round().astype(np.uint16)
        _write(folder / name, [Image.fromarray(each) for each in levels])


def write_unlabeled(folder: Path) -> None:
    """Write 60 pictures of each of ten characters as files of one folder."""
    pictures = [picture for glyph in GLYPHS[:10] for picture in _draw_glyph(glyph, 60)]
    _write(folder, [pictures[at] for at in np.random.default_rng(0).permutation(len(pictures))])


def write_forty_classes(folder: Path) -> None:
    """Write 30 pictures of each of 40 characters."""
    for number, glyph in enumerate(GLYPHS):
        _write(folder / f"{number:02} {glyph}", _draw_glyph(glyph, 30))


FOLDERS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "photographs": ("RGB, 6 classes", write_photo_patches),
    "deep-gray": ("16 bits, 6 classes", write_deep_gray),
    "unlabeled": ("unlabeled", write_unlabeled),
    "characters": ("40 classes", write_forty_classes),
}


def measure() -> dict[str, Any]:
    """Return seconds and results of each folder, from `init` to the end of `dvc repro`."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        update_clone(ROOT, clone)
        return {"own_images": {name: _run(clone, name) for name in FOLDERS}}


def _run(clone: Path, name: str) -> dict[str, Any]:
    """Run the pipeline on a folder of images with the profile that `init` derives."""
    _, write = FOLDERS[name]
    write(clone / "data" / name)
    program = str(Path(sys.executable).with_name("latentlab"))
    dvc = (sys.executable, "-m", "dvc")
    start = time.perf_counter()
    output_of(program, "init", name, folder=clone)
    output_of(program, "profile", name, folder=clone)
    output_of(*dvc, "add", "--quiet", "data", folder=clone)
    output_of(*dvc, "repro", "--quiet", folder=clone)
    seconds = time.perf_counter() - start
    review = json.loads((clone / "outputs" / "evaluate" / "diagnosis.json").read_text("utf-8"))
    results: dict[str, Any] = {}
    for each in review["baselines"]:
        result = results.setdefault(each["name"], {"value": each["value"], "baselines": {}})
        result["baselines"][each["baseline"]] = each["baseline_value"]
    below = [
        f"{each['name']} ({each['baseline']})" for each in review["baselines"] if each["below"]
    ]
    print(f"{name}: {seconds:.0f} s, below the baseline: {below}", flush=True)
    return {"seconds": seconds, "below": below, "results": results}


def write_section(results: dict[str, Any]) -> None:
    """Write the table of the page, if it was measured."""
    if measured := results.get("own_images"):
        replace_section(PAGE, table(measured))


def table(measured: dict[str, Any]) -> str:
    """Return one row per model and one column per folder, as Markdown."""
    titles = [FOLDERS[name][0] for name in measured]
    seconds = [f"{each['seconds']:.0f}" for each in measured.values()]
    rows = [
        f"| | {' | '.join(titles)} |",
        f"|---|{'--:|' * len(titles)}",
        f"| seconds, from `init` to the report | {' | '.join(seconds)} |",
    ]
    for metric, label in LABELS.items():
        cells = [_cell(each["results"].get(metric)) for each in measured.values()]
        rows.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _cell(result: dict[str, Any] | None) -> str:
    """Return a result and its baselines in parentheses."""
    if result is None:
        return "none"
    baselines = " / ".join(_short(value) for value in result["baselines"].values())
    return f"{_short(result['value'])} ({baselines})"


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _patches_by_texture() -> dict[str, np.ndarray]:
    """Return patches [N, SIDE, SIDE, 3] of both photographs, in thirds of equal roughness."""
    from sklearn.datasets import load_sample_images

    random = np.random.default_rng(0)
    patches_of: dict[str, np.ndarray] = {}
    for name, photo in zip(("china", "flower"), load_sample_images().images, strict=True):
        rows, columns = (range(0, length - SIDE + 1, STRIDE) for length in photo.shape[:2])
        patches = np.stack([photo[y : y + SIDE, x : x + SIDE] for y in rows for x in columns])
        roughness = np.abs(np.diff(patches.mean(-1), axis=2)).mean((1, 2))
        by_roughness = np.array_split(np.argsort(roughness), 3)
        for texture, members in zip(("smooth", "medium", "rough"), by_roughness, strict=True):
            patches_of[f"{name} {texture}"] = patches[random.permutation(members)[:PER_CLASS]]
    return patches_of


def _draw_glyph(glyph: str, count: int) -> list[Image.Image]:
    """Draw a character in different fonts, sizes, angles and places."""
    import matplotlib

    fonts_folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    fonts = sorted(path for pattern in FONT_FILES for path in fonts_folder.glob(pattern))
    random = np.random.default_rng(ord(glyph))
    pictures = []
    for _ in range(count):
        font = ImageFont.truetype(str(fonts[random.integers(len(fonts))]), random.integers(19, 26))
        picture = Image.new("L", (SIDE, SIDE))
        place = tuple(SIDE / 2 + random.uniform(-2, 2, 2))
        ImageDraw.Draw(picture).text(place, glyph, 255, font, anchor="mm")
        pictures.append(picture.rotate(random.uniform(-12, 12), Image.Resampling.BICUBIC))
    return pictures


def _write(folder: Path, pictures: list[Image.Image]) -> None:
    folder.mkdir(parents=True)
    for number, picture in enumerate(pictures):
        picture.save(folder / f"{number:04}.png")
