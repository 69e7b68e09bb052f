"""The whole report, from the outputs and the verdict of the gate."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from latentlab.gate.report import Report as GateReport
from latentlab.report.document import Report
from latentlab.report.outputs import Outputs
from latentlab.report.sections import (
    autoencoder,
    classification,
    comparisons,
    data,
    denoising,
    generators,
    headline,
    latent_space,
    reproduce,
    search,
)
from latentlab.report.text import number, percent


@dataclass(frozen=True)
class Origin:
    """Where the outputs come from, and what they are compared with.

    `gate` is the comparison with the accepted baseline, `published` maps metrics to the values of a
    published report, and `fingerprint` identifies code, parameters and data.
    """

    gate: GateReport
    published: Mapping[str, float] = field(default_factory=dict)
    fingerprint: str = ""


def write_contents(outputs: Outputs, origin: Origin) -> Report:
    """Return the report with its sections in the order in which they are read."""
    sections = [
        headline.write(outputs, origin.gate, origin.published),
        data.write(outputs),
        search.write(outputs),
        autoencoder.write(outputs),
        latent_space.write(outputs),
        denoising.write(outputs),
        classification.write(outputs),
        generators.write(outputs),
        comparisons.write(outputs),
        reproduce.write(outputs, origin.fingerprint),
    ]
    title = f"Latent representations of {outputs.info.name}"
    return Report(title, _summary(outputs, origin), sections)


def _summary(outputs: Outputs, origin: Origin) -> list[str]:
    test = outputs.test
    classifier = test.get("classifier")
    return [
        headline.verdict(origin.gate),
        f"The autoencoder reconstructs test images with an MSE of "
        f"{number(test['autoencoder']['mse'])} per pixel"
        + (
            f", and a classifier on its encoder reaches an accuracy of "
            f"{percent(classifier['accuracy'])}."
            if classifier
            else "."
        ),
        generators.verdict(outputs),
        *(f"Diagnosis of {finding}" for finding in outputs.findings()),
    ]
