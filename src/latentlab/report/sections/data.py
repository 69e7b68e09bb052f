"""Data: classes, counts, samples and splits."""

import numpy as np

from latentlab.report.charts.bars import Bar, bar_chart
from latentlab.report.document import Figure, Section, Table
from latentlab.report.outputs import SPLITS, Outputs
from latentlab.report.text import listed, number, percent


def write(outputs: Outputs) -> Section:
    """Return the section about the images and their splits."""
    info = outputs.info
    depth, size, _ = info.image_shape
    kind = "gray" if depth == 1 else "color"
    total = sum(info.sizes.values())
    paragraphs = [
        f"The dataset {info.name} consists of {total:,} {kind} images of {size} x {size} pixels "
        + (f"in {len(info.classes)} classes." if info.classes else "without class labels."),
        "Models are trained on the training split and selected on the validation split. The test "
        "split is used once, for the results in this report.",
    ]
    blocks: list[Figure | Table] = [_splits(outputs)]
    if info.classes:
        blocks.append(_classes(outputs))
    for picture in outputs.pictures("fetch/plots/classes.png", "fetch/plots/images.png"):
        title = "Training images of each class" if info.classes else "Training images"
        shown = f"{number(info.mean[0])}" if depth == 1 else listed([number(m) for m in info.mean])
        text = f"The mean pixel value is {shown} on a scale from 0 (black) to 1 (white)."
        blocks.append(Figure(title, text, picture=picture, wide=True))
    return Section("Data", paragraphs, blocks)


def _splits(outputs: Outputs) -> Table:
    sizes = outputs.info.sizes
    total = sum(sizes.values())
    rows = [[split, f"{sizes[split]:,}", percent(sizes[split] / total)] for split in SPLITS]
    text = f"{percent(sizes['test'] / total)} of the images are test images."
    return Table("Splits", text, ["split", "images", "share"], rows)


def _classes(outputs: Outputs) -> Figure:
    classes = outputs.classes
    counts = np.bincount(outputs.labels("train"), minlength=len(classes))
    least, most = int(counts.argmin()), int(counts.argmax())
    if counts[least] == counts[most]:
        text = f"All classes have {counts[most]:,} training images."
    else:
        text = (
            f"{classes[most]} is the largest class with {counts[most]:,} training images, and "
            f"{classes[least]} the smallest with {counts[least]:,}."
        )
    bars = [Bar(name, int(count)) for name, count in zip(classes, counts, strict=True)]
    return Figure("Training images by class", text, bar_chart(bars, lambda each: f"{each:,.0f}"))
