"""train: the convolutional autoencoder, with what the search found."""

from latentlab.errors import EnvironmentProblem
from latentlab.evaluation.reconstruction import reconstruction_metrics
from latentlab.models.autoencoder import Autoencoder
from latentlab.models.inference import BATCH, apply_in_batches
from latentlab.models.store import save_model
from latentlab.params import Params, resolve
from latentlab.plots.curves import plot_history
from latentlab.plots.images import plot_rows
from latentlab.project import Project
from latentlab.stages.stage import Stage, count_parameters
from latentlab.training.loop import Training

SHOWN = 12


def run(stage: Stage) -> None:
    """Write the model, its learning curve and reconstructions of validation images."""
    info = stage.load_info()
    train, validation = stage.load_split("train"), stage.load_split("validation")
    settings = resolve(stage.params, _found_by_search(stage.project, stage.params)).train
    stage.run.log_params({"train": settings.tree()})

    model = Autoencoder(info.image_shape, **settings.model.tree())
    training = Training(model, settings, train, validation, stage.seed, stage.device)
    stage.follow(training.epochs(), settings.epochs)
    model = training.restore_best().cpu()

    save_model(model, stage.output / "model")
    stage.write_history(training.history)
    plot_history(
        stage.plots / "loss.png",
        training.history,
        {"train/mse": "training", "validation/mse": "validation"},
        "mean squared error per pixel",
        f"autoencoder on {info.name}",
        training.best_epoch,
    )
    outputs = apply_in_batches(model, (images for images, _ in validation.batches(BATCH)))
    shown = validation.floats(slice(SHOWN))
    plot_rows(
        stage.plots / "reconstructions.png",
        {"original": shown, "reconstructed": outputs[:SHOWN]},
        f"validation images through {settings.model.latent_dim} dimensions",
    )
    stage.run.log_model(stage.output / "model", shown, outputs[:SHOWN])
    stage.write_metrics(
        {
            "validation": reconstruction_metrics(outputs, validation.floats()),
            "epochs": len(training.history),
            "best_epoch": training.best_epoch,
            "parameters": count_parameters(model),
        }
    )


def _found_by_search(project: Project, params: Params) -> dict:
    """The values that the study chose."""
    from ruamel.yaml import YAML

    source = project.outputs("search") / "best_params.yaml"
    try:
        found = YAML(typ="safe").load(source.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        raise EnvironmentProblem(f"{source} is missing; run `dvc repro search` first") from None
    missing = [path for path in params.searched if path not in found]
    if missing:
        raise EnvironmentProblem(
            f"{source} has no value for {', '.join(missing)}; run `dvc repro search` again"
        )
    return found
