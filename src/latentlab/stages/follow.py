"""Following the training of a stage: shown, told to MLflow, gone on with after a kill."""

from latentlab.errors import TrainingDiverged
from latentlab.files import write_csv
from latentlab.networks.store import save_model
from latentlab.progress import progress_bar
from latentlab.stages.stage import Stage
from latentlab.training.checkpoint import Checkpoint
from latentlab.training.record import FollowedTraining


def checkpoint_of(stage: Stage) -> Checkpoint:
    """Where the training of a stage keeps its state until the stage completes."""
    return Checkpoint(stage.checkpoints / f"training-{stage.device.type}.pt")


def follow(stage: Stage, training: FollowedTraining) -> None:
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


def _write_history(stage: Stage, training: FollowedTraining) -> None:
    """A row for each epoch; what was not measured in it is empty."""
    history = training.history
    columns = dict.fromkeys(name for record in history for name in record)
    rows = [{name: record.get(name, "") for name in columns} for record in history]
    write_csv(stage.output / "history.csv", rows)


def _keep_best(stage: Stage, training: FollowedTraining) -> str:
    """Store what a training reached before it diverged; say where."""
    stage.forget_checkpoints()  # they lead nowhere
    if not training.history:
        return ""
    kept = stage.output / "model"
    save_model(training.restore_best().cpu(), kept)
    _write_history(stage, training)
    return f"; the best weights so far, of epoch {training.best_epoch}, are in {kept}"
