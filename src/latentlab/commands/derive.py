"""The rules of `latentlab init`: the settings of a profile as a function of statistics of the data.

Budgets are numbers of optimization steps, because what a training needs depends little on the
number of images; they become epochs, which is what `params.yaml` contains.
"""

from collections.abc import Iterator
from math import ceil
from typing import Any, NamedTuple

from latentlab.commands.data_facts import DataFacts

FEW_IMAGES = 5000
"""Training images below which networks overfit, so that augmentation helps."""
MANY_IMAGES = 10_000
"""Training images from which larger batches use the cores better and epochs still suffice."""
MIN_EPOCHS = 4
"""Epochs of the final trainings at least; fewer do not show the learning curve."""
BASE_SIZE = 32
"""Image size in pixels for which the steps below are meant."""
STEPS = {
    "train": 2000,
    "vae": 2000,
    "gan": 3000,
    "reference": 600,
    "denoise": 500,
    "finetune": 500,
    "search": 150,
    "compare": 100,
    "label_efficiency": 60,
}
"""Steps of each training for images of that size: enough for every model to pass its baseline, and
few enough that all of them together fit into `MINUTES`."""
MIN_STEPS = 50
MINUTES = 6
"""Minutes that the pipeline should take on two cores."""
MILLISECONDS = 15
"""Time of a step of 32 images of the base size in the autoencoder, on one core."""
RELATIVE_COST = {"gan": 2.0, "denoise": 2.0}
"""Time of a step of these stages, relative to the autoencoder."""
OTHER_SECONDS = 90
"""Starting all stages, plots and `evaluate`."""
LATENT_DIMS = 4, 16
"""Limits of the latent dimension: below, maps and walks show little; above, a few hundred images
do not fill the space, so that samples of the density model and of the VAE look worse."""
IMAGES_PER_DIMENSION = 10
"""Training images per latent dimension, at least."""
CONDITIONAL_IMAGES = 50
"""Training images per class from which the GAN is conditional."""
CONDITIONAL_CLASSES = 20
"""Most classes for which it is; the discriminator receives an additional channel for each."""
LABELS_PER_CLASS = 4, 16, 64
"""Numbers of labels per class that are compared, where the classes have twice as many images."""

Value = Any


class Setting(NamedTuple):
    """The value of a parameter, and its reason; a usual value has none."""

    path: str
    value: Value
    reason: str = ""


def derive(facts: DataFacts) -> list[Setting]:
    """Return the settings of a profile for a dataset, in the order of `params.yaml`."""
    return [
        *_data(facts),
        Setting("optimization.batch_size", batch_size(facts), _batch_reason(facts)),
        Setting("optimization.learning_rate", 0.004, "the search tries 0.002 to 0.006 for train"),
        Setting("optimization.schedule", "one_cycle"),
        Setting("optimization.ema_decay", None),
        Setting("optimization.precision", "auto"),
        *_search(facts),
        *_train(facts),
        *_compare(facts),
        *_denoise(facts),
        *_finetune(facts),
        *_reference(facts),
        *_vae(facts),
        *_gan(facts),
        *_evaluate(facts),
    ]


def estimate_minutes(facts: DataFacts) -> float:
    """Return how long the pipeline takes on two cores: trainings side by side use one core each."""
    batch = batch_size(facts)
    images: dict[str, float] = {
        name: epochs(facts, name) * steps_per_epoch(facts.train_images, batch) * batch
        for name in ("train", "vae", "gan", "reference", "finetune", "denoise")
    }
    images["finetune"] *= 2  # also from scratch
    images["denoise"] *= 1.5  # three networks on two cores
    short = {"search": 4 / 2, "compare": 14 / 2, "label_efficiency": 3 * len(label_levels(facts))}
    images |= {name: steps(facts, name) * batch * trainings for name, trainings in short.items()}
    cost = sum(count * RELATIVE_COST.get(name, 1.0) for name, count in images.items())
    area = (facts.size / BASE_SIZE) ** 2
    return (OTHER_SECONDS + cost / 32 * area * MILLISECONDS / 1000) / 60


def batch_size(facts: DataFacts) -> int:
    """Return the images per step."""
    return 64 if facts.train_images >= MANY_IMAGES else 32


def steps_per_epoch(images: int, batch: int) -> int:
    """Return the number of batches of an epoch."""
    return ceil(images / batch)


