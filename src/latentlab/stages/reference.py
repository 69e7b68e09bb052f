"""reference: the classifier whose features are used to evaluate generated images.

Without class labels it predicts by which angle an image was rotated.
"""

from dataclasses import replace

from latentlab.common.progress import note
from latentlab.data.image_set import ROTATIONS, RotatedImages
from latentlab.models.classification import ClassifierTrainingOptions
from latentlab.models.cost import count_parameters
from latentlab.models.reference import ReferenceClassifier
from latentlab.params.classification import ReferenceParams
from latentlab.pipeline.classifier_outputs import write_classifier
from latentlab.pipeline.context import StageContext
from latentlab.pipeline.pictures import Probe
from latentlab.pipeline.training_run import checkpoint_of, run_and_log
from latentlab.training.loop import Training

TURNING = {"RandomHorizontalFlip", "RandomVerticalFlip", "RandomRotation"}
"""Transforms that are left out when angles are predicted."""


def run(stage: StageContext) -> None:
    """Write the classifier, its learning curves and its confusion matrix on validation images."""
    info = stage.load_info()
    train, validation = stage.load_split("train"), stage.load_split("validation")
    settings = stage.params.reference
    title, metrics = "Reference classifier", {}
    if not info.labeled:
        train, validation = RotatedImages.of(train), RotatedImages.of(validation)
        info = replace(info, classes=list(ROTATIONS))
        settings = _keeping_orientation(settings)
        title, metrics = "Rotation classifier", {"labeled": False}
        note(f"{stage.name}: predicts rotations, because {info.name} has no class labels")
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
    scores, review = write_classifier(stage, model, training, validation, info, title)
    stage.write_metrics(metrics | scores | {"parameters": count_parameters(model)}, review)


def _keeping_orientation(settings: ReferenceParams) -> ReferenceParams:
    """Return the settings without transforms that make angles ambiguous.

    The mirror image of an image turned left looks like a mirror image turned right.
    """
    kept = tuple(each for each in settings.augmentation if not TURNING & each.keys())
    return settings.model_copy(update={"augmentation": kept})
