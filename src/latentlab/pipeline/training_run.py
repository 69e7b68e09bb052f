"""Following the training of a stage: shown, told to MLflow, gone on with after a kill."""

from collections.abc import Iterator
from typing import Protocol

from torch import nn

from latentlab.common.errors import TrainingDiverged
from latentlab.common.files import write_csv
from latentlab.common.progress import progress_bar
from latentlab.models.io import save_model
from latentlab.params.generators import GanParams
from latentlab.params.networks import OptimizationParams
from latentlab.pipeline.context import StageContext
from latentlab.training.checkpoint import Checkpoint
from latentlab.training.loop import Record


class ResumableTraining(Protocol):
    """What the training loops of single-loss models and of the GAN have in common."""

    settings: OptimizationParams | GanParams
    history: list[Record]
    best_epoch: int

    @property
    def seconds(self) -> float:
        """Seconds of training so far."""

    def resume(self) -> None:
        """Continue from the checkpoint if there is one."""

    def epochs(self) -> Iterator[Record]:
        """Train and yield the record of each epoch."""

    def restore_best(self) -> nn.Module:
        """Return the network with the weights that are kept."""


def checkpoint_of(stage: StageContext) -> Checkpoint:
    """Where the training of a stage keeps its state until the stage completes."""
    return Checkpoint(stage.checkpoints / f"training-{stage.device.type}.pt")


def run_and_log(stage: StageContext, training: ResumableTraining) -> None:
    """Run a training to its end, each epoch shown and told to MLflow, and write its history.

    How many seconds it took stands in MLflow alone: no output may depend on them.

    Where it diverges, the best weights so far are kept in `model/`.
    """
    training.resume()
    for record in training.history:
        stage.run.log_epoch(record)
    with progress_bar(stage.name, training.settings.epochs, "epochs") as bar:
        bar.advance(len(training.history), earlier=True)
        try:
            for record in training.epochs():
                stage.run.log_epoch(record)
                bar.advance(1)
        except TrainingDiverged as diverged:
            raise TrainingDiverged(f"{diverged}{_keep_best(stage, training)}") from None
    stage.run.log_metrics({"seconds": training.seconds}, step=len(training.history))
    _write_history(stage, training)


def _write_history(stage: StageContext, training: ResumableTraining) -> None:
    """A row for each epoch; what was not measured in it is empty."""
    history = training.history
    columns = dict.fromkeys(name for record in history for name in record)
    rows = [{name: record.get(name, "") for name in columns} for record in history]
    write_csv(stage.output / "history.csv", rows)


def _keep_best(stage: StageContext, training: ResumableTraining) -> str:
    """Store what a training reached before it diverged; say where."""
    stage.delete_checkpoints()  # they lead nowhere
    if not training.history:
        return ""
    kept = stage.output / "model"
    save_model(training.restore_best().cpu(), kept)
    _write_history(stage, training)
    return f"; the best weights so far, of epoch {training.best_epoch}, are in {kept}"
