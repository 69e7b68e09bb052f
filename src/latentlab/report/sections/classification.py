"""Classification: confusion, worst errors, calibration and label efficiency."""

import numpy as np

from latentlab.evaluation.classification import confusion_counts
from latentlab.report.charts.bars import Bar, bar_chart
from latentlab.report.charts.heat_map import heat_map
from latentlab.report.charts.lines import Series, chart
from latentlab.report.charts.svg import Axis
from latentlab.report.document import Figure, Section, Table
from latentlab.report.outputs import Outputs
from latentlab.report.text import number, percent, sentence

METHODS = {
    "frozen": "frozen encoder",
    "fine_tuned": "fine-tuned encoder",
    "scratch": "from scratch",
}
WIDE = 12
"""Classes from which the confusion matrix takes the whole width."""


def write(outputs: Outputs) -> Section:
    """Return the section about the classifier; without labels it says that there are none."""
    if not outputs.classes:
        text = f"{outputs.info.name} has no class labels, so no classifier was trained."
        return Section("Classification", [text])
    values = outputs.test["classifier"]
    paragraphs = [
        f"A classifier on the encoder of the autoencoder assigns {percent(values['accuracy'])} of "
        f"the test images to the right class. The reference classifier, a network of its own that "
        f"measures generated images, reaches {percent(outputs.test['reference']['accuracy'])}.",
    ]
    shares = _confusion(outputs)
    blocks: list[Figure | Table] = [_matrix(outputs, shares), _recall(outputs, shares)]
    for picture in outputs.pictures("evaluate/plots/errors.png"):
        wrong = int((~outputs.per_image["classifier/accuracy"].astype(bool)).sum())
        text = f"The classifier is wrong about {wrong:,} of {outputs.info.sizes['test']:,} images."
        blocks.append(Figure("Most confident errors", text, picture=picture, wide=True))
    blocks += [_calibration(outputs, values["calibration_error"]), *_label_efficiency(outputs)]
    return Section("Classification", paragraphs, blocks)


def _confusion(outputs: Outputs) -> np.ndarray:
    """Return the confusion matrix [actual, predicted] as shares of the actual classes."""
    index = {name: number for number, name in enumerate(outputs.info.classes)}
    rows = outputs.table("evaluate/confusion.csv")
    actual, predicted = (
        np.array([index[row[side]] for row in rows]) for side in ("actual", "predicted")
    )
    counts = confusion_counts(actual, predicted, len(index))
    shares: np.ndarray = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    return shares


def _matrix(outputs: Outputs, shares: np.ndarray) -> Figure:
    errors = shares * (1 - np.eye(len(shares)))
    actual, predicted = np.unravel_index(errors.argmax(), errors.shape)
    names = outputs.classes
    if errors.max() == 0:
        text = "The classifier makes no error on the test split."
    else:
        text = (
            f"{names[actual]} is most often confused with {names[predicted]}: "
            f"{percent(errors.max())} of its test images."
        )
    chart = heat_map(shares.tolist(), names, "actual class", "predicted class")
    title = "Confusion matrix (percent of each actual class)"
    return Figure(title, sentence(text), chart, wide=len(names) > WIDE)


def _recall(outputs: Outputs, shares: np.ndarray) -> Figure:
    present = np.unique(outputs.labels("test"))
    recall = [(float(shares[label, label]), outputs.classes[label]) for label in present]
    recall.sort(key=lambda each: each[0])
    (lowest, hardest), (highest, easiest) = recall[0], recall[-1]
    text = (
        f"{hardest} is the hardest class: {percent(lowest)} of its images are recognized. "
        f"{easiest} is the easiest with {percent(highest)}."
    )
    bars = [Bar(name, share) for share, name in recall]
    return Figure("Recall of each class", sentence(text), bar_chart(bars, percent))


def _calibration(outputs: Outputs, error: float) -> Figure:
    bins = outputs.calibration
    gap = sum((each["confidence"] - each["accuracy"]) * each["count"] for each in bins)
    direction = "too confident" if gap > 0 else "not confident enough"
    text = (
        f"On average, confidence and accuracy differ by {percent(error)} (expected calibration "
        f"error). The classifier is {direction} overall."
    )
    points = [(each["confidence"], each["accuracy"]) for each in bins]
    series = [
        Series("perfect calibration", [(0, 0), (1, 1)], 9, dashed=True, marker=False),
        Series("classifier", points, 0),
    ]
    axis = Axis("confidence", percent=True, low=0, high=1)
    accuracy = Axis("accuracy", percent=True, low=0, high=1)
    return Figure("Calibration on test images", text, chart(series, axis, accuracy))


def _label_efficiency(outputs: Outputs) -> list[Figure]:
    rows = outputs.table("finetune/label_efficiency.csv")
    rows = [row for row in rows if (row.get("labels_per_class") or "").isdigit()]
    if not rows:
        return []
    series = [
        Series(
            name,
            sorted((float(row["labels_per_class"]), float(row[method])) for row in rows),
            color,
        )
        for color, (method, name) in enumerate(METHODS.items())
    ]
    fewest = min(rows, key=lambda row: int(row["labels_per_class"]))
    best = max(METHODS, key=lambda method: float(fewest[method]))
    text = (
        f"With {number(float(fewest['labels_per_class']))} labels per class, the {METHODS[best]} "
        f"is best: {percent(float(fewest[best]))} of the validation images."
        if best != "scratch"
        else f"With {fewest['labels_per_class']} labels per class, training from scratch is best: "
        f"{percent(float(fewest[best]))} of the validation images."
    )
    x = Axis("labels per class", log=True)
    return [Figure("Label efficiency", text, chart(series, x, Axis("accuracy", percent=True)))]
