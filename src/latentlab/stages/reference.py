"""reference: the classifier whose features are used to evaluate generated images."""

from latentlab.models.classification import ClassifierTrainingOptions
from latentlab.models.cost import count_parameters
from latentlab.models.reference import ReferenceClassifier
from latentlab.pipeline.classifier_outputs import write_classifier
from latentlab.pipeline.context import StageContext
from latentlab.pipeline.pictures import Probe
from latentlab.pipeline.training_run import checkpoint_of, run_and_log
from latentlab.training.loop import Training


def run(stage: StageContext) -> None:
    """Write the classifier, its learning curves and its confusion matrix on validation images."""
    info = stage.load_info()
    train, validation = stage.load_split("train"), stage.load_split("validation")
    settings = stage.params.reference
    stage.name_run("-".join(map(str, settings.channels)))
    stage.run.log_params({"reference": settings.tree()})
    training_options = ClassifierTrainingOptions(label_smoothing=settings.label_smoothing)
    model = ReferenceClassifier(
        info.image_shape,
        settings.channels,
        settings.features,
        len(info.classes),
        settings.dropout,
        training_options,
        settings.mirrored,
    )
    training = Training(
        model, settings, train, validation, stage.seed, stage.device, checkpoint_of(stage)
    )
    run_and_log(stage, training, Probe.of(validation, stage.seed).predictions)
    model = training.restore_best().cpu()
    metrics, review = write_classifier(
        stage, model, training, validation, info, "Reference classifier"
    )
    stage.write_metrics(metrics | {"parameters": count_parameters(model)}, review)