def steps(facts: DataFacts, name: str) -> int:
    """Return the steps of a training; larger images have fewer, because each takes longer."""
    area = max(1.0, (facts.size / BASE_SIZE) ** 2)
    return max(MIN_STEPS, round(STEPS[name] / area))


def epochs(facts: DataFacts, name: str, images: int | None = None, least: int = MIN_EPOCHS) -> int:
    """Return the epochs of a training on so many images, by default all."""
    per_epoch = steps_per_epoch(images or facts.train_images, batch_size(facts))
    return max(least, round(steps(facts, name) / per_epoch))


def latent_dim(facts: DataFacts) -> int:
    """Return the latent dimension of the autoencoder and of the VAE."""
    low, high = LATENT_DIMS
    return max(low, min(high, facts.components, facts.train_images // IMAGES_PER_DIMENSION))


def label_levels(facts: DataFacts) -> list[int]:
    """Return the numbers of labels per class to compare; none if the classes are too small."""
    return [labels for labels in LABELS_PER_CLASS if 2 * labels <= facts.smallest_class]


def augmentation(facts: DataFacts, section: str) -> list[dict[str, Any]]:
    """Return the transforms of training images, for datasets with few images.

    Those of the GAN are always moved a little only: with large moves its samples get worse.
    """
    if facts.train_images >= FEW_IMAGES:
        return []
    flips = [{"RandomHorizontalFlip": {"p": 0.5}}] if facts.mirrored else []
    far = facts.movable and section != "gan"
    pixels = facts.size // 4 if far else max(1, facts.size // 16)
    return [*flips, {"RandomCrop": {"padding": pixels, "padding_mode": "reflect"}}]


def _data(facts: DataFacts) -> Iterator[Setting]:
    data = facts.data
    yield Setting("data.name", data.name)
    yield Setting("data.options", dict(data.options))
    reason = "pixels; the time of a training grows with their number"
    yield Setting("data.image_size", data.image_size, reason)
    yield Setting("data.fit", data.fit)
    yield Setting("data.labels", data.labels)
    scale = "the images use a small part of 16 bits" if data.scale == "content" else ""
    tree = data.tree()
    yield Setting("data.scale", tree["scale"], scale)
    yield Setting("data.channels", data.channels)


def _batch_reason(facts: DataFacts) -> str:
    return f"{facts.train_images:,} training images: " + (
        "enough steps per epoch" if batch_size(facts) == 64 else "small batches give more steps"
    )


def _epochs(facts: DataFacts, section: str, name: str) -> Setting:
    count = epochs(facts, name)
    per_epoch = steps_per_epoch(facts.train_images, batch_size(facts))
    return Setting(
        f"{section}.epochs", count, f"{count * per_epoch:,} steps, {per_epoch} per epoch"
    )


def _augmentation(facts: DataFacts, section: str) -> Setting:
    if not (transforms := augmentation(facts, section)):
        return Setting(f"{section}.augmentation", [], "enough images without it")
    flips = (
        "mirror images look like others of their class"
        if facts.mirrored
        else "mirror images look different"
    )
    moves = "; images may be moved far" if facts.movable and section != "gan" else ""
    reason = f"few images, so networks would overfit; {flips}{moves}"
    return Setting(f"{section}.augmentation", transforms, reason)


def _limit(facts: DataFacts) -> int | None:
    """Return `max_train_images` of the comparisons."""
    return FEW_IMAGES if facts.train_images > FEW_IMAGES else None


def _search(facts: DataFacts) -> Iterator[Setting]:
    images = min(facts.train_images, FEW_IMAGES)
    budget = epochs(facts, "search", images, least=2)
    yield Setting("search.trials", 4, f"few, so that the pipeline takes at most {MINUTES} minutes")
    yield Setting("search.epochs", budget, f"{steps(facts, 'search')} steps rank the trials")
    yield Setting("search.max_train_images", FEW_IMAGES, "enough for a ranking")
    yield Setting("search.folds", None)
    yield Setting("search.sampler", "tpe")
    yield Setting("search.batch", 4)
    yield Setting("search.pruner", "halving")
    yield Setting("search.min_epochs", max(1, budget // 2), "after the warm-up of one_cycle")
    yield Setting("search.reduction_factor", 3)
    yield Setting("search.objectives", {"validation/mse": "minimize"})
    yield Setting("search.tolerance", 0.0)
    yield Setting(
        "search.space",
        {
            "train.model.hidden": {"type": "int", "low": 64, "high": 192, "log": True},
            "train.learning_rate": {"type": "float", "low": 0.002, "high": 0.006, "log": True},
        },
        "only what matters within so few trials",
    )


def _train(facts: DataFacts) -> Iterator[Setting]:
    model = {
        "channels": ([16, 32, 64], "the smallest that passes pixel PCA"),
        "kernel": (3, ""),
        "stride": (2, ""),
        "padding": ("auto", ""),
        "hidden": ("search", ""),
        "latent_dim": (latent_dim(facts), _latent_reason(facts)),
        "activation": ("silu", ""),
        "dropout": (0.0, ""),
        "batch_norm": (False, ""),
        "upsampling": ("subpixel", ""),
        "normalize": (False, ""),
        "output": ("sigmoid", ""),
    }
    for name, (value, reason) in model.items():
        yield Setting(f"train.model.{name}", value, reason)
    count = epochs(facts, "train")
    yield _epochs(facts, "train", "train")
    yield _augmentation(facts, "train")
    yield Setting("train.patience", count, "the learning rate decreases until the end")
    yield Setting("train.min_delta", 0.0)
    yield Setting("train.batch_size", batch_size(facts))
    yield Setting("train.optimizer", "adamw")
    yield Setting("train.learning_rate", "search")
    yield Setting("train.weight_decay", 0.0001)
    yield Setting("train.l1", 0.0)
    yield Setting("train.schedule", "one_cycle")
    yield Setting("train.ema_decay", None)
    yield Setting("train.precision", "auto")
    yield Setting("train.folds", None)


def _latent_reason(facts: DataFacts) -> str:
    low, high = LATENT_DIMS
    return (
        f"{facts.components} principal components explain 90% of the variance; {low} to {high}, "
        f"and at most one per {IMAGES_PER_DIMENSION} training images"
    )


def _compare(facts: DataFacts) -> Iterator[Setting]:
    budget = epochs(facts, "compare", min(facts.train_images, FEW_IMAGES), least=2)
    batch = {"train.batch_size": batch_size(facts)}
    chosen = latent_dim(facts)
    entries: dict[str, dict[str, Value]] = {
        "latent_dim": {"base": batch, "values": sorted({2, chosen // 2, chosen, 2 * chosen})},
        "optimizer": {"base": batch | {"train.weight_decay": 0.000001}},
        "depth": {
            "base": batch
            | {"train.model.kernel": 3, "train.model.stride": 2, "train.model.padding": "auto"}
        },
        "regularization": {
            "base": batch,
            "values": {
                "early stopping": {"train.patience": 2, "train.min_delta": 0.0005},
                "pruning": {
                    "train.prune_fraction": 0.3,
                    "train.prune_epochs": [max(1, budget // 2)],
                },
                "dropout": {"train.model.dropout": 0.1},
            },
        },
    }
    for name, values in entries.items():
        for key, value in values.items():
            reason = "around that of train" if (name, key) == ("latent_dim", "values") else ""
            yield Setting(f"compare.{name}.{key}", value, reason)
        reason = f"{steps(facts, 'compare')} steps rank the variants"
        yield Setting(f"compare.{name}.epochs", budget, reason)
        yield Setting(f"compare.{name}.max_train_images", _limit(facts))
        yield Setting(f"compare.{name}.seeds", 1)


def _denoise(facts: DataFacts) -> Iterator[Setting]:
    corruptions = {
        "gaussian": {"name": "gaussian", "severity": 0.3},
        "occlusion": {"name": "occlusion", "severity": 0.2},
        "unet": {"name": "gaussian", "severity": [0.05, 0.55]},
    }
    for name, corruption in corruptions.items():
        prefix = f"denoise.{name}"
        yield Setting(f"{prefix}.corruption", [corruption])
        yield Setting(
            f"{prefix}.network",
            {"type": "unet", "channels": [16, 32]},
            "an autoencoder of few dimensions is often worse than a linear filter",
        )
        yield _epochs(facts, prefix, "denoise")
    yield Setting("denoise.unet.learning_rate", 0.004)


def _finetune(facts: DataFacts) -> Iterator[Setting]:
    yield Setting("finetune.head", [64])
    yield Setting("finetune.freeze_encoder", False)
    yield Setting("finetune.label_smoothing", 0.0)
    yield _augmentation(facts, "finetune")
    yield Setting("finetune.scratch_baseline", True)
    levels = label_levels(facts)
    efficiency = {
        "labels_per_class": levels,
        "seeds": 1,
        "epochs": 2,
        "images_per_epoch": steps(facts, "label_efficiency") // 2 * 32,
        "batch_size": 32,
    }
    smallest = (
        f"the smallest class has {facts.smallest_class:,} training images"
        if facts.classes
        else "there are no labels"
    )
    yield Setting("finetune.label_efficiency", efficiency if levels else None, smallest)
    yield Setting("finetune.search", None)
    yield _epochs(facts, "finetune", "finetune")
    yield Setting("finetune.batch_size", batch_size(facts))
    yield Setting("finetune.optimizer", "adamw")
    yield Setting("finetune.learning_rate", 0.002)
    yield Setting("finetune.weight_decay", 0.01)
    yield Setting("finetune.ema_decay", None)
    yield Setting("finetune.schedule", "one_cycle")


def _reference(facts: DataFacts) -> Iterator[Setting]:
    yield Setting("reference.channels", [16, 32])
    yield Setting("reference.features", 64)
    yield Setting("reference.dropout", 0.2)
    yield Setting("reference.label_smoothing", 0.0)
    yield _augmentation(facts, "reference")
    yield _epochs(facts, "reference", "reference")
    yield Setting("reference.batch_size", batch_size(facts))
    yield Setting("reference.learning_rate", 0.004)
    yield Setting("reference.weight_decay", 0.01)
    yield Setting("reference.ema_decay", None)
    yield Setting("reference.schedule", "one_cycle")


def _vae(facts: DataFacts) -> Iterator[Setting]:
    model = {
        "channels": ([16, 32, 64], "as in train"),
        "kernel": (3, ""),
        "stride": (2, ""),
        "padding": ("auto", ""),
        "hidden": (128, ""),
        "latent_dim": (latent_dim(facts), "as in train"),
        "activation": ("silu", ""),
        "upsampling": ("subpixel", ""),
    }
    for name, (value, reason) in model.items():
        yield Setting(f"vae.model.{name}", value, reason)
    yield Setting("vae.likelihood", "gaussian")
    yield _augmentation(facts, "vae")
    yield _epochs(facts, "vae", "vae")
    yield Setting("vae.batch_size", batch_size(facts))
    yield Setting("vae.optimizer", "adamw")
    yield Setting("vae.learning_rate", 0.004)
    yield Setting("vae.schedule", "one_cycle")


def _gan(facts: DataFacts) -> Iterator[Setting]:
    count = epochs(facts, "gan")
    few_each = facts.smallest_class < CONDITIONAL_IMAGES
    conditional = 0 < facts.classes <= CONDITIONAL_CLASSES and not few_each
    reason = (
        "each class has enough images"
        if conditional
        else f"needs {CONDITIONAL_IMAGES} images in each of 1 to {CONDITIONAL_CLASSES} classes"
    )
    yield _epochs(facts, "gan", "gan")
    yield Setting("gan.channels", 16)
    yield Setting("gan.discriminator_channels", 32)
    yield Setting("gan.conditional", conditional, reason)
    yield _augmentation(facts, "gan")
    yield Setting("gan.batch_size", batch_size(facts))
    yield Setting("gan.learning_rate", 0.0004)
    yield Setting("gan.lr_decay_fraction", 0.5)
    yield Setting("gan.ema_decay", 0.99, f"averages 100 of {steps(facts, 'gan'):,} steps")
    yield Setting(
        "gan.eval_every", max(1, count // 8), "8 evaluations, from which the best is taken"
    )
    yield Setting("gan.eval_samples", 500)
    yield Setting("gan.precision", "auto")


def _evaluate(facts: DataFacts) -> Iterator[Setting]:
    yield Setting("evaluate.projected_images", 1000)
    yield Setting("evaluate.samples", 500, "enough for the number of test images")
    yield Setting("evaluate.importance_images", 100, "the slowest metric")
    yield Setting("evaluate.severities.gaussian", [0.1, 0.2, 0.3, 0.4, 0.5])
    yield Setting("evaluate.walks", "auto")
