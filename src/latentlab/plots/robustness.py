"""Plots of the robustness of denoising methods and of a classifier to corruption."""

from pathlib import Path

from latentlab.plots.canvas import PALETTE, legend_outside, new_figure, save

CORRUPTIONS = {
    "gaussian": ("Gaussian noise", "standard deviation of the noise (pixels in [0, 1])"),
    "occlusion": ("occlusion", "fraction of the image covered"),
    "salt_and_pepper": ("salt-and-pepper noise", "fraction of the pixels replaced"),
    "blur": ("blur", "standard deviation of the blur (pixels)"),
}
"""The name of each corruption in titles, and its severity with unit."""
METHODS = {
    "identity": "corrupted input",
    "autoencoder": "autoencoder",
    "wiener": "Wiener filter",
}
METRICS = {"mse": "MSE per pixel to the clean image", "accuracy": "accuracy of the classifier"}
MIN_MSE = 1e-4
"""Lower end of the MSE axis.

Without this limit, near-zero errors (a filter that inverts the blur) would squeeze the other
curves.
"""


def plot_robustness(
    target: Path, corruption: str, curves: dict[float, dict[str, dict[str, float]]]
) -> None:
    """Draw MSE and accuracy of every method against the severity of a corruption.

    `curves` has the metrics by severity and method; without a classifier there is no accuracy.
    Methods that are not in `METHODS` are names of denoising networks.
    """
    title, xlabel = CORRUPTIONS[corruption]
    severities = sorted(curves)
    methods = list(curves[severities[0]])
    drawn = [metric for metric in METRICS if metric in curves[severities[0]][methods[0]]]
    figure = new_figure(2 + 4 * len(drawn), 3.8)
    panels = figure.subplots(1, len(drawn), squeeze=False)[0]
    for axes, metric in zip(panels, drawn, strict=True):
        for index, method in enumerate(methods):
            axes.plot(
                severities,
                [curves[severity][method][metric] for severity in severities],
                color=PALETTE[index % len(PALETTE)],
                marker="o",
                markersize=3,
                label=METHODS.get(method, f"denoiser: {method}"),
            )
        axes.set(xlabel=xlabel, ylabel=METRICS[metric])
        if metric == "mse":  # methods differ by orders of magnitude
            axes.set_yscale("log")
            axes.set_ylim(bottom=max(MIN_MSE, axes.get_ylim()[0]))
        axes.grid(color="0.9")
    legend_outside(panels[-1])
    figure.suptitle(f"Robustness to {title}")
    save(figure, target)
