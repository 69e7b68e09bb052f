"""Denoising: restored images, and the robustness of all methods."""

from collections.abc import Sequence

from latentlab.report.charts.lines import Series, chart
from latentlab.report.charts.svg import Axis
from latentlab.report.document import Figure, Section, Table
from latentlab.report.outputs import Outputs
from latentlab.report.text import MISSING, number, percent, sentence

IDENTITY = "identity"
"""The method that returns the corrupted image."""
SHOWN = {IDENTITY: "corrupted image", "wiener": "Wiener filter", "autoencoder": "autoencoder"}
CORRUPTIONS = {
    "gaussian": ("Gaussian noise", "standard deviation"),
    "occlusion": ("Occlusion", "occluded share of the image"),
    "salt_and_pepper": ("Salt-and-pepper noise", "share of changed pixels"),
    "blur": ("Blur", "standard deviation (pixels)"),
}
"""Titles and units of severities."""

Rows = Sequence[dict[str, str]]


def write(outputs: Outputs) -> Section:
    """Return the section about denoisers and robustness."""
    paragraphs = [
        "Denoisers restore corrupted images. They are compared with the Wiener filter, the best "
        "linear filter, which is fitted to the same corruption.",
    ]
    blocks: list[Figure | Table] = [_denoisers(outputs)]
    for name in outputs.params.denoise:
        values = outputs.test["denoise"][name]
        ratio = values["mse"] / values["corrupted_mse"]
        text = (
            f"The error of the restored test images is {percent(ratio)} of that of the corrupted "
            "images."
        )
        blocks += [
            Figure(f"Images restored by {name}", text, picture=picture, wide=True)
            for picture in outputs.pictures(f"denoise/plots/{name}.png")
        ]
    rows = outputs.table("evaluate/robustness.csv")
    for corruption in outputs.params.evaluate.severities:
        selected = [row for row in rows if row["corruption"] == corruption]
        if selected:
            blocks += _robustness(corruption, selected)
    return Section("Denoising and robustness", paragraphs, blocks)


def _denoisers(outputs: Outputs) -> Table:
    rows, wins, compared = [], 0, 0
    for name in outputs.params.denoise:
        values = outputs.test["denoise"][name]
        wiener = values.get("wiener_mse")
        compared += wiener is not None
        wins += wiener is not None and values["mse"] < wiener
        cells = [values["corrupted_mse"], values["mse"], wiener]
        rows.append([name, *(MISSING if each is None else number(each) for each in cells)])
    text = f"{wins} of {compared} denoisers have a lower error than the Wiener filter."
    if not compared:
        text = "The Wiener filter is not computed for images of this size."
    columns = ["denoiser", "corrupted", "restored", "Wiener filter"]
    return Table("MSE of restored test images", text, columns, rows)


def _robustness(corruption: str, rows: Rows) -> list[Figure]:
    """Return the charts of one corruption: the error, and with labels the accuracy."""
    title, unit = CORRUPTIONS.get(corruption, (corruption, "severity"))
    severities = sorted({float(row["severity"]) for row in rows})
    hardest = [row for row in rows if float(row["severity"]) == severities[-1]]
    at = f"at {unit} {severities[-1]:g}"
    best = min((row for row in hardest if row["method"] != IDENTITY), key=_error)
    corrupted = next(row for row in hardest if row["method"] == IDENTITY)
    text = f"{_shown(best)} restores best {at}: error {number(_error(best))}"
    text += (
        f", against {number(_error(corrupted))} of the corrupted image."
        if _error(best) < _error(corrupted)
        else f". No method improves the corrupted image (error {number(_error(corrupted))})."
    )
    figures = [
        Figure(
            f"{title}: error of restored test images",
            text,
            chart(_series(rows, "mse"), Axis(unit), Axis("MSE per pixel", log=True)),
        )
    ]
    if all(row.get("accuracy") for row in rows):
        best = max(hardest, key=lambda row: float(row["accuracy"]))
        reached = percent(float(best["accuracy"]))
        text = f"The classifier is most accurate on the output of {_name(best)} {at}: {reached}."
        figures.append(
            Figure(
                f"{title}: accuracy on restored test images",
                text,
                chart(_series(rows, "accuracy"), Axis(unit), Axis("accuracy", percent=True)),
            )
        )
    return figures


def _series(rows: Rows, column: str) -> list[Series]:
    methods = list(dict.fromkeys(row["method"] for row in rows))
    return [
        Series(
            SHOWN.get(method, method),
            sorted(
                (float(row["severity"]), max(float(row[column]), 1e-9))
                for row in rows
                if row["method"] == method
            ),
            color,
            dashed=method == IDENTITY,
        )
        for color, method in enumerate(methods)
    ]


def _error(row: dict[str, str]) -> float:
    return float(row["mse"])


def _name(row: dict[str, str]) -> str:
    method = row["method"]
    return f"the {SHOWN[method]}" if method in SHOWN else method


def _shown(row: dict[str, str]) -> str:
    return sentence(_name(row))
