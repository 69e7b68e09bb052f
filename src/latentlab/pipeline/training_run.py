"""The main training of a stage: it resumes from its checkpoint and is logged epoch by epoch."""

from collections.abc import Iterator
from typing import Protocol

from latentlab.common.errors import TrainingDiverged
from latentlab.common.progress import progress_bar
from latentlab.models.io import SavableModel, save_model
from latentlab.params.generators import GanParams
from latentlab.params.networks import OptimizationParams
from latentlab.pipeline.context import StageContext
from latentlab.pipeline.pictures import Draw, Snapshots, keep_pictures
from latentlab.training.checkpoint import Checkpoint
from latentlab.training.diagnosis import DIVERGED
from latentlab.training.distributed import ProcessGroup
from latentlab.training.loop import Record


class ResumableTraining(Protocol):
    """The common interface of the training loops of single-loss models and of the GAN."""

    history: list[Record]
    best_epoch: int

    @property
    def eval_model(self) -> SavableModel:
        """The network that is validated and saved."""

    @property
    def settings(self) -> OptimizationParams | GanParams:
        """The settings of the training."""

    @property
    def seconds(self) -> float:
        """Seconds of training so far."""

    def resume(self) -> None:
        """Continue from the checkpoint if there is one."""

    def epochs(self) -> Iterator[Record]:
        """Train and yield the record of each epoch."""

    def restore_best(self) -> SavableModel:
        """Return the network with the weights of the best epoch."""


def checkpoint_of(stage: StageContext, group: ProcessGroup | None = None) -> Checkpoint:
    """Return the checkpoint of a stage's main training, which the processes of `group` share."""
    return Checkpoint(stage.checkpoints / f"training-{stage.device.type}.pt", group)


def run_and_log(stage: StageContext, training: ResumableTraining, draw: Draw) -> None:
    """Resume a training, run it to its end, log each epoch and write `history.csv`.

    Every few epochs, the pictures that `draw` makes of the network are logged; they are also kept
    in `epochs/`. The training time is
    logged to MLflow only, because outputs must be reproducible. Raises TrainingDiverged if the loss
    is NaN or infinite; the best weights so far are then in `model/`.
    """
    snapshots = Snapshots(draw, training.settings.epochs, stage.checkpoints / "pictures")
    training.resume()
    for record in training.history:
        stage.run.log_epoch(record)
    with progress_bar(stage.name, training.settings.epochs, "epochs") as bar:
        bar.advance(len(training.history), earlier=True)
        try:
            for record in training.epochs():
                stage.run.log_epoch(record)
                for picture in snapshots.take(training.eval_model, len(training.history)):
                    stage.run.log_image(*picture)
                bar.advance(1)
        except TrainingDiverged as diverged:
            stage.run.set_tags({"diagnosis": DIVERGED})
            raise TrainingDiverged(f"{diverged}{_save_best(stage, training)}") from None
    stage.run.log_metrics({"seconds": training.seconds}, step=len(training.history))
    keep_pictures(snapshots.folder, stage.epoch_pictures)
    _write_history(stage, training)


def _write_history(stage: StageContext, training: ResumableTraining) -> None:
    """Write one row per epoch; a value that was not measured in an epoch is empty."""
    history = training.history
    columns = dict.fromkeys(name for record in history for name in record)
    rows = [{name: record.get(name, "") for name in columns} for record in history]
    stage.write_table("history.csv", rows)


def _save_best(stage: StageContext, training: ResumableTraining) -> str:
    """Save the best weights of a diverged training and return where they are, as a clause."""
    stage.delete_checkpoints()  # resuming from them would diverge again
    if not training.history:
        return ""
    folder = stage.output / "model"
    save_model(training.restore_best().cpu(), folder)
    _write_history(stage, training)
    return f"; the best weights so far, of epoch {training.best_epoch}, are in {folder}"
