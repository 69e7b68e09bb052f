"""Outputs of `train`, `finetune` and `evaluate` with small random models, logged to MLflow."""

import time
from contextlib import contextmanager

import torch

from gated import accepted_run, store_baseline, write_pipeline, write_policy
from latentlab.common.files import write_json
from latentlab.data.image_set import DatasetInfo
from latentlab.models.autoencoder import Autoencoder
from latentlab.models.classifier import Classifier
from latentlab.models.io import save_model
from latentlab.params.geometry import Architecture
from latentlab.tracking.execution import execution_tags
from latentlab.tracking.recording import Recording
from latentlab.tracking.run import Run

ARCHITECTURE = Architecture((1, 8, 8), [4], 8, 2)
INFO = DatasetInfo(
    "digits", ["zero", "one", "two"], [1, 8, 8], {}, [0.5], [0.1], {"f": "0"}, "d" * 64
)
IMAGES = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
MSE = 0.25

GATE = """
metrics:
  evaluate/test/autoencoder/mse: {direction: lower, smallest_effect: 0.001}
  evaluate/test/classifier/accuracy: {direction: higher, smallest_effect: 0.1}
"""


def write_outputs(project, seed=0, accuracy=0.9, evaluate=True):
    """Write outputs as if the stages had run, and log them; return the classifier.

    The autoencoder is always the same. The classifier depends on `seed`. Without `evaluate`, the
    outputs of that stage are as they were.
    """
    outputs = project.root / "outputs"
    (outputs / "fetch").mkdir(parents=True, exist_ok=True)
    INFO.write(outputs / "fetch")
    write_json(outputs / "fetch" / "metrics.json", {})
    torch.manual_seed(0)
    autoencoder = Autoencoder(ARCHITECTURE).eval()
    torch.manual_seed(seed)
    classifier = Classifier(ARCHITECTURE, [5], 3, freeze_encoder=False).eval()
    _log(project, "train", autoencoder, {"validation/mse": MSE})
    _log(project, "finetune", classifier, {"validation/accuracy": accuracy})

    if evaluate:
        _evaluate(project, accuracy)
    return classifier


def _evaluate(project, accuracy):
    outputs = project.root / "outputs"
    test = {"autoencoder": {"mse": MSE}, "classifier": {"accuracy": accuracy}}
    write_json(outputs / "evaluate" / "metrics.json", {"test": test})
    with _track(project, "evaluate") as run:
        run.log_evaluated_models(
            {"autoencoder": outputs / "train/model", "classifier": outputs / "finetune/model"}
        )
        run.log_headlines({"test/autoencoder/mse": MSE, "test/classifier/accuracy": accuracy}, 0)


class DirectRecorder:
    """Records in this process; to start another one for every stage would take seconds."""

    def __init__(self, project, stage):
        self._recording = Recording(project)
        tags = execution_tags(project, stage, "digits", "fingerprint")
        self.send("start", tags, None, False, time.time())

    def send(self, command, *arguments):
        getattr(self._recording, command)(*arguments)


@contextmanager
def _track(project, stage):
    recorder = DirectRecorder(project, stage)
    run = Run(recorder)
    run.log_dataset(INFO)
    yield run
    recorder.send("end", "FINISHED", None, time.time())


def _log(project, stage, model, metrics):
    folder = project.outputs(stage)
    save_model(model, folder / "model")
    write_json(folder / "metrics.json", {})
    with torch.inference_mode():
        codes = model.latent_codes(IMAGES[:2])
    with _track(project, stage) as run:
        run.log_model(folder / "model", INFO, IMAGES[:2], codes, 1)
        run.log_headlines(metrics, 1)


def write_gate(project, accuracy=0.9):
    """Write a policy of two metrics and a baseline with this accuracy."""
    write_pipeline(project, "stages: {fetch: {}, train: {}, finetune: {}, evaluate: {}}")
    write_policy(project, GATE)
    store_baseline(
        project, accepted_run(**{"autoencoder/mse": MSE, "classifier/accuracy": accuracy})
    )
