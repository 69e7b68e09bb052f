"""report: the report and the explorer of the latent space, from the outputs of all other stages."""

from typing import Any

from latentlab.common.errors import LatentlabError
from latentlab.common.files import write_text
from latentlab.data.image_set import DatasetInfo
from latentlab.evaluation.classification import calibration_bins
from latentlab.gate.judgment import judge_outputs
from latentlab.gate.report import Report as GateReport
from latentlab.models.classifier import Classifier
from latentlab.models.inference import apply_in_batches, in_batches
from latentlab.models.io import load_model
from latentlab.params.fields import flatten
from latentlab.params.resolve import resolved_params
from latentlab.params.yaml_io import read_plain
from latentlab.pipeline.context import StageContext
from latentlab.report.contents import Origin, write_contents
from latentlab.report.explorer.content import load_content
from latentlab.report.explorer.page import write_explorer
from latentlab.report.outputs import load_outputs
from latentlab.report.render import as_description, as_html, as_markdown

RESULTS = "docs/results.yaml"
"""The file with values of published reports."""


def run(stage: StageContext) -> None:
    """Write `index.html`, `report.md` and `explorer.html`."""
    info = stage.load_info()
    stage.name_run(info.name)
    outputs = load_outputs(stage.project, stage.params, _calibration(stage, info))
    report = write_contents(outputs, Origin(_judge(stage), _published(stage), stage.fingerprint))
    files = [stage.output / name for name in ("index.html", "report.md", "explorer.html")]
    page, markdown, explorer = files
    write_text(page, as_html(report))
    write_text(markdown, as_markdown(report, stage.output))
    write_explorer(explorer, load_content(stage.project, stage.params))
    for file in files:
        stage.run.log_files(file)
    stage.run.describe({}, as_description(report))


def _calibration(stage: StageContext, info: DatasetInfo) -> list[dict[str, float]]:
    """Return the calibration of the classifier on the test split; without labels there is none."""
    if not info.classes:
        return []
    test = stage.load_split("test")
    classifier = load_model(Classifier, stage.project.outputs("finetune") / "model")
    probabilities = apply_in_batches(classifier, in_batches(test)).softmax(1)
    return calibration_bins(probabilities.numpy(), test.labels.numpy())


def _judge(stage: StageContext) -> GateReport:
    """Return the comparison with the accepted baseline, or why there is none."""
    try:
        return judge_outputs(stage.project, stage.params)
    except LatentlabError as error:
        # absolute paths would make the report depend on the folder of the checkout
        return GateReport(error=str(error).replace(f"{stage.project.root}/", ""))


def _published(stage: StageContext) -> dict[str, float]:
    """Return the values of published reports with the same parameters, by metric."""
    path = stage.project.root / RESULTS
    rows: dict[str, Any] = read_plain(path)["rows"] if path.is_file() else {}
    values = flatten(resolved_params(stage.project, stage.params).tree())
    return {
        row["metric"]: row["report"]
        for row in rows.values()
        if row["report"] is not None
        and all(values.get(name) == value for name, value in row["where"].items())
    }
