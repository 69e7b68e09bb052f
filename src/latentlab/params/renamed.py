"""Keys of `params.yaml` that were renamed; the error message of an old key gives the new one."""

from fnmatch import fnmatchcase

from latentlab.params.messages import Errors, Location

RENAMED = {
    "search.images": "max_train_images",
    "search.first_rung": "min_epochs",
    "search.reduction": "reduction_factor",
    "train.warmup": "warmup_fraction",
    "compare.*.images": "max_train_images",
    "denoise.*.warmup": "warmup_fraction",
    "denoise.*.corruption.*.kind": "name",
    "denoise.*.model": "network",
    "denoise.*.skip": "network",
    "finetune.warmup": "warmup_fraction",
    "finetune.control": "scratch_baseline",
    "finetune.labels": "label_efficiency",
    "finetune.label_efficiency.per_class": "labels_per_class",
    "finetune.label_efficiency.images": "images_per_epoch",
    "finetune.search.images": "max_train_images",
    "finetune.search.first_rung": "min_epochs",
    "finetune.search.reduction": "reduction_factor",
    "finetune.flip": "augmentation",
    "finetune.shift": "augmentation",
    "reference.flip": "augmentation",
    "reference.shift": "augmentation",
    "reference.warmup": "warmup_fraction",
    "vae.warmup": "warmup_fraction",
    "gan.decay": "lr_decay_fraction",
    "gan.judge_every": "eval_every",
    "gan.judged_samples": "eval_samples",
}
"""The new last key of each old path; `*` stands for any name."""

HINTS = {
    "denoise.*.model": "write `network: {type: autoencoder, ...}` with the keys of model",
    "denoise.*.skip": "write `network: {type: unet, ...}` with the keys of skip",
    "finetune.labels": "its keys are labels_per_class, seeds, epochs, images_per_epoch and "
    "batch_size",
    "*.flip": "write `augmentation: [{RandomHorizontalFlip: {p: 0.5}}]`",
    "*.shift": "write `augmentation: [{RandomCrop: {padding: 1}}]` for shifts by up to 1 pixel",
}
"""Additional help for old paths whose value has changed too."""


def new_path(path: str) -> str | None:
    """Return the new path of a renamed parameter, or None if `path` is not an old path."""
    for old, new in RENAMED.items():
        if fnmatchcase(path, old):
            return ".".join([*path.split(".")[:-1], new])
    return None


def explain_renamed_keys(errors: Errors) -> Errors:
    """Return errors with the new name of each renamed key, and without its absence."""
    explained = dict(errors)
    for location in errors:
        path = ".".join(map(str, location))
        new = new_path(path)
        if new is None:
            continue
        hint = next((f"; {HINTS[old]}" for old in HINTS if fnmatchcase(path, old)), "")
        explained[location] = f" was renamed to {new}{hint}"
        _drop_missing(explained, (*location[:-1], new.rpartition(".")[2]))
    return explained


def _drop_missing(errors: Errors, location: Location) -> None:
    if errors.get(location, "").startswith(" is missing"):
        del errors[location]
