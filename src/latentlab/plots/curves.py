"""Curves over epochs."""

from pathlib import Path

from latentlab.plots.canvas import PALETTE, new_figure, save


def plot_history(
    target: Path,
    history: list[dict[str, float]],
    columns: dict[str, str],
    ylabel: str,
    title: str,
    best_epoch: int | None = None,
) -> None:
    """Draw columns of a training history against the epoch.

    `columns` maps a column to its legend; an epoch may lack some. `best_epoch` is marked where
    there is one.
    """
    figure = new_figure(6, 3.8)
    axes = figure.subplots()
    for (column, legend), colour in zip(columns.items(), PALETTE, strict=False):
        known = {record["epoch"]: record[column] for record in history if column in record}
        line = {"color": colour, "label": legend, "marker": "o", "markersize": 3}
        axes.plot(list(known), list(known.values()), **line)
    if best_epoch is not None:
        axes.axvline(best_epoch, color="0.6", linestyle=":", label=f"kept: epoch {best_epoch}")
    axes.set(xlabel="epoch", ylabel=ylabel, title=title)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(color="0.9")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    save(figure, target)
