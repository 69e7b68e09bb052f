"""How MLflow's UI shows an experiment: a shared view with useful columns and charts.

The UI reads a shared view from a tag of the experiment if its key is in the address of the page.
The format is the one in which the UI saves its own state.
"""

import json
from typing import Any

KEY = "latentlab"
"""Key of the shared view, in the tag and in the address."""

COLUMNS = (
    "metrics.`validation/mse`",
    "metrics.`validation/accuracy`",
    "metrics.`validation/classifier_frechet_distance`",
    "metrics.`test/autoencoder/mse`",
    "metrics.`test/classifier/accuracy`",
    "params.`train.model.latent_dim`",
    "params.`train.learning_rate`",
    "tags.`git_commit`",
)

CURVES = (
    ("train/loss", "validation/loss"),
    ("validation/mse",),
    ("validation/accuracy",),
    ("validation/classifier_frechet_distance",),
)
"""Metrics per epoch; those of one chart are in one tuple."""

HEADLINES = (
    "test/autoencoder/mse",
    "test/vae/mse",
    "test/classifier/accuracy",
    "test/generators/gan/classifier_frechet_distance",
)

IMAGES = ("reconstructions", "restored", "predictions", "samples", "latent_map")


def view_tags() -> dict[str, str]:
    """Return the tag of an experiment that contains the shared view."""
    sections = {"curves": "Learning curves", "images": "Images", "headlines": "Headline metrics"}
    charts = [_chart("LINE", "curves", names[0], selectedMetricKeys=names) for names in CURVES]
    charts.append(_chart("IMAGE", "images", "", imageKeys=IMAGES, step=1, showRunParams=False))
    charts += [_chart("BAR", "headlines", name) for name in HEADLINES]
    view = {
        "selectedColumns": COLUMNS,
        "runsHiddenMode": "SHOWALL",
        "compareRunCharts": charts,
        "compareRunSections": [
            {"uuid": uuid, "name": name, "display": True, "isReordered": True}
            for uuid, name in sections.items()
        ],
        # otherwise the sections are sorted by name
        "isAccordionReordered": True,
    }
    return {f"mlflow.sharedViewState.{KEY}": json.dumps(view)}


def _chart(kind: str, section: str, metric: str, **settings: Any) -> dict[str, Any]:
    return {
        "type": kind,
        "uuid": f"{section}-{metric}",
        "metricSectionId": section,
        "metricKey": metric,
        "runsCountToCompare": 10,
        "lineSmoothness": 0,
        "useGlobalLineSmoothing": False,
        "deleted": False,
        "isGenerated": False,
    } | settings


def runs_page(server: str, experiment: str) -> str:
    """Return the address of the page with the runs of an experiment in the shared view.

    Without `workflowType`, the UI opens its page for language models.
    """
    parameters = f"workflowType=machine_learning&viewStateShareKey={KEY}"
    return f"{server}/#/experiments/{experiment}/runs?{parameters}"
