"""reference: the reference classifier, whose features generated images are compared in."""

from latentlab.models.classification import Regularizers
from latentlab.models.reference import ReferenceClassifier
from latentlab.networks.size import count_parameters
from latentlab.stages.classification import write_classifier
from latentlab.stages.follow import checkpoint_of, follow
from latentlab.stages.stage import Stage
from latentlab.training.loop import Training


def run(stage: Stage) -> None:
    """Write the classifier, its learning curves and its confusion of validation images."""
    info = stage.load_info()
    train, validation = stage.load_split("train"), stage.load_split("validation")
    settings = stage.params.reference
    stage.run.log_params({"reference": settings.tree()})
    regularizers = Regularizers(
        label_smoothing=settings.label_smoothing, flip=settings.flip, shift=settings.shift
    )
    model = ReferenceClassifier(
        info.image_shape,
        settings.channels,
        settings.features,
        len(info.classes),
        settings.dropout,
        regularizers,
        settings.flip,
    )
    training = Training(
        model, settings, train, validation, stage.seed, stage.device, checkpoint_of(stage)
    )
    follow(stage, training)
    model = training.restore_best().cpu()
    metrics = write_classifier(stage, model, training, validation, info, "reference classifier")
    stage.write_metrics(metrics | {"parameters": count_parameters(model)})
