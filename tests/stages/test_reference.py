from latentlab.params.classification import ReferenceParams
from latentlab.stages.reference import _keeping_orientation


def test_angles_are_predicted_without_transforms_that_change_them():
    transforms = [{"RandomHorizontalFlip": {"p": 0.5}}, {"RandomCrop": {"padding": 1}}]
    settings = ReferenceParams.model_construct(augmentation=tuple(transforms))
    assert settings.mirrored

    kept = _keeping_orientation(settings)

    assert list(kept.augmentation) == transforms[1:]
    assert not kept.mirrored
