"""What is left of corrupted images, against how much they were corrupted."""

from pathlib import Path

from latentlab.plots.canvas import PALETTE, new_figure, save

UNITS = {
    "gaussian": "standard deviation of the noise",
    "occlusion": "share of the image that is covered",
    "salt_and_pepper": "share of the pixels that are replaced",
    "blur": "standard deviation of the blur (pixels)",
}
LABELS = {
    "identity": "noisy input",
    "autoencoder": "autoencoder",
    "wiener": "Wiener filter",
}
LEAST = 1e-4
"""MSE at which the axis ends: a filter that undoes a blur would press all other curves together."""
PANELS = {"mse": "MSE per pixel to the clean image", "accuracy": "accuracy of the classifier"}


def plot_robustness(
    target: Path, kind: str, curves: dict[float, dict[str, dict[str, float]]]
) -> None:
    """Draw error and accuracy of every method; `curves` has them by severity and method."""
    figure = new_figure(10, 3.8)
    severities = sorted(curves)
    methods = list(curves[severities[0]])
    panels = figure.subplots(1, len(PANELS))
    for axes, (term, ylabel) in zip(panels, PANELS.items(), strict=True):
        for index, method in enumerate(methods):
            axes.plot(
                severities,
                [curves[severity][method][term] for severity in severities],
                color=PALETTE[index % len(PALETTE)],
                marker="o",
                markersize=3,
                label=LABELS.get(method, f"denoiser: {method}"),
            )
        axes.set(xlabel=UNITS[kind], ylabel=ylabel)
        if term == "mse":  # doing nothing is worse by orders of magnitude
            axes.set_yscale("log")
            axes.set_ylim(bottom=max(LEAST, axes.get_ylim()[0]))
        axes.grid(color="0.9")
    panels[-1].legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    figure.suptitle(f"{kind.replace('_', ' ')}: test images that were corrupted, and then restored")
    save(figure, target)
